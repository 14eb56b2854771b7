package debian

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Compare compares two versions as Debian's policy says (section 5.6.12): negative if
// a is the older one. What is no version is compared all the same; see CheckVersion.
func Compare(a, b string) int {
	epochA, upstreamA, revisionA := splitVersion(a)
	epochB, upstreamB, revisionB := splitVersion(b)
	return cmp.Or(cmp.Compare(epochA, epochB), compareParts(upstreamA, upstreamB), compareParts(revisionA, revisionB))
}

// splitVersion returns the parts of epoch:upstream-revision. A missing part counts as
// zero.
func splitVersion(v string) (epoch int, upstream, revision string) {
	if before, after, ok := strings.Cut(v, ":"); ok {
		if n, err := strconv.ParseInt(before, 10, 32); err == nil {
			epoch, v = int(n), after
		}
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}

// compareParts compares by turns the longest beginnings without and with digits.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		for a != "" && !isDigit(a[0]) || b != "" && !isDigit(b[0]) {
			if c := cmp.Compare(rank(a), rank(b)); c != 0 {
				return c
			}
			a, b = a[1:], b[1:]
		}
		var numberA, numberB string
		numberA, a = cutNumber(a)
		numberB, b = cutNumber(b)
		if c := cmp.Or(cmp.Compare(len(numberA), len(numberB)), strings.Compare(numberA, numberB)); c != 0 {
			return c
		}
	}
	return 0
}

// rank orders the first character of what is left: a tilde before the end, the end
// and digits before letters, letters before everything else.
func rank(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case 'A' <= s[0] && s[0] <= 'Z' || 'a' <= s[0] && s[0] <= 'z':
		return int(s[0])
	}
	return int(s[0]) + 256
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// cutNumber cuts off the digits at the beginning, without leading zeros.
func cutNumber(s string) (number, rest string) {
	end := 0
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	return strings.TrimLeft(s[:end], "0"), s[end:]
}

// CheckVersion returns an error if v is no version of a package.
func CheckVersion(v string) error {
	rest := v
	if epoch, after, ok := strings.Cut(v, ":"); ok {
		if n, err := strconv.ParseInt(epoch, 10, 32); err != nil || n < 0 || epoch[0] == '+' {
			return fmt.Errorf("read version %q: %q is no epoch", v, epoch)
		}
		rest = after
	}
	upstream, revision, hasRevision := rest, "", false
	if i := strings.LastIndexByte(rest, '-'); i >= 0 {
		upstream, revision, hasRevision = rest[:i], rest[i+1:], true
	}
	if upstream == "" || hasRevision && revision == "" {
		return fmt.Errorf("read version %q: a part is empty", v)
	}
	if !isDigit(upstream[0]) {
		return fmt.Errorf("read version %q: it does not begin with a digit", v)
	}
	for _, c := range []byte(upstream) {
		if !isAlphanumeric(c) && !strings.ContainsRune(".-+~:", rune(c)) {
			return fmt.Errorf("read version %q: %q may not be in it", v, c)
		}
	}
	for _, c := range []byte(revision) {
		if !isAlphanumeric(c) && !strings.ContainsRune(".+~", rune(c)) {
			return fmt.Errorf("read version %q: %q may not be in its revision", v, c)
		}
	}
	return nil
}

func isAlphanumeric(c byte) bool {
	return isDigit(c) || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
