//go:build tools

// Package kwok pins the program that plays nodes without kubelets.
package kwok

import _ "sigs.k8s.io/kwok/cmd/kwok"
