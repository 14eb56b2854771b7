package nodes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the kernel and the rights of the test's machine force upon its nodes. Nothing
// of it holds for a Pi, and nothing of it is in the product: it is said in the
// cluster.yaml of a test, and in a drop-in of containerd's unit.

// Kubelet is for `kubernetes.kubelet` of cluster.yaml. The machine has its controllers
// in cgroup v1, which a kubelet refuses since 1.35. Its disk is shared with others, and
// may be nearly full.
var Kubelet = map[string]any{
	"failCgroupV1":                false,
	"evictionHard":                map[string]any{"imagefs.available": "1%", "nodefs.available": "1%", "memory.available": "50Mi"},
	"imageGCHighThresholdPercent": 100,
}

// KubeProxy is for `kubernetes.kubeProxy`: only the first network of a kernel may set
// the limits of its connection tracking.
var KubeProxy = map[string]any{"conntrack": map[string]any{"maxPerCore": 0, "min": 0}}

// IgnorePreflight is for `kubernetes.ignorePreflight`: kubeadm checks the kernel's
// configuration and version of cgroups.
var IgnorePreflight = []string{"SystemVerification"}

// containerdDropIn has containerd read its configuration with one line more: without
// CAP_SYS_RESOURCE runc must not make a container a less likely victim of the kernel
// than containerd itself is. A file in conf.d would take the place of the whole table.
const containerdDropIn = `[Service]
ExecStartPre=/bin/sh -c 'sed "/sandbox_image/a restrict_oom_score_adj = true" /etc/containerd/config.toml >/run/containerd.toml'
ExecStart=
ExecStart=/usr/bin/containerd --config /run/containerd.toml
`

// systemdRun stands before systemd's own. With control groups of the first version a scope
// is a group of systemd's hierarchy alone, and a program that a container starts in one
// stays in the container's other groups: it is killed with them.
const systemdRun = `#!/bin/sh
for hierarchy in /sys/fs/cgroup/*/; do
	echo $$ >"$hierarchy/cgroup.procs"
done 2>/dev/null
exec /usr/bin/systemd-run "$@"
`

// loopDevices are the machine's, for all of its nodes. Whichever is free is used.
const loopDevices = 64

// devices makes what a Pi's kernel would show of itself.
func devices() string {
	var lines strings.Builder
	lines.WriteString("c /dev/loop-control 0660 root disk - 10:237\n")
	for i := range loopDevices {
		fmt.Fprintf(&lines, "b /dev/loop%d 0660 root disk - 7:%d\n", i, i)
	}
	return lines.String()
}

// sysctls are what a kubelet sets (kubernetes, pkg/kubelet/cm,
// setupKernelTunables). A node must not write them, for they are the whole machine's.
var sysctls = map[string]string{"vm/overcommit_memory": "1", "kernel/panic": "10", "kernel/panic_on_oops": "1"}

// forceSysctls sets them until the end of the test.
func forceSysctls(t testing.TB) {
	t.Helper()
	for name, value := range sysctls {
		file := filepath.Join("/proc/sys", name)
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(before)) == value {
			continue
		}
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.WriteFile(file, before, 0); err != nil {
				t.Error(err)
			}
		})
	}
}
