package report

import (
	"strings"
	"testing"

	"picluster/internal/step"
)

// What programs really say, and the beginning of what a person reads about it.
func TestHint_knowsWhatProgramsSay(t *testing.T) {
	for _, tc := range []struct{ place, text, want string }{
		{"network/connection", "connection: gave up after 5m0s: eth0: no cable is plugged in, or its other end is switched off; wlan0: Wi-Fi network 1 of cluster.yaml: wrong key", "the Wi-Fi password"},
		{"network/connection", "Error: Connection activation failed: Secrets were required, but not provided", "the Wi-Fi password"},
		{"network/connection", "wlan0: Wi-Fi network 2 of cluster.yaml: its access point refuses this Pi", "the router does not let"},
		{"network/connection", "wlan0: the Wi-Fi network of cluster.yaml is not in range (3 others are); a Raspberry Pi 3 Model B hears 2.4 GHz only, not 5 GHz", "the Wi-Fi network is not there"},
		{"network/connection", "wlan0: Wi-Fi network 1 of cluster.yaml is in range, but not joined yet (on 5 GHz only: is the country in cluster.yaml right?)", "the router is on a Wi-Fi channel"},
		{"network/connection", "wlan0: Wi-Fi network 1 of cluster.yaml: its access point does not answer", "the Wi-Fi signal"},
		{"network/connection", "eth0: no answer from a DHCP server: is the router on, and does it give out addresses?", "the router gives"},
		{"network/connection", "eth0: no cable is plugged in, or its other end is switched off; wlan0: Wi-Fi is blocked by software: rfkill unblock wlan", "Wi-Fi is switched off"},
		{"network/connection", "eth0: no cable is plugged in, or its other end is switched off", "plug in"},
		{"network/connection", "wlan0: this Pi shows no Wi-Fi device", "this board does not have"},
		{"network/cluster address", "the cluster address 10.77.0.11 is in use by another device, with the MAC address b8:27:eb:00:00:01", "another device has"},
		{"time/time synchronisation", "timesyncd asks ntp.example.org: no answer yet", "the Pi does not get the time"},
		{"firmware/USB boot", "check: set USB boot bit: this board is a Raspberry Pi 5: it boots from USB by itself", "set boot.usbBoot to off"},
		{"packages/unknown packages", "packages htpo, vmi: no repository has them", "there is no Debian package"},
		{"packages/packages", "mirror.example.org is not reached: Temporary failure resolving 'mirror.example.org'", "names of the internet"},
		{"packages/packages", "mirror.example.org is not reached: Connection timed out [IP: 151.101.2.132 80]", "a server in the internet"},
		{"packages/packages", "mirror.example.org: Release file for http://x is not valid yet (invalid for another 3h)", "the Pi's clock"},
		{"packages/packages", "another program is installing packages: process 812 (apt-get)", "wait until the other"},
		{"packages/packages", "install packages: no space left on the card: run apt-get: exit status 100", "the card is full"},
		{"kubernetes/repository", "The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 1234", "what came from the network"},
		{"kubernetes/images", "write /var/lib/x: no space left on device", "the card is full"},
		{"disk/root file system", "write /etc/x: input/output error", "the card itself"},
		{"install/release", "the card was prepared for bookworm, but its system is trixie", "this card's two partitions"},
		{"preconditions/architecture", "the card was prepared for arm64, but its system is armhf", "this card's two partitions"},
		{"preconditions/memory cgroup", "Kubernetes needs the memory cgroup, and this kernel has none", "cmdline.txt on the card"},
		{"storage/storage disk", "use disk /dev/sda for storage: it is not empty: ext4 signature on /dev/sda1. wipe: true permits to erase it", "the disk for storage has data"},
		{"storage/storage disk", "use disk /dev/sda for storage: it is another disk than before: A, not B", "what is there for storage"},
		{"storage/storage disk", "disk /dev/sda is not there", "the disk for storage is not there"},
		{"storage/storage file", "use /var/gluster.img for storage: 15.0 GiB do not fit: 3.0 GiB of the file system's 7.0 GiB are free", "choose a smaller"},
		{"system/timezone", "check: find timezone Mars: this system does not know it", "correct system.timezone"},
		{"swap/active swap", "something new", ""},
	} {
		stage, name, _ := strings.Cut(tc.place, "/")
		if got := knownHint(stage, name, tc.text); !strings.HasPrefix(got, tc.want) || (got == "") != (tc.want == "") {
			t.Errorf("%s: %s: the hint is %q, want %q", tc.place, tc.text, got, tc.want)
		}
	}
}

func TestHint_isThereForEveryState(t *testing.T) {
	for name, f := range cases() {
		if got := Make(f).Hint; got == "" {
			t.Errorf("%s: no hint", name)
		}
	}
	// What nobody has foreseen, on a Pi that tries no more.
	f := facts(worker(), at(1, "swap/zram", 20, step.Failed, "something new"))
	if got := Make(f).Hint; got != tryAgain {
		t.Errorf("got %q", got)
	}
}

// A row that an earlier one always hides would be a hint that nobody ever reads.
func TestHints_areAllReachable(t *testing.T) {
	for i, h := range hints {
		seen := false
		for _, say := range h.says {
			stage, name, _ := strings.Cut(h.at, "/")
			seen = seen || knownHint(stage, name, say) == h.do
		}
		if !seen {
			t.Errorf("row %d, %q, is hidden by those above it", i, h.do)
		}
	}
}
