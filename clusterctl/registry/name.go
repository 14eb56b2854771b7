package registry

import "strings"

// localName is an image's name without the host of its registry and without the
// "library" that Docker Hub puts before its own: "nginx:1.27". A digest gives way to
// the tag; without a tag it is "latest".
func localName(reference string) string {
	reference, _, _ = strings.Cut(reference, "@")
	if host, rest, ok := strings.Cut(reference, "/"); ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		reference = rest
	}
	reference = strings.TrimPrefix(reference, "library/")
	if !strings.Contains(reference[strings.LastIndex(reference, "/")+1:], ":") {
		reference += ":latest"
	}
	return reference
}
