package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"picluster/internal/host"
	"picluster/internal/step"
)

// buffer may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// outputs is a Reporter with all of its places.
type outputs struct {
	*Reporter
	root, leds      string
	console, logged buffer
}

func start(t *testing.T, events ...step.Event) *outputs {
	t.Helper()
	o := &outputs{root: t.TempDir(), leds: lamp(t, "ACT")}
	o.Reporter = New(Options{Config: worker(), Events: events, Boot: "b1", Host: host.Local{Root: o.root}, Card: "/boot/firmware",
		LEDs: o.leds, Console: &o.console, Log: slog.New(slog.NewTextHandler(&o.logged, nil)),
		Addresses: func() []netip.Addr { return addresses }})
	return o
}

func (o *outputs) close(t *testing.T) {
	t.Helper()
	if err := o.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func (o *outputs) file(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(o.root, "boot/firmware", name))
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

// get asks the page without a network.
func (o *outputs) get(path string) string {
	w := httptest.NewRecorder()
	newPage(o.Status, o.redact, o.ring).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Body.String()
}

func TestReporter_saysItEverywhere(t *testing.T) {
	o := start(t, at(0, "boot/kernel command line", 40, step.Done, ""))
	o.Observe(at(1, "disk/root", 5, step.Applying, "the root partition is small"))
	o.Observe(at(2, "disk/root", 5, step.Failed, "resize2fs: something new"))
	o.Retry(time.Date(2026, 11, 25, 8, 30, 0, 0, time.UTC))
	o.close(t)
	for name, output := range map[string]string{"STATUS.txt": o.file(t, statusFile), "the page": o.get("/"), "status.json": o.get("/status.json"), "the log": o.file(t, logFile),
		"/log": o.get("/log"), "the console": o.console.String()} {
		if !strings.Contains(output, "resize2fs: something new") {
			t.Errorf("%s does not say what is wrong:\n%s", name, output)
		}
	}
	if got := o.file(t, statusFile); !strings.Contains(got, "Next try, by itself: Wed 25 Nov 2026, 09:30 CET\r\n") {
		t.Errorf("STATUS.txt does not say when it tries again:\n%s", got)
	}
	log := o.file(t, logFile)
	for _, line := range []string{
		"2026-11-25 08:00:00Z  boot/kernel command line 40/40       done\n",
		"2026-11-25 08:01:00Z  disk/root 5/40                       applying  the root partition is small\n",
	} {
		if !strings.Contains(log, line) {
			t.Errorf("the log lacks %q:\n%s", line, log)
		}
	}
	if got := read(filepath.Join(o.leds, "ACT"), "trigger"); got != "mmc0" {
		t.Errorf("the lamp's trigger is %q afterwards", got)
	}
	if s := o.logged.String(); s != "" {
		t.Errorf("it complains:\n%s", s)
	}
}

func TestReporter_forgetsTheRetryWithTheNextTry(t *testing.T) {
	o := start(t)
	defer o.close(t)
	o.Observe(at(2, "disk/root", 5, step.Failed, "x"))
	o.Retry(time.Date(2026, 11, 25, 8, 30, 0, 0, time.UTC))
	if o.Status().RetryAt.IsZero() {
		t.Error("the retry is not said")
	}
	o.Observe(at(3, "preconditions/board", 1, step.Unchanged, ""))
	o.Observe(at(4, "disk/root", 5, step.Failed, "x"))
	if s := o.Status(); !s.RetryAt.IsZero() || s.Since.Minute() != 2 {
		t.Errorf("a retry is said that is over, at %v; since %v", s.RetryAt, s.Since)
	}
}

// No secret of node.json comes out anywhere, however a program quotes it, nor the
// name of a network to those who have no card.
func TestReporter_showsNoSecret(t *testing.T) {
	c := worker()
	o := start(t)
	var texts []string
	for _, s := range secretLines(c) {
		escaped, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, s, strconv.Quote(s), string(escaped), strings.ToUpper(s), "a\x1b[31m"+s+"\x1b[0m", "psk="+strings.NewReplacer(`\`, `\\`, " ", `\s`).Replace(s))
	}
	texts = append(texts, c.SSH.HostKey.Reveal(), c.System.Files[0].Content.Reveal(), fmt.Sprintf("%q", c.SSH.HostKey.Reveal()))
	for _, text := range texts {
		o.Observe(at(1, "packages/"+text, 30, step.Warned, text))
		o.Observe(at(2, "network/connection", 10, step.Failed, fmt.Sprintf("connect to %q with %s: no", c.Network.WiFi[0].SSID, text)))
		for _, path := range []string{"/", "/status.json"} {
			for _, body := range []string{o.get(path), strings.ToLower(o.get(path))} {
				if strings.Contains(body, "planted") || strings.Contains(body, "Müller") {
					t.Fatalf("%s shows %q:\n%s", path, text, body)
				}
			}
		}
		if got := Sentences(o.Status()) + o.Status().Line(); strings.Contains(strings.ToLower(got), "planted") {
			t.Fatalf("the sentences show %q:\n%s", text, got)
		}
	}
	o.close(t)
	for name, output := range map[string]string{"STATUS.txt": o.file(t, statusFile), "the log": o.file(t, logFile), "/log": o.get("/log"),
		"the console": o.console.String(), "our own log": o.logged.String()} {
		if i := strings.Index(strings.ToLower(output), "planted"); i >= 0 {
			t.Errorf("%s shows a secret: …%q…", name, output[max(0, i-80):min(len(output), i+80)])
		}
	}
	if log := o.get("/log"); strings.Contains(log, "Müller") || !strings.Contains(log, "•••") {
		t.Errorf("the log shows the network's name, or nothing:\n%.500s", log)
	}
}

func TestRedactor_leavesOrdinaryWordsAlone(t *testing.T) {
	r := newRedactor(worker())
	for text, want := range map[string]string{
		"home of the cluster home is /home/alice": "home of the cluster home is /home/alice",
		`network "home" is not there`:             `network "•••" is not there`,
		"ssid=home":                               "ssid=•••",
		"Müller's Netz":                           "•••",
		"}":                                       "}",
	} {
		if got := r.public(r.text(text)); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// The run must not wait for a card that hangs.
func TestReporter_doesNotWaitForTheCard(t *testing.T) {
	hang, writing := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h := host.Local{Root: t.TempDir(), Fault: func(string, string) {
		once.Do(func() { close(writing) })
		<-hang
	}}
	r := New(Options{Config: worker(), Host: h, Card: "/boot", Addresses: func() []netip.Addr { return nil }})
	<-writing
	for i := range 1000 {
		r.Observe(at(1, "packages/a", 30, step.Waiting, strconv.Itoa(i)))
	}
	if got := r.Status().Text; got != "999" {
		t.Errorf("meanwhile the status is %q", got)
	}
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the reboot is due"))
	if err := r.Close(ended); err == nil || err.Error() != "write last status: the reboot is due" {
		t.Errorf("close: %v", err)
	}
	close(hang)
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReporter_listensAndSaysIfItCannot(t *testing.T) {
	taken, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var said buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	r := New(Options{Config: worker(), Listen: taken.Addr().String(), Log: log})
	if err := r.Close(t.Context()); err != nil || !strings.Contains(said.String(), "address already in use") {
		t.Errorf("close: %v; it says\n%s", err, said.String())
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	r = New(Options{Config: worker(), Listen: taken.Addr().String(), Log: log})
	page := url.URL{Scheme: "http", Host: taken.Addr().String(), Path: "/status.json"}
	response, err := http.Get(page.String())
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if response.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"node": "raspberrypi-node1"`)) {
		t.Errorf("%s\n%s", response.Status, body)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := http.Get(page.String()); err == nil {
		t.Error("after the end the page is still there")
	}
}
