package reach

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"picluster/clusterctl/keys"
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
)

// project is a directory of secrets with what ssh needs of it, for a real sshd that
// plays pi-node0.
type project struct {
	*Login
	server *hosttest.SSHD
	dir    string
}

func newProject(t *testing.T) *project {
	t.Helper()
	p := &project{server: hosttest.StartSSHD(t), dir: t.TempDir()}
	p.write(t, "cluster.json", `{"id": "0b8e7c53-0000-4000-8000-000000000000"}`)
	p.know(t, "pi-node0", p.server.HostKeys[0])
	k, err := keys.Open(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	p.Login = &Login{Finder: &Finder{At: map[string]string{"pi-node0": p.server.Login.Address}}, Keys: k, User: "root"}
	return p
}

func (p *project) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// know makes known_hosts as imagebuilder does.
func (p *project) know(t *testing.T, name string, key ssh.PublicKey) {
	t.Helper()
	p.write(t, "known_hosts", name+","+name+".local "+string(ssh.MarshalAuthorizedKey(key)))
}

// operatorKey gives the operator a key that the server lets in, behind a passphrase
// where one is given, and returns it.
func (p *project) operatorKey(t *testing.T, passphrase string) ed25519.PrivateKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "operator")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "operator", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "operator/id_ed25519", string(pem.EncodeToMemory(block)))
	login, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	p.server.Admit(login)
	return private
}

func (p *project) run(t *testing.T, knownAs string) error {
	t.Helper()
	remote, err := p.Open(t.Context(), "pi-node0", knownAs)
	if err != nil {
		return err
	}
	defer remote.Close()
	_, err = remote.Run(t.Context(), host.Cmd{Args: []string{"true"}})
	return err
}

func TestLogin_withTheOperatorsKey(t *testing.T) {
	p := newProject(t)
	p.operatorKey(t, "")
	if err := p.run(t, ""); err != nil {
		t.Error(err)
	}
}

// A node that was a spare is known by the name that its card has.
func TestLogin_knowsASpareByItsCard(t *testing.T) {
	p := newProject(t)
	p.operatorKey(t, "")
	p.know(t, "spare-1", p.server.HostKeys[0])
	if err := p.run(t, "spare-1"); err != nil {
		t.Error(err)
	}
	if err := p.run(t, ""); err == nil || !strings.Contains(err.Error(), "pi-node0 is not in ") {
		t.Errorf("by its own name: %v", err)
	}
}

func TestLogin_refusesAnotherHostKey(t *testing.T) {
	p := newProject(t)
	p.operatorKey(t, "")
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(other)
	if err != nil {
		t.Fatal(err)
	}
	p.know(t, "pi-node0", signer.PublicKey())
	if err := p.run(t, ""); err == nil || !strings.Contains(err.Error(), "check host key: pi-node0 has another key than in ") {
		t.Errorf("got error %v", err)
	}
}

// A key behind a passphrase is used through an agent, and never asked for.
func TestLogin_withAPassphraseNeedsTheAgent(t *testing.T) {
	p := newProject(t)
	key := p.operatorKey(t, "correct horse")
	var noKey *NoKeyError
	if err := p.run(t, ""); !errors.As(err, &noKey) || !strings.Contains(noKey.Why.Error(), "ssh-add") {
		t.Errorf("without an agent: %v", err)
	}
	p.Agent = startAgent(t, key)
	if err := p.run(t, ""); err != nil {
		t.Errorf("with the agent: %v", err)
	}
	p.Agent = filepath.Join(t.TempDir(), "gone")
	if err := p.run(t, ""); !errors.As(err, &noKey) || !strings.Contains(noKey.Why.Error(), "ask SSH agent") {
		t.Errorf("with an agent that is gone: %v", err)
	}
}

// startAgent is an agent that holds a key, at a socket of its own.
func startAgent(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); agent.ServeAgent(ring, conn) }()
		}
	}()
	return socket
}

func TestLogin_ofANodeThatIsOff(t *testing.T) {
	p := newProject(t)
	p.operatorKey(t, "")
	p.Finder.At["pi-node0"] = "127.0.0.1:1"
	var lost *NotFoundError
	if err := p.run(t, ""); !errors.As(err, &lost) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got error %v", err)
	}
	p.Finder.At = nil
	p.Finder.Lookup = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("nobody answers") }
	if err := p.run(t, ""); !errors.As(err, &lost) || !strings.Contains(err.Error(), "nobody answers") {
		t.Errorf("got error %v", err)
	}
}

// A machine that takes the connection and says nothing is left when the context ends.
func TestLogin_ofASilentMachine(t *testing.T) {
	p := newProject(t)
	p.operatorKey(t, "")
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p.Finder.At["pi-node0"] = silent.Addr().String()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := p.Open(ctx, "pi-node0", ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v", err)
	}
}
