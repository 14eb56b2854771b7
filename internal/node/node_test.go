package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"picluster/internal/secret"
)

// worker is a complete document of a worker.
func worker() *Config {
	return &Config{
		Version: Version, Name: "raspberrypi-node1", Role: Worker,
		Cluster: Cluster{Name: "home", ID: "6f9619ff"},
		Build:   Build{Time: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), Tool: "v1", Image: "abc", Release: "trixie", Arch: "arm64"},
		System: System{Timezone: "Europe/Zurich", Locale: "en_US.UTF-8", Keymap: "us", Swap: "zram",
			User:  User{Name: "pi", AuthorizedKeys: []string{"ssh-ed25519 AAAA me"}, PasswordHash: secret.NewWire("$6$planted-hash"), Sudo: "nopasswd"},
			Files: []File{{Path: "/etc/motd", Mode: 0o644, Owner: "root", Content: secret.NewWire("planted-file")}}},
		Network: Network{Interface: "auto", Country: "CH", ClusterAddress: netip.MustParsePrefix("10.77.0.11/24"),
			WiFi:   []WiFi{{SSID: []byte("caf\xe9"), Security: "wpa2", Key: secret.NewWire("planted-passphrase")}},
			Static: &Static{Address: netip.MustParsePrefix("192.168.1.5/24"), Gateway: netip.MustParseAddr("192.168.1.1")}},
		SSH:   SSH{HostKey: secret.NewWire("planted-host-key"), HostPublicKey: "ssh-ed25519 AAAA"},
		Peers: []Peer{{"raspberrypi-node0", netip.MustParseAddr("10.77.0.10")}},
		Join: &Join{CardID: "c1", Generation: 1, CA: "ca", Certificate: "cert", Key: secret.NewWire("planted-card-key"),
			ServerName: "join.6f9619ff", Server: netip.MustParseAddr("10.77.0.10")},
		Kubernetes: &Kubernetes{Version: "v1.37.2", CNI: "flannel"},
		Storage:    &Storage{LoopPath: "/var/gluster.img", LoopSize: 15 << 30},
	}
}

func TestMarshal_parsesBackToTheSame(t *testing.T) {
	data, err := worker().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := back.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, again) {
		t.Errorf("second form differs:\n%s\n%s", data, again)
	}
	if string(back.Network.WiFi[0].SSID) != "caf\xe9" || back.System.User.PasswordHash.Reveal() != "$6$planted-hash" {
		t.Error("octets or secrets were lost on the way")
	}
}

func TestConfig_printsNoSecret(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if out := fmt.Sprintf(verb, *worker()); strings.Contains(out, "planted") {
			t.Errorf("%s shows a secret: %s", verb, out)
		}
	}
}

func TestParse_refuses(t *testing.T) {
	good, err := worker().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	edit := func(from, to string) []byte {
		out := bytes.Replace(good, []byte(from), []byte(to), 1)
		if bytes.Equal(out, good) {
			t.Fatalf("no %s in the document", from)
		}
		return out
	}
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":             {nil, "read node.json: unexpected end"},
		"a torn file":         {good[:len(good)/2], "read node.json: unexpected end"},
		"zeros":               {make([]byte, 100), "read node.json: invalid character"},
		"no version":          {[]byte("{}"), "it has no version"},
		"another version":     {edit(`"version": 1`, `"version": 7`), "it has version 7, this program reads version 1"},
		"an unknown field":    {edit(`"role"`, `"rôle"`), "unknown field"},
		"something behind":    {append(bytes.Clone(good), "{}"...), "after top-level value"},
		"another role":        {edit(`"worker"`, `"king"`), `role "king" is none of`},
		"a name with a slash": {edit(`"raspberrypi-node1"`, `"../../etc/x"`), "is no host name"},
		"a relative file":     {edit(`"/etc/motd"`, `"etc/motd"`), "not absolute and clean"},
		"a climbing file":     {edit(`"/etc/motd"`, `"/etc/../root/.ssh/x"`), "not absolute and clean"},
		"a setuid-plus mode":  {edit(`"mode": 420`, `"mode": 99999`), "has mode"},
		"a key in two lines":  {edit(`AAAA me`, `AAAA me\nssh-rsa evil`), "line break"},
		"nobody can log in":   {edit(`"ssh-ed25519 AAAA me"`, ``), ""}, // the hash remains: fine
		"no cluster address":  {edit(`"10.77.0.11/24"`, `""`), "clusterAddress is missing"},
		"no country":          {edit(`"country": "CH"`, `"country": ""`), "Wi-Fi needs one"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Parse(tc.data)
			if tc.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want %q in it", err, tc.want)
			}
			if c != nil {
				t.Error("half a document was returned")
			}
			if err != nil && strings.Contains(err.Error(), "planted") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
	var v VersionError
	if _, err := Parse(edit(`"version": 1`, `"version": 7`)); !errors.As(err, &v) || v.Have != 7 {
		t.Errorf("another version is not reported as such: %v", err)
	}
}

func TestValidate_keepsTheServiceKeysOnTheControlPlane(t *testing.T) {
	c := worker()
	c.Join.Service = &JoinService{}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "only there") {
		t.Errorf("a worker with the join service's keys gives %v", err)
	}
	c.Role = ControlPlane
	if err := c.Validate(); err != nil {
		t.Errorf("a control plane with them gives %v", err)
	}
	c.Join.Service = nil
	if err := c.Validate(); err == nil {
		t.Error("a control plane without them is accepted")
	}
}

func FuzzParse(f *testing.F) {
	good, err := worker().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		once, err := c.Marshal()
		if err != nil {
			t.Fatalf("a document that was read is not written: %v", err)
		}
		back, err := Parse(once)
		if err != nil {
			t.Fatalf("a document that was written is not read: %v", err)
		}
		twice, err := back.Marshal()
		if err != nil || !bytes.Equal(once, twice) || !json.Valid(once) {
			t.Fatalf("not stable: %v\n%s\n%s", err, once, twice)
		}
	})
}
