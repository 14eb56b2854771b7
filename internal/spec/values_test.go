package spec

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // so that the judge of zones.txt is the same everywhere
)

func TestSize_readsQuantities(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "15Gi": 15 << 30, "100M": 1e8, "1T": 1e12, "4Ki": 4096, "3k": 3000, "97656250Ki": 100e9, "2Ti": 2 << 40, "8388607Ti": 8388607 << 40,
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s is read as %d, %v, want %d", text, s, err, want)
		}
		var again Size
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != want {
			t.Errorf("%s is printed as %s", text, s)
		}
	}
	for _, text := range []string{"", "Gi", "-1", "1.5Gi", "15 Gi", "15GB", "15gi", "15K", "0x10", "8388608Ti", "9999999999999999"} {
		var s Size
		if s.UnmarshalText([]byte(text)) == nil {
			t.Errorf("%q is read as %d", text, s)
		}
	}
}

func TestMode_isAlwaysOctal(t *testing.T) {
	for text, want := range map[string]Mode{"644": 0o644, "0644": 0o644, "0o644": 0o644, "4755": 0o4755, "04755": 0o4755, "000": 0} {
		var m Mode
		if err := m.UnmarshalText([]byte(text)); err != nil || m != want {
			t.Errorf("%s is read as %s, %v, want %s", text, m, err, want)
		}
	}
	for _, text := range []string{"", "44", "0o", "888", "077777", "u=rw", "-644"} {
		var m Mode
		if m.UnmarshalText([]byte(text)) == nil {
			t.Errorf("%q is read as %s", text, m)
		}
	}
}

func TestSSID_takesAnyOctets(t *testing.T) {
	for written, want := range map[string]struct{ ssid, printed string }{
		`home`:         {"home", `"home"`},
		`007`:          {"007", `"007"`},
		`true`:         {"true", `"true"`},
		`no`:           {"no", `"no"`},
		`"null"`:       {"null", `"null"`},
		`"🍵 $'\"\\"`:   {`🍵 $'"\`, `"🍵 $'\"\\"`},
		`{hex: 00ff}`:  {"\x00\xff", `{"hex":"00ff"}`},
		`{hex: 6869}`:  {"hi", `"hi"`},
		`"tab\tin it"`: {"tab\tin it", `{"hex":"74616209696e206974"}`},
	} {
		doc := "nodes: 1\nnetwork: {country: CH, wifi: [{security: open, ssid: " + written + "}]}\nsystem: {user: {authorizedKeys: [k]}}"
		c, err := Parse("c.yaml", []byte(doc), References{})
		if err != nil {
			t.Errorf("%s: %v", written, err)
			continue
		}
		have := c.Network.WiFi[0].SSID
		if printed, err := json.Marshal(have); string(have) != want.ssid || string(printed) != want.printed {
			t.Errorf("%s is read as %q and printed as %s, %v", written, string(have), printed, err)
		}
	}
}

func TestNearest_guessesWhatWasMeant(t *testing.T) {
	keys := []string{"name", "nodes", "nodePrefix", "spares", "system", "storage", "kubernetes"}
	for word, want := range map[string]string{
		"nmae": "name", "Nodes": "nodes", "node": "nodes", "nodeprefix": "nodePrefix", "kuberntes": "kubernetes", "sytem": "system",
		"colour": "", "x": "", "": "", "users": "", "home": "", "ame": "name",
	} {
		if have := nearest(word, keys); have != want {
			t.Errorf("%q: %q, want %q", word, have, want)
		}
	}
}

func TestElsewhere_findsKeysInTheWrongPlace(t *testing.T) {
	for key, want := range map[string]string{
		"timezone": "system.timezone", "ssid": "network.wifi[].ssid", "wifi": "network.wifi", "cni": "kubernetes.cni",
		"name": "", "country": "", "nonsense": "",
	} {
		if have := elsewhere(key); have != want {
			t.Errorf("%q: %q, want %q", key, have, want)
		}
	}
}

// Go's copy of the time zone database judges ours, which is Debian's.
func TestZones_areTimeZones(t *testing.T) {
	current, renamed := zones()
	if len(current) < 450 || len(renamed) < 100 {
		t.Fatalf("there are %d zones and %d old names", len(current), len(renamed))
	}
	for _, name := range current {
		if _, err := time.LoadLocation(name); err != nil {
			t.Error(err)
		}
	}
	for old, name := range renamed {
		if _, err := time.LoadLocation(old); err != nil || !slices.Contains(current, name) {
			t.Errorf("%s → %s: %v", old, name, err)
		}
	}
}

// The list of countries that comes with the time zone database judges ours.
func TestCountries_areThoseOfISO3166(t *testing.T) {
	file, err := os.Open("/usr/share/zoneinfo/iso3166.tab")
	if err != nil {
		t.Fatalf("%v: install the Debian package tzdata", err)
	}
	defer file.Close()
	official := map[string]bool{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if code, _, ok := strings.Cut(lines.Text(), "\t"); ok && !strings.HasPrefix(code, "#") {
			official[code] = true
		}
	}
	// In use without being in the standard, or dropped from it: harmless.
	tolerated := []string{"AC", "AN", "CP", "CQ", "CS", "DG", "EA", "EZ", "FQ", "IC", "NT", "PC", "SU", "TA", "UN", "XK", "YU"}
	for a := 'A'; a <= 'Z'; a++ {
		for b := 'A'; b <= 'Z'; b++ {
			code := string([]rune{a, b})
			if have := checkCountryCode(newReport(""), "x", code); have != official[code] && !slices.Contains(tolerated, code) {
				t.Errorf("%s is accepted: %v, is in ISO 3166: %v", code, have, official[code])
			}
		}
	}
}

func TestClusterAddress_countsFromTheTenth(t *testing.T) {
	c := &Cluster{Nodes: make(Nodes, 2), Spares: 1}
	c.setDefaults(func(string) bool { return false })
	c.Spares = 1
	for k, want := range map[int]string{0: "10.77.0.10/24", 1: "10.77.0.11/24", 2: "10.77.0.12/24", 244: "10.77.0.254/24"} {
		if have := c.ClusterAddress(k).String(); have != want {
			t.Errorf("node %d has %s, want %s", k, have, want)
		}
	}
	for _, k := range []int{-1, 245, 1 << 40} {
		if have := c.ClusterAddress(k); have.IsValid() {
			t.Errorf("node %d has %s", k, have)
		}
	}
	if (&Cluster{}).ClusterAddress(0).IsValid() {
		t.Error("a cluster without a subnet has addresses")
	}
	if have := strings.Join(append(c.NodeNames(), c.SpareNames()...), " "); have != "raspberrypi-node0 raspberrypi-node1 spare-1" {
		t.Errorf("the names are %s", have)
	}
}
