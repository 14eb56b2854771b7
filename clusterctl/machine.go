package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"picluster/clusterctl/kube"
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
