package spec

import (
	"reflect"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// nearest returns the candidate that someone most likely meant, "" if none is
// close: one wrong letter, or a third of them (two in a short word) if the first
// one is right.
func nearest(word string, candidates []string) string {
	word = strings.ToLower(word)
	slices.Sort(candidates)
	best, meant := max(2, len(word)/3)+1, ""
	for _, c := range candidates {
		lower := strings.ToLower(c)
		distance := levenshtein.ComputeDistance(word, lower)
		sameStart := word != "" && strings.HasPrefix(lower, word[:1])
		if distance < best && distance < len(word) && (sameStart || distance <= 1) {
			best, meant = distance, c
		}
	}
	return meant
}

// elsewhere returns where in the document a key belongs that was written in a
// wrong place, "" if there is no such key or there are several.
func elsewhere(key string) string {
	found := ""
	for _, path := range paths(reflect.TypeFor[Cluster](), "") {
		if path[strings.LastIndex(path, ".")+1:] != key {
			continue
		}
		if found != "" {
			return ""
		}
		found = path
	}
	return found
}

// paths returns the path of every key in the document, with [] for the items of
// a list.
func paths(t reflect.Type, prefix string) []string {
	for t.Kind() == reflect.Slice {
		t, prefix = t.Elem(), prefix+"[]"
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var all []string
	for i := range t.NumField() {
		if key := keyOf(t.Field(i)); key != "" {
			path := join(prefix, key)
			all = append(append(all, path), paths(t.Field(i).Type, path)...)
		}
	}
	return all
}

func didYouMean(meant string) string {
	if meant == "" {
		return ""
	}
	return "did you mean " + meant + "?"
}

// The keys below come from wpa_supplicant.conf and from other imagers. Messages
// name the way out and never repeat the value.

func (WiFi) temptation() temptation {
	return temptation{
		keys: []string{"passphrase", "password", "psk", "key", "secret"},
		use:  "passphraseFile",
		how:  "write it into a file and name that: passphraseFile: wifi.txt",
	}
}

func (User) temptation() temptation {
	return temptation{keys: []string{"passwordHash", "passwd", "hash"}, use: "password", how: howPassword}
}

func (Password) temptation() temptation {
	return temptation{keys: []string{"", "hash", "password", "plain", "value"}, use: "hashFile", how: howPassword}
}

const howPassword = "`openssl passwd -6 > password.hash`, then password: {hashFile: password.hash}"
