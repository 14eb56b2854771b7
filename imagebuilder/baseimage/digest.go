package baseimage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"path"
	"regexp"
	"strings"
)

var sha256Hex = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

// parseDigest reads a SHA-256 in hexadecimal, alone or at the start of a line of
// sha256sum ("digest  name"), and returns it in lower case.
func parseDigest(s string) (digest string, ok bool) {
	words := strings.Fields(s)
	if len(words) == 0 || !sha256Hex.MatchString(words[0]) {
		return "", false
	}
	return strings.ToLower(words[0]), true
}

// digestFor finds the digest of a file in what is published beside it: a digest
// alone, or lines of sha256sum for this file and perhaps others.
func digestFor(file string, text []byte) (digest string, ok bool) {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range lines {
		digest, ok := parseDigest(line)
		if !ok {
			continue
		}
		_, name, named := strings.Cut(strings.TrimSpace(line), " ")
		// sha256sum marks a file that was read in binary mode with an asterisk.
		name = strings.TrimPrefix(strings.TrimSpace(name), "*")
		if len(lines) == 1 && !named || path.Base(name) == file {
			return digest, true
		}
	}
	return "", false
}

// keyOf is the name in the cache of what a location gives.
func keyOf(location string) string {
	sum := sha256.Sum256([]byte(location))
	return hex.EncodeToString(sum[:])
}

// hash returns the digest of the first size bytes of r.
func (g *getter) hash(ctx context.Context, r io.ReaderAt, size int64) (string, error) {
	m := g.meter(StageHash, 0, size)
	h := sha256.New()
	section := io.NewSectionReader(r, 0, size)
	buf := make([]byte, 1<<20)
	for done := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := section.Read(buf)
		h.Write(buf[:n])
		m.add(int64(n))
		done += int64(n)
		switch {
		case err == io.EOF && done == size:
			return hex.EncodeToString(h.Sum(nil)), nil
		case err == io.EOF:
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		}
	}
}
