package report

import (
	"strings"

	"picluster/internal/status"
)

// hints are what a person does about an error, first match first. A row matches
// when the step's "stage/step" begins with at and its text has one of the says,
// in small letters, in it.
var hints = []struct {
	at   string
	says []string
	do   string
}{
	{"install/release", []string{"prepared for"},
		"this card's two partitions are of different images: write the card again with imagebuilder."},
	{"preconditions", []string{"prepared for"},
		"this card's two partitions are of different images: write the card again with imagebuilder."},
	{"preconditions", []string{"memory cgroup"},
		"cmdline.txt on the card has been changed: write the card again with imagebuilder, or put back what is missing there."},

	// Wi-Fi comes before the cable: whoever has written one into cluster.yaml means it.
	{"network", []string{"wrong key", "secrets were required", "4-way handshake"},
		"the Wi-Fi password on the card is wrong: correct it in the file that cluster.yaml names and write the card again. Until then a network cable helps."},
	{"network", []string{"refuses this pi"},
		"the router does not let this Pi in: does it have a list of allowed devices, or is it full? Switching the router off and on often helps, and so does a network cable."},
	{"network", []string{"is the country", "no country"},
		"the router is on a Wi-Fi channel that the country on the card does not allow: correct network.country in cluster.yaml and write the card again, or choose a channel of 2.4 GHz at the router."},
	{"network", []string{"not in range", "no network with ssid"},
		"the Wi-Fi network is not there: compare its name in cluster.yaml with the router's (capitals count), and bring the Pi nearer. Many Pis do not see 5 GHz. A network cable helps."},
	{"network", []string{"access point does not answer"},
		"the Wi-Fi signal is weak: bring the Pi and the router nearer to each other, or use a network cable."},
	{"network", []string{"wi-fi is switched off", "has wi-fi switched off", "wi-fi is blocked", "rfkill"},
		"Wi-Fi is switched off on this Pi: switch the Pi off and on. A network cable helps meanwhile."},
	{"network", []string{"in use by another"},
		"another device has this node's cluster address: switch that one off, or choose another network.clusterSubnet in cluster.yaml and write all cards again."},
	{"network", []string{"dhcp", "ip-config"},
		"the router gives this Pi no address: is DHCP on, and has the router addresses left? Switching the router off and on often helps."},
	{"network", []string{"no cable", "no carrier", "no interface has a link"},
		"plug in the network cable, at both ends, and look whether the lamps at the Pi's socket are on."},
	{"network", []string{"no wi-fi device", "no such interface"},
		"this board does not have what network.interface in cluster.yaml names: use the other kind of network, or another board."},
	{"network", []string{"gateway", "no route", "network is unreachable"},
		"this Pi is in the network but does not get out: has the router a connection to the internet?"},

	{"time", []string{""},
		"the Pi does not get the time: does the network let NTP out (UDP port 123)? network.ntp in cluster.yaml names other servers, for example the router."},
	{"firmware/USB boot", []string{"set usb boot bit"},
		"set boot.usbBoot to off in cluster.yaml for this board, and write the card again."},

	{"storage", []string{"not empty"},
		"the disk for storage has data on it and is left alone. If it may be erased, set storage.device.wipe in cluster.yaml and write the card again."},
	{"storage", []string{"another disk than before", "is gone", "was not made by picluster"},
		"what is there for storage is not what this node had, so it is left alone: put the old one back, or decide by hand what to keep."},
	{"storage", []string{"do not fit"},
		"choose a smaller storage.device.loop.size in cluster.yaml and write the card again, or use a larger card."},
	{"storage", []string{"is not there", "is missing"},
		"the disk for storage is not there: plug it in (a hard disk needs a hub with its own power), or correct storage.device in cluster.yaml."},

	// What is said about node0 comes from the join service or from the way to it.
	{"join", []string{"node approve", "free name"}, approveHint},
	{"enroll", []string{"node approve", "free name"}, approveHint},
	{"join", badCards, badCardHint},
	{"enroll", badCards, badCardHint},
	{"join", []string{"has to be renewed"},
		"this node was away until its certificate ran out: `clusterctl node approve` on your computer lets it have another one."},
	{"join", []string{"expired on"}, oldCardHint},
	{"enroll", []string{"expired on"}, oldCardHint},
	{"join", []string{"by this pi's clock"}, clockHint},
	{"enroll", []string{"by this pi's clock"}, clockHint},
	{"join", []string{"connection refused", "no route to host", "timed out", "i/o timeout", "not ready yet", "has not given"}, node0Hint},
	{"enroll", []string{"connection refused", "no route to host", "timed out", "i/o timeout", "not ready yet"}, node0Hint},
	{"control-plane/etcd's disk", []string{"too slow"},
		"the card is too slow for the first node: use a faster one (A1 or A2 is printed on it), or an SSD at a USB 3 port."},
	{"control-plane", []string{"there is one already"},
		"the first node has a cluster already that this program has not made: decide by hand what to keep."},
	{"control-plane", []string{"so far"},
		"wait. The first node needs 3 to 15 minutes for this, by the speed of the board and of its card."},
	{"kubernetes/payload", []string{"and this node is for"},
		"what the card brings along is for another version or system: run imagebuilder bundle, and write the card again."},
	{"kubernetes/payload", []string{"is missing", "damaged"}, payloadHint},
	{"runtime/payload", []string{"is missing", "damaged"}, payloadHint},
	{"kubernetes", []string{"fingerprint is"},
		"what came from the network is not signed by whom it should be, so nothing of it was used. Is a proxy or a guest network's login page in between? Try from another network."},
	{"kubernetes", []string{"no repository has its version"},
		"there are no packages of that version: correct kubernetes.version in cluster.yaml and write the cards again."},

	{"packages", []string{"no repository has", "unable to locate package", "no installation candidate"},
		"there is no Debian package of that name for this board: correct system.packages in cluster.yaml."},
	{"system/timezone", []string{""},
		"correct system.timezone in cluster.yaml, or log in and run: sudo raspi-config"},
	{"locale", []string{""},
		"correct system.locale in cluster.yaml, or log in and run: sudo raspi-config"},
	{"system/locale", []string{""},
		"correct system.locale in cluster.yaml, or log in and run: sudo raspi-config"},

	{"", []string{"no space left", "enough free space"},
		"the card is full: write a larger card with imagebuilder, or delete what you have put on this one, then switch the Pi off and on."},
	{"", []string{"read-only file system", "input/output error", "structure needs cleaning", "bad message"},
		"the card itself has faults: write a new one with imagebuilder, and throw this one away if it happens again."},
	{"", []string{"another program is installing packages", "could not get lock", "frontend lock"},
		"wait until the other program is done. If it stays, log in and run: sudo dpkg --configure -a"},
	{"", []string{"not valid yet", "not yet valid"},
		"the Pi's clock is wrong: does the network let NTP out (UDP port 123)?"},
	{"", []string{"not signed", "no_pubkey", "badsig", "expkeysig", "signature", "signed by"},
		"what came from the network is not signed by whom it should be, so nothing of it was used. Is a proxy or a guest network's login page in between? Try from another network."},
	{"", []string{"temporary failure in name resolution", "temporary failure resolving", "could not resolve", "no such host"},
		"names of the internet are not found: has the router a connection to the internet? It goes on by itself when it is back."},
	{"", []string{"is not reached", "timed out", "timeout", "connection refused", "network is unreachable", "failed to fetch", "404 "},
		"a server in the internet does not answer. It goes on by itself when it does; if it stays, look at the router's connection to the internet."},
}

// badCards are refusals of the join service for good.
var badCards = []string{"revoked", "superseded", "older than", "in use in another pi"}

const (
	node0Hint   = "switch on the first node, the control plane, and leave both on: this Pi asks again by itself for as long as it takes. Both have to be on the same network."
	payloadHint = "something of what the card brings along is gone or damaged: copy picluster/payload onto the card once more from another card of the same kind, or write the card again. Nothing of it was installed."
	badCardHint = "this card is not good for the cluster any more, or not in this Pi: `clusterctl node list` on your computer tells why. Write a new card with imagebuilder."
	oldCardHint = "the card has lain for too long: write it again with imagebuilder."
	clockHint   = "the clocks of this Pi and of the first node differ: does the network let NTP out (UDP port 123)?"
	approveHint = "this card waits for a person's word: run that command on your computer."
)

// knownHint is what to do about this very text, "" if it is none that we know.
func knownHint(stage, step, text string) string {
	at, text := stage+"/"+step, strings.ToLower(text)
	for _, h := range hints {
		if !strings.HasPrefix(at, h.at) {
			continue
		}
		for _, say := range h.says {
			if strings.Contains(text, say) {
				return h.do
			}
		}
	}
	return ""
}

// hint is what to do, for any status.
func hint(s status.Status) string {
	switch s.State {
	case status.Done:
		return "nothing, it is ready."
	case status.Starting, status.Running:
		return "wait. It goes on by itself."
	case status.Rebooting:
		return "wait. It reboots, and goes on by itself."
	case status.Waiting:
		if do := knownHint(s.Stage, s.Step, s.Text); do != "" {
			return do
		}
		return "wait. It goes on by itself as soon as it can."
	}
	if s.Node == "" {
		return "write the card again with imagebuilder."
	}
	if do := knownHint(s.Stage, s.Step, s.Text); do != "" {
		return do
	}
	if s.SSH == "" || s.RetryAt.IsZero() {
		return tryAgain
	}
	return "wait for the next try. If this text is still the same after an hour, log in and read: sudo firstboot logs"
}

const tryAgain = "switch the Pi off and on, it tries again. If this text is the same afterwards, write the card again with imagebuilder."
