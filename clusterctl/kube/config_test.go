package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// write makes a kubeconfig with a context for each server, the first one current.
func write(t *testing.T, user string, servers ...string) string {
	t.Helper()
	text := "{apiVersion: v1, kind: Config, current-context: " + servers[0] + ", users: [{name: u, user: " + user + "}], "
	clusters, contexts := "", ""
	for _, s := range servers {
		clusters += fmt.Sprintf("{name: %s, cluster: {server: 'https://%s:6443'}}, ", s, s)
		contexts += fmt.Sprintf("{name: %s, context: {cluster: %s, user: u}}, ", s, s)
	}
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(text+"clusters: ["+clusters+"], contexts: ["+contexts+"]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKubeconfig_takesTheFirstThatIsThere(t *testing.T) {
	named, env, project, home := write(t, "{}", "named"), write(t, "{}", "env"), write(t, "{}", "project"), write(t, "{}", "home")
	for _, tc := range []struct {
		k    Kubeconfig
		want string
	}{
		{Kubeconfig{Named: named, Env: env, Project: project, Home: home}, "named"},
		{Kubeconfig{Env: env, Project: project, Home: home}, "env"},
		{Kubeconfig{Env: "/not/there:" + env, Project: project, Home: home}, "env"},
		{Kubeconfig{Env: "/not/there", Project: project, Home: home}, "project"},
		{Kubeconfig{Project: "/not/there", Home: home}, "home"},
		{Kubeconfig{Home: write(t, "{}", "work", "pi"), Context: "pi"}, "pi"},
		{Kubeconfig{Home: write(t, "{}", "work", "other"), Context: "pi"}, "work"},
	} {
		config, _, err := tc.k.Load()
		if err != nil {
			t.Errorf("want %s: %v", tc.want, err)
		} else if config.Host != "https://"+tc.want+":6443" {
			t.Errorf("got %s, want %s", config.Host, tc.want)
		}
	}
}

func TestKubeconfig_saysWhatIsWrong(t *testing.T) {
	if _, _, err := (Kubeconfig{Home: "/not/there"}).Load(); !errors.Is(err, ErrNoKubeconfig) {
		t.Errorf("none: got %v", err)
	}
	if _, _, err := (Kubeconfig{Named: "/not/there", Home: write(t, "{}", "home")}).Load(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the named one is not there: got %v", err)
	}
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("clusters: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (Kubeconfig{Named: broken}).Load(); err == nil {
		t.Error("a broken file is read")
	}
	var expired *ExpiredError
	old := write(t, "{client-certificate-data: "+certificate(t, time.Now().Add(-time.Hour))+", client-key-data: a2V5}", "old")
	if _, _, err := (Kubeconfig{Named: old}).Load(); !errors.As(err, &expired) || expired.File != old {
		t.Errorf("an old certificate: got %v", err)
	}
	fresh := write(t, "{client-certificate-data: "+certificate(t, time.Now().Add(time.Hour))+", client-key-data: a2V5}", "fresh")
	if _, _, err := (Kubeconfig{Named: fresh}).Load(); err != nil {
		t.Errorf("a good certificate: %v", err)
	}
}

// certificate is one in PEM in base64 that ends at a time.
func certificate(t *testing.T, end time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-24 * time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
