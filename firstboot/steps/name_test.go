package steps_test

import (
	"strings"
	"testing"

	"picluster/firstboot/join"
	"picluster/firstboot/steps"
	"picluster/internal/host/hosttest"
	"picluster/internal/lab/desk"
	"picluster/internal/node"
	"picluster/internal/secret"
	"picluster/internal/step"
)

// A spare that has become a node takes its name and address while it runs.
func TestName_isTakenWhileTheSystemRuns(t *testing.T) {
	p := newCluster(t, 0).newPi("pi-node1")
	p.Put("/etc/hostname", "spare-1\n")
	p.Put("/etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\tspare-1\n")
	p.Put("/proc/sys/kernel/hostname", "spare-1\n")
	p.Put("/sys/class/net/eth0/carrier", "1\n")
	p.Fake("hostnamectl", `test "$1" = set-hostname || unexpected "$@"; echo "$2" >"$ROOT/proc/sys/kernel/hostname"`)
	p.Fake("systemctl", `test "$*" = "try-restart avahi-daemon.service" || unexpected "$@"`)
	p.Fake("ip", `test "$*" = "-4 -o address show dev eth0" || unexpected "$@"`)
	p.Fake("nmcli", `case "$*" in "connection reload" | "device reapply eth0") ;; *) unexpected "$@" ;; esac`)
	got, err := events(t, p.Local, p.stages("name"))
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got,
		"applying hostname: /etc/hostname has other content", "done hostname",
		"applying name of the running system: it calls itself spare-1", "done name of the running system",
		"applying hosts file: /etc/hosts has other content", "done hosts file",
		"applying profiles: /etc/NetworkManager/system-connections/picluster-eth0.nmconnection is missing", "done profiles")
	if profile := p.Text("/etc/NetworkManager/system-connections/picluster-eth0.nmconnection"); !strings.Contains(profile, "\naddress1=10.77.0.11/24\n") {
		t.Errorf("the profile is\n%s", profile)
	}
	if hosts := p.Text("/etc/hosts"); !strings.Contains(hosts, "127.0.1.1\tpi-node1\n") || !strings.Contains(hosts, "10.77.0.10\tpi-node0\n10.77.0.11\tpi-node1\n") {
		t.Errorf("the hosts file is\n%s", hosts)
	}
	if got, err := events(t, p.Local, p.stages("name")); err != nil || len(got) > 0 {
		t.Errorf("once more: %q, %v", got, err)
	}
}

// NetworkManager has to use what was written, also if it did not the first time.
func TestName_isTakenAfterAFailureToo(t *testing.T) {
	p := newCluster(t, 0).newPi("pi-node1")
	p.Put("/etc/hosts", "127.0.0.1\tlocalhost\n")
	p.Put("/proc/sys/kernel/hostname", "pi-node1\n")
	p.Put("/sys/class/net/eth0/carrier", "1\n")
	p.Fake("ip", `test "$*" = "-4 -o address show dev eth0" || unexpected "$@"`)
	p.Fake("nmcli", `test "$*" = "connection reload"`)
	if got, err := events(t, p.Local, p.stages("name")); err == nil {
		t.Fatalf("no error: %q", got)
	}
	p.Fake("nmcli", `case "$*" in "connection reload" | "device reapply eth0") ;; *) unexpected "$@" ;; esac`)
	got, err := events(t, p.Local, p.stages("name"))
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got, "applying profiles: NetworkManager uses older ones", "done profiles")
}

// Nobody could be heard: who was known stays.
func TestSync_forgetsNobodyUnheard(t *testing.T) {
	p := newCluster(t, 1).newPi("pi-node1")
	if _, err := events(t, p.Local, p.stages("join")); err != nil {
		t.Fatal(err)
	}
	const hosts = "127.0.0.1\tlocalhost\n# picluster: begin\n10.77.0.14\tpi-node4\n# picluster: end\n"
	p.Put("/etc/hosts", hosts)
	if got, err := events(t, p.Local, steps.Sync(p.config, p.env(), nil)); err != nil || len(got) > 0 || p.Text("/etc/hosts") != hosts {
		t.Errorf("%q, %v\n%s", got, err, p.Text("/etc/hosts"))
	}
}

// The hosts file gets those that have come since.
func TestSync_knowsWhoHasCome(t *testing.T) {
	c := newCluster(t, 1)
	p := c.newPi("pi-node1")
	p.Put("/etc/hosts", "127.0.0.1\tlocalhost\n")
	if _, err := events(t, p.Local, p.stages("join")); err != nil {
		t.Fatal(err)
	}
	others := []join.Member{{Peer: p.config.Peers[0]}, {Peer: p.config.Peers[1]}, {Peer: node.Peer{Name: "pi-node2", Address: desk.Address(2)}}}
	got, err := events(t, p.Local, steps.Sync(p.config, p.env(), others))
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got, "applying hosts file: /etc/hosts has other content", "done hosts file")
	if hosts := p.Text("/etc/hosts"); !strings.Contains(hosts, "\tpi-node2\n") {
		t.Errorf("the hosts file is\n%s", hosts)
	}
}

// A node may not give itself labels of Kubernetes' own names, so node0 does.
func TestSync_givesLabelsThatANodeMayNotTake(t *testing.T) {
	m := hosttest.NewMachine(t)
	m.Put("/etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\tpi-node0\n# picluster: begin\n10.77.0.11\tpi-node1\n# picluster: end\n")
	m.Put("/labels", `{"disk":"ssd"}`)
	m.Fake("kubectl", `shift 3
		case "$*" in
		"get node pi-node1 -o jsonpath={.metadata.labels}") cat "$ROOT/labels" ;;
		"label node pi-node1 --overwrite node-role.kubernetes.io/storage=") echo '{"node-role.kubernetes.io/storage":""}' >"$ROOT/labels" ;;
		*) unexpected "$@" ;;
		esac`)
	c := newCluster(t, 0).config("pi-node0")
	labels := map[string]string{"disk": "ssd", "node-role.kubernetes.io/storage": ""}
	others := []join.Member{{Peer: node.Peer{Name: "pi-node1", Address: desk.Address(1)}, Joined: true, Labels: labels}}
	got, err := events(t, m.Local, steps.Sync(c, steps.Env{}, others))
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got, "applying labels of pi-node1: it does not have node-role.kubernetes.io/storage=", "done labels of pi-node1")
	others[0].Joined = false // it is not there yet
	if got, err := events(t, m.Local, steps.Sync(c, steps.Env{}, others)); err != nil || len(got) > 0 {
		t.Errorf("got %q, %v", got, err)
	}
}

// What is printed of the steps of a run has no secret of the card in it.
func TestRun_keepsSecrets(t *testing.T) {
	c := newCluster(t, 1)
	for _, name := range []string{"pi-node0", "pi-node1", "spare-1"} {
		config := c.config(name)
		config.Network.Country = "CH"
		config.Network.WiFi = []node.WiFi{{SSID: []byte("home"), Security: "wpa2", Key: secret.NewWire("planted passphrase")}}
		text := step.Describe(steps.Run(config, steps.Env{}))
		secrets := []string{"planted", config.Join.Key.Reveal()}
		if s := config.Join.Service; s != nil {
			secrets = append(secrets, s.Key.Reveal(), s.DeviceCAKey.Reveal())
		}
		for _, planted := range secrets {
			if line := strings.Split(strings.TrimSpace(planted), "\n"); strings.Contains(text, line[len(line)/2]) {
				t.Errorf("%s: a secret is printed", name)
			}
		}
		if strings.Contains(text, "0xc0") {
			t.Errorf("%s: an address is printed", name)
		}
	}
}
