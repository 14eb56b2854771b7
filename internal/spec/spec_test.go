package spec

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"picluster/internal/golden"
)

// The fixtures are shared with other packages: a file bad-NAME.yaml has its
// problems in bad-NAME.want, all others load.
const fixtures = "../../testdata/clusters"

// passwordHash is of "a password for tests", as is testdata/clusters/password.hash.
const passwordHash = "$5$examplesalt$EIghfmVMhWB0dBmyGJ4Q5AUiUSpWNm2YISs0w2YoLx9"

// inFixtures puts the test into the fixtures' directory, with the environment
// that they speak of.
func inFixtures(t *testing.T) {
	t.Chdir(fixtures)
	t.Setenv("HOME", "/home/anna")
	t.Setenv("WIFI_PASSPHRASE", "another passphrase")
	t.Setenv("PI_PASSWORD_HASH", passwordHash)
}

func fixtureNames(t *testing.T, bad bool) []string {
	t.Helper()
	all, err := filepath.Glob(fixtures + "/*.yaml")
	if err != nil || len(all) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	var names []string
	for _, path := range all {
		if name := filepath.Base(path); strings.HasPrefix(name, "bad-") == bad {
			names = append(names, name)
		}
	}
	return names
}

func load(t *testing.T, name string) *Cluster {
	t.Helper()
	c, err := Load(name)
	if err != nil {
		t.Fatalf("load %s:\n%v", name, err)
	}
	return c
}

// printed is the document with its defaults, as -o json shows it.
func printed(t *testing.T, c *Cluster) []byte {
	t.Helper()
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(data, '\n')
}

func TestLoad_fillsInTheDefaults(t *testing.T) {
	wants, err := filepath.Abs("testdata/defaulted")
	if err != nil {
		t.Fatal(err)
	}
	inFixtures(t)
	for _, name := range []string{"minimal", "full", "plain"} {
		golden.Equal(t, filepath.Join(wants, name+".json"), printed(t, load(t, name+".yaml")))
	}
}

func TestLoad_readsBackWhatItPrints(t *testing.T) {
	names := fixtureNames(t, false)
	inFixtures(t)
	for _, name := range names {
		first := printed(t, load(t, name))
		again, err := Parse(name, first, References{})
		if err != nil {
			t.Errorf("%s: what was printed does not load:\n%v", name, err)
		} else if second := printed(t, again); string(second) != string(first) {
			t.Errorf("%s: printed, read and printed again it is\n%s\nnot\n%s", name, second, first)
		}
	}
}

func TestLoad_showsAllProblemsAtOnce(t *testing.T) {
	names := fixtureNames(t, true)
	for _, name := range names {
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			want, err := filepath.Abs(filepath.Join(fixtures, strings.TrimSuffix(name, ".yaml")+".want"))
			if err != nil {
				t.Fatal(err)
			}
			inFixtures(t)
			c, err := Load(name)
			problems, ok := errors.AsType[Problems](err)
			if !ok || c != nil {
				t.Fatalf("want problems and no cluster, have %v, %v", err, c)
			}
			if !slices.IsSortedFunc(problems, func(a, b Problem) int { return a.Line - b.Line }) {
				t.Error("the problems are not in the order of the lines")
			}
			golden.Equal(t, want, []byte(problems.Error()+"\n"))
		})
	}
}

func TestLoad_ofAMissingDocumentIsNoProblemOfIt(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "cluster.yaml"))
	if _, ok := errors.AsType[Problems](err); ok || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}

// Notepad ends lines with CRLF and puts a byte order mark in front; "Unicode"
// in its dialog means UTF-16.
func TestParse_acceptsWindowsFiles(t *testing.T) {
	names := fixtureNames(t, false)
	inFixtures(t)
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want := printed(t, load(t, name))
		crlf := strings.ReplaceAll(string(data), "\n", "\r\n")
		for form, text := range map[string]string{"CRLF": crlf, "byte order mark": "\uFEFF" + crlf, "UTF-16": utf16(crlf)} {
			c, err := Parse(name, []byte(text), References{})
			if err != nil {
				t.Errorf("%s with %s: %v", name, form, err)
			} else if have := printed(t, c); string(have) != string(want) {
				t.Errorf("%s with %s is read as\n%s", name, form, have)
			}
		}
	}
}

func TestParse_countsColumnsFromTheTextNotTheMark(t *testing.T) {
	for _, text := range []string{"spares: x\r\nnodes: 1\r\n", "\uFEFFspares: x\r\nnodes: 1\r\n"} {
		_, err := Parse("c.yaml", []byte(text), References{})
		if !strings.Contains(err.Error(), "c.yaml:1:9: spares: ") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The fixtures that load give every key of the document, so no key is untested.
func TestFixtures_giveEveryKey(t *testing.T) {
	names := fixtureNames(t, false)
	inFixtures(t)
	index := regexp.MustCompile(`\[[0-9]+\]`)
	given := map[string]bool{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r := newReport(name)
		d := decoder{r}
		d.decode(r.syntax(data), "", &Cluster{})
		for field := range r.at {
			given[index.ReplaceAllString(field, "[]")] = true
		}
	}
	for _, path := range paths(reflect.TypeFor[Cluster](), "") {
		if !given[path] {
			t.Errorf("no fixture gives %s", path)
		}
	}
}

func TestWarnings_nameWhatIsLikelyNotMeant(t *testing.T) {
	const user = "\nsystem: {user: {authorizedKeys: [id_ed25519.pub]}}\n"
	for doc, want := range map[string]string{
		"nodes: 1": "",
		"nodes: 1\nnetwork: {wifi: [{ssid: a, country: CH, passphraseFile: w, storeAs: pmk}]}": "c.yaml:2:69: network.wifi[0].storeAs: a key joins WPA2 networks only; where the network is WPA3, the node will not get in",
		"nodes: [{address: 192.168.1.2/24}]":                                                   "c.yaml:1:19: nodes[0].address: a fixed address without network.gateway: the node will not reach the internet",
		"nodes: 1\nnetwork: {dns: [192.168.1.1]}":                                              "c.yaml:2:11: network.dns: has no effect: no node has a fixed address, and DHCP brings its own",
		"nodes: 3\nstorage: {replicas: 1}":                                                     "c.yaml:2:21: storage.replicas: there is one copy of everything: what is on a card is lost with it",
	} {
		c, err := Parse("c.yaml", []byte(doc+user), References{})
		if err != nil {
			t.Errorf("%s:\n%v", doc, err)
			continue
		}
		var lines []string
		for _, w := range c.Warnings() {
			lines = append(lines, w.String())
		}
		if have := strings.Join(lines, "\n"); have != want {
			t.Errorf("%s\nwarns %s\nwant  %s", doc, have, want)
		}
	}
}

func TestExample_loadsOnceTheKeyExists(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(file, Example("My Pis!"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err == nil || !strings.Contains(err.Error(), "there is no file") || strings.Contains(err.Error(), "\n") {
		t.Errorf("without a key the only problem should be that; it is:\n%v", err)
	}
	key := makeKey(t, "-t", "ed25519")
	if err := os.CopyFS(filepath.Join(home, ".ssh"), os.DirFS(filepath.Dir(key))); err != nil {
		t.Fatal(err)
	}
	c := load(t, file)
	if c.Name != "my-pis" || len(c.Warnings()) != 0 {
		t.Errorf("it is named %q and warns %v", c.Name, c.Warnings())
	}
}

// What the example says without a # are the defaults: it explains them and
// changes none but the name.
func TestExample_givesTheDefaults(t *testing.T) {
	const least = "nodes: 3\nname: home\nsystem: {user: {authorizedKeys: [~/.ssh/id_ed25519.pub]}}"
	a, err := Parse("", Example(""), References{Home: "/home/anna"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse("", []byte(least), References{Home: "/home/anna"})
	if err != nil {
		t.Fatal(err)
	}
	if string(printed(t, a)) != string(printed(t, b)) {
		t.Errorf("the example is\n%s\nthe defaults are\n%s", printed(t, a), printed(t, b))
	}
}

func TestExample_isRightWithItsIdeasToo(t *testing.T) {
	idea := regexp.MustCompile(`(?m)^#(\S|  )`)
	text := idea.ReplaceAllString(string(Example("home")), "$1")
	c, err := Parse("cluster.yaml", []byte(text), References{Home: "/home/anna"})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if c.Spares != 1 || len(c.Network.WiFi) != 1 {
		t.Errorf("the ideas are not taken:\n%s", printed(t, c))
	}
}

func utf16(s string) string {
	out := []byte{0xFF, 0xFE}
	for _, r := range s {
		if r > 0xFFFF {
			r -= 0x10000
			hi, lo := 0xD800+r>>10, 0xDC00+r&0x3FF
			out = append(out, byte(hi), byte(hi>>8), byte(lo), byte(lo>>8))
			continue
		}
		out = append(out, byte(r), byte(r>>8))
	}
	return string(out)
}
