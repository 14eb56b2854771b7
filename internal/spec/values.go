package spec

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Nodes is written as a number or as a list.
type Nodes []Node

// maxNodes keeps a slip of the finger (`nodes: 30000`) from being taken
// seriously. One control plane on an SD card carries far fewer.
const maxNodes = 200

func (ns *Nodes) fromYAML(d *decoder, n *yaml.Node, field string) {
	count := len(n.Content)
	if n.Kind == yaml.ScalarNode {
		parsed, err := strconv.Atoi(n.Value)
		if err != nil {
			d.problem(field, "%s is neither a number nor a list", quoted(n.Value))
			return
		}
		count = parsed
	}
	if count < 1 || count > maxNodes {
		d.problem(field, "%d nodes, want 1 to %d", count, maxNodes)
		return
	}
	if n.Kind == yaml.ScalarNode {
		*ns = make(Nodes, count)
		return
	}
	d.decode(n, field, (*[]Node)(ns))
}

// SSID is the name of a Wi-Fi network: 1 to 32 octets that are usually, but not
// always, UTF-8.
type SSID string

func (s *SSID) fromYAML(d *decoder, n *yaml.Node, field string) {
	if n.Kind == yaml.ScalarNode {
		*s = SSID(n.Value)
		return
	}
	var form struct {
		Hex string `json:"hex"`
	}
	d.decode(n, field, &form)
	octets, err := hex.DecodeString(form.Hex)
	if err != nil {
		d.problem(field, "%s is not an even number of hexadecimal digits", quoted(form.Hex))
		return
	}
	*s = SSID(octets)
}

// MarshalJSON prints the name as text where it is printable text.
func (s SSID) MarshalJSON() ([]byte, error) {
	if s.isText() {
		return json.Marshal(string(s))
	}
	return json.Marshal(map[string]string{"hex": hex.EncodeToString([]byte(s))})
}

// String returns the name in the form that messages show.
func (s SSID) String() string {
	if s.isText() {
		return string(s)
	}
	return "hex " + hex.EncodeToString([]byte(s))
}

func (s SSID) isText() bool {
	for _, r := range string(s) {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(string(s))
}

// Size is a number of bytes, written like Kubernetes' quantities: 15Gi, 500M.
type Size int64

var sizeForm = regexp.MustCompile(`^([0-9]{1,15})([KMGT]i|[kMGT])?$`)

// UnmarshalText reads a whole number with an optional unit.
func (s *Size) UnmarshalText(text []byte) error {
	m := sizeForm.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("%s has not the form of a size", quoted(string(text)))
	}
	number, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		return err
	}
	unit := sizeUnit(string(m[2]))
	if number > math.MaxInt64/unit {
		return fmt.Errorf("%s is more than %d bytes", text, int64(math.MaxInt64))
	}
	*s = Size(number * unit)
	return nil
}

func sizeUnit(name string) int64 {
	switch name {
	case "Ki":
		return 1 << 10
	case "Mi":
		return 1 << 20
	case "Gi":
		return 1 << 30
	case "Ti":
		return 1 << 40
	case "k":
		return 1e3
	case "M":
		return 1e6
	case "G":
		return 1e9
	case "T":
		return 1e12
	}
	return 1
}

// String prints the size in the largest unit that keeps it whole.
func (s Size) String() string {
	for _, unit := range []string{"Ti", "T", "Gi", "G", "Mi", "M", "Ki", "k"} {
		if bytes := Size(sizeUnit(unit)); s != 0 && s%bytes == 0 {
			return strconv.FormatInt(int64(s/bytes), 10) + unit
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText prints the size as String does.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Mode is a file's permission bits. It is always octal, with or without a
// leading 0 or 0o: nobody means decimal 644.
type Mode uint32

var modeForm = regexp.MustCompile(`^(?:0o|0)?([0-7]{3,4})$`)

// UnmarshalText reads octal digits.
func (m *Mode) UnmarshalText(text []byte) error {
	digits := modeForm.FindSubmatch(text)
	if digits == nil {
		return fmt.Errorf("%s has not the form of a mode", quoted(string(text)))
	}
	bits, err := strconv.ParseUint(string(digits[1]), 8, 32)
	*m = Mode(bits)
	return err
}

// String prints four octal digits.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalText prints the mode as String does.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }
