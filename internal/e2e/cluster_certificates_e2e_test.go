//go:build e2e

package e2e

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"runtime"
	"strings"
	"testing"
	"time"

	"picluster/internal/host"
	"picluster/internal/lab/nodes"
)

// alone is a control plane and nothing else.
var alone = wish{nodes: formed[:1], pis: strings.NewReplacer("nodes: 3", "nodes: 1", "spares: 1", "spares: 0").Replace(bare.pis), spec: bare.spec}

const servingCertificate = "/etc/kubernetes/pki/apiserver.crt"

// A year has nearly gone by since kubeadm made the control plane's certificates: they are
// renewed, and the API server has the new one.
func TestCluster_renewsItsCertificates(t *testing.T) {
	from := onlineDesk(t, alone, runtime.GOARCH)
	from.gather(t)
	b := newOfflineBox(t, alone, from)
	node0 := b.nodes[0]
	node0.PowerOn()
	b.awaitReady(t, formed[0])
	b.awaitFinished(t)
	lives := b.lives(t)

	age(t, node0)
	on(t, node0, "firstboot", "sync")
	if left := time.Until(read[*x509.Certificate](t, node0, servingCertificate).NotAfter); left < 300*24*time.Hour {
		t.Errorf("the certificate is good for %v after the renewal", left)
	}
	if left := on(t, node0, "find", "/var/lib/picluster/renewal", "-type", "f"); left != "" {
		t.Errorf("left behind: %s", left)
	}
	b.awaitReady(t, formed[0])
	works(t, node0, formed[0])
	served := serving(t, node0)
	if want := read[*x509.Certificate](t, node0, servingCertificate); !served.Equal(want) {
		t.Errorf("the API server has the certificate that ends on %v, want %v", served.NotAfter, want.NotAfter)
	}
	for pod, count := range b.lives(t) {
		for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
			if strings.Contains(pod, " "+name+"-") && count == lives[pod] {
				t.Errorf("%s was not started anew", name)
			}
		}
	}
	// It is over: what is right is left alone.
	before := b.lives(t)
	on(t, node0, "firstboot", "sync")
	for pod, count := range b.lives(t) {
		if count != before[pod] {
			t.Errorf("%s was started anew by a second run", pod)
		}
	}
}

// age replaces the API server's certificate by one that ends in a month.
func age(t *testing.T, node0 *nodes.Node) {
	t.Helper()
	ca := read[*x509.Certificate](t, node0, "/etc/kubernetes/pki/ca.crt")
	caKey := read[any](t, node0, "/etc/kubernetes/pki/ca.key")
	old := read[*x509.Certificate](t, node0, servingCertificate)
	template := *old
	template.NotAfter = time.Now().Add(30 * 24 * time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, &template, ca, old.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := node0.Write(t.Context(), servingCertificate, host.File{Data: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
}

// read reads a certificate or a key of a node.
func read[T any](t *testing.T, n *nodes.Node, path string) T {
	t.Helper()
	data, err := n.ReadFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return parse[T](t, path, data)
}

func parse[T any](t *testing.T, what string, data []byte) T {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("%s: nothing is in it", what)
	}
	var (
		value any
		err   error
	)
	switch block.Type {
	case "CERTIFICATE":
		value, err = x509.ParseCertificate(block.Bytes)
	case "RSA PRIVATE KEY":
		value, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		value, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		t.Fatalf("%s: it is a %s", what, block.Type)
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return value.(T)
}

// serving is the certificate that the API server shows.
func serving(t *testing.T, node0 *nodes.Node) *x509.Certificate {
	t.Helper()
	out := on(t, node0, "sh", "-c", "openssl s_client -connect 127.0.0.1:6443 </dev/null 2>/dev/null | openssl x509")
	return parse[*x509.Certificate](t, "certificate of the API server", []byte(out))
}
