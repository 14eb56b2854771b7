package join

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"picluster/internal/secret"
)

// operatorGroup is the Organization of the operator's certificate.
const operatorGroup = "picluster:operator"

// cardIDForm is what imagebuilder makes. Ids become parts of file names here.
var cardIDForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// kind is what a client's certificate makes it.
type kind string

const (
	cardKind     kind = "card"     // made on the desk, for the first contact
	deviceKind   kind = "device"   // made by the service
	operatorKind kind = "operator" // clusterctl
)

// peer is a client whose certificate leads to the enrolment CA.
type peer struct {
	kind       kind
	cardID     string
	generation int
	name       string // a card's: "raspberrypi-node1", "spare-1"
	key        string // SHA-256 of the SubjectPublicKeyInfo, hex
	notAfter   time.Time
}

func (p *peer) expired(now time.Time) bool { return now.After(p.notAfter) }

// trust is what certificates are checked with.
type trust struct {
	cluster string // id
	root    *x509.Certificate
	device  *x509.Certificate // nil on a client
}

// identify says who a client is. The clock is not asked for expiry here: a card
// that has lain in a drawer for too long is told so in words, and not by a broken
// connection.
//
// Cards and the operator are certified by the enrolment CA itself. The device CA
// lies on node0's card, and who steals that one must not become an operator.
func (t trust) identify(chain []*x509.Certificate) (*peer, error) {
	if len(chain) == 0 {
		return nil, errors.New("identify client: it has no certificate")
	}
	leaf := chain[0]
	direct := leaf.CheckSignatureFrom(t.root) == nil
	issuer := t.root
	if !direct {
		issuer = t.device
	}
	if err := t.verify(leaf, issuer); err != nil {
		return nil, fmt.Errorf("identify client: %w", err)
	}
	p := &peer{key: keyHash(leaf.RawSubjectPublicKeyInfo), notAfter: leaf.NotAfter}
	if direct && slices.Equal(leaf.Subject.Organization, []string{operatorGroup}) && len(leaf.URIs) == 0 {
		p.kind = operatorKind
		return p, nil
	}
	p.kind = deviceKind
	if direct {
		p.kind = cardKind
		p.name = leaf.Subject.CommonName
	}
	var ok bool
	if p.cardID, p.generation, ok = t.parseURN(p.kind, leaf.URIs); !ok || len(leaf.Subject.Organization) > 0 {
		return nil, errors.New("identify client: the certificate is of the cluster, but names no card")
	}
	return p, nil
}

// verify checks all that a signature is worth, at a time when the leaf is valid.
func (t trust) verify(leaf, issuer *x509.Certificate) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(t.root)
	if issuer != t.root && issuer != nil {
		between.AddCert(issuer)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, CurrentTime: leaf.NotAfter})
	if err != nil {
		return err
	}
	// An authority is not a client.
	if leaf.IsCA || len(chains[0]) < 2 {
		return errors.New("the certificate is an authority's")
	}
	return nil
}

// urn names one generation of a card, or of its device.
func (t trust) urn(k kind, cardID string, generation int) string {
	return fmt.Sprintf("urn:picluster:%s:%s:%s:gen:%d", t.cluster, k, cardID, generation)
}

func (t trust) parseURN(k kind, uris []*url.URL) (cardID string, generation int, ok bool) {
	if len(uris) != 1 {
		return "", 0, false
	}
	rest, ok := strings.CutPrefix(uris[0].String(), fmt.Sprintf("urn:picluster:%s:%s:", t.cluster, k))
	id, number, found := strings.Cut(rest, ":gen:")
	generation, err := strconv.Atoi(number)
	return id, generation, ok && found && err == nil && generation > 0 && cardIDForm.MatchString(id)
}

// serverGeneration reads which generation of the join service a certificate is of.
func (t trust) serverGeneration(leaf *x509.Certificate) (int, error) {
	prefix := fmt.Sprintf("urn:picluster:%s:join:gen:", t.cluster)
	for _, u := range leaf.URIs {
		if number, ok := strings.CutPrefix(u.String(), prefix); ok {
			if g, err := strconv.Atoi(number); err == nil && g > 0 {
				return g, nil
			}
		}
	}
	return 0, errors.New("the server's certificate names no generation of the join service")
}

// authority signs device certificates.
type authority struct {
	trust
	key *ecdsa.PrivateKey
}

// certify makes a client certificate for a device. It has no Organization, which
// Kubernetes would read as a group.
func (a authority) certify(public any, cardID string, generation int, now time.Time) (string, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "device of card " + cardID},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(deviceLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	u, err := url.Parse(a.urn(deviceKind, cardID, generation))
	if err != nil {
		return "", err
	}
	template.URIs = []*url.URL{u}
	if template.NotAfter.After(a.device.NotAfter) {
		template.NotAfter = a.device.NotAfter
	}
	if !template.NotAfter.After(now) {
		return "", fmt.Errorf("certify device: the device CA's certificate expired on %s", a.device.NotAfter.Format(time.DateOnly))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.device, public, a.key)
	if err != nil {
		return "", fmt.Errorf("certify device: %w", err)
	}
	return encodePEM("CERTIFICATE", der) + encodePEM("CERTIFICATE", a.device.Raw), nil
}

// requestedKey returns the key of a certificate request, which must be signed by
// it. Nothing else of the request is looked at.
func requestedKey(der []byte) (public *ecdsa.PublicKey, hash string, err error) {
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, "", fmt.Errorf("read certificate request: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, "", fmt.Errorf("read certificate request: %w", err)
	}
	public, ok := request.PublicKey.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, "", errors.New("read certificate request: the key is not on the curve P-256")
	}
	return public, keyHash(request.RawSubjectPublicKeyInfo), nil
}

func keyHash(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

func parseCertificates(text string) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for rest := []byte(text); len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("read certificate: it is no PEM block of type CERTIFICATE")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		all = append(all, cert)
	}
	if len(all) == 0 {
		return nil, errors.New("read certificate: it is empty")
	}
	return all, nil
}

func parseKey(text secret.Text) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(text.Reveal()))
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("read key: it is no PEM block of type PRIVATE KEY")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("read key: it is not an ECDSA key")
	}
	return key, nil
}

func encodePEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
