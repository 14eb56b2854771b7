package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A long name is UTF-16, 13 units to a slot, in the slots before its short
// entry: the last part first, each with the checksum of the short name, so that
// a driver without long names, which moves only the short entry, breaks the tie.
const (
	unitsPerSlot  = 13
	maxNameUnits  = 255
	lastPart      = 0x40 // marks the last part, which comes first
	checksumAt    = 13
	namePadding   = 0xffff
	maxPartNumber = (maxNameUnits + unitsPerSlot - 1) / unitsPerSlot
)

// checkName reports what forbids the name for a new file.
func checkName(name string) error {
	invalid := func(why string) error { return fmt.Errorf("name %q %s: %w", name, why, fs.ErrInvalid) }
	switch {
	case !utf8.ValidString(name):
		return invalid("is not UTF-8")
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(`"*/:<>?\|`, r) }):
		return invalid("has a character that FAT forbids")
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		// Windows and Linux drop them without a word, so the file could not be found.
		return invalid("ends with a dot or a space")
	case len(utf16.Encode([]rune(name))) > maxNameUnits:
		return invalid(fmt.Sprintf("has more than %d characters", maxNameUnits))
	}
	return nil
}

// longSlots returns the slots of a long name, to be put before the short one.
func longSlots(name string, short shortName) []slot {
	units := utf16.Encode([]rune(name))
	parts := (len(units) + unitsPerSlot - 1) / unitsPerSlot
	if len(units)%unitsPerSlot != 0 {
		units = append(units, 0)
	}
	for len(units) < parts*unitsPerSlot {
		units = append(units, namePadding)
	}
	var slots []slot
	for part := parts; part >= 1; part-- {
		s := make(slot, slotSize)
		s[0], s[11], s[checksumAt] = byte(part), attrLongName, short.checksum()
		if part == parts {
			s[0] |= lastPart
		}
		for i, field := range s.units() {
			binary.LittleEndian.PutUint16(field, units[(part-1)*unitsPerSlot+i])
		}
		slots = append(slots, s)
	}
	return slots
}

// units returns the 13 places of a long name's slot where UTF-16 units stand:
// between them are the fields that make old drivers ignore it.
func (s slot) units() [][]byte {
	fields := make([][]byte, 0, unitsPerSlot)
	for _, area := range []slot{s[1:11], s[14:26], s[28:32]} {
		for i := 0; i < len(area); i += 2 {
			fields = append(fields, area[i:i+2])
		}
	}
	return fields
}

var errNoLongName = errors.New("no long name")

// parseLongName puts together the long name that ends before slot i of a
// directory, and returns its first slot. Parts that do not belong to the short
// entry at i are no name: some driver left them behind.
func parseLongName(slots []slot, i int) (name string, first int, err error) {
	checksum := slots[i].name().checksum()
	var units []uint16
	for part := 1; part <= maxPartNumber && part <= i; part++ {
		s := slots[i-part]
		if s.free() || !s.longName() || s[checksumAt] != checksum || int(s[0]&^lastPart) != part {
			break
		}
		for _, field := range s.units() {
			units = append(units, binary.LittleEndian.Uint16(field))
		}
		if s[0]&lastPart != 0 {
			for n, u := range units {
				if u == 0 {
					units = units[:n]
					break
				}
			}
			return string(utf16.Decode(units)), i - part, nil
		}
	}
	return "", i, errNoLongName
}
