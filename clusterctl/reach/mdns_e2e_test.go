//go:build e2e

package reach

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// avahi is the configuration of the responder that Raspberry Pi OS has, for a network
// of its own.
const avahi = `[server]
host-name=pi-node0
use-ipv6=no
allow-interfaces=pi
enable-dbus=no
[publish]
publish-workstation=no
`

// network makes a network namespace with one link, on which both the Pi and the desk
// are, and /run of its own.
const network = `set -e
mount -t tmpfs none /run
mkdir -p /run/avahi-daemon
ip link set lo up
ip link add pi type veth peer name desk
ip addr add 192.168.77.20/24 dev pi
ip addr add 192.168.77.1/24 dev desk
ip link set pi up
ip link set desk up
avahi-daemon --no-drop-root --no-chroot --no-rlimits --no-proc-title --file="$1" >/run/avahi.log 2>&1 &
for i in $(seq 300); do
	grep -q "Server startup complete" /run/avahi.log && exec "$2" -test.run "$3" -test.v
	sleep 0.1
done
cat /run/avahi.log
exit 1
`

// The real responder answers by the address that it has, and nobody for another name.
func TestMDNS_asksARealResponder(t *testing.T) {
	if os.Getenv("MDNS_INSIDE") == "" {
		inside(t)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if got, err := MDNS(ctx, "pi-node0.local"); err != nil || fmt.Sprint(got) != "[192.168.77.20]" {
		t.Errorf("found %v, %v", got, err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if got, err := MDNS(ctx, "pi-node9.local"); err == nil || !strings.Contains(err.Error(), "nobody in the local network answers for it") {
		t.Errorf("found %v, %v", got, err)
	}
}

// inside runs the test once more where the responder is.
func inside(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("avahi-daemon"); err != nil {
		t.Fatalf("%v: install the Debian package avahi-daemon", err)
	}
	config := filepath.Join(t.TempDir(), "avahi.conf")
	if err := os.WriteFile(config, []byte(avahi), 0o644); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", network, "sh", config, self, "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "MDNS_INSIDE=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}
