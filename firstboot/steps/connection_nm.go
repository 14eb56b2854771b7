package steps

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"picluster/internal/host"
)

// networkManagerReason asks NetworkManager: its own switch, what it has tried, and
// what the radio hears.
func (s Connection) networkManagerReason(ctx context.Context, h host.Host, device string) (string, error) {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"nmcli", "-t", "-f", "WIFI", "radio"}})
	if err != nil {
		return "", err
	}
	if strings.TrimSpace(string(out)) == "disabled" {
		return "NetworkManager has Wi-Fi switched off: nmcli radio wifi on", nil
	}
	tried, err := s.nmTried(ctx, h, device)
	if err != nil {
		return "", err
	}
	heard, err := nmHeard(ctx, h, device)
	if err != nil {
		return "", err
	}
	return s.wifiReason(ctx, h, tried, heard), nil
}

// nmTried reads the journal of this boot. Not all of what is wrong is in
// NetworkManager's own lines: it asks for another key whatever has gone wrong
// before there was a link.
func (s Connection) nmTried(ctx context.Context, h host.Host, device string) (attempts, error) {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"journalctl", "-b", "-u", "NetworkManager", "-u", "wpa_supplicant",
		"-o", "cat", "-n", "500", "--no-pager"}})
	if err != nil {
		return nil, err
	}
	return nmOutcomes(string(out), device), nil
}

// ourProfile is a line of NetworkManager that begins a try; the names are those of
// the profiles that we have written.
var ourProfile = regexp.MustCompile(`device \((\S+)\): Activation: starting connection '(?:picluster-wifi-([0-9]+))?`)

// nmOutcomes is what became of the latest try of each of our Wi-Fi profiles. It
// holds while the next try is under way, up to a link.
func nmOutcomes(journal, device string) attempts {
	outcomes := attempts{}
	current := -1
	for line := range strings.Lines(journal) {
		if m := ourProfile.FindStringSubmatch(line); m != nil {
			if m[1] != device {
				continue
			}
			current = -1
			if n, err := strconv.Atoi(m[2]); err == nil {
				current = n - 1
			}
			continue
		}
		if strings.HasPrefix(line, device+": CTRL-EVENT-CONNECTED") {
			delete(outcomes, current)
		}
		if what := nmOutcome(line, device); what != "" && current >= 0 {
			outcomes[current] = what
		}
	}
	return outcomes
}

// nmOutcome reads one line of NetworkManager or wpa_supplicant.
func nmOutcome(line, device string) string {
	switch {
	case strings.HasPrefix(line, device+": CTRL-EVENT-SSID-TEMP-DISABLED") && strings.Contains(line, "reason=WRONG_KEY"),
		strings.HasPrefix(line, device+": WPA: 4-Way Handshake failed"),
		strings.HasPrefix(line, device+": CTRL-EVENT-AUTH-REJECT") && strings.Contains(line, "status_code=15"): // WPA3: challenge failed (IEEE 802.11)
		return wrongKey
	case strings.HasPrefix(line, device+": CTRL-EVENT-ASSOC-REJECT"), strings.HasPrefix(line, device+": CTRL-EVENT-AUTH-REJECT"):
		return notAllowed
	case !strings.Contains(line, "("+device+"): "):
		return ""
	case strings.Contains(line, "reason 'ssid-not-found'"): // also: "association took too long"
		return noAnswer
	case strings.Contains(line, "reason 'ip-config-unavailable'"):
		return noDHCP
	}
	return ""
}

// nmHeard lists the networks that the last scan has found.
func nmHeard(ctx context.Context, h host.Host, device string) (scan, error) {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"nmcli", "-t", "-f", "SSID-HEX,FREQ", "device", "wifi", "list", "ifname", device, "--rescan", "no"}})
	if err != nil {
		return nil, err
	}
	all := scan{}
	for line := range strings.Lines(string(out)) {
		ssid, frequency, ok := strings.Cut(strings.TrimSpace(line), ":")
		mhz, err := strconv.Atoi(strings.TrimSuffix(frequency, " MHz"))
		if !ok || err != nil {
			return nil, fmt.Errorf("read networks in range: nmcli shows %q", line)
		}
		all[ssid] = append(all[ssid], mhz)
	}
	return all, nil
}
