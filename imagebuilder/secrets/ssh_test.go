package secrets

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestSSHKeys_areWhatSSHKeygenReads(t *testing.T) {
	b := bundle(t, home(2, 1))
	for key, comment := range map[string]string{
		"operator/id_ed25519":                          "picluster@home",
		"cards/raspberrypi-node1/ssh_host_ed25519_key": "raspberrypi-node1",
		"cards/spare-1/ssh_host_ed25519_key":           "spare-1",
	} {
		pub, err := os.ReadFile(filepath.Join(b.Dir(), key+".pub"))
		if err != nil {
			t.Fatal(err)
		}
		// -y derives the public half, comment included, from the private file alone.
		if out := mustRun(t, b.Dir(), "openssh-client", "ssh-keygen", "-y", "-f", key); out != string(pub) {
			t.Errorf("ssh-keygen derives %q, the file says %q", out, pub)
		}
		out := mustRun(t, b.Dir(), "openssh-client", "ssh-keygen", "-l", "-f", key)
		if !strings.HasPrefix(out, "256 SHA256:") || !strings.HasSuffix(out, " "+comment+" (ED25519)\n") {
			t.Errorf("ssh-keygen -l says %q", out)
		}
	}
	if got, _ := os.ReadFile(filepath.Join(b.Dir(), "operator/id_ed25519.pub")); b.OperatorPublicKey()+"\n" != string(got) {
		t.Errorf("the operator's key is %q", b.OperatorPublicKey())
	}
}

func TestKnownHosts_findsEveryNameAndAddress(t *testing.T) {
	b := bundle(t, home(2, 1))
	for host, name := range map[string]string{
		"raspberrypi-node0": "raspberrypi-node0", "raspberrypi-node0.local": "raspberrypi-node0", "10.77.0.10": "raspberrypi-node0",
		"raspberrypi-node1": "raspberrypi-node1", "raspberrypi-node1.local": "raspberrypi-node1", "10.77.0.11": "raspberrypi-node1",
		"spare-1.local": "spare-1",
	} {
		out := mustRun(t, b.Dir(), "openssh-client", "ssh-keygen", "-f", "known_hosts", "-F", host)
		words := strings.Fields(card(t, b, name).HostPublicKey())
		if strings.Count(out, "ssh-ed25519") != 1 || !strings.Contains(out, words[0]+" "+words[1]+"\n") {
			t.Errorf("ssh-keygen -F %s says %q", host, out)
		}
	}
	if out, err := run(t, b.Dir(), "openssh-client", "ssh-keygen", "-f", "known_hosts", "-F", "raspberrypi-node2"); err == nil {
		t.Errorf("a node that is none is found: %s", out)
	}
}

func TestKnownHosts_tellsAnImpostor(t *testing.T) {
	b, other := bundle(t, home(1, 0)), bundle(t, home(1, 0))
	check, err := knownhosts.New(filepath.Join(b.Dir(), "known_hosts"))
	if err != nil {
		t.Fatal(err)
	}
	addr := &net.TCPAddr{IP: net.IPv4(192, 168, 1, 77), Port: 22} // by DHCP: in no file
	for _, tc := range []struct {
		of *Bundle
		ok bool
	}{{b, true}, {other, false}} {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(card(t, tc.of, "raspberrypi-node0").HostPublicKey()))
		if err != nil {
			t.Fatal(err)
		}
		if err := check("raspberrypi-node0.local:22", addr, key); (err == nil) != tc.ok {
			t.Errorf("check says %v", err)
		}
	}
}

func TestKnownHosts_followsAddresses(t *testing.T) {
	want := home(2, 0)
	b := bundle(t, want)
	want.Nodes[1].ClusterAddress = want.Nodes[1].ClusterAddress.Next()
	_, paths, err := Init(b.Dir(), want)
	if err != nil || len(paths) != 1 || paths[0] != "known_hosts" {
		t.Fatalf("wrote %v, %v", paths, err)
	}
	mustRun(t, b.Dir(), "openssh-client", "ssh-keygen", "-f", "known_hosts", "-F", "10.77.0.12")
}
