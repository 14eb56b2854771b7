package spec

import (
	"fmt"
	"net/netip"
	"regexp"

	"golang.org/x/text/language"
)

func (n *Network) check(r *report) {
	names := map[SSID]int{}
	for i := range n.WiFi {
		field := fmt.Sprintf("network.wifi[%d]", i)
		w := &n.WiFi[i]
		w.check(r, field)
		if other, twice := names[w.SSID]; twice && w.SSID != "" {
			r.problem(field+".ssid", "%s is the name of network.wifi[%d] already", quoted(w.SSID.String()), other)
		}
		names[w.SSID] = i
		n.checkCountryOf(r, field, w.Country)
	}
	n.checkCountry(r)
	for i, server := range n.NTP {
		if _, err := netip.ParseAddr(server); err != nil && !hostName.MatchString(server) {
			r.problem(fmt.Sprintf("network.ntp[%d]", i), "%s is neither a host name nor an address", quoted(server))
		}
	}
	if n.Gateway.IsValid() && !n.Gateway.Is4() {
		r.problem("network.gateway", "%s is not IPv4", n.Gateway)
	}
}

var hostName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?){1,8}$`)

// checkCountryOf looks at the country of one Wi-Fi network. The kernel has one
// regulatory domain, so there is one country.
func (n *Network) checkCountryOf(r *report, field, country string) {
	if country == "" {
		return
	}
	if checkCountryCode(r, field+".country", country) && country != n.Country && !r.isBad("network.country") {
		r.problem(field+".country", "%s here and %s elsewhere: a node is in one country", country, n.Country)
	}
}

func (n *Network) checkCountry(r *report) {
	if n.Country == "" {
		if len(n.WiFi) > 0 {
			r.problem("network.country", "is missing: what Wi-Fi may do depends on it").Hint = "country: CH"
		}
		return
	}
	if r.given("network.country") {
		checkCountryCode(r, "network.country", n.Country)
	}
}

// checkCountryCode wants an ISO 3166 alpha-2 code that is not an alias of
// another, as UK is of GB: the kernel's regulatory database has none of those.
func checkCountryCode(r *report, field, code string) bool {
	region, err := language.ParseRegion(code)
	proper := region.Canonicalize().String()
	known := err == nil && region.IsCountry() && len(proper) == 2
	if known && code == proper {
		return true
	}
	p := r.problem(field, "%s is not a country's ISO 3166 code of two capital letters", quoted(code))
	if known {
		p.Hint = didYouMean(proper)
	}
	return false
}

// maxSSID is what IEEE 802.11 has room for.
const maxSSID = 32

func (w *WiFi) check(r *report, field string) {
	switch octets := len(w.SSID); {
	case octets == 0 && !r.given(field+".ssid"):
		r.problem(field+".ssid", "is missing")
	case octets == 0:
		r.problem(field+".ssid", "is empty")
	case octets > maxSSID:
		r.problem(field+".ssid", "%s has %d octets, want at most %d", quoted(w.SSID.String()), octets, maxSSID)
	}
	if w.Security != "open" {
		r.checkOneSource(field, "passphraseFile", w.PassphraseFile, "passphraseEnv", w.PassphraseEnv)
	} else if w.PassphraseFile != "" || w.PassphraseEnv != "" {
		r.problem(field+".security", "an open network has no passphrase")
	}
	if w.StoreAs == "pmk" && w.Security == "wpa3" {
		// SAE derives a fresh key for each session from the passphrase itself.
		r.problem(field+".storeAs", "WPA3 needs the passphrase itself, a key made from it does not open the network")
	}
}

func (n *Network) warn(r *report) {
	for i, w := range n.WiFi {
		if w.StoreAs == "pmk" && w.Security == "auto" {
			r.warn(fmt.Sprintf("network.wifi[%d].storeAs", i), "a key joins WPA2 networks only; where the network is WPA3, the node will not get in")
		}
	}
}
