// Command storaged is what runs in the storage's pods: glusterd's keeper and the CSI
// driver's node part on every node, the controller once. It is a program of its own
// because it travels to every Pi.
package main

import (
	"context"
	"fmt"
	"log/slog"

	"picluster/clusterctl/gluster/brick"
	"picluster/clusterctl/gluster/daemon"
	"picluster/clusterctl/gluster/engine"
	"picluster/internal/cli"
	"picluster/internal/host"
	"picluster/internal/version"

	"github.com/spf13/pflag"
)

func main() { cli.Main(program()) }

func program() cli.Program {
	return cli.Program{
		Name:     "storaged",
		Summary:  "the storage's part of a node, and its controller",
		Version:  version.String(),
		Commands: func() []cli.Command { return []cli.Command{glusterd(), node(), controller()} },
	}
}

func bricks(name string) (engine.Backend, brick.Kind, error) {
	k, ok := engine.Backends[name]
	if !ok {
		return nil, nil, cli.Exit(cli.Usage, fmt.Errorf("choose bricks: there is no kind %q", name))
	}
	return k, k, nil
}

func glusterd() cli.Command {
	var kind, peers string
	return cli.Command{
		Name:    "glusterd",
		Summary: "close ports, mount bricks, keep glusterd running",
		Flags: func(f *pflag.FlagSet) {
			f.StringVar(&kind, "bricks", "xfs", "how bricks are made: xfs, loopfile, lvmthin")
			f.StringVar(&peers, "peers", "/etc/picluster/storage/peers", "file with the addresses that may talk to Gluster")
		},
		Run: func(ctx context.Context, env cli.Env, _ []string) error {
			_, k, err := bricks(kind)
			if err != nil {
				return err
			}
			return daemon.Daemon{Host: host.Local{}, Bricks: k, Log: logOf(env), Peers: peers}.Run(ctx)
		},
	}
}

// logOf is a log as the kubelet keeps it: everything that changes something is in it.
func logOf(env cli.Env) *slog.Logger { return cli.NewLog(env.Stderr, slog.LevelInfo) }
