package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"picluster/clusterctl/images"
	"picluster/clusterctl/kube"
	"picluster/clusterctl/registry"
	"picluster/clusterctl/steps"
	"picluster/internal/cli"
	"picluster/internal/host"
)

// deliver brings the image to all places that were asked for.
func (f *imageBuild) deliver(ctx context.Context, env cli.Env, built images.Built, dir string) error {
	archive := f.out
	if archive == "" {
		archive = filepath.Join(dir, "image.tar")
	}
	if f.out != "" || f.load {
		if err := writeArchive(archive, built); err != nil {
			return err
		}
	}
	if f.load {
		d, err := f.open(env.Log)
		if err != nil {
			return err
		}
		if err := d.loadImage(ctx, env, archive); err != nil {
			return err
		}
	}
	if !f.push {
		return nil
	}
	return f.throughTunnel(ctx, 0, func(ctx context.Context, _ *kube.Client, t *kube.Tunnel) error {
		return pushAll(ctx, env, t.Address, []registry.Image{registry.FromImage(steps.StorageImage(), built.Image)})
	})
}

// loadImage puts an image's archive into the container runtime of every node. One that
// is away does not keep the others from it.
func (d *site) loadImage(ctx context.Context, env cli.Env, archive string) error {
	var errs []error
	for _, node := range d.cluster.NodeNames() {
		if err := d.loadOn(ctx, node, archive); err != nil {
			errs = append(errs, fmt.Errorf("load image on %s: %w", node, err))
			continue
		}
		fmt.Fprintf(env.Stderr, "%s has the image\n", node)
	}
	switch err := errors.Join(errs...); {
	case err == nil:
		return nil
	case len(errs) < len(d.cluster.Nodes):
		return cli.Exit(cli.Partial, err)
	default:
		return cli.Exit(cli.Device, err)
	}
}

func (d *site) loadOn(ctx context.Context, node, archive string) error {
	remote, err := d.openNode(ctx, node)
	if err != nil {
		return err
	}
	defer remote.Close()
	content, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = remote.Run(ctx, host.Cmd{Args: []string{"ctr", "--namespace=k8s.io", "images", "import", "-"}, Stdin: content})
	return err
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
