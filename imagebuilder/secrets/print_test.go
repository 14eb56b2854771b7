package secrets

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// planted returns the forms in which the private keys of a bundle could show:
// what all their files have in it, and what the keys are made of.
func planted(t *testing.T, b *Bundle) []string {
	t.Helper()
	forms := encodings([]byte("PRIVATE KEY"))
	pairs := []pair{b.enrolment, b.device, b.service, b.operator}
	hosts := []sshPair{b.operatorSSH}
	for _, c := range b.cards {
		pairs, hosts = append(pairs, c.pair), append(hosts, c.host)
	}
	for _, p := range pairs {
		key, err := parseKey(p.key)
		if err != nil {
			t.Fatal(err)
		}
		scalar, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		forms = append(append(forms, encodings(scalar)...), new(big.Int).SetBytes(scalar).String())
	}
	for _, h := range hosts {
		key, err := ssh.ParseRawPrivateKey([]byte(h.private.Reveal()))
		if err != nil {
			t.Fatal(err)
		}
		forms = append(forms, encodings(key.(*ed25519.PrivateKey).Seed())...)
	}
	return forms
}

// encodings lists how fmt, encoding/json and PEM may show bytes.
func encodings(b []byte) []string {
	forms := []string{string(b), fmt.Sprintf("%x", b), fmt.Sprintf("%X", b), strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", b), "[]byte{"), "}")}
	for _, verb := range []string{"%d", "%o", "%v"} {
		forms = append(forms, strings.Trim(fmt.Sprintf(verb, b), "[]"))
	}
	for skip := range 3 { // base64 looks different by where in a group of three it begins
		part := b[skip : skip+(len(b)-skip)/3*3]
		forms = append(forms, base64.StdEncoding.EncodeToString(part))
	}
	return forms
}

func TestBundle_printsNoKey(t *testing.T) {
	b := bundle(t, home(1, 1))
	c := card(t, b, "raspberrypi-node0")
	forms := planted(t, b)
	if len(forms) < 40 {
		t.Fatalf("only %d forms to look for", len(forms))
	}
	values := []any{b, *b, c, *c, []*Card{c}, map[string]*Card{"a": c}, b.service, &b.operatorSSH, c.pair, c.host,
		c.Key(), c.HostKey(), b.ServerKey(), b.DeviceCAKey()}
	check := func(what, out string) {
		t.Helper()
		for _, f := range forms {
			if strings.Contains(out, f) {
				t.Errorf("%s shows %s", what, f)
			}
		}
	}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o"} {
			check(fmt.Sprintf("%s of %T", verb, v), fmt.Sprintf(verb, v))
		}
		for _, handler := range []func(*bytes.Buffer) slog.Handler{
			func(w *bytes.Buffer) slog.Handler { return slog.NewTextHandler(w, nil) },
			func(w *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(w, nil) },
		} {
			var out bytes.Buffer
			slog.New(handler(&out)).Info("made", "value", v)
			check(fmt.Sprintf("slog of %T", v), out.String())
		}
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		check(fmt.Sprintf("json of %T", v), string(out))
	}
	// The net does catch: each way of showing a key is noticed.
	key, err := parseKey(c.Key())
	if err != nil {
		t.Fatal(err)
	}
	pem := []byte(c.HostKey().Reveal())
	asJSON, err := json.Marshal(pem)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{string(pem), string(asJSON), fmt.Sprintf("%v", pem), fmt.Sprintf("%x", pem), fmt.Sprintf("%#v", pem), fmt.Sprintf("%+v", key)} {
		if !slices.ContainsFunc(forms, func(f string) bool { return strings.Contains(shown, f) }) {
			t.Errorf("a key is not noticed in %.60s", shown)
		}
	}
}
