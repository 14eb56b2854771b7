package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"picluster/clusterctl/images"
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
	siteFlags
	arch, out, sbom, programs string
	push, load                bool
	given                     func(flag string) bool // whether a person has
}

func imagesBuildCommand() cli.Command {
	var f imageBuild
	return cli.Command{
		Name:    "build",
		Summary: "make the storage's image of Debian's packages",
		Details: "It runs no program of another architecture, and needs neither root nor a container engine.\n" +
			"--load puts the image onto all nodes, over ssh, which is what a cluster without storage needs:\n" +
			"its registry has nowhere to keep anything yet. --push puts it into that registry; --out writes\n" +
			"an archive, for `imagebuilder bundle --archive`. What is in the image is listed in it, and by\n" +
			"--sbom. Mirrors are those of cluster.yaml, or Debian's own where there is none.",
		Flags: func(flags *pflag.FlagSet) {
			f.register(flags)
			f.given = flags.Changed
			flags.StringVar(&f.arch, "arch", "arm64", "what the nodes are: arm64 or amd64")
			flags.StringVar(&f.out, "out", "", "write the image to a `file`")
			flags.StringVar(&f.sbom, "sbom", "", "write the list of what is in it to a `file` (SPDX)")
			flags.StringVar(&f.programs, "programs", "", "`directory` with storaged-linux-ARCH (default: that of clusterctl)")
			flags.BoolVar(&f.push, "push", false, "put the image into the cluster's registry")
			flags.BoolVar(&f.load, "load", false, "put the image onto all nodes")
		},
		Examples: []string{"clusterctl images build --load", "clusterctl images build --out storage.tar", "clusterctl images build --push"},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if f.out == "" && !f.push && !f.load {
				return cli.Exit(cli.Usage, errors.New("read flags of images build: --load, --push or --out says where the image goes"))
			}
			return f.run(ctx, env)
		},
	}
}

func (f *imageBuild) run(ctx context.Context, env cli.Env) error {
	mirrors, err := f.mirrors()
	if err != nil {
		return err
	}
	progress := cli.NewProgress(env.Stderr)
	defer progress.Done()
	storage, err := f.storage(mirrors, progress.Show)
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
	digest, err := built.Image.Digest()
	if err != nil {
		return fmt.Errorf("build image: %w", err)
	}
	if err := f.deliver(ctx, env, built, dir); err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "%s@%s\n", steps.StorageImage(), digest)
	return nil
}

// mirrors are those of cluster.yaml. An image by itself needs no cluster.
func (f *imageBuild) mirrors() (spec.Mirrors, error) {
	_, err := os.Stat(f.file)
	if errors.Is(err, fs.ErrNotExist) && !f.given("file") && !f.push && !f.load {
		return spec.DebianMirrors(), nil
	}
	p, err := f.projectFlags.load()
	if err != nil {
		return spec.Mirrors{}, err
	}
	return p.cluster.Mirrors, nil
}

// storage says what the image is made of: Debian's packages, and the program that lies
// beside this one.
func (f *imageBuild) storage(from spec.Mirrors, progress func(what string, done, total int64)) (images.Storage, error) {
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
	return images.Storage{
		Arch: f.arch, Program: filepath.Join(programs, "storaged-linux-"+f.arch), Version: version.String(),
		Archive: &debian.Reader{Arch: f.arch, Dir: filepath.Join(cache, "picluster", "debian"), Progress: progress},
		Sources: images.Sources(from.Debian, from.Security, keys),
	}, nil
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
