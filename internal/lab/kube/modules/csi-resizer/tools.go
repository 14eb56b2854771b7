//go:build tools

// Package resizer pins Kubernetes' csi-resizer.
package resizer

import _ "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer"
