package fat

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/text/encoding/charmap"
)

// shortName is the 8.3 name of a directory entry as on disk: in capitals, padded
// with spaces, without the dot. It is unique in its directory. A file with a long
// name has one too, which old drivers and firmware see.
type shortName [11]byte

const stemSize, extensionSize = 8, 3

// makeShortName derives the short name of a new file, and reports whether the
// file needs a long name as well. taken tells which names are used in the
// directory.
//
// Only a name that is in capitals and fits is stored as it is. One that fits but
// for its case is a short name in capitals and a long one, as Linux and pi-gen
// write it; the flags for lower case that Windows NT has are read, not written.
// All others are shortened and get a number, even when nothing clashes yet:
// "config.txt_bak" must never become CONFIG.TXT.
func makeShortName(name string, taken func(shortName) bool) (short shortName, long bool, err error) {
	stem, extension, exact := shorten(name)
	if exact {
		short = padShortName(stem, extension)
		if !taken(short) {
			return short, short.String() != name, nil
		}
	}
	for n := 1; n < 1_000_000; n++ {
		tail := "~" + strconv.Itoa(n)
		short = padShortName(stem[:min(len(stem), stemSize-len(tail))]+tail, extension)
		if !taken(short) {
			return short, true, nil
		}
	}
	return short, true, fmt.Errorf("directory has no unused short name for %q: %w", name, ErrFull)
}

// shorten cuts a valid long name down to 8.3 characters, and reports whether all
// of it but its case is left.
func shorten(name string) (stem, extension string, exact bool) {
	s := strings.TrimLeft(strings.ReplaceAll(name, " ", ""), ".")
	exact = s == name
	stem = s
	if dot := strings.LastIndexByte(s, '.'); dot > 0 {
		stem, extension = s[:dot], s[dot+1:]
	}
	clean := func(part string, size int) string {
		var b strings.Builder
		for _, r := range part {
			switch {
			case r == '.':
				exact = false
				continue
			case 'a' <= r && r <= 'z':
				r += 'A' - 'a'
			case 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'()-@^_`{}~", r):
			default:
				// Which letters beyond ASCII a short name may have depends on the
				// code page of the machine that reads it.
				r, exact = '_', false
			}
			b.WriteRune(r)
		}
		if b.Len() > size {
			exact = false
			return b.String()[:size]
		}
		return b.String()
	}
	return clean(stem, stemSize), clean(extension, extensionSize), exact
}

func padShortName(stem, extension string) shortName {
	return shortName([]byte(fmt.Sprintf("%-8s%-3s", stem, extension)))
}

// String returns the name in capitals, with its dot.
func (n shortName) String() string { return n.display(0) }

// display returns the name as drivers show it, with the parts in lower case
// whose flags are set.
func (n shortName) display(flags byte) string {
	if n[0] == slotKanji {
		n[0] = slotDeleted
	}
	stem := strings.TrimRight(decodeOEM(n[:stemSize]), " ")
	extension := strings.TrimRight(decodeOEM(n[stemSize:]), " ")
	if flags&lowerStem != 0 {
		stem = strings.ToLower(stem)
	}
	if flags&lowerExtension != 0 {
		extension = strings.ToLower(extension)
	}
	if extension == "" {
		return stem
	}
	return stem + "." + extension
}

// checksum ties the slots of a long name to the short one.
func (n shortName) checksum() byte {
	var sum byte
	for _, c := range n {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// decodeOEM decodes bytes of a short name or label with the code page that
// Linux takes if not told otherwise.
func decodeOEM(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(charmap.CodePage437.DecodeByte(c))
	}
	return s.String()
}
