//go:build tools

// Package csi pins the program that judges CSI drivers.
package csi

import _ "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"
