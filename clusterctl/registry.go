package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/pflag"

	"picluster/clusterctl/kube"
	"picluster/clusterctl/registry"
	"picluster/clusterctl/steps"
	"picluster/internal/cli"
	"picluster/internal/localregistry"
)

func registryCommand() cli.Command {
	return cli.Command{
		Name:     "registry",
		Summary:  "put images into the cluster's own registry",
		Commands: []cli.Command{registryPushCommand(), registryProxyCommand(), registryListCommand()},
	}
}

func registryPushCommand() cli.Command {
	var f projectFlags
	var any bool
	return cli.Command{
		Name:    "push",
		Args:    "FILE|IMAGE|- [NAME:TAG]",
		Summary: "copy images into the registry",
		Details: "From a file of `docker save` or `podman save` (- reads it from standard input), or from\n" +
			"another registry; of an image for many platforms only what the nodes run. Pods name it\n" +
			"as it is printed: " + localregistry.Name + "/NAME:TAG.",
		Examples: []string{"clusterctl registry push app.tar", "docker save app:1 | clusterctl registry push -", "clusterctl registry push docker.io/library/nginx:1.27"},
		Flags: func(flags *pflag.FlagSet) {
			f.register(flags)
			flags.BoolVar(&any, "any-platform", false, "also take an image that no node can run")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return cli.Exit(cli.Usage, errors.New("read operands of registry push: it takes an image, and a name for it if it is to have another"))
			}
			as := ""
			if len(args) == 2 {
				as = args[1]
			}
			return f.throughTunnel(ctx, 0, func(ctx context.Context, client *kube.Client, t *kube.Tunnel) error {
				var architectures []string
				if !any {
					var err error
					if architectures, err = nodeArchitectures(ctx, client); err != nil {
						return err
					}
				}
				images, done, err := findImages(ctx, env, args[0], as, architectures)
				if err != nil {
					return err
				}
				defer done()
				return pushAll(ctx, env, t.Address, images)
			})
		},
	}
}

// findImages looks for a file before it asks a registry. done removes what standard
// input was kept in.
func findImages(ctx context.Context, env cli.Env, source, as string, architectures []string) (images []registry.Image, done func(), err error) {
	done = func() {}
	if source == "-" {
		if source, err = keep(env.Stdin); err != nil {
			return nil, done, err
		}
		done = func() { os.Remove(source) }
	}
	if _, statErr := os.Stat(source); statErr == nil {
		images, err = registry.FromArchive(source, as, architectures)
	} else {
		var image registry.Image
		image, err = registry.FromRegistry(ctx, source, as, architectures)
		images = []registry.Image{image}
	}
	var platform *registry.PlatformError
	if errors.As(err, &platform) {
		err = cli.Exit(cli.Refused, cli.Hint(err, "docker build --platform linux/"+platform.Want[0]+" makes one; --any-platform takes it as it is"))
	}
	if err != nil {
		done()
	}
	return images, done, err
}

// keep writes a stream to a file: an archive is read back and forth.
func keep(r io.Reader) (string, error) {
	file, err := os.CreateTemp("", "clusterctl-image-")
	if err != nil {
		return "", fmt.Errorf("keep standard input: %w", err)
	}
	_, err = io.Copy(file, r)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(file.Name())
		return "", fmt.Errorf("keep standard input: %w", err)
	}
	return file.Name(), nil
}

func pushAll(ctx context.Context, env cli.Env, address string, images []registry.Image) error {
	progress := cli.NewProgress(env.Stderr)
	defer progress.Done()
	for _, image := range images {
		digest, err := registry.Push(ctx, address, image, func(done, total int64) { progress.Show("push "+image.Name, done, total) })
		if err != nil {
			return cli.Exit(cli.Device, err)
		}
		progress.Done()
		fmt.Fprintf(env.Stdout, "%s/%s@%s\n", localregistry.Name, image.Name, digest)
	}
	return nil
}

// nodeArchitectures are those of the nodes, as in names of platforms: "arm64".
func nodeArchitectures(ctx context.Context, client *kube.Client) ([]string, error) {
	nodes, err := client.List(ctx, kube.Ref{APIVersion: "v1", Kind: "Node"}, "")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, n := range nodes {
		// The kubelet sets the label (Kubernetes: "Well-Known Labels").
		if a := n.GetLabels()["kubernetes.io/arch"]; a != "" && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	slices.Sort(all)
	return all, nil
}

func registryProxyCommand() cli.Command {
	var f projectFlags
	var port int
	return cli.Command{
		Name:    "proxy",
		Summary: "open a tunnel to the registry, for docker push",
		Details: "The tunnel ends on this machine's loopback and lasts until Ctrl-C. What is pushed through\n" +
			"it as localhost:PORT/NAME:TAG pods name " + localregistry.Name + "/NAME:TAG.",
		Examples: []string{"clusterctl registry proxy", "docker push " + localregistry.Name + "/app:1"},
		Flags: func(flags *pflag.FlagSet) {
			f.register(flags)
			flags.IntVar(&port, "port", localregistry.Port, "`port` on loopback; 0: any that is free")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			return f.throughTunnel(ctx, port, func(_ context.Context, _ *kube.Client, t *kube.Tunnel) error {
				fmt.Fprintln(env.Stdout, t.Address)
				fmt.Fprintln(env.Stderr, "Ctrl-C closes the tunnel.")
				return t.Wait()
			})
		},
	}
}

func registryListCommand() cli.Command {
	var f projectFlags
	var output string
	return cli.Command{
		Name:     "list",
		Summary:  "list the images in the registry",
		Examples: []string{"clusterctl registry list"},
		Flags: func(flags *pflag.FlagSet) {
			f.register(flags)
			cli.RegisterOutput(flags, &output)
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if err := cli.CheckOutput(output); err != nil {
				return cli.Exit(cli.Usage, err)
			}
			return f.throughTunnel(ctx, 0, func(ctx context.Context, _ *kube.Client, t *kube.Tunnel) error {
				names, err := registry.List(ctx, t.Address)
				if err != nil {
					return cli.Exit(cli.Device, err)
				}
				images := make([]string, len(names))
				for i, name := range names {
					images[i] = localregistry.Name + "/" + name
				}
				if output == "json" {
					return cli.WriteJSON(env.Stdout, struct {
						Version int      `json:"version"`
						Images  []string `json:"images"`
					}{outputVersion, images})
				}
				for _, image := range images {
					fmt.Fprintln(env.Stdout, image)
				}
				return nil
			})
		},
	}
}

// throughTunnel runs f with a tunnel to the registry's side that can write. port is
// the tunnel's on loopback, 0 for any.
func (f *projectFlags) throughTunnel(ctx context.Context, port int, do func(context.Context, *kube.Client, *kube.Tunnel) error) error {
	p, err := f.load()
	if err != nil {
		return err
	}
	client, err := p.connect(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tunnel, err := client.Forward(ctx, steps.RegistryNamespace, steps.RegistryService, steps.RegistryWritePort, port)
	if err != nil {
		return apiError(cli.Hint(err, "clusterctl deploy registry waits until it runs"))
	}
	return apiError(do(ctx, client, tunnel))
}
