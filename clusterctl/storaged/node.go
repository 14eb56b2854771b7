package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/grpc"

	"picluster/clusterctl/csi"
	"picluster/internal/cli"
	"picluster/internal/host"
	"picluster/internal/version"
)

// repairTime is how often mounts are looked at that may have lost their client.
const repairTime = time.Minute

// node mounts volumes in the node's own mount namespace, and tells the kubelet that it
// is there.
func node() cli.Command {
	var name, kubelet string
	return cli.Command{
		Name:    "node",
		Summary: "mount volumes on this node",
		Flags: func(f *pflag.FlagSet) {
			f.StringVar(&name, "node", os.Getenv("NODE"), "name of the node in Kubernetes")
			f.StringVar(&kubelet, "kubelet", "/var/lib/kubelet", "the kubelet's directory")
		},
		Run: func(ctx context.Context, env cli.Env, _ []string) error {
			log := logOf(env)
			// Programs of the node, and the node's files: the container has hostPID.
			n := &csi.Node{ID: name, Host: host.Entered{Name: name, PID: 1, Namespaces: []string{"mount"}}}
			// Beside the rest: what does not answer must keep no other volume from its pods.
			go n.KeepRepairing(ctx, log, repairTime)
			socket := filepath.Join(kubelet, "plugins", csi.Name, "csi.sock")
			return serve(ctx,
				server{socket, func(s *grpc.Server) { csi.Register(s, version.String(), nil, n) }},
				server{filepath.Join(kubelet, "plugins_registry", csi.Name+"-reg.sock"), func(s *grpc.Server) {
					csi.RegisterKubelet(s, socket, log)
				}})
		},
	}
}
