package debian

import (
	"bytes"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Keyring holds OpenPGP public keys. A signature by one of them is enough.
type Keyring struct{ keys openpgp.EntityList }

// archiveKeys are those that sign Debian 12 and 13, their updates and security
// updates: the files of the same names in Debian's package debian-archive-keyring
// 2023.3+deb12u2. The last of them expires in 2035.
//
//go:embed keys/*.gpg
var archiveKeys embed.FS

// SystemKeyring is where a Debian machine keeps the keys that it trusts itself.
const SystemKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// ArchiveKeys returns the keys of Debian's own archive: those of this program, and
// on a Debian machine those that it has, which may be newer.
func ArchiveKeys() (*Keyring, error) {
	all := &Keyring{}
	add := func(data []byte, name string) error {
		k, err := ReadKeys(data)
		if err != nil {
			return fmt.Errorf("read keys in %s: %w", name, err)
		}
		all.keys = append(all.keys, k.keys...)
		return nil
	}
	names, err := fs.Glob(archiveKeys, "keys/*.gpg")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		data, err := archiveKeys.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := add(data, name); err != nil {
			return nil, err
		}
	}
	data, err := os.ReadFile(SystemKeyring)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	return all, add(data, SystemKeyring)
}

// ReadKeys reads public keys, armoured (Release.key) or not (the files that apt's
// signed-by names).
func ReadKeys(data []byte) (*Keyring, error) {
	read := openpgp.ReadKeyRing
	if bytes.Contains(data, []byte("-----BEGIN PGP")) {
		read = openpgp.ReadArmoredKeyRing
	}
	keys, err := read(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no key")
	}
	return &Keyring{keys}, nil
}

// Only returns the keys whose primary key has one of the fingerprints (hexadecimal,
// spaces and case do not matter). It is an error if there are none.
func (k *Keyring) Only(fingerprints ...string) (*Keyring, error) {
	var wanted []string
	for _, f := range fingerprints {
		wanted = append(wanted, strings.ToUpper(strings.ReplaceAll(f, " ", "")))
	}
	some := &Keyring{}
	for i, have := range k.Fingerprints() {
		if slices.Contains(wanted, have) {
			some.keys = append(some.keys, k.keys[i])
		}
	}
	if len(some.keys) == 0 {
		return nil, fmt.Errorf("find key %s: there are %s", strings.Join(wanted, " or "), strings.Join(k.Fingerprints(), ", "))
	}
	return some, nil
}

// Fingerprints returns those of the primary keys, in the order of the keys.
func (k *Keyring) Fingerprints() []string {
	var all []string
	for _, e := range k.keys {
		all = append(all, strings.ToUpper(hex.EncodeToString(e.PrimaryKey.Fingerprint)))
	}
	return all
}

// Marshal returns the keys in the form that apt's signed-by takes (not armoured).
func (k *Keyring) Marshal() ([]byte, error) {
	var out bytes.Buffer
	for _, e := range k.keys {
		if err := e.Serialize(&out); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// VerifyInline returns what a clear-signed document (InRelease) says. Only signed
// text is returned, and text around it is an error: readers disagree about that.
func (k *Keyring) VerifyInline(document []byte, now time.Time) ([]byte, error) {
	if !bytes.HasPrefix(document, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		return nil, errors.New("it is not signed")
	}
	block, rest := clearsign.Decode(document)
	if block == nil {
		return nil, errors.New("its signed part is damaged")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("text follows the signed part")
	}
	if err := k.verify(block.Bytes, block.ArmoredSignature, now); err != nil {
		return nil, err
	}
	return block.Plaintext, nil
}

// VerifyDetached checks a signature that is a file of its own (Release.gpg), armoured
// or not.
func (k *Keyring) VerifyDetached(document, signature []byte, now time.Time) error {
	if !bytes.HasPrefix(bytes.TrimSpace(signature), []byte("-----BEGIN PGP")) {
		return k.verifyPackets(document, signature, now)
	}
	block, err := armor.Decode(bytes.NewReader(signature))
	if err != nil {
		return fmt.Errorf("read signature: %w", err)
	}
	return k.verify(document, block, now)
}

// maxSignature bounds the signatures of a document, in bytes. Debian has three.
const maxSignature = 1 << 20

func (k *Keyring) verify(document []byte, signature *armor.Block, now time.Time) error {
	packets, err := readAll(signature.Body, maxSignature)
	if err != nil {
		return fmt.Errorf("read signature: %w", err)
	}
	return k.verifyPackets(document, packets, now)
}

// verifyPackets wants one good signature of a known key. Others may be by keys that
// are not known: Debian signs with the keys of two releases.
func (k *Keyring) verifyPackets(document, packets []byte, now time.Time) error {
	config := &packet.Config{Time: func() time.Time { return now }}
	_, _, err := openpgp.VerifyDetachedSignature(k.keys, bytes.NewReader(document), bytes.NewReader(packets), config)
	if err != nil {
		return fmt.Errorf("no good signature by %s: %w", strings.Join(k.Fingerprints(), " or "), err)
	}
	return nil
}
