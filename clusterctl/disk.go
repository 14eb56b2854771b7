package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"picluster/clusterctl/heketi"
	"picluster/clusterctl/kube"
	"picluster/clusterctl/steps"
	"picluster/internal/cli"
)

func diskCommand() cli.Command {
	return cli.Command{
		Name:     "disk",
		Summary:  "give disks to the storage, or take them back",
		Commands: []cli.Command{diskListCommand(), diskAddCommand(), diskEvictCommand()},
	}
}

// diskFlags are those of all of them.
type diskFlags struct {
	projectFlags
	output string
}

// with does something by the storage's controller.
func (f *projectFlags) with(ctx context.Context, env cli.Env, do func(ctx context.Context, client *kube.Client, storage *heketi.Client) error) error {
	client, err := f.connected(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	storage, err := controller(ctx, client)
	if err != nil {
		return apiError(err)
	}
	return withWaits(ctx, env, func(ctx context.Context) error { return do(ctx, client, storage) })
}

func diskListCommand() cli.Command {
	var f diskFlags
	return cli.Command{
		Name:    "list",
		Summary: "show the storage's disks and what is free",
		Flags: func(flags *pflag.FlagSet) {
			f.register(flags)
			cli.RegisterOutput(flags, &f.output)
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if err := cli.CheckOutput(f.output); err != nil {
				return err
			}
			return f.with(ctx, env, func(ctx context.Context, _ *kube.Client, storage *heketi.Client) error {
				nodes, err := storage.Nodes(ctx)
				if err != nil {
					return err
				}
				return f.show(env, nodes)
			})
		},
	}
}

// diskLine is one device of the list.
type diskLine struct {
	Node   string `json:"node"`
	Device string `json:"device"`
	State  string `json:"state"`
	Total  int64  `json:"total"` // bytes
	Free   int64  `json:"free"`
	Bricks int    `json:"bricks"`
}

func (f *diskFlags) show(env cli.Env, nodes []heketi.Node) error {
	lines := []diskLine{}
	for _, n := range nodes {
		for _, d := range n.Devices {
			lines = append(lines, diskLine{n.Name, d.Name, d.State, d.Total, d.Free, d.Bricks})
		}
	}
	if f.output == "json" {
		return cli.WriteJSON(env.Stdout, struct {
			Version int        `json:"version"`
			Disks   []diskLine `json:"disks"`
		}{outputVersion, lines})
	}
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tDEVICE\tSTATE\tSIZE\tFREE\tBRICKS")
	for _, d := range lines {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\n", d.Node, d.Device, d.State, cli.Bytes(d.Total), cli.Bytes(d.Free), d.Bricks)
	}
	return t.Flush()
}

func diskAddCommand() cli.Command {
	var f projectFlags
	var wipe bool
	return cli.Command{
		Name:    "add",
		Args:    "NODE DEVICE",
		Summary: "give a node's disk to the storage",
		Details: "A disk that is not empty is refused, and what is on it is named; --wipe permits to erase it.",
		Flags: func(flags *pflag.FlagSet) {
			f.register(flags)
			flags.BoolVar(&wipe, "wipe", false, "permit to erase what is on the disk")
		},
		Examples: []string{"clusterctl disk add node1 /dev/sda", "clusterctl disk add node1 /dev/sda --wipe"},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if len(args) != 2 {
				return cli.Exit(cli.Usage, errors.New("read operands of disk add: it takes a node and a device"))
			}
			return f.with(ctx, env, func(ctx context.Context, _ *kube.Client, storage *heketi.Client) error {
				n, err := findNode(ctx, storage, args[0])
				if err == nil {
					err = storage.AddDevice(ctx, n.ID, args[1], wipe)
				}
				if err != nil {
					return steps.StorageRefusal(err)
				}
				fmt.Fprintf(env.Stdout, "%s of %s is the storage's.\n", args[1], n.Name)
				return nil
			})
		},
	}
}

func diskEvictCommand() cli.Command {
	var f projectFlags
	return cli.Command{
		Name:     "evict",
		Args:     "NODE DEVICE",
		Summary:  "move what is on a disk to others, and give the disk back",
		Details:  "Volumes stay in use. Nothing is moved of a volume whose other copies are not whole.",
		Flags:    f.register,
		Examples: []string{"clusterctl disk evict node1 /dev/sda"},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if len(args) != 2 {
				return cli.Exit(cli.Usage, errors.New("read operands of disk evict: it takes a node and a device"))
			}
			return f.with(ctx, env, func(ctx context.Context, client *kube.Client, storage *heketi.Client) error {
				n, err := findNode(ctx, storage, args[0])
				if err != nil {
					return err
				}
				i := slices.IndexFunc(n.Devices, func(d heketi.Disk) bool { return d.Name == args[1] })
				if i < 0 {
					return cli.Hint(fmt.Errorf("find disk %s of %s: the storage has none of that name", args[1], n.Name), "clusterctl disk list shows them")
				}
				if err := storage.EvictDevice(ctx, n.Devices[i].ID); err != nil {
					return steps.StorageRefusal(err)
				}
				if err := steps.WaitWhole(ctx, client); err != nil {
					return err
				}
				fmt.Fprintf(env.Stdout, "%s of %s is free.\n", args[1], n.Name)
				return nil
			})
		},
	}
}

func findNode(ctx context.Context, storage *heketi.Client, name string) (heketi.Node, error) {
	nodes, err := storage.Nodes(ctx)
	if err != nil {
		return heketi.Node{}, err
	}
	i := slices.IndexFunc(nodes, func(n heketi.Node) bool { return n.Name == name })
	if i < 0 {
		return heketi.Node{}, cli.Hint(fmt.Errorf("find node %s: the storage has none of that name", name), "clusterctl storage status shows them")
	}
	return nodes[i], nil
}
