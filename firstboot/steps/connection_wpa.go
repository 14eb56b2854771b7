package steps

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"picluster/internal/host"
)

// supplicantReason asks wpa_supplicant itself, as dhcpcd starts it. It keeps no
// journal of its own there, but marks a network that has let it down.
func (s Connection) supplicantReason(ctx context.Context, h host.Host, device string) (string, error) {
	ask := func(command string) (string, error) {
		out, err := h.Run(ctx, host.Cmd{Args: []string{"wpa_cli", "-i", device, command}})
		return string(out), err
	}
	networks, err := ask("list_networks")
	if err != nil {
		return "", fmt.Errorf("ask wpa_supplicant: %w", err)
	}
	results, err := ask("scan_results")
	if err != nil {
		return "", fmt.Errorf("ask wpa_supplicant: %w", err)
	}
	heard := scan{}
	for line := range strings.Lines(results) { // bssid, frequency, signal, flags, ssid
		if f := strings.Split(strings.TrimRight(line, "\n"), "\t"); len(f) == 5 {
			if mhz, err := strconv.Atoi(f[1]); err == nil {
				ssid := fmt.Sprintf("%X", unprintf(f[4]))
				heard[ssid] = append(heard[ssid], mhz)
			}
		}
	}
	return s.wifiReason(ctx, h, s.disabled(networks), heard), nil
}

// disabled are the networks that wpa_supplicant leaves alone for a while. It does so
// after a handshake that went wrong, for which a wrong key is the usual reason.
func (s Connection) disabled(list string) attempts {
	tried := attempts{}
	for line := range strings.Lines(list) { // network id, ssid, bssid, flags
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) < 4 || !strings.Contains(f[3], "[TEMP-DISABLED]") {
			continue
		}
		ssid := fmt.Sprintf("%X", unprintf(f[1]))
		if i := slices.IndexFunc(s.Networks, func(n Network) bool { return n.SSID == ssid }); i >= 0 {
			tried[i] = wrongKey
		}
	}
	return tried
}

var escaped = regexp.MustCompile(`\\(x[0-9a-f]{2}|.)`)

// unprintf takes back how wpa_supplicant shows the octets of an SSID
// (printf_encode in its src/utils/common.c).
func unprintf(s string) string {
	return escaped.ReplaceAllStringFunc(s, func(e string) string {
		if octet, err := strconv.ParseUint(e[2:], 16, 8); e[1] == 'x' && err == nil {
			return string([]byte{byte(octet)})
		}
		if plain, ok := map[string]string{`\n`: "\n", `\r`: "\r", `\t`: "\t", `\e`: "\x1b"}[e]; ok {
			return plain
		}
		return e[1:]
	})
}
