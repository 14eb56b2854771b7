package hosttest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"picluster/internal/host"
)

// SSHD is OpenSSH's server on a port of the loopback device, with keys and a
// configuration of its own: nothing of the machine's is used. It lets root in.
type SSHD struct {
	Login    host.SSH        // gets in; the known_hosts file has the server's ed25519 key
	HostKeys []ssh.PublicKey // ed25519, ecdsa, rsa

	t        testing.TB
	dir      string
	listener net.Listener
	log      *os.File // what the servers say

	mu      sync.Mutex
	closed  bool
	servers map[*exec.Cmd]bool
}

// StartSSHD starts a server that ends with the test. Lines are more of its
// configuration, sshd_config(5).
func StartSSHD(t testing.TB, lines ...string) *SSHD {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &SSHD{t: t, dir: t.TempDir(), listener: listener, servers: map[*exec.Cmd]bool{}}
	t.Cleanup(s.close)
	if s.log, err = os.OpenFile(s.path("log"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		t.Fatal(err)
	}
	s.configure(lines)
	// sshd wants it even where it does not use it; Debian makes it with the service.
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	go s.serve()
	return s
}

func (s *SSHD) configure(lines []string) {
	s.t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		s.t.Fatal(err)
	}
	login, err := ssh.NewPublicKey(public)
	if err != nil {
		s.t.Fatal(err)
	}
	s.file("authorized_keys", string(ssh.MarshalAuthorizedKey(login)))
	config := append([]string{
		"AuthorizedKeysFile " + s.path("authorized_keys"),
		"AuthenticationMethods publickey",
		"PermitRootLogin prohibit-password",
		"StrictModes no", // who owns /tmp
		"UsePAM no",
		"SetEnv SHLVL=1", // bash sources ~/.bashrc below sshd unless it thinks it is an inner shell (its shell.c)
		"LogLevel ERROR",
	}, lines...)
	for _, name := range []string{"ed25519", "ecdsa", "rsa"} {
		s.HostKeys = append(s.HostKeys, s.hostKey(name))
		config = append(config, "HostKey "+s.path(name))
	}
	s.file("sshd_config", strings.Join(config, "\n")+"\n")
	s.Login = host.SSH{Name: "loopback", Address: s.listener.Addr().String(), User: "root",
		Keys: []ssh.Signer{signer}, KnownHosts: s.KnownHosts("", s.HostKeys[0])}
}

// hostKey makes a key and its file.
func (s *SSHD) hostKey(name string) ssh.PublicKey {
	s.t.Helper()
	var key any
	var err error
	switch name {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		var private ed25519.PrivateKey
		_, private, err = ed25519.GenerateKey(rand.Reader)
		key = private
	}
	if err != nil {
		s.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		s.t.Fatal(err)
	}
	s.file(name, string(pem.EncodeToMemory(block)))
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	return signer.PublicKey()
}

// Admit lets another key in.
func (s *SSHD) Admit(key ssh.PublicKey) {
	s.t.Helper()
	file, err := os.OpenFile(s.path("authorized_keys"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = file.Write(ssh.MarshalAuthorizedKey(key))
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// KnownHosts makes a file in which a machine of that name, "" for the server's
// address, has that key.
func (s *SSHD) KnownHosts(name string, key ssh.PublicKey) string {
	s.t.Helper()
	if name == "" {
		name = s.listener.Addr().String()
	}
	file, err := os.CreateTemp(s.dir, "known_hosts")
	if err != nil {
		s.t.Fatal(err)
	}
	defer file.Close()
	if _, err := fmt.Fprintln(file, knownhosts.Line([]string{name}, key)); err != nil {
		s.t.Fatal(err)
	}
	return file.Name()
}

func (s *SSHD) path(name string) string { return filepath.Join(s.dir, name) }

func (s *SSHD) file(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// serve starts a server for each connection, as inetd does. Listening ourselves,
// there is no port to be guessed and nothing to wait for.
func (s *SSHD) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		file, err := conn.(*net.TCPConn).File()
		conn.Close()
		if err != nil {
			s.t.Errorf("take connection: %v", err)
			return
		}
		s.start(file)
		file.Close()
	}
}

func (s *SSHD) start(conn *os.File) {
	cmd := exec.Command("/usr/sbin/sshd", "-i", "-e", "-f", s.path("sshd_config")) // wants its whole path
	cmd.Stdin, cmd.Stdout, cmd.Stderr = conn, conn, s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if err := cmd.Start(); err != nil {
		s.t.Errorf("start sshd: %v", err)
		return
	}
	s.servers[cmd] = true
}

// Signal sends a signal to the servers of all connections there are; KILL is a
// connection lost, STOP a machine that has gone silent.
func (s *SSHD) Signal(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for cmd := range s.servers {
		syscall.Kill(-cmd.Process.Pid, signal)
	}
}

func (s *SSHD) close() {
	s.listener.Close()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.Signal(syscall.SIGKILL)
	for cmd := range s.servers {
		cmd.Wait()
	}
	if log, err := os.ReadFile(s.path("log")); err == nil && s.t.Failed() {
		s.t.Logf("sshd says:\n%s", log)
	}
	s.log.Close()
}
