package join

import _ "embed"

// Unit is the service's systemd unit, UnitName its name. It needs what systemd has
// since bookworm (252), as Kubernetes does.
//
//go:embed picluster-join.service
var Unit string

// Names of files on node0.
const (
	UnitName       = "picluster-join.service"
	KubeconfigPath = "/etc/picluster/join.kubeconfig" // of the service account; root's
)
