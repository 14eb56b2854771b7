//go:build e2e

package kube_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"picluster/firstboot/join"
	"picluster/internal/joinapi"
	"picluster/internal/lab/desk"
)

// request is a kubelet's for a certificate, and its key.
type request struct {
	name, signer, usage string
	template            x509.CertificateRequest
	key                 *ecdsa.PrivateKey
}

func clientRequest(t *testing.T, name, node string) *request {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &request{name: name, signer: join.ClientSigner, usage: "client auth", key: key,
		template: x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}}}
}

func servingRequest(t *testing.T, name, node string, address net.IP) *request {
	r := clientRequest(t, name, node)
	r.signer, r.usage = join.ServingSigner, "server auth"
	r.template.DNSNames, r.template.IPAddresses = []string{node}, []net.IP{address}
	return r
}

// ask sends a request and returns how it was answered: "Approved", or the reason of
// a denial; or the API server's own refusal to take it.
func (w *world) ask(config string, r *request) string {
	w.t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &r.template, r.key)
	if err != nil {
		w.t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	body := fmt.Sprintf(`{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"name":%q},
		"spec":{"request":%q,"signerName":%q,"usages":["digital signature",%q]}}`, r.name, text, r.signer, r.usage)
	if out, err := w.kubectl(config, body, "create", "-f", "-"); err != nil {
		return out
	}
	var answer string
	w.until(r.name+" is answered", func() bool {
		out := w.must(w.kubectl(w.admin, "", "get", "csr", r.name, "-o", "jsonpath={range .status.conditions[*]}{.type} {.reason}{end}"))
		kind, why, _ := strings.Cut(out, " ")
		if answer = kind; kind == "Denied" {
			answer = why
		}
		return kind != ""
	})
	return answer
}

// kubeconfig is that of the node that was given the certificate.
func (w *world) nodeConfig(r *request) string {
	w.t.Helper()
	var cert []byte
	w.until(r.name+" is signed", func() bool {
		out := w.must(w.kubectl(w.admin, "", "get", "csr", r.name, "-o", "jsonpath={.status.certificate}"))
		var err error
		cert, err = base64.StdEncoding.DecodeString(out)
		return err == nil && len(cert) > 0
	})
	der, err := x509.MarshalPKCS8PrivateKey(r.key)
	if err != nil {
		w.t.Fatal(err)
	}
	dir := w.t.TempDir()
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for file, data := range map[string][]byte{"node.crt": cert, "node.key": key} {
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.plane.CertificateKubeconfig(r.name, filepath.Join(dir, "node.crt"), filepath.Join(dir, "node.key"))
}

// register makes the Node object, as a kubelet does with its certificate.
func (w *world) register(config, node string) error {
	out, err := w.kubectl(config, fmt.Sprintf(`{"apiVersion":"v1","kind":"Node","metadata":{"name":%q}}`, node), "create", "-f", "-")
	if err != nil {
		return errors.New(out)
	}
	return nil
}

func wantText(t *testing.T, what, have, want string) {
	t.Helper()
	if !strings.Contains(have, want) {
		t.Errorf("%s: %q, want %q in it", what, have, want)
	}
}

// kubeadmReads wants what kubeadm join reads, by the discovery file, to be readable;
// there is none of it here.
func (w *world) kubeadmReads(b *joinapi.Bundle) {
	w.t.Helper()
	discovery, err := join.Discovery(b)
	if err != nil {
		w.t.Fatal(err)
	}
	file := w.dir("discovery.conf")
	if err := os.WriteFile(file, discovery, 0o600); err != nil {
		w.t.Fatal(err)
	}
	for _, args := range [][]string{{"node", "pi-node1"}, {"cm", "-n", "kube-system", "kubeadm-config"},
		{"cm", "-n", "kube-system", "kubelet-config"}, {"cm", "-n", "kube-system", "kube-proxy"}} {
		out, _ := w.kubectl(file, "", append([]string{"--token", b.Token.Reveal(), "get"}, args...)...)
		wantText(w.t, strings.Join(args, " "), out, "NotFound")
	}
}

// One card's way to a node, and what its token is worth on the way and afterwards.
func TestToken_isWorthOneNodeOnce(t *testing.T) {
	w := start(t, 4, 0)
	p := w.newPi("pi-node1", 1)
	b := w.bundle(p)
	token := w.tokenConfig("token", b)

	for what, args := range map[string][]string{
		"secrets":   {"get", "secrets", "-A"},
		"nodes":     {"get", "nodes"},
		"pods":      {"get", "pods", "-A"},
		"approving": {"certificate", "approve", "whatever"},
	} {
		out, err := w.kubectl(token, "", args...)
		if err == nil {
			t.Errorf("a bootstrap token allows %s: %s", what, out)
		}
	}
	w.kubeadmReads(b)
	wantText(t, "another node", w.ask(token, clientRequest(t, "other", "pi-node2")), string(joinapi.NotYourNode))
	wantText(t, "the control plane", w.ask(token, clientRequest(t, "control-plane", "pi-node0")), string(joinapi.NotYourNode))
	own := clientRequest(t, "own", "pi-node1")
	wantText(t, "its own node", w.ask(token, own), "Approved")
	wantText(t, "a second key", w.ask(token, clientRequest(t, "second", "pi-node1")), string(joinapi.ForeignKey))

	config := w.nodeConfig(own)
	if err := w.register(config, "pi-node2"); err == nil {
		t.Error("the node registers as another one")
	}
	if err := w.register(config, "pi-node1"); err != nil {
		t.Fatal(err)
	}
	if err := p.Joined(w.context(), ""); err != nil {
		t.Fatal(err)
	}
	// The API server knows a token for some seconds more than it is there: what is
	// asked for meanwhile is denied.
	for i := 0; ; i++ {
		answer := w.ask(token, clientRequest(t, fmt.Sprintf("stolen-%d", i), "pi-node1"))
		if strings.Contains(answer, "Unauthorized") || strings.Contains(answer, "provide credentials") {
			break
		}
		if answer != string(joinapi.NotAllowed) {
			t.Fatalf("the token after the node has joined: %s", answer)
		}
	}

	wantText(t, "renewal", w.ask(config, clientRequest(t, "renewal", "pi-node1")), "Approved")
	wantText(t, "renewal for another", w.ask(config, clientRequest(t, "renewal-other", "pi-node2")), "can only create a node CSR with CN=system:node:pi-node1")
	wantText(t, "serving", w.ask(config, servingRequest(t, "serving", "pi-node1", desk.Address(1).AsSlice())), "Approved")
	wantText(t, "serving elsewhere", w.ask(config, servingRequest(t, "serving-elsewhere", "pi-node1", desk.Address(0).AsSlice())), string(joinapi.NotYourNode))
}

// Without the join service nothing is approved: the control plane's own approver
// has no rule for the token's group.
func TestToken_isNotApprovedByKubernetesItself(t *testing.T) {
	w := start(t, 2, 0)
	out := w.must(w.kubectl(w.admin, "", "get", "clusterrolebindings", "-o", "json"))
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			RoleRef  struct{ Name string }
			Subjects []struct{ Name string }
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, b := range list.Items {
		for _, s := range b.Subjects {
			if s.Name != join.TokenGroup {
				continue
			}
			found = true
			if strings.Contains(b.RoleRef.Name, "nodeclient") {
				t.Errorf("%s lets the controller manager approve", b.Metadata.Name)
			}
		}
	}
	if !found {
		t.Error("the token's group has no rights at all")
	}
}

// What the service account may not, however its token was come by.
func TestServiceAccount_isNarrow(t *testing.T) {
	w := start(t, 2, 0)
	service := w.plane.TokenKubeconfig("service", w.access.Token.Reveal())
	group := base64.StdEncoding.EncodeToString([]byte(join.TokenGroup))
	secretOf := func(name, kind, data string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q,"namespace":"kube-system"},"type":%q,"data":{%s}}`, name, kind, data)
	}
	expires := `,"expiration":"MjAzMC0wMS0wMVQwMDowMDowMFo=","token-id":"YWJjZGVm","token-secret":"YWJjZGVmMDEyMzQ1Njc4OQ=="`
	w.must(w.kubectl(w.admin, secretOf("prey", "Opaque", ""), "create", "-f", "-"))
	w.must(w.kubectl(w.admin, `{"apiVersion":"v1","kind":"Node","metadata":{"name":"pi-node0","labels":{"node-role.kubernetes.io/control-plane":""}}}`, "create", "-f", "-"))
	for _, tc := range []struct {
		what, stdin string
		args        []string
		want        string
	}{
		{"read secrets", "", []string{"get", "secrets", "-n", "kube-system"}, "cannot list resource"},
		{"read its own secret", "", []string{"get", "secret", "picluster-join", "-n", "kube-system"}, "cannot get resource"},
		{"make a secret of another type", secretOf("x", "Opaque", ""), []string{"create", "-f", "-"}, "the join service makes bootstrap tokens of its own group"},
		{"make an administrator's token", secretOf("bootstrap-token-abcdef", "bootstrap.kubernetes.io/token",
			`"auth-extra-groups":"`+base64.StdEncoding.EncodeToString([]byte("system:bootstrappers:kubeadm:default-node-token"))+`"`+expires),
			[]string{"create", "-f", "-"}, "the join service makes bootstrap tokens of its own group"},
		{"make a token that signs", secretOf("bootstrap-token-abcdef", "bootstrap.kubernetes.io/token",
			`"auth-extra-groups":"`+group+`","usage-bootstrap-signing":"dHJ1ZQ=="`+expires),
			[]string{"create", "-f", "-"}, "for authentication only"},
		{"make a token of no group", secretOf("bootstrap-token-abcdef", "bootstrap.kubernetes.io/token", `"description":"eA=="`+expires),
			[]string{"create", "-f", "-"}, "the join service makes bootstrap tokens of its own group"},
		{"make a token that lasts", secretOf("bootstrap-token-abcdef", "bootstrap.kubernetes.io/token", `"auth-extra-groups":"`+group+`"`),
			[]string{"create", "-f", "-"}, "the join service makes bootstrap tokens of its own group"},
		{"make a secret elsewhere", strings.Replace(secretOf("x", "Opaque", ""), "kube-system", "default", 1), []string{"create", "-f", "-"}, "cannot create resource"},
		{"delete another secret", "", []string{"delete", "secret", "prey", "-n", "kube-system"}, "takes away bootstrap tokens only"},
		{"delete the control plane's node", "", []string{"delete", "node", "pi-node0"}, "removes workers only"},
		{"make itself an administrator", "", []string{"create", "clusterrolebinding", "x", "--clusterrole=cluster-admin", "--user=x"}, "cannot create resource"},
		{"delete another binding", "", []string{"delete", "clusterrolebinding", "cluster-admin"}, "cannot delete resource"},
		{"run a pod", "", []string{"run", "x", "--image=x"}, "cannot create resource"},
	} {
		out, err := w.kubectl(service, tc.stdin, tc.args...)
		if err == nil || !strings.Contains(out, tc.want) {
			t.Errorf("%s: %v: %s; want %q in it", tc.what, err, out, tc.want)
		}
	}
}

// kubeadm makes its openings again with each upgrade.
func TestRun_keepsShutWhatKubeadmOpens(t *testing.T) {
	w := start(t, 2, 0)
	for range 2 {
		w.kubeadmOpens()
		for _, o := range [][]string{
			{"clusterrolebinding", "kubeadm:node-autoapprove-bootstrap"},
			{"clusterrolebinding", "kubeadm:node-autoapprove-certificate-rotation"},
			{"rolebinding", "-n", "kube-public", "kubeadm:bootstrap-signer-clusterinfo"},
		} {
			w.until(strings.Join(o, " ")+" is gone", func() bool {
				out, err := w.kubectl(w.admin, "", append([]string{"get"}, o...)...)
				return err != nil && strings.Contains(out, "NotFound")
			})
		}
	}
}
