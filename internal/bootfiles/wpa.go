package bootfiles

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"picluster/internal/secret"
)

// Security is how a Wi-Fi network is protected. The zero value is WPA2.
type Security string

const (
	WPA2     Security = "wpa2"
	WPA3     Security = "wpa3"
	WPA2WPA3 Security = "wpa2-wpa3" // the access point speaks both
	Open     Security = "open"
)

// Network is one Wi-Fi network to join.
type Network struct {
	SSID     []byte // 1 to 32 octets, any
	Security Security
	Key      secret.Text // passphrase of 8 to 63 characters, or 64 hex digits of a PMK; none if open
	Hidden   bool        // the access point does not announce the SSID
}

// ErrWPA3 says that a network that is WPA3 only cannot be joined through
// wpa_supplicant.conf. wpa_supplicant speaks SAE through the Pi's driver only
// since a kernel of 2024 (raspberrypi/linux#5945), and every release that reads
// the file is older.
var ErrWPA3 = errors.New("WPA3 without WPA2 needs bookworm or newer")

// validCountry is what raspberrypi-net-mods on bullseye takes for the
// regulatory domain: two letters and nothing behind them, a CR neither.
var validCountry = regexp.MustCompile(`^[A-Z]{2}$`)

// WPASupplicant returns a wpa_supplicant.conf for the boot partition, where the
// first boot of stretch, buster and bullseye fetches it from. country is an
// ISO 3166 code; without it Wi-Fi stays blocked from buster on. Earlier networks
// are preferred to later ones.
//
// Keys are written as PMK, never as passphrase: that joins the same network, but
// shows nobody a password that may be in use elsewhere. An error names the
// network by its SSID and holds no key; it wraps ErrWPA3 where that is the
// reason.
func WPASupplicant(country string, networks []Network) ([]byte, error) {
	if !validCountry.MatchString(country) {
		return nil, fmt.Errorf("write wpa_supplicant.conf: country %q: want two capital letters", country)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "ctrl_interface=DIR=/var/run/wpa_supplicant GROUP=netdev\nupdate_config=1\ncountry=%s\n", country)
	for i, n := range networks {
		if err := n.write(&b, len(networks)-i); err != nil {
			return nil, fmt.Errorf("write wpa_supplicant.conf: network %q: %w", n.SSID, err)
		}
	}
	return b.Bytes(), nil
}

func (n Network) write(b *bytes.Buffer, priority int) error {
	if len(n.SSID) < 1 || len(n.SSID) > 32 {
		return fmt.Errorf("SSID of %d octets: want 1 to 32", len(n.SSID))
	}
	fmt.Fprintf(b, "\nnetwork={\n\tssid=%s\n", wpaString(n.SSID))
	if n.Hidden {
		b.WriteString("\tscan_ssid=1\n")
	}
	switch n.Security {
	case Open:
		if !n.Key.IsZero() {
			return errors.New("a key for an open network")
		}
		b.WriteString("\tkey_mgmt=NONE\n")
	case WPA2, WPA2WPA3, "":
		key, err := pmk(n.Key.Reveal(), n.SSID)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "\tkey_mgmt=WPA-PSK\n\tpsk=%x\n", key)
	case WPA3:
		return ErrWPA3
	default:
		return fmt.Errorf("security %q: want %s, %s or %s", n.Security, WPA2, WPA2WPA3, Open)
	}
	fmt.Fprintf(b, "\tpriority=%d\n}\n", priority)
	return nil
}

// wpaString writes octets the way wpa_supplicant reads them: quoted, or as bare
// hex digits where quotes could be misread by it or by the vendor's scripts,
// which look for the SSID with grep and sed.
func wpaString(octets []byte) string {
	for _, o := range octets {
		if o < 0x20 || o > 0x7e || strings.IndexByte("\"\\#$`", o) >= 0 {
			return hex.EncodeToString(octets)
		}
	}
	return `"` + string(octets) + `"`
}

// PMK returns the key that WPA2 makes from a passphrase and the network's SSID,
// as 64 hex digits; of such a key, the key itself.
func PMK(passphrase secret.Text, ssid []byte) (secret.Text, error) {
	raw, err := pmk(passphrase.Reveal(), ssid)
	if err != nil {
		return secret.Text{}, fmt.Errorf("derive key of Wi-Fi network %q: %w", ssid, err)
	}
	return secret.New(hex.EncodeToString(raw)), nil
}

// pmk derives the pairwise master key (IEEE 802.11, annex J.4). A key of 64 hex
// digits is one already.
func pmk(key string, ssid []byte) ([]byte, error) {
	const size, rounds = 32, 4096
	if len(key) == 2*size {
		raw, err := hex.DecodeString(key)
		if err != nil {
			return nil, errors.New("key of 64 characters that are not all hex digits")
		}
		return raw, nil
	}
	if len(key) < 8 || len(key) > 63 {
		return nil, fmt.Errorf("passphrase of %d bytes: want 8 to 63", len(key))
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return nil, errors.New("a control character in the passphrase")
	}
	return pbkdf2.Key(sha1.New, key, ssid, rounds, size)
}
