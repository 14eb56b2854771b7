package join

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"picluster/internal/host"
	"picluster/internal/joinapi"
)

// machine is a directory tree with those files in it.
func machine(t *testing.T, files map[string]string) host.Host {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return host.Local{Root: root}
}

func TestReadHardware(t *testing.T) {
	id := "0123456789abcdef0123456789abcdef"
	pi := map[string]string{
		"/etc/machine-id": id + "\n", "/proc/meminfo": "MemTotal:         925424 kB\nMemFree:          1 kB\n",
		"/proc/device-tree/serial-number": "00000000a1b2c3d4\x00", "/proc/device-tree/model": "Raspberry Pi 3 Model B Rev 1.2\x00",
		"/sys/class/net/wlan0/address": "b8:27:eb:00:00:02\n", "/sys/class/net/eth0/address": "b8:27:eb:00:00:01\n",
		"/sys/class/net/docker0/address": "02:42:00:00:00:01\n",
	}
	hw, err := ReadHardware(t.Context(), machine(t, pi))
	want := joinapi.Hardware{Serial: "00000000a1b2c3d4", MachineID: keyHash([]byte(id)), MACs: []string{"b8:27:eb:00:00:01", "b8:27:eb:00:00:02"},
		Model: "Raspberry Pi 3 Model B Rev 1.2", RAM: 925424 << 10}
	if err != nil || !reflect.DeepEqual(hw, want) {
		t.Errorf("hardware is %+v, %v", hw, err)
	}
	hw, err = ReadHardware(t.Context(), machine(t, map[string]string{"/etc/machine-id": id + "\n", "/proc/meminfo": pi["/proc/meminfo"]}))
	if err != nil || hw.Serial != "" || hw.MachineID != want.MachineID {
		t.Errorf("a machine that is no Pi: %+v, %v", hw, err)
	}
	// systemd writes it a moment after it has started on a new card.
	for _, unset := range []string{"", "uninitialized\n"} {
		if _, err := ReadHardware(t.Context(), machine(t, map[string]string{"/etc/machine-id": unset})); err == nil || !strings.Contains(err.Error(), "is not set yet") {
			t.Errorf("machine-id %q: %v", unset, err)
		}
	}
}
