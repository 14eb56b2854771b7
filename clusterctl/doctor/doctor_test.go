package doctor

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"picluster/internal/golden"
	"picluster/internal/host/hosttest"
)

// pi is a machine on which all is well. Its programs answer as those of Raspberry Pi
// OS trixie do.
func pi(t *testing.T) *hosttest.Machine {
	t.Helper()
	m := hosttest.NewMachine(t)
	m.Fake("vcgencmd", `echo throttled=0x0`)
	m.Fake("findmnt", `echo rw,noatime`)
	m.Fake("df", `printf '      Avail  1B-blocks\n20000000000 31000000000\n'`)
	m.Fake("journalctl", `exit 1`)
	m.Fake("timedatectl", `echo yes`)
	m.Fake("systemctl", `case "$*" in
		"is-active "*) echo active ;;
		--failed*) ;;
		*) unexpected "$@" ;;
	esac`)
	m.Fake("firstboot", `echo '{"version":1,"state":"done"}'`)
	file(t, m, "sys/class/thermal/thermal_zone0/temp", "48312\n")
	file(t, m, "proc/meminfo", "MemTotal:         945364 kB\nMemFree:           81234 kB\nMemAvailable:     512340 kB\n")
	file(t, m, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
	file(t, m, "var/lib/kubelet/pki/kubelet-client-current.pem", certificateUntil(t, time.Date(2099, 1, 2, 0, 0, 0, 0, time.UTC)))
	return m
}

func file(t *testing.T, m *hosttest.Machine, name, text string) {
	t.Helper()
	path := filepath.Join(m.Root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func certificateUntil(t *testing.T, end time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.AddDate(-200, 0, 0), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func printed(t *testing.T, m *hosttest.Machine) string {
	t.Helper()
	g := Node(t.Context(), m, true)
	g.Name = "pi-node1"
	var out bytes.Buffer
	if err := Print(&out, []Group{g}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestNode_whereAllIsWell(t *testing.T) {
	m := pi(t)
	golden.Equal(t, "testdata/well.golden", []byte(printed(t, m)))
}

// Each thing that can be wrong is found by its own check and says what helps.
func TestNode_findsWhatIsWrong(t *testing.T) {
	for name, tc := range map[string]struct {
		harm func(*hosttest.Machine)
		want string // a line of the output, and what comes after it
	}{
		"low voltage":        {func(m *hosttest.Machine) { m.Fake("vcgencmd", `echo throttled=0x50005`) }, "× power\n    the voltage is too low\n    → a power supply"},
		"low voltage before": {func(m *hosttest.Machine) { m.Fake("vcgencmd", `echo throttled=0x50000`) }, "‼ power\n    the voltage was too low at times"},
		"hot":                {func(m *hosttest.Machine) { file(t, m, "sys/class/thermal/thermal_zone0/temp", "83500\n") }, "‼ temperature\n    83 °C\n    → "},
		"read-only":          {func(m *hosttest.Machine) { m.Fake("findmnt", `echo ro,noatime`) }, "× card can be written\n    the root file system is read-only\n    → restart it"},
		"full":               {func(m *hosttest.Machine) { m.Fake("df", `printf 'Avail 1B-blocks\n1000 31000000000\n'`) }, "‼ card has room\n    0 % are free"},
		"faults": {func(m *hosttest.Machine) {
			m.Fake("journalctl", `echo "blk_update_request: I/O error, dev mmcblk0, sector 99"`)
		}, "× no faults of disks\n    blk_update_request: I/O error"},
		"no memory left":   {func(m *hosttest.Machine) { file(t, m, "proc/meminfo", "MemTotal: 945364 kB\nMemAvailable: 9000 kB\n") }, "‼ memory\n    8 MiB of 923 are free"},
		"no memory cgroup": {func(m *hosttest.Machine) { file(t, m, "sys/fs/cgroup/cgroup.controllers", "cpu io\n") }, "× memory cgroup\n"},
		"no time":          {func(m *hosttest.Machine) { m.Fake("timedatectl", `echo no`) }, "‼ clock\n    it is not set by a time server\n    → does the network let NTP out"},
		"failed services": {func(m *hosttest.Machine) {
			m.Fake("systemctl", `case "$1" in is-active) echo active ;; *) echo "nmbd.service loaded failed failed x" ;; esac`)
		}, "‼ services\n    these have failed: nmbd.service"},
		"no kubelet": {func(m *hosttest.Machine) {
			m.Fake("systemctl", `case "$*" in "is-active kubelet.service") echo failed; exit 3 ;; is-active*) echo active ;; esac`)
		}, "× kubelet\n    failed\n    → log in and read: journalctl -u kubelet.service"},
		"failed agent": {func(m *hosttest.Machine) {
			m.Fake("firstboot", `echo '{"version":1,"state":"failed","stage":"network","step":"Wi-Fi","text":"wrong key","hint":"correct it"}'; exit 1`)
		}, "× agent\n    network/Wi-Fi: wrong key\n    → correct it"},
		"ended certificate": {func(m *hosttest.Machine) {
			file(t, m, "var/lib/kubelet/pki/kubelet-client-current.pem", certificateUntil(t, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)))
		}, "× kubelet's certificate\n    it ended on 2026-01-02"},
		"no Pi": {func(m *hosttest.Machine) {
			m.Fake("vcgencmd", `echo "env: vcgencmd: No such file or directory" >&2; exit 127`)
		}, "- power: this board cannot tell"},
	} {
		t.Run(name, func(t *testing.T) {
			m := pi(t)
			tc.harm(m)
			if got := printed(t, m); !strings.Contains(got, tc.want) {
				t.Errorf("there is no %q in\n%s", tc.want, got)
			}
		})
	}
}
