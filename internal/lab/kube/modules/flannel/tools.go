//go:build tools

// Package flannel pins the daemon of the Flannel network. Its Tencent Cloud backend,
// which no Raspberry Pi uses, is linked against the stand-ins in tencent/.
package flannel

import _ "github.com/flannel-io/flannel"
