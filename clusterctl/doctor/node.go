package doctor

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"picluster/internal/host"
	"picluster/internal/status"
)

// nodeCheck looks at one thing of a machine. An error is one of looking.
type nodeCheck struct {
	name string
	look func(context.Context, host.Host) (Check, error)
}

// nodeChecks is the list, from the board up.
var nodeChecks = []nodeCheck{
	{"power", power},
	{"temperature", temperature},
	{"card can be written", writable},
	{"card has room", room},
	{"no faults of disks", diskFaults},
	{"memory", memory},
	{"memory cgroup", memoryCgroup},
	{"clock", clock},
	{"services", failedServices},
	{"agent", agent},
}

// kubernetesChecks are those of a node that is in a cluster.
var kubernetesChecks = []nodeCheck{
	{"container runtime", active("containerd.service")},
	{"kubelet", active("kubelet.service")},
	{"kubelet's certificate", certificate("/var/lib/kubelet/pki/kubelet-client-current.pem", "the kubelet renews it by itself while it reaches node0")},
	{"API server's certificate", certificate("/etc/kubernetes/pki/apiserver.crt", "on node0: sudo firstboot sync renews it, and says what keeps it from doing so")},
}

// Node looks at a machine, over ssh or from itself.
func Node(ctx context.Context, on host.Host, kubernetes bool) Group {
	checks := nodeChecks
	if kubernetes {
		checks = append(checks[:len(checks):len(checks)], kubernetesChecks...)
	}
	g := Group{Name: on.String()}
	for _, c := range checks {
		result, err := c.look(ctx, on)
		if err != nil {
			result = skip("", "%v", err)
		}
		result.Name = c.name
		g.Checks = append(g.Checks, result)
	}
	return g
}

// notThere reports whether a machine has no such program: not every board is a Pi.
func notThere(err error) bool {
	var exit *host.ExitError
	return errors.As(err, &exit) && exit.Code == 127
}

// power asks the firmware. Bit 0 is under-voltage now, bit 2 throttled now, and bits
// 16 and 18 the same since the last boot (Raspberry Pi documentation, "vcgencmd",
// get_throttled).
func power(ctx context.Context, on host.Host) (Check, error) {
	out, err := on.Run(ctx, host.Cmd{Args: []string{"vcgencmd", "get_throttled"}})
	if notThere(err) {
		return skip("", "this board cannot tell"), nil
	}
	if err != nil {
		return Check{}, err
	}
	bits, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(string(out)), "throttled="), 0, 32)
	const hint = "a power supply made for this board, and a short cable: under-voltage damages what is on the card"
	switch {
	case err != nil:
		return Check{}, fmt.Errorf("read throttled state: %q is no number", strings.TrimSpace(string(out)))
	case bits&1 != 0:
		return fail("", hint, "the voltage is too low"), nil
	case bits&4 != 0:
		return warn("", hint, "the board is slowed down, by heat or low voltage"), nil
	case bits&(1<<16) != 0:
		return warn("", hint, "the voltage was too low at times since it was started"), nil
	}
	return pass("", "enough"), nil
}

// temperature: from 80 °C on the firmware slows a Pi down (Raspberry Pi documentation,
// "Frequency management and thermal control").
func temperature(ctx context.Context, on host.Host) (Check, error) {
	data, err := on.ReadFile(ctx, "/sys/class/thermal/thermal_zone0/temp")
	if errors.Is(err, fs.ErrNotExist) {
		return skip("", "this board has no sensor"), nil
	}
	if err != nil {
		return Check{}, err
	}
	milli, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return Check{}, fmt.Errorf("read temperature: %w", err)
	}
	if milli >= 80000 {
		return warn("", "air, a heat sink or a fan: from 80 °C on it is slowed down", "%d °C", milli/1000), nil
	}
	return pass("", "%d °C", milli/1000), nil
}

// writable: the kernel makes a file system with faults read-only.
func writable(ctx context.Context, on host.Host) (Check, error) {
	out, err := on.Run(ctx, host.Cmd{Args: []string{"findmnt", "-no", "OPTIONS", "/"}})
	if err != nil {
		return Check{}, err
	}
	for option := range strings.SplitSeq(strings.TrimSpace(string(out)), ",") {
		if option == "ro" {
			return fail("", "restart it; if that does not help, write a new card: this one has faults", "the root file system is read-only"), nil
		}
	}
	return pass("", ""), nil
}

func room(ctx context.Context, on host.Host) (Check, error) {
	out, err := on.Run(ctx, host.Cmd{Args: []string{"df", "-B1", "--output=avail,size", "/"}})
	if err != nil {
		return Check{}, err
	}
	var free, size int64
	_, numbers, _ := strings.Cut(string(out), "\n")
	if _, err := fmt.Sscan(numbers, &free, &size); err != nil || size == 0 {
		return Check{}, fmt.Errorf("read free space: %q is none", strings.TrimSpace(string(out)))
	}
	percent := free * 100 / size
	// The kubelet ends pods below ten percent (imagefs.available, nodefs.available).
	if percent < 10 {
		return warn("", "delete what is not needed, or write a larger card; images that no pod uses go by themselves", "%d %% are free", percent), nil
	}
	return pass("", "%d %% are free", percent), nil
}

// diskFaults looks into the kernel's log of this boot.
func diskFaults(ctx context.Context, on host.Host) (Check, error) {
	out, err := on.Run(ctx, host.Cmd{Args: []string{"journalctl", "--dmesg", "--boot", "--quiet", "--no-pager", "--output=cat", "--lines=3",
		"--grep=I/O error|EXT4-fs error|mmc[0-9]: .*(error|timeout)"}})
	var exit *host.ExitError
	if errors.As(err, &exit) && exit.Code == 1 { // nothing was found
		return pass("", ""), nil
	}
	if err != nil {
		return Check{}, err
	}
	if text := strings.TrimSpace(string(out)); text != "" {
		lines := strings.Split(text, "\n")
		return fail("", "write a new card, and throw this one away; for a disk, look at its cable and its power", "%s", lines[len(lines)-1]), nil
	}
	return pass("", ""), nil
}

func memory(ctx context.Context, on host.Host) (Check, error) {
	data, err := on.ReadFile(ctx, "/proc/meminfo")
	if err != nil {
		return Check{}, err
	}
	total, available := meminfo(data, "MemTotal:"), meminfo(data, "MemAvailable:")
	if total == 0 {
		return Check{}, errors.New("read memory: /proc/meminfo has no MemTotal")
	}
	if available*100/total < 5 {
		return warn("", "fewer pods on it, or limits for their memory; system.swap: zram helps a little", "%d MiB of %d are free", available>>10, total>>10), nil
	}
	return pass("", "%d MiB of %d are free", available>>10, total>>10), nil
}

// meminfo is a line's number, KiB.
func meminfo(data []byte, name string) (kib int64) {
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			fmt.Sscan(rest, &kib)
		}
	}
	return kib
}

// memoryCgroup: without it the kubelet does not start. The kernel of a Pi has it
// switched off (cgroup_enable=memory in cmdline.txt).
func memoryCgroup(ctx context.Context, on host.Host) (Check, error) {
	data, err := on.ReadFile(ctx, "/sys/fs/cgroup/cgroup.controllers")
	if errors.Is(err, fs.ErrNotExist) {
		return skip("", "it has the older cgroups"), nil
	}
	if err != nil {
		return Check{}, err
	}
	for _, name := range strings.Fields(string(data)) {
		if name == "memory" {
			return pass("", ""), nil
		}
	}
	return fail("", "cmdline.txt on its card lacks cgroup_enable=memory: write the card again", "the kernel does not have it"), nil
}

func clock(ctx context.Context, on host.Host) (Check, error) {
	out, err := on.Run(ctx, host.Cmd{Args: []string{"timedatectl", "show", "--property=NTPSynchronized", "--value"}})
	if err != nil {
		return Check{}, err
	}
	if strings.TrimSpace(string(out)) != "yes" {
		return warn("", "does the network let NTP out (UDP port 123)? network.ntp in cluster.yaml names other servers", "it is not set by a time server"), nil
	}
	return pass("", "set by a time server"), nil
}

func failedServices(ctx context.Context, on host.Host) (Check, error) {
	out, err := on.Run(ctx, host.Cmd{Args: []string{"systemctl", "--failed", "--plain", "--no-legend", "--no-pager"}})
	if err != nil {
		return Check{}, err
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if words := strings.Fields(line); len(words) > 0 {
			names = append(names, words[0])
		}
	}
	if len(names) > 0 {
		return warn("", "log in and read: journalctl -u "+names[0], "these have failed: %s", strings.Join(names, ", ")), nil
	}
	return pass("", ""), nil
}

// agent asks what the first boot has come to.
func agent(ctx context.Context, on host.Host) (Check, error) {
	out, err := on.Run(ctx, host.Cmd{Args: []string{"firstboot", "status", "-o", "json"}})
	var exit *host.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.Code == 1 && len(out) > 0) {
		return Check{}, err
	}
	var st status.Status
	if err := json.Unmarshal(out, &st); err != nil {
		return Check{}, fmt.Errorf("read status: %w", err)
	}
	switch {
	case st.State == status.Failed:
		return fail("", st.Hint, "%s: %s", st.Place(), st.Text), nil
	case st.State != status.Done:
		return warn("", st.Hint, "%s", strings.TrimSpace(string(st.State)+" "+st.Place()+" "+st.Text)), nil
	case len(st.Warnings) > 0:
		w := st.Warnings[0]
		return warn("", w.Hint, "it has left out %s/%s: %s", w.Stage, w.Step, w.Text), nil
	}
	return pass("", "configured"), nil
}

func active(unit string) func(context.Context, host.Host) (Check, error) {
	return func(ctx context.Context, on host.Host) (Check, error) {
		out, err := on.Run(ctx, host.Cmd{Args: []string{"systemctl", "is-active", unit}})
		state := strings.TrimSpace(string(out))
		if state == "active" {
			return pass("", "active"), nil
		}
		var exit *host.ExitError
		if !errors.As(err, &exit) || state == "" {
			return Check{}, err
		}
		return fail("", "log in and read: journalctl -u "+unit, "%s", state), nil
	}
}

// soon is how long before its end a certificate is worth a line.
const soon = 14 * 24 * time.Hour

func certificate(path, hint string) func(context.Context, host.Host) (Check, error) {
	return func(ctx context.Context, on host.Host) (Check, error) {
		data, err := on.ReadFile(ctx, path)
		if errors.Is(err, fs.ErrNotExist) {
			return skip("", "it has none"), nil
		}
		if err != nil {
			return Check{}, err
		}
		block, _ := pem.Decode(data)
		if block == nil {
			return Check{}, fmt.Errorf("read %s: it is no PEM", path)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Check{}, fmt.Errorf("read %s: %w", path, err)
		}
		day := c.NotAfter.UTC().Format(time.DateOnly)
		switch left := time.Until(c.NotAfter); {
		case left < 0:
			return fail("", hint, "it ended on %s", day), nil
		case left < soon:
			return warn("", hint, "it ends on %s", day), nil
		}
		return pass("", "until %s", day), nil
	}
}
