package steps

import (
	"bytes"
	"context"
	"crypto/sha1" // what an OpenPGP fingerprint of version 4 is
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/version"
)

// Repository is an apt repository with one signing key. A key that the card has
// brought is taken as it is. Otherwise it is fetched from beside the packages, and
// has to be the one with the fingerprint: that of pkgs.k8s.io is extended from time
// to time, so its file changes, and the fingerprint stays.
type Repository node.Repository

// Paths of the repository on a Pi. apt reads a key in armour by the name's end.
const (
	repositoryPath = "/etc/apt/sources.list.d/picluster-kubernetes.sources"
	keyringPath    = "/etc/apt/keyrings/picluster-kubernetes.asc"
	fetchedKeyPath = "/run/picluster-kubernetes.asc"

	aptHelper = "/usr/lib/apt/apt-helper" // in nobody's PATH, so env starts it
)

func (r Repository) sources() host.File {
	return host.File{Data: []byte("Types: deb\nURIs: " + r.URL + "\nSuites: /\nSigned-By: " + keyringPath + "\n")}
}

// apply puts the key in place before what refers to it. One that is there already may
// have been extended since, so it is not looked at.
func (r Repository) apply(ctx context.Context, h host.Host) error {
	key := []byte(r.Key)
	if r.Key == "" {
		var err error
		if key, err = r.fetchKey(ctx, h); err != nil {
			return err
		}
	}
	if err := h.Write(ctx, keyringPath, host.File{Data: key}); err != nil {
		return err
	}
	return h.Write(ctx, repositoryPath, r.sources())
}

// fetchKey gets the repository's key as apt would fetch a package: through the same
// proxy, with the same patience. It is not believed because it came over TLS.
func (r Repository) fetchKey(ctx context.Context, h host.Host) ([]byte, error) {
	if err := h.Remove(ctx, fetchedKeyPath); err != nil {
		return nil, err
	}
	url := r.URL + "Release.key"
	args := append([]string{"-o", "Acquire::http::User-Agent=picluster/" + version.String()}, patience...)
	if _, err := h.Run(ctx, host.Cmd{Args: append(append([]string{"env", aptHelper}, args...), "download-file", url, fetchedKeyPath)}); err != nil {
		var exit *host.ExitError
		if errors.As(err, &exit) && fetchProblem(string(exit.Stderr)) != "" {
			return nil, temporary{errors.New(fetchProblem(string(exit.Stderr)))}
		}
		return nil, temporary{fmt.Errorf("fetch %s: %w", url, err)}
	}
	key, err := h.ReadFile(ctx, fetchedKeyPath)
	if err != nil {
		return nil, err
	}
	have, err := fingerprint(key)
	if err != nil {
		return nil, fmt.Errorf("read key of %s: %w", r.URL, err)
	}
	if have != r.Fingerprint {
		return nil, fmt.Errorf("check key of %s: its fingerprint is %s, want %s", r.URL, have, r.Fingerprint)
	}
	return key, nil
}

// fingerprint is that of the one primary key in a file of armoured OpenPGP packets
// (RFC 4880, sections 4.2, 5.5.2, 6.2 and 12.2). With two of them apt would believe
// both, so that is an error; subkeys count only if the primary key has signed them,
// which apt looks at.
func fingerprint(armoured []byte) (string, error) {
	const begin, end = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
	_, rest, ok := strings.Cut(strings.ReplaceAll(string(armoured), "\r\n", "\n"), begin+"\n")
	body, after, closed := strings.Cut(rest, "\n"+end)
	if !ok || !closed || strings.Contains(after, "-----BEGIN") {
		return "", errors.New("it is not one public key in armour")
	}
	_, encoded, ok := strings.Cut(body, "\n\n") // after the headers
	if !ok {
		encoded = strings.TrimPrefix(body, "\n")
	}
	if i := strings.LastIndex(encoded, "\n="); i >= 0 {
		encoded = encoded[:i] // the checksum is against noise on a line
	}
	packets, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(encoded), ""))
	if err != nil {
		return "", fmt.Errorf("the armour is damaged: %w", err)
	}
	found := ""
	for len(packets) > 0 {
		var tag int
		var content []byte
		if tag, content, packets, err = nextPacket(packets); err != nil {
			return "", err
		}
		if tag != publicKeyPacket {
			continue
		}
		if found != "" {
			return "", errors.New("there is more than one key in it")
		}
		if len(content) == 0 || content[0] != 4 || len(content) > 0xffff {
			return "", errors.New("the key is not of version 4")
		}
		sum := sha1.Sum(bytes.Join([][]byte{{0x99}, binary.BigEndian.AppendUint16(nil, uint16(len(content))), content}, nil))
		found = strings.ToUpper(hex.EncodeToString(sum[:]))
	}
	if found == "" {
		return "", errors.New("there is no key in it")
	}
	return found, nil
}

const publicKeyPacket = 6

// nextPacket takes the first packet off. Lengths that are not known beforehand are
// for data, never for keys.
func nextPacket(data []byte) (tag int, content, rest []byte, err error) {
	broken := errors.New("the key is cut off or damaged")
	if len(data) < 2 || data[0]&0x80 == 0 {
		return 0, nil, nil, broken
	}
	head, length := 2, int(data[1])
	if data[0]&0x40 == 0 { // the old format
		tag = int(data[0]>>2) & 0x0f
		bytes := 1 << (data[0] & 3)
		if head = 1 + bytes; bytes == 8 || len(data) < head {
			return 0, nil, nil, broken
		}
		length = 0
		for _, b := range data[1:head] {
			length = length<<8 | int(b)
		}
	} else {
		tag = int(data[0] & 0x3f)
		switch {
		case length == 255 && len(data) >= 6:
			head, length = 6, int(binary.BigEndian.Uint32(data[2:]))
		case length >= 192 && length < 224 && len(data) >= 3:
			head, length = 3, (length-192)<<8+int(data[2])+192
		case length >= 192:
			return 0, nil, nil, broken
		}
	}
	if length < 0 || length > len(data)-head {
		return 0, nil, nil, broken
	}
	return tag, data[head : head+length], data[head+length:], nil
}
