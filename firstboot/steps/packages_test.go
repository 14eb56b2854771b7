package steps_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"picluster/firstboot/steps"
	"picluster/internal/host"
	"picluster/internal/lab"
	"picluster/internal/step"
)

// repository is a small one of packages that dpkg-deb has made, served on loopback.
type repository struct {
	t    *testing.T
	dir  string
	addr string
	stop func()
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &repository{t: t, dir: t.TempDir(), addr: l.Addr().String()}
	l.Close()
	t.Cleanup(r.down)
	return r
}

// up serves the repository, at the same address each time.
func (r *repository) up() {
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		r.t.Error(err)
		return
	}
	files := http.FileServer(http.Dir(r.dir))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		// The time of a file is whole seconds to HTTP, and a test changes it twice
		// in one: what apt has already would be called unchanged.
		q.Header.Del("If-Modified-Since")
		q.Header.Del("If-Range")
		files.ServeHTTP(w, q)
	})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	r.stop = func() {
		server.Close()
		<-done
	}
}

func (r *repository) down() {
	if r.stop != nil {
		r.stop()
	}
	r.stop = nil
}

// add makes a package with one file and, if they are not empty, the named
// maintainer scripts.
func (r *repository) add(name string, scripts map[string]string) {
	r.t.Helper()
	tree := r.t.TempDir()
	for file, text := range map[string]string{
		"opt/" + name + "/version": "1\n",
		"DEBIAN/control": "Package: " + name + "\nVersion: 1\nArchitecture: all\nSection: misc\nPriority: optional\n" +
			"Maintainer: nobody <nobody@example.org>\nDescription: for a test\n",
	} {
		r.write(filepath.Join(tree, file), text, 0o644)
	}
	for script, text := range scripts {
		r.write(filepath.Join(tree, "DEBIAN", script), "#!/bin/sh\nset -e\n"+text+"\n", 0o755)
	}
	output(r.t, "dpkg-deb", "--root-owner-group", "--build", tree, filepath.Join(r.dir, name+".deb"))
	r.index()
}

func (r *repository) write(name, text string, mode os.FileMode) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		r.t.Fatal(err)
	}
}

// index writes Packages and Release as Debian's repository format has them, in its
// flat form.
func (r *repository) index() {
	r.t.Helper()
	debs, err := filepath.Glob(filepath.Join(r.dir, "*.deb"))
	if err != nil {
		r.t.Fatal(err)
	}
	var packages strings.Builder
	for _, deb := range debs {
		data, err := os.ReadFile(deb)
		if err != nil {
			r.t.Fatal(err)
		}
		fmt.Fprintf(&packages, "%s\nFilename: ./%s\nSize: %d\nSHA256: %x\n\n",
			strings.TrimSpace(output(r.t, "dpkg-deb", "--field", deb)), filepath.Base(deb), len(data), sha256.Sum256(data))
	}
	r.write(filepath.Join(r.dir, "Packages"), packages.String(), 0o644)
	r.write(filepath.Join(r.dir, "Release"), fmt.Sprintf("Date: %s\nSHA256:\n %x %d Packages\n",
		time.Now().UTC().Format(time.RFC1123), sha256.Sum256([]byte(packages.String())), packages.Len()), 0o644)
}

// debian is a real one to install in, whose only source is the repository.
func debian(t *testing.T, release string, r *repository) host.Local {
	t.Helper()
	dir := lab.AptRoot(t, release, memory())
	r.write(filepath.Join(dir, "etc/apt/sources.list"), "deb [trusted=yes] http://"+r.addr+"/ ./\n", 0o644)
	return host.Local{Root: dir, Chroot: true}
}

// install runs the step for packages and returns the events as text, without
// times. on is told of each.
func install(t *testing.T, h host.Host, on func(step.Event), names ...string) (events []string, err error) {
	t.Helper()
	r := &step.Recorder{Observers: []step.Observer{func(e step.Event) {
		events = append(events, strings.TrimSpace(fmt.Sprintf("%s %s: %s", e.Kind, e.Step, e.Text)))
		if on != nil {
			on(e)
		}
	}}}
	stages := []steps.Stage{{Name: "packages", Steps: []steps.Step{
		steps.Packages{Names: names, Limit: 2 * time.Minute},
		step.Optional[host.Host](steps.UnknownPackages{Names: names}),
	}}}
	err = step.Run(t.Context(), h, stages, r)
	return events, err
}

func wantEvents(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got events\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func status(t *testing.T, h host.Host, name string) string {
	t.Helper()
	out, err := h.Run(t.Context(), host.Cmd{Args: []string{"dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", name}})
	var exit *host.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out)
}

func TestPackages_installs(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"bookworm", "trixie"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t)
			r.add("hello-pi", map[string]string{"postinst": "test \"$DEBIAN_FRONTEND\" = noninteractive"})
			r.add("hello+c++", nil)
			r.up()
			h := debian(t, release, r)
			events, err := install(t, h, nil, "hello-pi", "hello+c++")
			if err != nil {
				t.Fatal(err)
			}
			wantEvents(t, events, "applying packages: not installed: hello-pi, hello+c++", "done packages:", "unchanged unknown packages:")
			for _, name := range []string{"hello-pi", "hello+c++"} {
				if got := status(t, h, name); got != "ii " {
					t.Errorf("%s: dpkg has it as %q", name, got)
				}
			}
			r.down() // nobody is asked for what is there
			events, err = install(t, h, nil, "hello-pi", "hello+c++")
			if err != nil {
				t.Fatal(err)
			}
			wantEvents(t, events, "unchanged packages:", "unchanged unknown packages:")
		})
	}
}

// What is misspelt is named, keeps nothing else from being installed, and is
// neither taken for a regular expression nor for a package to remove.
func TestPackages_namesWhatDoesNotExist(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.add("hello-pi", nil)
	r.up()
	h := debian(t, "bookworm", r)
	names := []string{"vimm", "hello-pi", "hello.p", "tar-"}
	events, err := install(t, h, nil, names...)
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, events, "applying packages: not installed: vimm, hello-pi, hello.p, tar-", "done packages:",
		"applying unknown packages: packages vimm, hello.p, tar-: no repository has them",
		"warned unknown packages: packages vimm, hello.p, tar-: no repository has them")
	if got := status(t, h, "hello-pi") + status(t, h, "tar"); got != "ii ii " {
		t.Errorf("dpkg has hello-pi and tar as %q", got)
	}
	r.add("vimm", nil)
	if _, err := install(t, h, nil, "vimm", "hello-pi", "xyz"); err != nil {
		t.Fatal(err)
	}
	if got := status(t, h, "vimm"); got != "ii " {
		t.Errorf("once the repository has it and something else is missing, dpkg has vimm as %q", got)
	}
}

func TestPackages_waitsForTheRepository(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"bookworm", "trixie"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t)
			r.add("hello-pi", nil)
			h := debian(t, release, r)
			waited := ""
			events, err := install(t, h, func(e step.Event) {
				if e.Kind == step.Waiting && waited == "" {
					waited = e.Text
					r.up()
				}
			}, "hello-pi")
			if err != nil {
				t.Fatalf("%v\n%s", err, strings.Join(events, "\n"))
			}
			if !strings.HasPrefix(waited, "packages: "+r.addr+" is not reached: ") {
				t.Errorf("while the repository was down it said %q", waited)
			}
			if got := status(t, h, "hello-pi"); got != "ii " {
				t.Errorf("dpkg has it as %q", got)
			}
		})
	}
}

func TestPackages_waitsForWhoeverHasTheLock(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock", "var/lib/apt/lists/lock", "var/cache/apt/archives/lock"} {
		t.Run(filepath.Base(filepath.Dir(name))+" "+filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			r := newRepository(t)
			r.add("hello-pi", nil)
			r.up()
			h := debian(t, "bookworm", r)
			lock, err := os.OpenFile(filepath.Join(h.Root, name), os.O_RDWR|os.O_CREATE, 0o640)
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
			if err := unix.FcntlFlock(lock.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
				t.Fatal(err)
			}
			waited := ""
			events, err := install(t, h, func(e step.Event) {
				if e.Kind == step.Waiting && waited == "" {
					waited = e.Text
					lock.Close()
				}
			}, "hello-pi")
			if err != nil {
				t.Fatalf("%v\n%s", err, strings.Join(events, "\n"))
			}
			if !strings.HasPrefix(waited, "packages: another program is installing packages") {
				t.Errorf("while the lock was held it said %q", waited)
			}
		})
	}
}

// The power goes while dpkg runs a script of the package: before its files are
// there, or after. The next run finishes it.
func TestPackages_finishesWhatWasCutOff(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"preinst", "postinst"} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t)
			r.add("hello-pi", map[string]string{script: "test ! -e /crash || kill -KILL $PPID"}) // dpkg
			r.up()
			h := debian(t, "bookworm", r)
			r.write(filepath.Join(h.Root, "crash"), "", 0o644)
			if events, err := install(t, h, nil, "hello-pi"); err == nil {
				t.Fatalf("dpkg was killed, and there is no error:\n%s", strings.Join(events, "\n"))
			}
			if got := status(t, h, "hello-pi"); got == "ii " {
				t.Fatal("dpkg was killed, and the package is installed")
			}
			if err := os.Remove(filepath.Join(h.Root, "crash")); err != nil {
				t.Fatal(err)
			}
			if events, err := install(t, h, nil, "hello-pi"); err != nil {
				t.Fatalf("%v\n%s", err, strings.Join(events, "\n"))
			}
			if got := status(t, h, "hello-pi"); got != "ii " {
				t.Errorf("dpkg has it as %q", got)
			}
			if out, err := h.Run(context.Background(), host.Cmd{Args: []string{"dpkg", "--audit"}}); err != nil || len(out) > 0 {
				t.Errorf("dpkg --audit: %v\n%s", err, out)
			}
		})
	}
}

func TestPackages_saysWhatIsWrong(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.add("hello-pi", map[string]string{"postinst": "echo hello-pi wants more >&2; exit 7"})
	r.up()
	h := debian(t, "bookworm", r)
	_, err := install(t, h, nil, "hello-pi")
	want := "packages/packages: install package hello-pi: installed hello-pi package post-installation script subprocess returned error exit status 7"
	if err == nil || err.Error() != want {
		t.Errorf("got error %v\nwant %s", err, want)
	}
}

func TestPackages_saysThatTheCardIsFull(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.add("hello-pi", nil)
	r.up()
	h := debian(t, "bookworm", r)
	full := filepath.Join(h.Root, "opt")
	if err := unix.Mount("tmpfs", full, "tmpfs", 0, "size=4k"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(full, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	r.write(filepath.Join(full, "all of it"), strings.Repeat("x", 4096), 0o644)
	_, err := install(t, h, nil, "hello-pi")
	if err == nil || !strings.Contains(err.Error(), "install packages: no space left on the card: ") {
		t.Errorf("got error %v", err)
	}
}
