package host_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"picluster/internal/host"
	"picluster/internal/host/hosttest"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests need root: they change owners and use chroot")
		os.Exit(1)
	}
	syscall.Umask(0o027) // an odd one, which must not show anywhere
	host.SetGrace(2 * time.Second)
	os.Exit(m.Run())
}

func TestLocal_conforms(t *testing.T) {
	t.Parallel()
	hosttest.Conform(t, func(*testing.T) host.Host { return host.Local{} })
}

func TestLocal_conformsInAnotherRoot(t *testing.T) {
	t.Parallel()
	hosttest.Conform(t, func(t *testing.T) host.Host {
		m := hosttest.NewMachine(t)
		m.Real("sh")
		return m.Local // Machine would fail the test for an unknown program
	})
}

func TestLocal_conformsInAChroot(t *testing.T) {
	t.Parallel()
	root := hosttest.NewTree(t, "sh", "cat", "chmod", "chown", "ln", "mkdir", "mkfifo", "rm", "sleep", "touch")
	hosttest.Conform(t, func(*testing.T) host.Host { return host.Local{Root: root, Chroot: true} })
}

// All of it over one connection, as on a real machine.
func TestRemote_conforms(t *testing.T) {
	t.Parallel()
	remote := dial(t, hosttest.StartSSHD(t).Login)
	hosttest.Conform(t, func(*testing.T) host.Host { return remote })
}

// Files are scripts to a Remote, so that programs are all that sudo can change.
func TestRemote_conformsThroughSudo(t *testing.T) {
	t.Parallel()
	login := hosttest.StartSSHD(t).Login
	login.Sudo = true
	remote := dial(t, login)
	hosttest.ConformRun(t, func(*testing.T) host.Host { return remote })
}

func dial(t *testing.T, login host.SSH) *host.Remote {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	remote, err := host.Dial(ctx, login)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remote.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return remote
}

// denied makes a directory that only root may enter, with a file in it.
func denied(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "denied")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// Whoever is turned away at the directory above proves nothing.
	for at := filepath.Dir(dir); at != os.TempDir(); at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const nobody = 65534

func TestLocal_saysWhatIsDenied(t *testing.T) {
	dir := denied(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The raw call is for this thread only, which ends with the goroutine.
		runtime.LockOSThread()
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			t.Errorf("become nobody: %v", errno)
			return
		}
		hosttest.ConformDenied(t, host.Local{}, dir)
	}()
	<-done
	if os.Geteuid() != 0 {
		t.Fatal("the whole process is nobody now")
	}
}

func TestRemote_saysWhatIsDenied(t *testing.T) {
	dir := denied(t)
	server := hosttest.StartSSHD(t, fmt.Sprintf("ForceCommand exec setpriv --reuid=%[1]d --regid=%[1]d --clear-groups sh -c \"$SSH_ORIGINAL_COMMAND\"", nobody))
	remote := dial(t, server.Login)
	id, err := remote.Run(t.Context(), host.Cmd{Args: []string{"id", "-u"}})
	if err != nil || strings.TrimSpace(string(id)) != fmt.Sprint(nobody) {
		t.Fatalf("the login is %q: %v", id, err)
	}
	hosttest.ConformDenied(t, remote, dir)
}
