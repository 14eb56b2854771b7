package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"picluster/internal/golden"
	"picluster/internal/node"
	"picluster/internal/secret"
	"picluster/internal/status"
	"picluster/internal/step"
)

var built = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// worker is a complete document. Everything secret in it has "planted" in its text.
func worker() *node.Config {
	return &node.Config{
		Version: node.Version, Name: "raspberrypi-node1", Role: node.Worker,
		Cluster: node.Cluster{Name: "home", ID: "6f9619ff"},
		Build:   node.Build{Time: built, Release: "trixie", Arch: "arm64"},
		System: node.System{Timezone: "Europe/Zurich", Locale: "C.UTF-8", Keymap: "ch", Swap: "zram", Packages: []string{"htop"},
			User: node.User{Name: "alice", AuthorizedKeys: []string{"ssh-ed25519 AAAA me"}, Sudo: "nopasswd", PasswordHash: secret.NewWire("$6$planted$hash")},
			Files: []node.File{{Path: "/etc/motd", Mode: 0o600, Owner: "root",
				Content: secret.NewWire("# a comment\nplanted-in-file\n\ttoken: planted-with-blanks\n")}}},
		Network: node.Network{Interface: "wlan0", Country: "CH", ClusterAddress: netip.MustParsePrefix("10.77.0.11/24"),
			WiFi: []node.WiFi{{SSID: []byte("Müller's Netz"), Security: "wpa2", Key: secret.NewWire(`planted "pass\phrase'`)},
				{SSID: []byte("home"), Security: "wpa2", Key: secret.NewWire("planted2")}}},
		SSH:        node.SSH{HostKey: secret.NewWire("-----BEGIN planted-----\nplanted-line-1\nplanted-line-2\n-----END planted-----\n"), HostPublicKey: "ssh-ed25519 AAAA"},
		Peers:      []node.Peer{{Name: "raspberrypi-node1", Address: netip.MustParseAddr("10.77.0.11")}},
		Kubernetes: &node.Kubernetes{Version: "v1.37.2"},
		Storage:    &node.Storage{LoopPath: "/var/gluster.img", LoopSize: 15 << 30},
		Join: &node.Join{CardID: "c1", Generation: 1, CA: "ca", Certificate: "cert", Key: secret.NewWire("planted-card-key"),
			ServerName: "join.6f9619ff", Server: netip.MustParseAddr("10.77.0.10"),
			Service: &node.JoinService{Key: secret.NewWire("planted-service-key"), DeviceCAKey: secret.NewWire("planted-device-key")}},
	}
}

// at is an event some minutes after a morning on which the clock is right.
func at(minute int, place string, n int, kind step.Kind, text string) step.Event {
	stage, name, _ := strings.Cut(place, "/")
	return step.Event{Time: time.Date(2026, 11, 25, 8, minute, 0, 0, time.UTC), Boot: "b1", Stage: stage, Step: name, N: n, Of: 40, Kind: kind, Text: text}
}

var addresses = []netip.Addr{netip.MustParseAddr("192.168.1.20"), netip.MustParseAddr("10.77.0.11"), netip.MustParseAddr("2001:db8::ba27:ebff:fe12:3456")}

func facts(c *node.Config, events ...step.Event) Facts {
	return Facts{Config: c, Summary: step.Summarize(events), Boot: "b1", Addresses: addresses, Now: time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)}
}

func (f Facts) sealed() Facts            { f.Sealed = true; return f }
func (f Facts) boot(id string) Facts     { f.Boot = id; return f }
func (f Facts) retry(t time.Time) Facts  { f.RetryAt = t; return f }
func (f Facts) error(err error) Facts    { f.Error = err; return f }
func (f Facts) before(t time.Time) Facts { f.Summary.Since, f.Summary.Time, f.Now = t, t, t; return f }

// cases are what a Pi says in every situation, by name: sentences and page.
func cases() map[string]Facts {
	c := worker()
	leftOut := at(1, "packages/htop", 38, step.Warned, "install htop: Unable to locate package htop")
	return map[string]Facts{
		"unreadable":   {Error: errors.New("read node.json: unexpected end of JSON input"), Now: built},
		"starting":     facts(c),
		"early done":   facts(c, at(1, "boot/kernel command line", 40, step.Done, "")),
		"early failed": facts(c, at(1, "install/release", 1, step.Failed, "the card was prepared for bookworm, but its system is trixie")),
		"crashed":      facts(c, at(1, "identity/hosts", 8, step.Applying, "/etc/hosts has other content")).error(errors.New("crashed: index out of range")),
		"running":      facts(c, at(1, "packages/htop", 38, step.Applying, "the package htop is not installed")),
		"waiting": facts(c, at(1, "time/clock", 12, step.Applying, "the clock is not synchronised"),
			at(3, "time/clock", 12, step.Waiting, "time synchronisation: no server has answered yet")),
		"wrong key": facts(c, at(1, "network/connection", 10, step.Applying, "wlan0 has no address"),
			at(2, "network/connection", 10, step.Failed, `connect to "Müller's Netz": Secrets were required, but not provided`)).retry(time.Date(2026, 11, 25, 8, 35, 0, 0, time.UTC)),
		"failed":         facts(c, leftOut, at(2, "kubernetes/kubelet", 30, step.Failed, "run kubeadm join: exit status 1: something new")).retry(time.Date(2026, 11, 25, 8, 35, 0, 0, time.UTC)),
		"rebooting":      facts(c, at(1, "disk/root", 5, step.Reboot, "the root partition is smaller than the card")),
		"after reboot":   facts(c, at(1, "disk/root", 5, step.Reboot, "the root partition is smaller than the card")).boot("b2"),
		"no clock":       facts(c, at(1, "network/connection", 10, step.Waiting, "an address from DHCP: no answer")).before(time.Unix(40, 0)),
		"done":           facts(c, at(9, "seal/seal", 40, step.Done, "")).sealed(),
		"done with less": facts(c, leftOut, at(9, "seal/seal", 40, step.Done, "")).sealed(),
	}
}

// of is a case's status as a release build makes it.
func of(f Facts) status.Status {
	s := Make(f)
	s.Agent = "v1"
	return s
}

// The words that people read are reviewed in a file, all situations side by side.
func TestSentences_sayWhatWhySinceWhenAndWhatToDo(t *testing.T) {
	var all bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(cases())) {
		s := of(cases()[name])
		fmt.Fprintf(&all, "-- %s --\n%s%s\n", name, Sentences(s), s.Line())
	}
	golden.Equal(t, "testdata/sentences.golden", all.Bytes())
}

func TestSentences_areShortAndEndWithWhatToDo(t *testing.T) {
	for name, f := range cases() {
		text := Sentences(Make(f))
		if n := strings.Count(text, "\n"); n > 20 || !strings.HasSuffix(text, "\n") {
			t.Errorf("%s: %d lines", name, n)
		}
		if i := strings.LastIndex(text, "\nWhat to do: "); i < 0 || strings.Contains(text[i:], "\nLog in") || strings.HasSuffix(text, ": \n") {
			t.Errorf("%s does not end with what to do:\n%s", name, text)
		}
	}
}

// A loop that warns each time must not push what to do off the screen.
func TestSentences_nameThreeThingsLeftOut(t *testing.T) {
	var events []step.Event
	for i := range 30 {
		events = append(events, at(1, fmt.Sprintf("packages/p%d", i), i+1, step.Warned, strings.Repeat("long ", 1000)))
	}
	events = append(events, at(1, "swap/zram", 20, step.Failed, strings.Repeat("long ", 1000)))
	text := Sentences(Make(facts(worker(), events...)))
	if strings.Count(text, "\nLeft out: ") != 4 || !strings.Contains(text, "\nLeft out: 27 more, see firstboot.log\n") {
		t.Errorf("got\n%s", text)
	}
	if strings.Count(text, "\n") > 24 {
		t.Errorf("it does not fit onto a screen:\n%s", text)
	}
	_, rest, _ := strings.Cut(text, "\n") // but for the first sentence, which programs read too
	for line := range strings.Lines(rest) {
		if n := len([]rune(line)) - 1; n > textWidth {
			t.Errorf("a line has %d columns: %s", n, line)
		}
	}
}

func TestStatus_asJSON(t *testing.T) {
	data, err := json.MarshalIndent(of(cases()["wrong key"]), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "testdata/status.json.golden", append(data, '\n'))
	var back status.Status
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if Sentences(back) != Sentences(of(cases()["wrong key"])) {
		t.Errorf("what is read back says\n%s", Sentences(back))
	}
}

func TestStatus_isOfThisBoot(t *testing.T) {
	working := at(1, "swap/zram", 20, step.Applying, "no swap")
	for name, tc := range map[string]struct {
		f    Facts
		want status.State
	}{
		"nothing yet":                 {facts(worker()), status.Starting},
		"another boot's run":          {facts(worker(), working).boot("b2"), status.Starting},
		"a boot that is not known":    {facts(worker(), working).boot(""), status.Running},
		"another boot's failure":      {facts(worker(), at(1, "swap/zram", 20, step.Failed, "x")).boot("b2"), status.Failed},
		"the first list's end":        {facts(worker(), at(1, "boot/kernel command line", 40, step.Unchanged, "")), status.Running},
		"the last list's end":         {facts(worker(), at(1, "seal/seal", 40, step.Done, "")), status.Done},
		"cut off after sealing":       {facts(worker(), at(1, "seal/seal", 40, step.Applying, "missing")).sealed(), status.Done},
		"sealed, boots later":         {facts(worker(), at(1, "seal/seal", 40, step.Done, "")).sealed().boot("b9"), status.Done},
		"sealed, and a failure after": {facts(worker(), at(1, "swap/zram", 20, step.Failed, "x")).sealed(), status.Failed},
	} {
		if got := Make(tc.f).State; got != tc.want {
			t.Errorf("%s: it is %s, want %s", name, got, tc.want)
		}
	}
}

func TestStatus_hasNoTimeOfAClockThatIsNotSet(t *testing.T) {
	before := at(0, "network/connection", 10, step.Waiting, "no address")
	for name, tc := range map[string]struct {
		event func(*step.Event)
		known bool
	}{
		"1970":                            {func(e *step.Event) { e.Time = time.Unix(12, 0) }, false},
		"the card's build and a minute":   {func(e *step.Event) { e.Time = built.Add(time.Minute) }, false},
		"the same once the clock was set": {func(e *step.Event) { e.Time, e.Stage = built.Add(time.Minute), "swap" }, true},
		"a clock with a battery":          {func(e *step.Event) { e.Time = built.Add(30 * time.Hour) }, true},
	} {
		e := before
		tc.event(&e)
		s := Make(facts(worker(), e))
		if got := strings.Contains(Sentences(s), "Since: "); got != tc.known || s.Since.IsZero() == tc.known {
			t.Errorf("%s: since is said: %v\n%s", name, got, Sentences(s))
		}
	}
}

func TestStages_areThoseThatTheNodeHas(t *testing.T) {
	c := worker()
	c.Kubernetes, c.Storage, c.System.Packages = nil, nil, nil
	var names []string
	for _, s := range Make(facts(c, at(1, "time/clock", 12, step.Applying, "x"))).Stages {
		names = append(names, s.Name+" "+string(s.Progress))
	}
	want := "preconditions done, disk done, network done, time now, firmware to do, swap to do, locale to do, seal to do"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
