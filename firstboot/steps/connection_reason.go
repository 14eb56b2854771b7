package steps

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"picluster/internal/host"
)

// reason says of each interface why the node is not connected by it, as an error
// for a wait.
func (s Connection) reason(ctx context.Context, h host.Host) error {
	var reasons []string
	for _, name := range s.Interfaces {
		l, err := findLink(ctx, h, name)
		if err != nil {
			return err
		}
		if !l.exists && name == "eth0" && len(s.Interfaces) > 1 {
			continue // a board without Ethernet: nobody waits for that
		}
		why, err := s.linkReason(ctx, h, l)
		if err != nil {
			return err
		}
		reasons = append(reasons, name+": "+why)
	}
	return errors.New(strings.Join(reasons, "; "))
}

func (s Connection) linkReason(ctx context.Context, h host.Host, l link) (string, error) {
	isWiFi := strings.HasPrefix(l.name, "wl")
	switch {
	case !l.exists && isWiFi:
		return "this Pi shows no Wi-Fi device", nil
	case !l.exists:
		return "this Pi has no such interface", nil
	case l.carrier && s.Static:
		return "the address of cluster.yaml is not set yet", nil
	case l.carrier:
		return noDHCP, nil
	case !isWiFi:
		return "no cable is plugged in, or its other end is switched off", nil
	}
	if blocked, err := radioBlocked(ctx, h); err != nil || blocked != "" {
		return blocked, err
	}
	if s.Dhcpcd {
		return s.supplicantReason(ctx, h, l.name)
	}
	return s.networkManagerReason(ctx, h, l.name)
}

const noDHCP = "no answer from a DHCP server: is the router on, and does it give out addresses?"

// radioBlocked reads what rfkill(8) shows.
func radioBlocked(ctx context.Context, h host.Host) (string, error) {
	const dir = "/sys/class/rfkill"
	there, err := exists(ctx, h, dir)
	if err != nil || !there {
		return "", err
	}
	switches, err := h.ReadDir(ctx, dir)
	if err != nil {
		return "", err
	}
	for _, name := range switches {
		// A switch may go while we read, with its device.
		value := func(file string) string {
			data, _ := h.ReadFile(ctx, path.Join(dir, name, file))
			return strings.TrimSpace(string(data))
		}
		switch {
		case value("type") != "wlan":
		case value("hard") == "1":
			return "Wi-Fi is switched off by a switch on the device", nil
		case value("soft") == "1":
			return "Wi-Fi is blocked by software: rfkill unblock wlan", nil
		}
	}
	return "", nil
}

// encourage switches the radio on. A Wi-Fi network whose key was refused, be it by
// mistake, NetworkManager leaves alone for ever, so it is told to try once more: the
// key at the other end may have been put right.
func (s Connection) encourage(ctx context.Context, h host.Host) error {
	const device = "wlan0"
	if !slices.Contains(s.Interfaces, device) {
		return nil
	}
	l, err := findLink(ctx, h, device)
	if err != nil || !l.exists || l.carrier {
		return err
	}
	var commands [][]string
	if blocked, err := radioBlocked(ctx, h); err != nil {
		return err
	} else if blocked != "" {
		commands = append(commands, []string{"rfkill", "unblock", "wlan"})
	}
	if !s.Dhcpcd {
		commands = append(commands, []string{"nmcli", "radio", "wifi", "on"})
		tried, err := s.nmTried(ctx, h, device)
		if err != nil {
			return err
		}
		for i := range s.Networks {
			if tried[i] == wrongKey {
				commands = append(commands, []string{"nmcli", "--wait", "0", "connection", "up", fmt.Sprintf("picluster-wifi-%d", i+1)})
			}
		}
	}
	for _, args := range commands {
		// What keeps a command from working is what the wait will report.
		if _, err := h.Run(ctx, host.Cmd{Args: args}); err != nil && ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// attempts are what became of the latest try of each network, by its place in
// cluster.yaml from 0; what nobody has tried is not in it.
type attempts map[int]string

const (
	wrongKey   = "wrong key"
	notAllowed = "its access point refuses this Pi"
	noAnswer   = "its access point does not answer"
)

// scan is the networks in range: SSIDs in hexadecimal and the frequencies in MHz
// on which they were heard.
type scan map[string][]int

// wifiReason puts both together, a sentence per network.
func (s Connection) wifiReason(ctx context.Context, h host.Host, tried attempts, heard scan) string {
	var reasons []string
	missing := 0
	for i, n := range s.Networks {
		name := fmt.Sprintf("Wi-Fi network %d of cluster.yaml", i+1)
		frequencies := heard[n.SSID]
		switch {
		case tried[i] != "" && (len(frequencies) > 0 || n.Hidden || len(heard) == 0):
			reasons = append(reasons, name+": "+tried[i])
		case len(frequencies) > 0:
			reasons = append(reasons, name+" is in range, but not joined yet"+band(frequencies))
		default:
			reasons = append(reasons, name+" is not in range")
			missing++
		}
	}
	if missing == len(s.Networks) { // one sentence for all
		all := "no Wi-Fi network of cluster.yaml is in range"
		if missing == 1 {
			all = "the Wi-Fi network of cluster.yaml is not in range"
		}
		return all + others(heard) + only24GHz(ctx, h)
	}
	return strings.Join(reasons, ", ")
}

// band explains a network that is heard on 5 GHz only, where the country decides
// which channels may be used.
func band(frequencies []int) string {
	for _, f := range frequencies {
		if f < 3000 {
			return ""
		}
	}
	return " (on 5 GHz only: is the country in cluster.yaml right?)"
}

func others(heard scan) string {
	switch n := len(heard); n {
	case 0:
		return " (no network at all is)"
	case 1:
		return " (one other is)"
	default:
		return fmt.Sprintf(" (%d others are)", n)
	}
}

// only24GHz is for the boards whose radio has one band: a network on 5 GHz does
// not exist for them.
func only24GHz(ctx context.Context, h host.Host) string {
	b, err := findBoard(ctx, h)
	if err != nil || !b.only24GHz {
		return ""
	}
	return fmt.Sprintf("; a %s hears 2.4 GHz only, not 5 GHz", b.name)
}
