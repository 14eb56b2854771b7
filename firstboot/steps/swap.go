package steps

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"picluster/internal/cli"
	"picluster/internal/host"
	"picluster/internal/node"
)

// Paths of swap.
const (
	swapUnit   = "picluster-swap.service"
	swapScript = "/usr/local/sbin/picluster-swap"
	swapState  = "/run/picluster-swap" // the device that the script has made
	swapFile   = "/var/swap"           // where dphys-swapfile and rpi-swap have theirs: people know it
)

// zramScript makes the device, because its number depends on who else has one.
//
//go:embed swap.sh
var zramScript string

// swapSteps make swap as the person wants it. The vendor's was masked before
// systemd started (vendorSteps), so it has never been there.
func swapSteps(c *node.Config) []Step {
	switch c.System.Swap {
	case "zram":
		return []Step{
			KernelModule{"zram", "/sys/class/zram-control"},
			Text{What: "swap script", Path: swapScript, Mode: 0o755, Content: zramScript},
			Service{What: "swap", Unit: swapUnit, Content: zramService, Replace: true},
			ActiveSwap{Kind: "zram"},
		}
	case "file":
		return []Step{
			SwapFile{Path: swapFile},
			Service{What: "swap", Unit: swapUnit, Content: swapFileService, Replace: true},
			ActiveSwap{Kind: swapFile},
		}
	case "off":
		return []Step{
			Absent{What: "swap service", Paths: []string{atBoot(swapUnit), unitDir + swapUnit}},
			ActiveSwap{},
		}
	}
	return nil // the vendor's
}

// The kubelet looks at swap when it starts.
const zramService = `[Unit]
Description=Swap in compressed memory (picluster)
Before=kubelet.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=` + swapScript + ` start
ExecStop=` + swapScript + ` stop

[Install]
WantedBy=multi-user.target
`

const swapFileService = `[Unit]
Description=Swap file (picluster)
RequiresMountsFor=` + swapFile + `
Before=kubelet.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/swapon ` + swapFile + `
ExecStop=/sbin/swapoff ` + swapFile + `

[Install]
WantedBy=multi-user.target
`

// KernelModule wants a module loaded, so that one that is missing is an error with
// a name; at later boots the script loads it. Sign is what is there then; not every kernel
// has it as a module.
type KernelModule struct{ Module, Sign string }

func (s KernelModule) Name() string { return "kernel module " + s.Module }

// Check implements Step.
func (s KernelModule) Check(ctx context.Context, h host.Host) (string, error) {
	if there, err := exists(ctx, h, s.Sign); err != nil || there {
		return "", err
	}
	return fmt.Sprintf("kernel module %s is not loaded", s.Module), nil
}

// Apply implements Step.
func (s KernelModule) Apply(ctx context.Context, h host.Host) error {
	if _, err := h.Run(ctx, host.Cmd{Args: []string{"modprobe", s.Module}}); err != nil {
		return fmt.Errorf("load kernel module %s: %w", s.Module, err)
	}
	return nil
}

// ActiveSwap wants one kind of swap in use and no other; Kind is "zram", a file's
// path, or nothing at all.
type ActiveSwap struct{ Kind string }

func (s ActiveSwap) Name() string { return "active swap" }

// active looks for ours and lists all others that are in use.
func (s ActiveSwap) active(ctx context.Context, h host.Host) (ours bool, others []string, err error) {
	want := s.Kind
	if s.Kind == "zram" {
		made, err := read(ctx, h, swapState)
		if err != nil {
			return false, nil, err
		}
		want = strings.TrimSpace(string(made))
	}
	all, err := swapsInUse(ctx, h)
	for _, name := range all {
		if name == want {
			ours = true
		} else {
			others = append(others, name)
		}
	}
	return ours, others, err
}

// swapsInUse lists paths. /proc/swaps has a line of titles, then one for each, with
// blanks in the path as in mountinfo (proc(5)).
func swapsInUse(ctx context.Context, h host.Host) ([]string, error) {
	data, err := h.ReadFile(ctx, "/proc/swaps")
	if err != nil {
		return nil, err
	}
	var names []string
	for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if f := strings.Fields(line); i > 0 && len(f) > 0 {
			names = append(names, unescapeMount.Replace(f[0]))
		}
	}
	return names, nil
}

// Check implements Step.
func (s ActiveSwap) Check(ctx context.Context, h host.Host) (string, error) {
	ours, others, err := s.active(ctx, h)
	switch {
	case err != nil:
		return "", err
	case len(others) > 0:
		return others[0] + " is in use as swap", nil
	case s.Kind != "" && !ours:
		return "no swap is in use", nil
	}
	return "", nil
}

// Apply implements Step.
func (s ActiveSwap) Apply(ctx context.Context, h host.Host) error {
	ours, others, err := s.active(ctx, h)
	for _, name := range others {
		if err == nil {
			_, err = h.Run(ctx, host.Cmd{Args: []string{"swapoff", name}})
		}
	}
	if err != nil || ours || s.Kind == "" {
		return err
	}
	_, err = h.Run(ctx, host.Cmd{Args: []string{"systemctl", "restart", swapUnit}})
	return err
}

// SwapFile wants a file that can be used as swap: as large as memory, at most
// 2 GiB, and at most a tenth of what was free when it was made. One that is there
// is taken as it is.
type SwapFile struct{ Path string }

func (s SwapFile) Name() string { return "swap file" }

const (
	mostSwap  = 2 << 30
	leastSwap = 64 << 20 // less is not worth the wear of the card
)

// Check implements Step.
func (s SwapFile) Check(ctx context.Context, h host.Host) (string, error) {
	is, err := h.Stat(ctx, s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.Path + " is missing", nil
	}
	if err != nil {
		return "", err
	}
	if !is.Mode.IsRegular() {
		return "", fmt.Errorf("make swap file: %s is there and is no regular file", s.Path)
	}
	if !isPrivate(is) {
		return s.Path + " can be used by others", nil
	}
	kind, err := signature(ctx, h, s.Path)
	if err == nil && kind != "swap" {
		err = fmt.Errorf("make swap file: %s is there and is no swap file", s.Path)
	}
	return "", err
}

// signature is the type that blkid(8) sees, "" if it sees none (exit status 2). Up
// to stretch's it has no long options.
func signature(ctx context.Context, h host.Host, name string) (string, error) {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"blkid", "-p", "-s", "TYPE", "-o", "value", name}})
	if exit := exitCode(err); exit == 2 {
		return "", nil
	}
	return strings.TrimSpace(string(out)), err
}

// Apply implements Step.
func (s SwapFile) Apply(ctx context.Context, h host.Host) error {
	there, err := exists(ctx, h, s.Path)
	if err != nil {
		return err
	}
	if there {
		return makePrivate(ctx, h, s.Path)
	}
	size, err := s.size(ctx, h)
	if err != nil {
		return err
	}
	return allocateFile(ctx, h, s.Path, size, "mkswap")
}

func (s SwapFile) size(ctx context.Context, h host.Host) (int64, error) {
	memory, err := totalMemory(ctx, h)
	if err != nil {
		return 0, err
	}
	space, err := diskSpace(ctx, h, s.Path)
	if err != nil {
		return 0, err
	}
	size := min(memory, mostSwap, space.free/10) &^ (1<<20 - 1)
	if size < leastSwap {
		return 0, fmt.Errorf("make swap file: a tenth of the %s that are free in %s is too little", cli.Bytes(space.free), path.Dir(s.Path))
	}
	return size, nil
}

// totalMemory reads "MemTotal:  3884428 kB".
func totalMemory(ctx context.Context, h host.Host) (int64, error) {
	data, err := h.ReadFile(ctx, "/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("read /proc/meminfo: no MemTotal in it")
}
