package host_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"picluster/internal/host"
	"picluster/internal/host/hosttest"
)

// stranger is a key that nobody knows.
func stranger(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func TestDial_refusesWhoIsNotKnown(t *testing.T) {
	t.Parallel()
	server := hosttest.StartSSHD(t)
	address := server.Login.Address
	for name, test := range map[string]struct {
		change func(*host.SSH)
		want   string
	}{
		"another key": {func(c *host.SSH) { c.KnownHosts = server.KnownHosts("", stranger(t).PublicKey()) },
			"check host key: " + address + " has another key than in "},
		"another key of a kind that it has": {func(c *host.SSH) { c.KnownHosts = server.KnownHosts("pi", stranger(t).PublicKey()); c.KnownAs = "pi" },
			"check host key: pi has another key than in "},
		"another machine's entry": {func(c *host.SSH) { c.KnownHosts = server.KnownHosts("other", server.HostKeys[0]) },
			"check host key: " + address + " is not in "},
		"known by address, asked for by name": {func(c *host.SSH) { c.KnownAs = "pi" },
			"check host key: pi is not in "},
		"revoked": {func(c *host.SSH) { revoke(t, c.KnownHosts) },
			"check host key: the key of " + address + " is revoked in "},
		"no file": {func(c *host.SSH) { c.KnownHosts += ".gone" },
			"read known hosts: "},
		"another login key": {func(c *host.SSH) { c.Keys = []ssh.Signer{stranger(t)} },
			"ssh: unable to authenticate"},
	} {
		t.Run(name, func(t *testing.T) {
			login := server.Login
			login.KnownHosts = server.KnownHosts("", server.HostKeys[0])
			test.change(&login)
			remote, err := host.Dial(t.Context(), login)
			if err == nil {
				remote.Close()
				t.Fatal("it was let in")
			}
			if text := err.Error(); !strings.HasPrefix(text, "dial loopback: ") || !strings.Contains(text, test.want) {
				t.Errorf("got error %q, want %q in it", text, test.want)
			}
		})
	}
}

// revoke adds an entry that takes the file's own back, sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
func revoke(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, slices.Concat(data, []byte("@revoked "), data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A server has three keys, and shows the one that it is known by.
func TestDial_knowsAMachineByAnyOfItsKeys(t *testing.T) {
	t.Parallel()
	server := hosttest.StartSSHD(t)
	for _, key := range server.HostKeys {
		for _, name := range []string{"", "pi"} {
			login := server.Login
			login.KnownHosts, login.KnownAs = server.KnownHosts(name, key), name
			remote, err := host.Dial(t.Context(), login)
			if err != nil {
				t.Errorf("%s as %q: %v", key.Type(), name, err)
				continue
			}
			if _, err := remote.Run(t.Context(), host.Cmd{Args: []string{"true"}}); err != nil {
				t.Errorf("%s as %q: %v", key.Type(), name, err)
			}
			remote.Close()
		}
	}
}

func TestDial_triesKeysInOrder(t *testing.T) {
	t.Parallel()
	login := hosttest.StartSSHD(t).Login
	login.Keys = append([]ssh.Signer{stranger(t)}, login.Keys...)
	dial(t, login)
}

// A machine that takes the connection and says nothing is waited for only as long
// as the context lasts.
func TestDial_endsWithTheContext(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	server := hosttest.StartSSHD(t)
	login := server.Login
	login.Address, login.KnownHosts, login.KnownAs = listener.Addr().String(), server.KnownHosts("pi", server.HostKeys[0]), "pi"
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.Read(make([]byte, 1)) // the client has said its version
		cancel(why)
		conn.Read(make([]byte, 1000)) // it hangs up
	}()
	if _, err := host.Dial(ctx, login); !errors.Is(err, why) {
		t.Errorf("got error %v, want %v", err, why)
	}
	login.Address = "127.0.0.1:1"
	if _, err := host.Dial(t.Context(), login); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got error %v, want %v", err, syscall.ECONNREFUSED)
	}
}

// lost runs a program that waits for its input, does the harm once it has begun, and
// wants an error that says so.
func lost(t *testing.T, login host.SSH, harm func(*host.Remote)) {
	t.Helper()
	remote := dial(t, login)
	ready := filepath.Join(t.TempDir(), "ready")
	input, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { feed.Close(); input.Close() })
	ended := make(chan error, 1)
	go func() {
		_, err := remote.Run(t.Context(), host.Cmd{Args: []string{"sh", "-c", `: >"$1"; cat`, "sh", ready}, Stdin: input})
		ended <- err
	}()
	for {
		if _, err := os.Stat(ready); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	harm(remote)
	var exit *host.ExitError
	if err := <-ended; err == nil || errors.As(err, &exit) || !strings.Contains(err.Error(), "connection lost") {
		t.Errorf("got error %v, want one of a lost connection", err)
	}
	if _, err := remote.Run(t.Context(), host.Cmd{Args: []string{"true"}}); err == nil {
		t.Error("a lost connection runs programs")
	}
	if _, err := remote.ReadFile(t.Context(), "/etc/hostname"); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("got error %v of a file", err)
	}
}

func TestRemote_noticesALostConnection(t *testing.T) {
	t.Parallel()
	server := hosttest.StartSSHD(t)
	lost(t, server.Login, func(*host.Remote) { server.Signal(syscall.SIGKILL) })
}

func TestRemote_endsWithClose(t *testing.T) {
	t.Parallel()
	lost(t, hosttest.StartSSHD(t).Login, func(r *host.Remote) { r.Close() })
}

func TestRemote_noticesSilence(t *testing.T) {
	t.Parallel()
	server := hosttest.StartSSHD(t)
	login := server.Login
	login.KeepAlive = time.Second
	lost(t, login, func(*host.Remote) { server.Signal(syscall.SIGSTOP) })
}

// A server can allow fewer sessions than there is work for, or none.
func TestRemote_makesDoWithFewSessions(t *testing.T) {
	t.Parallel()
	remote := dial(t, hosttest.StartSSHD(t, "MaxSessions 2").Login)
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			if _, err := remote.Run(t.Context(), host.Cmd{Args: []string{"true"}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	none := dial(t, hosttest.StartSSHD(t, "MaxSessions 0").Login)
	if _, err := none.Run(t.Context(), host.Cmd{Args: []string{"true"}}); err == nil || !strings.HasPrefix(err.Error(), "run true: open session: ") {
		t.Errorf("got error %v", err)
	}
}

// What arrives of a file before the connection is lost never becomes the file.
func TestRemote_lostConnectionKeepsTheOldFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	server := hosttest.StartSSHD(t)
	remote := dial(t, server.Login)
	written := make(chan error, 1)
	go func() {
		written <- remote.Write(t.Context(), path, host.File{Data: bytes.Repeat([]byte("new"), 100<<20/3)})
	}()
	tmp := filepath.Join(filepath.Dir(path), ".file.tmp")
	for {
		if info, err := os.Stat(tmp); err == nil && info.Size() > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	server.Signal(syscall.SIGKILL)
	if err := <-written; err == nil {
		t.Error("it was written to the end")
	}
	for { // what runs there ends a little later, and tidies up
		if _, err := os.Stat(tmp); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "old" {
		t.Errorf("the file has %.20q: %v", data, err)
	}
}
