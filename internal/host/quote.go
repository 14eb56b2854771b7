package host

import "strings"

// quote makes one line of arguments that a POSIX shell takes apart into the same
// arguments again.
func quote(args []string) string {
	var b strings.Builder
	for i, arg := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if isPlain(arg) {
			b.WriteString(arg)
			continue
		}
		// Inside single quotes all is literal but the single quote.
		b.WriteByte('\'')
		b.WriteString(strings.ReplaceAll(arg, `'`, `'\''`))
		b.WriteByte('\'')
	}
	return b.String()
}

// isPlain reports whether no shell sees anything special in s. A word with "=" is
// an assignment at the beginning of a line, "~" a home directory.
func isPlain(s string) bool {
	if s == "" {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("@%+:,./_-", r))
	}) < 0
}
