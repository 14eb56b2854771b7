package steps_test

import (
	"strings"
	"testing"

	"picluster/firstboot/steps"
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
	"picluster/internal/node"
	"picluster/internal/step"
)

func TestPreconditions_sayWhatDoesNotHold(t *testing.T) {
	const (
		v1off = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t9\t1\t1\nmemory\t0\t94\t0\n"
		v2    = "cpuset cpu io memory hugetlb pids rdma misc\n"
	)
	advice := "preconditions/memory cgroup: Kubernetes needs the memory cgroup: write cgroup_enable=memory" +
		" at the end of the line in /boot/firmware/cmdline.txt (cmdline.txt on the card) and restart the Pi"
	for name, tc := range map[string]struct {
		uid, arch  string
		files      map[string]string
		kubernetes bool
		want       string
	}{
		"all hold, cgroup v2":  {"0", "arm64", map[string]string{"/sys/fs/cgroup/cgroup.controllers": v2, "/proc/cgroups": v1off}, true, ""},
		"all hold, cgroup v1":  {"0", "arm64", map[string]string{"/proc/cgroups": strings.Replace(v1off, "94\t0", "94\t1", 1)}, true, ""},
		"no Kubernetes":        {"0", "arm64", nil, false, ""},
		"a user":               {"1000", "arm64", nil, true, "preconditions/root: only root may configure a Pi, and this is user 1000"},
		"a 32-bit system":      {"0", "armhf", nil, true, "preconditions/architecture: the card was prepared for arm64, but its system is armhf"},
		"no memory, cgroup v2": {"0", "arm64", map[string]string{"/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n", "/proc/cmdline": "console=tty1 rootwait\n"}, true, advice},
		"no memory, cgroup v1": {"0", "arm64", map[string]string{"/proc/cgroups": v1off, "/proc/cmdline": "cgroup_disable=memory rootwait\n"}, true, advice},
		"a kernel without":     {"0", "arm64", map[string]string{"/proc/cgroups": v1off, "/proc/cmdline": "rootwait cgroup_enable=memory\n"}, true, "preconditions/memory cgroup: Kubernetes needs the memory cgroup, and this kernel has none, although it was started with cgroup_enable=memory"},
		"v1 does not stand in": {"0", "arm64", map[string]string{"/sys/fs/cgroup/cgroup.controllers": "cpu pids\n", "/proc/cgroups": strings.Replace(v1off, "94\t0", "94\t1", 1), "/proc/cmdline": "rootwait\n"}, true, advice},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := hosttest.NewMachine(t)
			for path, text := range tc.files {
				m.Put(path, text)
			}
			m.Fake("id", `test "$*" = -u || unexpected "$@"; echo `+tc.uid)
			m.Fake("dpkg", `test "$*" = --print-architecture || unexpected "$@"; echo `+tc.arch)
			c := &node.Config{Build: node.Build{Arch: "arm64"}}
			if tc.kubernetes {
				c.Kubernetes = &node.Kubernetes{}
			}
			err := step.Run[host.Host](t.Context(), m, steps.Run(c, steps.Env{Boot: "/boot/firmware"})[:1], nil)
			if got := errorText(err); got != tc.want {
				t.Errorf("got %q\nwant %q", got, tc.want)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
