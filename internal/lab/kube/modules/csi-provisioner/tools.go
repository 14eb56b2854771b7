//go:build tools

// Package provisioner pins Kubernetes' csi-provisioner.
package provisioner

import _ "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner"
