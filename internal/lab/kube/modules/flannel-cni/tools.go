//go:build tools

// Package flannelcni pins Flannel's own CNI plugin. It lives in a repository of its
// own today, github.com/flannel-io/cni-plugin; v0.9.1 is the last version of the CNI
// project's plugins that had it.
package flannelcni

import _ "github.com/containernetworking/plugins/plugins/meta/flannel"
