package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func planted() []string {
	return []string{"planted-passphrase", "planted-variable", "planted-content", "planted-file", "$6$plantedsalt$", "planted-key"}
}

// plantedDocument refers to secrets in every way there is.
func plantedDocument(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	hash := "$6$plantedsalt$" + strings.Repeat("x", 86)
	for name, text := range map[string]string{
		"wifi.txt": "planted-passphrase\n", "hash": hash, "key.pub": publicKey(t), "file": "planted-file", "heketi.key": "planted-key\n",
		"cluster.yaml": `
nodes: 2
system:
  user: {authorizedKeys: [key.pub], password: {hashFile: hash}}
  files:
    - {path: /etc/a, source: file}
    - {path: /etc/b, content: planted-content}
network:
  country: CH
  wifi:
    - {ssid: a, passphraseFile: wifi.txt}
    - {ssid: b, passphraseEnv: PLANTED}
storage: {heketi: {url: "http://192.168.1.5:8080", keyFile: heketi.key}}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PLANTED", "planted-variable")
	return filepath.Join(dir, "cluster.yaml")
}

func TestCluster_noFormOfPrintingShowsASecret(t *testing.T) {
	c := load(t, plantedDocument(t))
	revealed := c.Network.WiFi[0].Passphrase.Reveal() + c.Network.WiFi[1].Passphrase.Reveal() +
		c.System.User.Password.Hash.Reveal() + c.System.Files[0].Data.Reveal() + c.System.Files[1].Data.Reveal() + c.Storage.Heketi.Key.Reveal()
	for _, s := range planted() {
		if !strings.Contains(revealed, s) {
			t.Fatalf("the plan of this test is wrong: %s was not read", s)
		}
	}
	var out bytes.Buffer
	for _, v := range []any{c, *c, c.System, c.System.User, c.System.Files, c.Network, c.Network.WiFi[0]} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%q", "%x"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(encoded)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	for _, s := range planted() {
		if strings.Contains(out.String(), s) || strings.Contains(out.String(), fmt.Sprintf("%x", s)) {
			t.Errorf("%s is printed", s)
		}
	}
}

// Whoever breaks a document that holds a secret in a wrong place sees the
// problem, not the secret.
func TestProblems_neverRepeatASecret(t *testing.T) {
	const s = "planted-passphrase"
	for _, doc := range []string{
		"network: {wifi: [{ssid: a, passphrase: " + s + "}]}",
		"network: {wifi: [{ssid: a, psk: " + s + ", password: " + s + ", key: " + s + ", wpa_psk: " + s + "}]}",
		"network: {wifi: [{ssid: a, passphraseEnv: " + s + "}]}",
		"network: {wifi: [" + s + "]}",
		"network: {wifi: " + s + "}",
		"network: {wifi: [{ssid: a, passphraseFile: {text: " + s + "}}]}",
		"network: {wifi: [{ssid: a, passphraseFile: [" + s + "]}]}",
		"network: {wifi: [{ssid: a, passphraseFile: *" + s + "}]}",
		"network: {wifi: [{ssid: a, passphraseFile: !" + s + " x}]}",
		"network: {wifi: [{ssid: a, passphraseFile: &" + s + " x, passphraseFile: *" + s + "}]}",
		"system: {user: {password: " + s + "}}",
		"system: {user: {password: [" + s + "]}}",
		"system: {user: {password: {hash: " + s + ", plain: " + s + ", hashEnv: " + s + "}}}",
		"system: {user: {passwd: " + s + ", passwordHash: " + s + ", secret: " + s + "}}",
		"system: {files: [{path: /etc/x, contents: " + s + "}, {path: /etc/y, content: [" + s + "]}]}",
		"password: " + s + "\nwifiPassword: " + s,
		"password: '" + s + "\n",
		s,
	} {
		_, err := Parse("c.yaml", []byte(doc), References{})
		if err == nil {
			t.Errorf("%s: no problem", doc)
		} else if strings.Contains(err.Error(), s) {
			t.Errorf("%s:\n%v", doc, err)
		}
	}
}
