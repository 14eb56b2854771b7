package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"picluster/internal/host"
	"picluster/internal/host/hosttest"
)

func TestLocal_staysWithinItsRoot(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "file"), []byte("outside"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := hosttest.NewMachine(t)
	m.Put("/run/file", "inside")
	for path, target := range map[string]string{
		"/var/run": "/run", "/up": "../../../../../../run", "/etc/run": "../run", "/out": outside, "/chain": "var/run",
	} {
		if err := m.Write(t.Context(), path, host.File{Target: target}); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"/var/run", "/up", "/etc/run", "/chain"} {
		if got := m.Text(dir + "/file"); got != "inside" {
			t.Errorf("%s/file has %q", dir, got)
		}
	}
	if _, err := m.ReadFile(t.Context(), "/out/file"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v", err)
	}
	// What a link names is made inside, as it would be after chroot.
	if err := m.Write(t.Context(), filepath.Join(outside, "file"), host.File{Data: []byte("inside too")}); err != nil {
		t.Fatal(err)
	}
	if got := m.Text("/out/file"); got != "inside too" {
		t.Errorf("/out/file has %q", got)
	}
	if err := m.Remove(t.Context(), "/out/file"); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(filepath.Join(outside, "file")); err != nil || string(data) != "outside" {
		t.Errorf("the file outside has %q: %v", data, err)
	}
}

// A test must not reach the developer's own programs by mistake.
func TestLocal_runsNothingOfTheMachineForAnotherRoot(t *testing.T) {
	t.Parallel()
	root, bin := t.TempDir(), t.TempDir()
	for name, test := range map[string]struct {
		l    host.Local
		args []string
	}{
		"no programs":              {host.Local{Root: root}, []string{"true"}},
		"a program by its path":    {host.Local{Root: root, Commands: bin}, []string{"/usr/bin/true"}},
		"a program of the PATH":    {host.Local{Root: root, Commands: bin}, []string{"true"}},
		"a program not there":      {host.Local{Root: root, Chroot: true}, []string{"true"}},
		"a path not there":         {host.Local{Root: root, Chroot: true}, []string{"/usr/bin/true"}},
		"commands for no root":     {host.Local{Commands: bin}, []string{"true"}},
		"commands in a chroot":     {host.Local{Root: root, Commands: bin, Chroot: true}, []string{"true"}},
		"a root that is not there": {host.Local{Root: root + "/gone", Chroot: true}, []string{"/usr/bin/true"}},
	} {
		if _, err := test.l.Run(t.Context(), host.Cmd{Args: test.args}); err == nil {
			t.Errorf("%s: it ran", name)
		}
	}
}

func TestLocal_findsAChrootsProgramsByItsLinks(t *testing.T) {
	t.Parallel()
	l := host.Local{Root: hosttest.NewTree(t, "sh"), Chroot: true}
	if err := l.Write(t.Context(), "/bin", host.File{Target: "usr/bin"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Write(t.Context(), "/usr/local/bin/shell", host.File{Target: "/usr/bin/sh"}); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"sh", "/bin/sh", "shell"} {
		out, err := l.Run(t.Context(), host.Cmd{Args: []string{program, "-c", "echo /*"}})
		if got := string(out); err != nil || got != "/bin /dev /lib /lib64 /tmp /usr\n" && !strings.HasPrefix(got, "/bin /dev /") {
			t.Errorf("%s: the root has %q: %v", program, out, err)
		}
	}
}

// The host's own environment, proxies and locale and all, is no program's affair.
func TestLocal_passesNothingOfItsOwnEnvironment(t *testing.T) {
	t.Setenv("PICLUSTER_TEST", "leaked")
	t.Setenv("LANG", "de_DE.UTF-8")
	const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	out, err := host.Local{}.Run(t.Context(), host.Cmd{Args: []string{"env"}, Env: []string{"A=b"}})
	if want := "HOME=/root\n" + path + "\nLC_ALL=C.UTF-8\nA=b\n"; err != nil || string(out) != want {
		t.Errorf("got %q, want %q: %v", out, want, err)
	}
}

func TestRun_knowsWhatIsNoProgram(t *testing.T) {
	t.Parallel()
	path, garbage := filepath.Join(t.TempDir(), "file"), filepath.Join(t.TempDir(), "garbage")
	for name, mode := range map[string]fs.FileMode{path: 0o644, garbage: 0o755} {
		if err := os.WriteFile(name, []byte("\x7fELF\x00\x00"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range []host.Host{host.Local{}, dial(t, hosttest.StartSSHD(t).Login)} {
		for program, want := range map[string]int{path: 126, garbage: 126, "/tmp": 126, path + ".gone": 127} {
			if _, ssh := h.(*host.Remote); ssh && program == garbage {
				continue // env(1) takes it for a shell script
			}
			_, err := h.Run(t.Context(), host.Cmd{Args: []string{program}})
			var exit *host.ExitError
			if !errors.As(err, &exit) || exit.Code != want {
				t.Errorf("%s on %s: got error %v, want exit status %d", program, h, err, want)
			}
		}
	}
}

func TestExitError_isShort(t *testing.T) {
	for _, test := range []struct {
		e    host.ExitError
		want string
	}{
		{host.ExitError{Args: []string{"systemctl", "start", "x"}, Code: 5, Stderr: []byte("first\nUnit x not found.\n\n")},
			"run systemctl start x: exit status 5: Unit x not found."},
		{host.ExitError{Args: []string{"gone"}, Code: 127}, "run gone: program not found"},
		{host.ExitError{Args: []string{"/tmp"}, Code: 126}, "run /tmp: not a program"},
		{host.ExitError{Args: []string{"sh"}, Code: -1, Signal: "KILL"}, "run sh: killed by signal KILL"},
		{host.ExitError{Args: []string{"sh", "-c", "one\ntwo"}, Code: 1}, "run sh -c 'one…: exit status 1"},
		{host.ExitError{Args: []string{"echo", strings.Repeat("ä", 100)}, Code: 1},
			"run echo '" + strings.Repeat("ä", 74) + "…: exit status 1"},
	} {
		if got := test.e.Error(); got != test.want {
			t.Errorf("got  %q\nwant %q", got, test.want)
		}
	}
}

func TestFile_neverShowsItsContent(t *testing.T) {
	f := host.File{Mode: 0o600, UID: 1, GID: 2, Data: []byte("hunter2")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, f); got != "file 0600 1:2, 7 bytes" {
			t.Errorf("%s: %s", verb, got)
		}
	}
	l := host.Local{Root: t.TempDir()}
	if err := l.Write(t.Context(), "/f", f); err != nil {
		t.Fatal(err)
	}
	f.Data = []byte("hunter3")
	drift, err := f.Drift(t.Context(), l, "/f")
	if want := "/f has other content"; drift != want || err != nil {
		t.Errorf("got %q, want %q: %v", drift, want, err)
	}
}

func TestFile_saysHowItDiffers(t *testing.T) {
	t.Parallel()
	l := host.Local{Root: t.TempDir()}
	for path, f := range map[string]host.File{
		"/file": {Data: []byte("x"), Mode: 0o640, UID: 1}, "/dir": {Mode: fs.ModeDir}, "/link": {Target: "/file"},
	} {
		if err := l.Write(t.Context(), path, f); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		path string
		f    host.File
		want string
	}{
		{"/file", host.File{Data: []byte("x"), Mode: 0o640, UID: 1}, ""},
		{"/dir", host.File{Mode: fs.ModeDir | 0o755}, ""},
		{"/link", host.File{Target: "/file"}, ""},
		{"/gone", host.File{}, "/gone is missing"},
		{"/file", host.File{Data: []byte("xy"), Mode: 0o640, UID: 1}, "/file has other content"},
		{"/file", host.File{Data: []byte("y"), Mode: 0o640, UID: 1}, "/file has other content"},
		{"/file", host.File{Data: []byte("x"), Mode: 0o640}, "/file belongs to 1:0, want 0:0"},
		{"/file", host.File{Data: []byte("x"), UID: 1}, "/file has mode 0640, want 0644"},
		{"/file", host.File{Mode: fs.ModeDir}, "/file is a regular file, want a directory"},
		{"/file", host.File{Target: "/x"}, "/file is a regular file, want a symbolic link"},
		{"/dir", host.File{}, "/dir is a directory, want a regular file"},
		{"/dir", host.File{Mode: fs.ModeDir | fs.ModeSticky | 0o777}, "/dir has mode 0755, want 1777"},
		{"/link", host.File{Data: []byte("x")}, "/link is a symbolic link, want a regular file"},
		{"/link", host.File{Target: "/x"}, "/link points to /file, want /x"},
	} {
		got, err := test.f.Drift(t.Context(), l, test.path)
		if got != test.want || err != nil {
			t.Errorf("%s as %v: got %q, want %q: %v", test.path, test.f, got, test.want, err)
		}
	}
}

func TestRun_logsCommandsButNoSecrets(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*slog.Logger) host.Host{
		"localhost": func(log *slog.Logger) host.Host { return host.Local{Log: log} },
		"loopback": func(log *slog.Logger) host.Host {
			login := hosttest.StartSSHD(t).Login
			login.Log = log
			return dial(t, login)
		},
	} {
		var text bytes.Buffer
		h := open(slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})))
		secret := func(script string) host.Cmd {
			return host.Cmd{Args: []string{"sh", "-c", script}, Stdin: strings.NewReader("hunter2"), Env: []string{"KEY=hunter2"}}
		}
		h.Run(t.Context(), secret("cat"))
		h.Run(t.Context(), secret("cat >&2; exit 7"))
		h.Run(t.Context(), secret("cat; kill -9 $$"))
		path := filepath.Join(t.TempDir(), "file")
		if err := h.Write(t.Context(), path, host.File{Data: []byte("hunter2")}); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		h.Run(ctx, secret("cat"))
		log := text.String()
		for _, want := range []string{"host=" + name, `command="sh -c cat" `, "exit=0", "exit=7", "signal=KILL"} {
			if !strings.Contains(log, want) {
				t.Errorf("%s: want %s in the log:\n%s", name, want, log)
			}
		}
		if strings.Contains(log, "hunter") {
			t.Errorf("%s: the log has a secret:\n%s", name, log)
		}
	}
}
