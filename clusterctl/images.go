package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/spf13/pflag"

	"picluster/clusterctl/images"
	"picluster/clusterctl/kube"
	"picluster/clusterctl/registry"
	"picluster/clusterctl/steps"
	"picluster/internal/cli"
	"picluster/internal/debian"
	"picluster/internal/spec"
	"picluster/internal/version"
)

func imagesCommand() cli.Command {
	return cli.Command{
		Name:     "images",
		Summary:  "make the container images that are ours",
		Commands: []cli.Command{imagesBuildCommand()},
	}
}

// imageBuild are the flags of images build.
type imageBuild struct {
	projectFlags
	arch, out, sbom, programs string
	push                      bool
}

func imagesBuildCommand() cli.Command {
	var f imageBuild
	return cli.Command{
		Name:    "build",
		Summary: "make the storage's image of Debian's packages",
		Details: "It runs no program of another architecture, and needs neither root nor a container engine.\n" +
			"--out writes an archive that `ctr -n k8s.io images import` takes; --push puts the image into\n" +
			"the cluster's own registry. What is in the image is listed in it, and by --sbom.",
		Flags: func(flags *pflag.FlagSet) {
			f.register(flags)
			flags.StringVar(&f.arch, "arch", "arm64", "what the nodes are: arm64 or amd64")
			flags.StringVar(&f.out, "out", "", "write the image to a `file`")
			flags.StringVar(&f.sbom, "sbom", "", "write the list of what is in it to a `file` (SPDX)")
			flags.StringVar(&f.programs, "programs", "", "`directory` with storaged-linux-ARCH (default: that of clusterctl)")
			flags.BoolVar(&f.push, "push", false, "put the image into the cluster's registry")
		},
		Examples: []string{"clusterctl images build --out storage.tar", "clusterctl images build --push"},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if err := noOperands("images build", args); err != nil {
				return err
			}
			if f.out == "" && !f.push {
				return cli.Exit(cli.Usage, errors.New("read flags of images build: --out or --push says where the image goes"))
			}
			return f.run(ctx, env)
		},
	}
}

func (f *imageBuild) run(ctx context.Context, env cli.Env) error {
	p, err := f.load()
	if err != nil {
		return err
	}
	progress := cli.NewProgress(env.Stderr)
	defer progress.Done()
	storage, err := f.storage(p.cluster, progress.Show)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "clusterctl-image-")
	if err != nil {
		return fmt.Errorf("build image: %w", err)
	}
	defer os.RemoveAll(dir)
	built, err := storage.Build(ctx, dir)
	if err != nil {
		return imageError(err)
	}
	progress.Done()
	if f.sbom != "" {
		if err := os.WriteFile(f.sbom, built.SBOM, 0o644); err != nil {
			return fmt.Errorf("write list of packages: %w", err)
		}
	}
	if f.out != "" {
		if err := writeArchive(f.out, built); err != nil {
			return err
		}
	}
	digest, err := built.Image.Digest()
	if err != nil {
		return fmt.Errorf("build image: %w", err)
	}
	fmt.Fprintf(env.Stdout, "%s@%s\n", steps.StorageImage(), digest)
	if !f.push {
		return nil
	}
	return f.throughTunnel(ctx, 0, func(ctx context.Context, _ *kube.Client, t *kube.Tunnel) error {
		return pushAll(ctx, env, t.Address, []registry.Image{registry.FromImage(steps.StorageImage(), built.Image)})
	})
}

// storage says what the image is made of: Debian's packages from the mirror of
// cluster.yaml, and the program that lies beside this one.
func (f *imageBuild) storage(c *spec.Cluster, progress func(what string, done, total int64)) (images.Storage, error) {
	keys, err := debian.ArchiveKeys()
	if err != nil {
		return images.Storage{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return images.Storage{}, fmt.Errorf("find cache: %w", err)
	}
	programs := f.programs
	if programs == "" {
		self, err := os.Executable()
		if err == nil {
			self, err = filepath.EvalSymlinks(self)
		}
		if err != nil {
			return images.Storage{}, fmt.Errorf("find storaged: %w", err)
		}
		programs = filepath.Dir(self)
	}
	main := []string{"main"}
	return images.Storage{
		Arch: f.arch, Program: filepath.Join(programs, "storaged-linux-"+f.arch), Version: version.String(),
		Archive: &debian.Reader{Arch: f.arch, Dir: filepath.Join(cache, "picluster", "debian"), Progress: progress},
		Sources: []debian.Source{
			{URI: c.Mirrors.Debian, Suite: images.Suite, Components: main, Keyring: keys},
			{URI: c.Mirrors.Debian, Suite: images.Suite + "-updates", Components: main, Keyring: keys},
			{URI: c.Mirrors.Security, Suite: images.Suite + "-security", Components: main, Keyring: keys},
		},
	}, nil
}

func writeArchive(path string, built images.Built) error {
	tag, err := name.NewTag(steps.StorageImage())
	if err == nil {
		err = tarball.WriteToFile(path+".part", tag, built.Image)
	}
	if err == nil {
		err = os.Rename(path+".part", path)
	}
	if err != nil {
		os.Remove(path + ".part")
		return fmt.Errorf("write image: %w", err)
	}
	return nil
}

func imageError(err error) error {
	var untrusted *debian.UntrustedError
	switch {
	case errors.As(err, &untrusted):
		return cli.Exit(cli.Integrity, err)
	case errors.Is(err, fs.ErrNotExist):
		return cli.Hint(err, "storaged belongs beside clusterctl (make build puts it there); --programs names another directory")
	}
	return err
}
