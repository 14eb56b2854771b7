package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"picluster/imagebuilder/bundle"
	"picluster/imagebuilder/image"
	"picluster/imagebuilder/plan"
	"picluster/internal/blob"
	"picluster/internal/cli"
	"picluster/internal/debian"
	"picluster/internal/spec"
	"picluster/internal/web"
)

// payloadName is the directory of the payload beside cluster.yaml.
const payloadName = "payload"

// bundleFlags are the flags of bundle.
type bundleFlags struct {
	file, image, assume, cache string
	out                        string
	arch, release, installed   string
	with, archives             []string
}

func bundleCommand() cli.Command {
	var b bundleFlags
	return cli.Command{
		Name:    "bundle",
		Summary: "gather packages and container images, so that nodes need no network",
		Details: "Downloads what the nodes of the cluster will install into the directory payload beside cluster.yaml:\n" +
			"the packages of Debian and of Kubernetes that the image does not have, and the container images.\n" +
			"Everything is checked: signatures, then digests. From then on write and build put it onto the cards.\n" +
			"Run again, it goes on where it stopped, and downloads only what has changed.",
		Examples: []string{"imagebuilder bundle", "imagebuilder bundle --with docker.io/library/redis:7.2.11", "imagebuilder bundle --archive storage.tar"},
		Flags: func(f *pflag.FlagSet) {
			f.StringVarP(&b.file, "file", "f", "cluster.yaml", "the cluster's `file`")
			f.StringVar(&b.image, "image", "", "use this `image` (path or URL) instead of the one cluster.yaml names")
			f.StringVar(&b.assume, "assume", "", "take the image for this `release` (trixie, bookworm …) when it does not tell")
			f.StringVar(&b.out, "out", "", "`directory` of the payload (default: payload beside cluster.yaml)")
			f.StringSliceVar(&b.with, "with", nil, "also this container `image`, by its full name; may be given again")
			f.StringSliceVar(&b.archives, "archive", nil, "also the images in this `file`, as clusterctl images build and docker save write it; may be given again")
			f.StringVar(&b.installed, "installed", "", "in place of an image: the `file` /var/lib/dpkg/status of a machine like the nodes")
			f.StringVar(&b.arch, "arch", "arm64", "with --installed: the architecture by Debian's `name`")
			f.StringVar(&b.release, "release", "trixie", "with --installed: the Debian `release`")
			registerCache(f, &b.cache)
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			return b.run(ctx, env)
		},
	}
}

func (b *bundleFlags) run(ctx context.Context, env cli.Env) error {
	cluster, err := loadSpec(b.file)
	if err != nil {
		return err
	}
	if !cluster.Kubernetes.Enabled {
		return cli.Exit(cli.Usage, errors.New("gather payload: kubernetes.enabled is false, and plain Pis need none"))
	}
	q := bundle.Request{Cluster: cluster, Packages: plan.HostPackages(cluster), Images: b.with, Archives: b.archives, Dir: b.out,
		Web: &web.Client{Agent: "picluster-imagebuilder", Log: env.Log}}
	if q.Dir == "" {
		q.Dir = payloadDir(b.file)
	}
	if q.Cache, err = listCacheDir(b.cache); err != nil {
		return err
	}
	if err := b.target(ctx, env, cluster, &q); err != nil {
		return err
	}
	progress := cli.NewProgress(env.Stderr)
	q.Progress = progress.Show
	m, err := bundle.Make(ctx, q)
	progress.Done()
	if err != nil {
		return bundleProblem(err)
	}
	part := m.For(false)
	fmt.Fprintf(env.Stdout, "%s  Kubernetes %s for %s %s: %s, %s\n", q.Dir, m.Kubernetes, m.Release, m.Arch, cli.Count(len(m.Packages), "package"), cli.Count(len(m.Images), "image"))
	fmt.Fprintf(env.Stdout, "On the control plane's card it takes %s, on each other %s.\n", cli.Bytes(m.Size()), cli.Bytes(part.Size()))
	return nil
}

// target fills in what machine the payload is for.
func (b *bundleFlags) target(ctx context.Context, env cli.Env, cluster *spec.Cluster, q *bundle.Request) error {
	var status []byte
	var err error
	if b.installed != "" {
		q.Arch, q.Release = b.arch, b.release
		if status, err = os.ReadFile(b.installed); err != nil {
			return cli.Exit(cli.Usage, err)
		}
	} else {
		p := projectFlags{image: b.image, assume: b.assume, cache: b.cache}
		base, err := p.openBase(ctx, env, cluster, true)
		if err != nil {
			return err
		}
		defer base.Close()
		q.Arch, q.Release, q.Base = base.facts.Arch, base.facts.Release.Name, base.digest()
		if err := plan.Supports(cluster, base.info.Name, base.facts); err != nil {
			return cli.Exit(cli.Usage, err)
		}
		if status, err = dpkgStatus(base); err != nil {
			return err
		}
	}
	q.There, err = debian.ReadInstalled(bytes.NewReader(status), q.Arch)
	return err
}

// dpkgStatus reads what is installed on an image.
func dpkgStatus(b *base) ([]byte, error) {
	img, err := image.Open(image.NewOverlay(b.stream, b.info.Size))
	if err != nil {
		return nil, err
	}
	root, err := img.Root()
	if err != nil {
		return nil, err
	}
	return root.ReadFile("/var/lib/dpkg/status")
}

// payloadDir is the payload's directory of a cluster.
func payloadDir(file string) string { return filepath.Join(filepath.Dir(file), payloadName) }

// listCacheDir is where apt's lists are kept, beside the images.
func listCacheDir(cache string) (string, error) {
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find cache: %w (--cache names one)", err)
		}
		cache = filepath.Join(dir, "picluster")
	}
	return filepath.Join(cache, "apt"), nil
}

// bundleProblem gives errors of gathering their exit code and a hint.
func bundleProblem(err error) error {
	var untrusted *debian.UntrustedError
	var digest *blob.DigestError
	var unmet *debian.UnmetError
	var registry *bundle.RegistryError
	var download *web.Error
	switch {
	case errors.As(err, &untrusted), errors.As(err, &digest):
		return cli.Exit(cli.Integrity, cli.Hint(err, "nothing of it is used; try from another network, and compare mirrors in cluster.yaml"))
	case errors.As(err, &unmet):
		return cli.Exit(cli.Usage, cli.Hint(err, "kubernetes.version and mirrors in cluster.yaml say what is looked for where"))
	case errors.As(err, &registry) && registry.Missing:
		return cli.Exit(cli.Usage, err)
	case errors.As(err, &registry), errors.As(err, &download):
		return cli.Exit(cli.Device, cli.Hint(err, "run it again to go on where it stopped; mirrors in cluster.yaml names other places"))
	}
	return err
}

// loadPayload reads a cluster's payload, or returns nil where there is none. Its files
// are mapped into memory rather than read: they are large, and every card has them.
func loadPayload(dir string) (*plan.Payload, error) {
	b, err := bundle.Open(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, cli.Exit(cli.Integrity, cli.Hint(err, "imagebuilder bundle mends it; --no-payload does without"))
	}
	p := &plan.Payload{Manifest: b.Manifest, Files: map[string][]byte{}}
	for _, f := range b.Files() {
		if p.Files[f.SHA256], err = mapFile(b.Path(f.Ref)); err != nil {
			return nil, fmt.Errorf("open payload: %w", err)
		}
	}
	return p, nil
}

// mapFile maps a whole file into memory, for reading, until the program ends.
func mapFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return []byte{}, err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, &fs.PathError{Op: "map", Path: path, Err: err}
	}
	return data, nil
}
