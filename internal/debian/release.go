package debian

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"picluster/internal/blob"
)

// Release is what a repository's signed file says about one suite.
type Release struct {
	Origin, Suite, Codename string
	Date, ValidUntil        time.Time // the second is zero where it never expires
	ByHash                  bool      // files can be had by their digest, which no update exchanges
	Files                   map[string]blob.Ref
}

// clockSkew is how much later than now a Release may say that it was made.
const clockSkew = 24 * time.Hour

// parseRelease reads a Release whose signature was checked.
func parseRelease(data []byte) (*Release, error) {
	var s Stanza
	for stanza, err := range Stanzas(strings.NewReader(string(data)), "Release") {
		if err != nil {
			return nil, err
		}
		if s != nil {
			return nil, &FormatError{"Release", "it has more than one paragraph"}
		}
		s = stanza
	}
	r := &Release{Origin: s.Get("Origin"), Suite: s.Get("Suite"), Codename: s.Get("Codename"),
		ByHash: s.Get("Acquire-By-Hash") == "yes", Files: map[string]blob.Ref{}}
	var err error
	if r.Date, err = parseDate(s.Get("Date")); err != nil {
		return nil, &FormatError{"Release", fmt.Sprintf("date is %q", s.Get("Date"))}
	}
	if until := s.Get("Valid-Until"); until != "" {
		if r.ValidUntil, err = parseDate(until); err != nil {
			return nil, &FormatError{"Release", fmt.Sprintf("valid-until is %q", until)}
		}
	}
	return r, r.parseFiles(s.Get("SHA256"))
}

// parseFiles reads the lines of digest, size and name.
func (r *Release) parseFiles(text string) error {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return &FormatError{"Release", fmt.Sprintf("%q is no digest, size and name", strings.TrimSpace(line))}
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		ref := blob.Ref{SHA256: f[0], Size: size}
		if err != nil || ref.Check() != nil {
			return &FormatError{"Release", fmt.Sprintf("%q is no digest, size and name", strings.TrimSpace(line))}
		}
		name := path.Clean(f[2]) // flat repositories have names with "./"
		if !fs.ValidPath(name) {
			return &FormatError{"Release", fmt.Sprintf("name %q leads out of the repository", f[2])}
		}
		r.Files[name] = ref
	}
	return nil
}

// parseDate reads the form of RFC 2822, in UTC, as apt does.
func parseDate(s string) (time.Time, error) {
	for _, form := range []string{"Mon, 2 Jan 2006 15:04:05 MST", "Mon, 2 Jan 2006 15:04:05 -0700"} {
		if t, err := time.Parse(form, s); err == nil {
			if _, offset := t.Zone(); offset == 0 {
				return t.UTC(), nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("read date %q: want one in UTC", s)
}

// current returns an error unless the Release may be believed now, seen being the
// newest that was ever seen of this source. A mirror that shows an old Release hides
// updates; no key is needed for that.
func (r *Release) current(now, seen time.Time) error {
	const day = "2006-01-02 15:04 MST"
	switch {
	case !r.ValidUntil.IsZero() && now.After(r.ValidUntil):
		return fmt.Errorf("its list of packages was valid until %s; now is %s", r.ValidUntil.Format(day), now.UTC().Format(day))
	case r.Date.After(now.Add(clockSkew)):
		return fmt.Errorf("its list of packages is from the future, %s; now is %s", r.Date.Format(day), now.UTC().Format(day))
	case r.Date.Before(seen):
		return fmt.Errorf("its list of packages is of %s; one of %s was seen before", r.Date.Format(day), seen.UTC().Format(day))
	}
	return nil
}
