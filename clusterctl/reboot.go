package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"picluster/clusterctl/kube"
	"picluster/clusterctl/steps"
	"picluster/internal/cli"
	"picluster/internal/host"
)

// systemctl runs systemd's program on a machine.
func systemctl(ctx context.Context, on host.Host, args ...string) error {
	_, err := on.Run(ctx, host.Cmd{Args: append([]string{"systemctl"}, args...)})
	return err
}

// bootID tells one boot of a machine from another, proc(5).
func bootID(ctx context.Context, on host.Host) (string, error) {
	data, err := on.ReadFile(ctx, "/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

// awaitBoot waits until a machine is there in another boot than before. That it is
// not there meanwhile is what a reboot is.
func (d *site) awaitBoot(ctx context.Context, node, before string, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, cli.Exit(cli.Timeout, fmt.Errorf("wait for the reboot of %s: it is not back after %v", node, limit)))
	defer cancel()
	for {
		if remote, err := d.openNode(ctx, node); err == nil {
			now, err := bootID(ctx, remote)
			remote.Close()
			if err == nil && now != before {
				return nil
			}
		}
		select {
		case <-time.After(waitEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		d.finder.Forget(node)
	}
}

func isCordoned(node *kube.Object) bool {
	cordoned, _, _ := unstructured.NestedBool(node.Object, "spec", "unschedulable")
	return cordoned
}

func nodeRebootCommand() cli.Command {
	var flags drainFlags
	var noDrain bool
	return cli.Command{
		Name: "reboot", Complete: completeNodes, Args: "NODE", Summary: "empty a node, restart it, and wait until it is ready again",
		Details: "Waits until all volumes are whole before, and again after, so that nodes can be restarted one\n" +
			"after the other. --no-drain asks nobody.",
		Examples: []string{"clusterctl node reboot raspberrypi-node2", "clusterctl node reboot --no-drain raspberrypi-node2"},
		Flags: func(f *pflag.FlagSet) {
			flags.register(f)
			f.BoolVar(&noDrain, "no-drain", false, "leave its pods there: they start again with it")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			d, err := flags.openFor(env, "node reboot", args)
			if err != nil {
				return err
			}
			if noDrain || !d.cluster.Kubernetes.Enabled {
				return d.reboot(ctx, env, args[0], flags.timeout)
			}
			return flags.rebootEmpty(ctx, env, d, args[0])
		},
	}
}

// rebootEmpty reboots a node that others stand in for: pods move first, and volumes are
// whole before and after, so that one node after the other can be restarted like this.
func (f *drainFlags) rebootEmpty(ctx context.Context, env cli.Env, d *site, node string) error {
	client, err := d.connect(ctx)
	if err != nil {
		return err
	}
	o, err := client.Get(ctx, nodeRef(node))
	if err != nil {
		return apiError(err)
	}
	if o == nil {
		return cli.Exit(cli.Usage, fmt.Errorf("reboot %s: %w", node, kube.ErrNoNode))
	}
	whole := func(ctx context.Context) error { return steps.WaitWhole(ctx, client) }
	if err := withWaits(ctx, env, whole); err != nil {
		return err
	}
	if err := f.drain(ctx, env, client, node); err != nil {
		return apiError(err)
	}
	if err := d.reboot(ctx, env, node, f.timeout); err != nil {
		return err
	}
	if !isCordoned(o) { // else it was before, for whatever reason
		if err := client.Cordon(ctx, node, false); err != nil {
			return apiError(err)
		}
	}
	return withWaits(ctx, env, whole)
}

// reboot restarts a machine and waits until its node is ready in another boot.
func (d *site) reboot(ctx context.Context, env cli.Env, node string, limit time.Duration) error {
	remote, err := d.openNode(ctx, node)
	if err != nil {
		return err
	}
	before, err := bootID(ctx, remote)
	if err == nil {
		err = systemctl(ctx, remote, "reboot")
	}
	remote.Close()
	// The connection may go before the answer comes.
	if err != nil && !strings.Contains(err.Error(), "connection lost") {
		return cli.Exit(cli.Device, fmt.Errorf("reboot %s: %w", node, err))
	}
	d.finder.Forget(node)
	fmt.Fprintf(env.Stderr, "%s restarts\n", node)
	if err := d.awaitBoot(ctx, node, before, limit); err != nil {
		return err
	}
	if !d.cluster.Kubernetes.Enabled {
		return nil
	}
	return d.waitReady(ctx, env, limit, node)
}
