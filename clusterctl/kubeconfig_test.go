package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"picluster/internal/cli"
	"picluster/internal/host/hosttest"
)

// node0 is a real sshd whose root sees a directory of its own, and a port for the API
// server.
type node0 struct {
	*site
	root string
	api  string
}

func newNode0(t *testing.T, w *world) *node0 {
	t.Helper()
	n := &node0{root: hosttest.NewTree(t, "sh", "env", "cat")}
	server := hosttest.StartSSHD(t, fmt.Sprintf(`ForceCommand exec chroot %s /usr/bin/sh -c "$SSH_ORIGINAL_COMMAND"`, n.root))
	w.place("pi-node0:22", server.Login.Address)
	public, err := os.ReadFile(filepath.Join(w.Bundle.Dir(), "operator/id_ed25519.pub"))
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(public)
	if err != nil {
		t.Fatal(err)
	}
	server.Admit(key)
	w.write("secrets/known_hosts", "pi-node0,pi-node0.local "+string(ssh.MarshalAuthorizedKey(server.HostKeys[0])))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	n.api = l.Addr().String()
	w.place("pi-node0:6443", n.api)
	n.site = w.open()
	n.login.User = "root" // whom this machine has
	return n
}

// open is the project as commands see it.
func (w *world) open() *site {
	w.t.Helper()
	f := siteFlags{projectFlags: projectFlags{file: filepath.Join(w.dir, "cluster.yaml")}}
	for port, address := range w.at {
		f.at = append(f.at, port+"="+address)
	}
	d, err := f.open(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// adminConf is what kubeadm writes.
func (n *node0) adminConf(t *testing.T, ca string) {
	t.Helper()
	c := api.NewConfig()
	c.Clusters["kubernetes"] = &api.Cluster{Server: "https://pi-node0:6443", CertificateAuthorityData: []byte(ca)}
	c.AuthInfos["kubernetes-admin"] = &api.AuthInfo{ClientCertificateData: []byte("certificate"), ClientKeyData: []byte("key")}
	c.Contexts["kubernetes-admin@kubernetes"] = &api.Context{Cluster: "kubernetes", AuthInfo: "kubernetes-admin"}
	c.CurrentContext = "kubernetes-admin@kubernetes"
	if err := os.MkdirAll(filepath.Join(n.root, "etc/kubernetes"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := clientcmd.WriteToFile(*c, filepath.Join(n.root, adminConf)); err != nil {
		t.Fatal(err)
	}
}

func TestKubeconfig_worksFromTheDesk(t *testing.T) {
	w := newWorld(t, 1, 0, "")
	n := newNode0(t, w)
	if err := n.fetchKubeconfig(t.Context()); cli.CodeOf(err) != cli.Device || !strings.Contains(err.Error(), "has no control plane yet") {
		t.Errorf("before there is one: %v", err)
	}
	n.adminConf(t, "ca")
	for range 2 {
		if err := n.fetchKubeconfig(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(w.Bundle.Dir(), "kubeconfig")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v has mode %v", err, info.Mode())
	}
	c, err := clientcmd.LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cluster := c.Clusters["home"]
	if c.CurrentContext != "home" || cluster == nil || cluster.Server != "https://"+n.api || cluster.TLSServerName != "pi-node0" || string(cluster.CertificateAuthorityData) != "ca" {
		t.Errorf("context %q of %+v", c.CurrentContext, cluster)
	}
	if left, err := filepath.Glob(filepath.Join(w.Bundle.Dir(), ".kubeconfig*")); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
}

// Whoever answers in node0's place gets nothing and gives nothing.
func TestKubeconfig_isTakenFromNode0Only(t *testing.T) {
	w := newWorld(t, 1, 0, "")
	n := newNode0(t, w)
	n.adminConf(t, "ca")
	other := hosttest.StartSSHD(t)
	w.write("secrets/known_hosts", "pi-node0 "+string(ssh.MarshalAuthorizedKey(other.HostKeys[0])))
	err := n.fetchKubeconfig(t.Context())
	if cli.CodeOf(err) != cli.Integrity || !strings.Contains(err.Error(), "check host key") {
		t.Errorf("%d: %v", cli.CodeOf(err), err)
	}
	if _, err := os.Stat(filepath.Join(w.Bundle.Dir(), "kubeconfig")); err == nil {
		t.Error("there is a kubeconfig")
	}
}

func TestKubeconfig_mergeLeavesTheRest(t *testing.T) {
	w := newWorld(t, 1, 0, "")
	n := newNode0(t, w)
	n.adminConf(t, "ca")
	config, err := n.adminConfig(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kube", "config")
	t.Setenv("KUBECONFIG", file)
	var stderr bytes.Buffer
	env := cli.Env{Stderr: &stderr}
	if err := mergeKubeconfig(env, config); err != nil {
		t.Fatal(err)
	}
	have, err := clientcmd.LoadFromFile(file)
	if err != nil || have.CurrentContext != "home" {
		t.Fatalf("a first file has context %q, %v", have.CurrentContext, err)
	}
	have.Clusters["work"], have.CurrentContext = &api.Cluster{Server: "https://work"}, "work"
	have.Contexts["work"] = &api.Context{Cluster: "work"}
	if err := clientcmd.WriteToFile(*have, file); err != nil {
		t.Fatal(err)
	}
	if err := mergeKubeconfig(env, config); err != nil {
		t.Fatal(err)
	}
	have, err = clientcmd.LoadFromFile(file)
	if err != nil || have.CurrentContext != "work" || have.Clusters["work"] == nil || have.Clusters["home"] == nil {
		t.Errorf("it has %+v, %v", have, err)
	}
	n.adminConf(t, "another CA")
	if config, err = n.adminConfig(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := mergeKubeconfig(env, config); cli.CodeOf(err) != cli.Refused {
		t.Errorf("another cluster of that name: %v", err)
	}
}
