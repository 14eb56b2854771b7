//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// run runs a program that must succeed and returns what it printed.
func run(t *testing.T, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// attach makes a block device of a file; it goes when the test ends. Direct I/O
// below the loop driver too: a card has no page cache of its own.
func attach(t *testing.T, file string, options ...string) string {
	t.Helper()
	args := append([]string{"losetup", "--direct-io=on", "--find", "--show"}, options...)
	device := strings.TrimSpace(run(t, append(args, file)...))
	t.Cleanup(func() { run(t, "losetup", "--detach", device) })
	return device
}

// partition makes block devices of a disk's partitions, for kernels too that read
// no partition tables themselves. They go when the test ends.
func partition(t *testing.T, device string) {
	t.Helper()
	run(t, "partx", "--update", device)
	t.Cleanup(func() { run(t, "partx", "--delete", device) })
}

// mount mounts a device for reading; it is unmounted when the test ends.
func mount(t *testing.T, device, options string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "mount", "-o", options, device, dir)
	t.Cleanup(func() { run(t, "umount", dir) })
	return dir
}

// usedCard is a file of size bytes full of what an earlier owner left: a card on
// which a block that is not written shows.
func usedCard(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "card")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stale := bytes.Repeat([]byte("stale bytes of an earlier owner\n"), 1<<20/32)
	for at := int64(0); at < size; at += int64(len(stale)) {
		if _, err := f.Write(stale[:min(int64(len(stale)), size-at)]); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// wrapping makes a file that says it has size bytes and keeps only the first
// real ones, at the places modulo real: the counterfeit card of the market.
func wrapping(t *testing.T, size, real string) string {
	t.Helper()
	back := filepath.Join(t.TempDir(), "flash")
	run(t, "truncate", "--size", real, back)
	return serve(t, "eval",
		"get_size=echo "+size, "can_write=exit 0", "can_flush=exit 0", "flush=exit 0",
		"pread=dd if="+back+" iflag=skip_bytes,count_bytes bs=64k count=$3 skip=$(($4 % "+real+")) status=none",
		"pwrite=dd of="+back+" oflag=seek_bytes conv=notrunc bs=64k seek=$(($4 % "+real+")) status=none")
}

// serve makes a file of what nbdkit, with those arguments, serves. It goes when the
// test ends.
func serve(t *testing.T, nbdkit ...string) string {
	t.Helper()
	mnt := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "nbdfuse", append([]string{filepath.Join(mnt, "disk"), "--command", "nbdkit", "-s"}, nbdkit...)...)
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (Debian packages libnbd-bin and nbdkit)", err)
	}
	t.Cleanup(func() {
		run(t, "umount", mnt)
		cancel()
		_ = cmd.Wait() // it ends when it is unmounted; what it says then is no matter
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if info, err := os.Stat(mnt + "/disk"); err == nil && info.Size() > 0 {
			return mnt + "/disk"
		}
		if time.Now().After(deadline) {
			t.Fatal("nbdfuse shows no disk")
		}
	}
}
