//go:build e2e

package brick_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	. "picluster/clusterctl/gluster/brick"
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
	"picluster/internal/lab"
	"picluster/internal/lab/tool"
)

// guestEnv is set where the test runs as the guest's PID 1: not every kernel that
// tests run on has quota for XFS, as those of Pis do.
const guestEnv = "PICLUSTER_GUEST"

// guestTime is for an emulator on a busy machine; idle, all takes half a minute.
const guestTime = 10 * time.Minute

func TestXFS_limitsBricks(t *testing.T) { inGuest(t, xfsLimitsBricks) }

// inGuest runs a test in a machine with Debian's kernel. The test itself starts again
// there, as PID 1's child, and finds itself there.
func inGuest(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getenv(guestEnv) != "" {
		test(t)
		return
	}
	root := hosttest.NewTree(t, "sh", "mount", "umount", "findmnt", "insmod", "poweroff", "wipefs", "mkfs.xfs", "xfs_growfs", "xfs_quota", "xfs_io", "xfs_db",
		"lsattr", "stat", "sync", "mv", "rm", "mkdir", "df", "dd", "cat", "ls", "tail", "touch", "cut", "lvm", "dmsetup", "thin_check")
	image, modules := kernel(t, root)
	build := exec.Command("go", "test", "-c", "-tags", "e2e", "-o", filepath.Join(root, "test"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the test: %v\n%s", err, out)
	}
	init := "#!/usr/bin/sh\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin " + guestEnv + "=1\n" +
		"mkdir -p /proc /sys /dev /tmp /run\nmount -t proc proc /proc\nmount -t sysfs sysfs /sys\nmount -t devtmpfs dev /dev\n" +
		"for m in " + strings.Join(modules, " ") + "; do insmod /modules/$m.ko; done\n" +
		"/test -test.v -test.run '^" + t.Name() + "$'\necho o >/proc/sysrq-trigger\nwhile :; do :; done\n"
	if err := os.WriteFile(filepath.Join(root, "init"), []byte(init), 0o755); err != nil {
		t.Fatal(err)
	}
	console := boot(t, image, root)
	if !strings.Contains(console, "\nPASS\r\n") || !strings.Contains(console, "--- PASS: "+t.Name()) {
		t.Errorf("in the guest:\n%s", console)
	}
}

// kernel returns the path of Debian's kernel, and the modules that it has put into the
// guest's root, in the order in which they are loaded.
func kernel(t *testing.T, root string) (image string, modules []string) {
	t.Helper()
	t.Helper()
	archive := kernelPackage(t)
	unpacked := t.TempDir()
	if err := tool.Run(t.Context(), "dpkg-deb", "--extract", archive, unpacked); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "modules"), 0o755); err != nil {
		t.Fatal(err)
	}
	// In the order of their dependencies; what is built in is left out.
	for _, name := range []string{"virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk",
		"crc32c_generic", "libcrc32c", "xfs", "dax", "dm-mod", "dm-bufio", "dm-bio-prison", "dm-persistent-data", "dm-thin-pool"} {
		var found []string
		for _, depth := range []string{"*", "*/*", "*/*/*"} { // lib/libcrc32c.ko, fs/xfs/xfs.ko, drivers/md/persistent-data/…
			more, err := filepath.Glob(filepath.Join(unpacked, "lib/modules/*/kernel", depth, name+".ko"))
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, more...)
		}
		if len(found) == 0 {
			continue
		}
		if err := os.Rename(found[0], filepath.Join(root, "modules", name+".ko")); err != nil {
			t.Fatal(err)
		}
		modules = append(modules, name)
	}
	images, err := filepath.Glob(filepath.Join(unpacked, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		t.Fatalf("the package has kernels %v: %v", images, err)
	}
	return images[0], modules
}

// kernelPackage returns the path of the package, which is downloaded once.
func kernelPackage(t *testing.T) string {
	t.Helper()
	archive, err := lab.Cached("kernel-cloud-amd64.deb", func(ctx context.Context, path string) error {
		depends, err := tool.Output(ctx, "apt-cache", "depends", "--important", "linux-image-cloud-amd64")
		if err != nil {
			return err
		}
		_, name, ok := strings.Cut(string(depends), "Depends: ")
		if !ok {
			return errors.New("linux-image-cloud-amd64 depends on no kernel")
		}
		name, _, _ = strings.Cut(name, "\n")
		if _, err := (tool.Cmd{Dir: filepath.Dir(path), Args: []string{"apt-get", "-o", "APT::Sandbox::User=root", "download", name}}).Output(ctx); err != nil {
			return err
		}
		found, err := filepath.Glob(filepath.Join(filepath.Dir(path), "linux-image-*.deb"))
		if err != nil || len(found) != 1 {
			return errors.Join(err, errors.New("apt-get has downloaded no kernel"))
		}
		return os.Rename(found[0], path)
	})
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

// boot starts an emulator with the tree as its initial root, and returns what it has
// said when it ends.
func boot(t *testing.T, image, root string) string {
	t.Helper()
	t.Helper()
	dir := t.TempDir()
	initrd, disk := filepath.Join(dir, "initrd"), filepath.Join(dir, "disk")
	if err := tool.Run(t.Context(), "sh", "-ec", `cd "$1"; find . | cpio --quiet --create --format=newc >"$2"; truncate -s 2G "$3"`, "sh", root, initrd, disk); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), guestTime)
	defer cancel()
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "1024", "-nographic", "-no-reboot", "-nic", "none",
		"-kernel", image, "-initrd", initrd, "-append", "console=ttyS0 panic=-1 quiet", "-drive", "if=virtio,format=raw,file="+disk)
	qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var console bytes.Buffer
	qemu.Stdout, qemu.Stderr = &console, &console
	if err := qemu.Run(); err != nil {
		t.Fatalf("run the guest: %v\n%s", err, console.String())
	}
	return console.String()
}

// here is what a test in the guest does and asks.
func here(t *testing.T, h host.Host) (must func(error), run func(script string, args ...string) string) {
	must = func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	return must, func(script string, args ...string) string {
		t.Helper()
		out, err := h.Run(t.Context(), host.Cmd{Args: append([]string{"sh", "-c", script, "sh"}, args...)})
		must(err)
		return strings.TrimSpace(string(out))
	}
}

// xfsLimitsBricks runs in the guest, whose one disk is empty.
func xfsLimitsBricks(t *testing.T) {
	ctx, h, k, d := t.Context(), host.Local{}, XFS{}, Device{ID: disk, Name: "/dev/vda"}
	must, run := here(t, h)
	must(k.Prepare(ctx, h, d, false))
	must(k.Prepare(ctx, h, d, true))
	empty, err := k.Usage(ctx, h, d)
	must(err)
	if empty.Total < 1900*mib || empty.Total > 2048*mib || len(empty.Bricks) != 0 {
		t.Errorf("an empty device of 2 GiB has %+v", empty)
	}
	must(k.Create(ctx, h, d, Brick{first, 100 * mib}))
	must(k.Create(ctx, h, d, Brick{first, 100 * mib}))
	must(k.Create(ctx, h, d, Brick{second, 50 * mib}))
	size := func(id string) int64 {
		n, err := strconv.ParseInt(run(`df --block-size=1 --output=size "$1" | tail -1`, Path(d, id)), 10, 64)
		must(err)
		return n
	}
	fill := func(id string) int64 {
		run(`dd if=/dev/zero of="$1/file" bs=1M count=1000 2>/dev/null; sync`, Path(d, id))
		is, err := h.Stat(ctx, Path(d, id)+"/file")
		must(err)
		return is.Size
	}
	if got := size(first); got != 100*mib {
		t.Errorf("df shows %d bytes of a brick of 100 MiB", got)
	}
	if got := fill(first); got != 100*mib {
		t.Errorf("%d bytes fit into a brick of 100 MiB", got)
	}
	must(k.Grow(ctx, h, d, Brick{first, 200 * mib}))
	must(k.Grow(ctx, h, d, Brick{first, 150 * mib}))
	if got := fill(first); got != 200*mib || size(first) != 200*mib {
		t.Errorf("%d bytes fit into a brick that has grown to 200 MiB", got)
	}
	u, err := k.Usage(ctx, h, d)
	must(err)
	if want := map[string]int64{first: 200 * mib, second: 50 * mib}; !maps.Equal(u.Bricks, want) {
		t.Errorf("the device has %+v, want %v", u, want)
	}
	if got := fill(second); got != 50*mib {
		t.Errorf("beside a full brick %d bytes fit into one of 50 MiB", got)
	}
	run(`umount "$1"`, Root+"/"+disk)
	must(k.Attach(ctx, h, d))
	if got := size(first); got != 200*mib {
		t.Errorf("after it has been mounted again df shows %d bytes of the brick", got)
	}
	if err := k.Release(ctx, h, d); err == nil {
		t.Error("a device in use is released")
	}
	must(k.Delete(ctx, h, d, first))
	must(k.Delete(ctx, h, d, first))
	must(k.Create(ctx, h, d, Brick{first, 10 * mib})) // which gets the number of the one that is gone
	if got := fill(first); got != 10*mib {
		t.Errorf("%d bytes fit into a brick of 10 MiB", got)
	}
	must(k.Delete(ctx, h, d, first))
	must(k.Delete(ctx, h, d, second))
	must(k.Release(ctx, h, d))
	if got := run(`wipefs --no-act --parsable /dev/vda`); got != "" {
		t.Errorf("the device has %s", got)
	}
}
