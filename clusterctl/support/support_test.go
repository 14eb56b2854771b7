package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"picluster/internal/secret"
	"picluster/internal/spec"
)

func planted() *spec.Cluster {
	c := &spec.Cluster{Name: "home"}
	c.Network.WiFi = []spec.WiFi{{SSID: "planted network", Passphrase: secret.New(`planted "pass" phrase`)}}
	c.System.User.Password.Hash = secret.New("$6$planted$hash")
	c.System.Files = []spec.File{{Path: "/etc/x", Data: secret.New("first planted line\n}\nsecond planted line\n")}}
	return c
}

func TestRedactor_hidesWhatIsSecret(t *testing.T) {
	r := NewRedactor(planted())
	for _, text := range []string{
		`wpa_supplicant: ssid "planted network" psk="planted \"pass\" phrase"`,
		`{"passphrase": "planted \"pass\" phrase"}`,
		"pi:$6$planted$hash:19000",
		"root:$y$j9T$planted0123$planted45678:1:",
		"+ first planted line\n+ second planted line",
		base64.StdEncoding.EncodeToString([]byte(`planted "pass" phrase`)),
		"-----BEGIN EC PRIVATE KEY-----\nplanted\n-----END EC PRIVATE KEY-----",
		"-----BEGIN PRIVATE KEY-----\nplanted and cut off",
		"token abcdef.plantedplanted16",
		"Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.planted.planted",
		"DB_PASSWORD=planted",
		`password: "planted"`,
		"https://me:planted@registry.example/v2/",
	} {
		if got := string(r.Text([]byte(text))); strings.Contains(strings.ToLower(got), "planted") || strings.Contains(got, "cGxhbnRlZC") || !strings.Contains(got, secret.Mask) {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

// A log without secrets has to stay readable.
func TestRedactor_leavesTheRest(t *testing.T) {
	r := NewRedactor(planted())
	for _, text := range []string{
		"", "}\n", "Nov 27 18:00:01 pi-node1 kubelet[801]: E1127 cni plugin not initialized",
		"10.77.0.10:6443 https://pi-node0:6443/healthz", "sha256:0f3a9c deadbeef.cafe", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
	} {
		if got := string(r.Text([]byte(text))); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

func TestArchive_hasNoSecretAndSaysWhatIsMissing(t *testing.T) {
	var file bytes.Buffer
	a := NewArchive(&file, "support-home", NewRedactor(planted()), time.Unix(1700000000, 0))
	if err := a.Add("log.txt", []byte("psk=planted network")); err != nil {
		t.Fatal(err)
	}
	a.Missing("nodes/pi-node2", errors.New("dial pi-node2: token abcdef.plantedplanted16"))
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	names := ""
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil || strings.Contains(string(text), "planted") {
			t.Errorf("%s: %v %s", h.Name, err, text)
		}
		names += h.Name + " "
	}
	if names != "support-home/log.txt support-home/missing.txt " {
		t.Errorf("it has %s", names)
	}
}
