//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"picluster/internal/lab"
)

// smallImage is quick to write; nobody boots it.
func smallImage(t *testing.T) (path string, size int64) {
	t.Helper()
	path = lab.Image(t, lab.Layout{Release: "trixie"})
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, info.Size()
}

// failingCard is a loop device over a file that fails as nbdkit's error filter is
// told. file is what the device is called by.
func failingCard(t *testing.T, back string, faults ...string) (device, file string) {
	t.Helper()
	file = serve(t, append([]string{"--filter=error", "file", back, "error=EIO"}, faults...)...)
	return attach(t, file), file
}

// sectors counts what was written to a device: field 7 of its stat file, in units of
// 512 bytes (Documentation/block/stat.rst of Linux).
func sectors(t *testing.T, device string) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.Fields(string(text))[6], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Some transfers fail, as they do on a worn card or with a bad contact.
func TestWrite_aCardThatFailsIsNamedWithThePlace(t *testing.T) {
	source, size := smallImage(t)
	for _, fault := range []string{"error-pwrite-rate=5%", "error-pread-rate=5%"} {
		t.Run(fault, func(t *testing.T) {
			device, file := failingCard(t, usedCard(t, size), fault)
			d := newDesk(t)
			_, stderr, code := d.run(t, "", "write", device, "--yes", "--confirm", file, "--image", source)
			if code != 5 || !strings.Contains(stderr, device+" at byte ") || !strings.Contains(stderr, "input/output error") {
				t.Errorf("exit code %d\n%s", code, stderr)
			}
			if out, err := exec.Command("sfdisk", "--dump", device).CombinedOutput(); err == nil {
				t.Errorf("there is a partition table:\n%s", out)
			}
		})
	}
}

// The card is pulled out of its reader while it is written.
func TestWrite_aCardThatIsPulledOutIsAnError(t *testing.T) {
	source, size := smallImage(t)
	gone := filepath.Join(t.TempDir(), "gone")
	device, file := failingCard(t, usedCard(t, size), "error-rate=100%", "error-file="+gone)
	d := newDesk(t)
	cmd := d.command("write", device, "--yes", "--confirm", file, "--image", source)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitForSectors(t, device, 20<<20)
	if err := os.WriteFile(gone, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 5 || !strings.Contains(stderr.String(), device+" at byte ") {
		t.Errorf("exit code %d\n%s", code, stderr.String())
	}
}

// waitForSectors waits until that many bytes were written to the device.
func waitForSectors(t *testing.T, device string, bytes int64) {
	t.Helper()
	began := sectors(t, device)
	for deadline := time.Now().Add(2 * time.Minute); sectors(t, device)-began < bytes/512; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are never written", bytes)
		}
	}
}

// Two readers, and the card in one of them is broken: the other card is whole, and
// the exit code says that it is only a part.
func TestWrite_oneOfTwoCardsFails(t *testing.T) {
	source, _ := smallImage(t)
	// Cards of an earlier cluster, which are overwritten without their names.
	bad, _ := failingCard(t, lab.Card(t, source, 0), "error-pwrite-rate=5%")
	good := attach(t, lab.Card(t, source, 0))
	d := newDesk(t)
	stdout, stderr, code := d.run(t, "", "write", bad, good, "--yes", "--image", source)
	if code != 7 || !strings.Contains(stderr, "write card for raspberrypi-node0: write "+bad+" at byte ") ||
		!strings.Contains(stdout, "raspberrypi-node1: written and verified") {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if stdout, stderr, code := d.run(t, "", "verify", good); code != 0 || !strings.Contains(stdout, "the card of raspberrypi-node1 is as it was written") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

// The program is killed, and the card pulled out, when four fifths are written. Less
// than a quarter is written the second time.
func TestWrite_resumeAfterAKill(t *testing.T) {
	source := lab.Bootable(t, "trixie")
	info, err := os.Stat(source)
	if err != nil {
		t.Fatal(err)
	}
	file := usedCard(t, info.Size())
	device := attach(t, file)
	d := newDesk(t)
	began := sectors(t, device)
	d.write(t, device, file, source)
	all := sectors(t, device) - began
	run(t, "dd", "if=/dev/urandom", "of="+device, "bs=4M", "oflag=direct", "conv=notrunc", "status=none", "count="+strconv.FormatInt(info.Size()>>22, 10))

	cmd := d.command("write", device, "--yes", "--confirm", file, "--image", source)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitForSectors(t, device, all*512*8/10)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("it ended before it could be killed")
	}
	began = sectors(t, device)
	d.write(t, device, file, source, "--resume")
	if again := sectors(t, device) - began; again*4 > all {
		t.Errorf("%d of %d sectors were written when it was resumed", again, all)
	}
	if stdout, stderr, code := d.run(t, "", "verify", device); code != 0 {
		t.Errorf("verify: exit code %d\n%s%s", code, stdout, stderr)
	}
}

// Everything but opening the device is done as the user, and one command gives the
// user the device.
func TestWrite_needsPermissionOnTheDeviceAlone(t *testing.T) {
	source, size := smallImage(t)
	file := usedCard(t, size)
	device := attach(t, file)
	home, err := os.MkdirTemp("/var/tmp", "picluster-user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	for _, name := range []string{"imagebuilder", "firstboot-linux-arm64"} {
		run(t, "install", filepath.Join("../../bin", name), home)
	}
	run(t, "install", "-m", "644", source, filepath.Join(home, "os.img"))
	run(t, "chown", "-R", "nobody", home)
	asUser := func(args ...string) (string, int) {
		cmd := exec.Command(filepath.Join(home, "imagebuilder"), args...)
		cmd.Dir, cmd.Env = home, []string{"HOME=" + home, "PATH=/usr/bin:/bin"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := asUser("init"); code != 0 {
		t.Fatal(out)
	}
	write := []string{"write", device, "--yes", "--confirm", file, "--image", "os.img"}
	if out, code := asUser(write...); code != 5 || !strings.Contains(out, "sudo chown $USER "+device) {
		t.Fatalf("without permission: exit code %d\n%s", code, out)
	}
	run(t, "chown", "nobody", device)
	t.Cleanup(func() { run(t, "chown", "root", device) })
	if out, code := asUser(write...); code != 0 || !strings.Contains(out, "written and verified") {
		t.Errorf("with permission: exit code %d\n%s", code, out)
	}
}
