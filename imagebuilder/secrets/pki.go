package secrets

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"picluster/internal/secret"
)

const (
	day  = 24 * time.Hour
	year = 365 * day

	// DefaultCardTTL is how long a card may lie in a drawer before its first boot.
	DefaultCardTTL = 90 * day

	// What lies on node0 can only be renewed with a key that never leaves the desk, by a
	// new card for node0, which is another cluster. So it lasts as long as Kubernetes'
	// own authorities (kubeadm, CACertificateValidityPeriod). Generations, not dates, end it.
	enrolmentLife = 10 * year
	deviceCALife  = enrolmentLife
	serviceLife   = enrolmentLife

	operatorLife = year // init makes a new one

	// backdate is how far before its making a certificate is valid: a Pi has no
	// clock, and node0 may not have found a time server yet.
	backdate = 7 * day
)

// cluster is cluster.json.
type cluster struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

const bundleVersion = 1

func (c *cluster) check() error {
	switch {
	case c.Version != bundleVersion:
		return fmt.Errorf("it has version %d, this program reads version %d", c.Version, bundleVersion)
	case c.ID == "" || c.Name == "" || c.Created.IsZero():
		return errors.New("it lacks the cluster's id, name or time")
	}
	return nil
}

func (c *cluster) serverName() string { return "join." + c.ID }

// cardURN names one generation of a card. The generation stands in the URN, not
// in an extension of our own: standard tools print it, any X.509 library reads
// it, and it needs no object identifier, which we would have to register.
func (c *cluster) cardURN(id string, generation int) string {
	return fmt.Sprintf("urn:picluster:%s:card:%s:gen:%d", c.ID, id, generation)
}

// serviceURN names one generation of the join service. Clients remember the
// highest they have met and refuse a lower one, so an old card of node0 stays
// out. Verifying a host name looks at DNS names alone and never at this one.
func (c *cluster) serviceURN(generation int) string {
	return fmt.Sprintf("urn:picluster:%s:join:gen:%d", c.ID, generation)
}

// template is what all certificates share. They start a week before the cluster
// does, however late they are made: a Pi whose clock stands at the build time of
// its card must accept a server certificate that is younger than the card.
func (c *cluster) template(commonName string, now time.Time, life time.Duration) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             c.Created.Add(-backdate),
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
}

func (c *cluster) enrolmentTemplate(now time.Time) *x509.Certificate {
	t := c.template("picluster "+c.Name+" enrolment", now, enrolmentLife)
	t.IsCA, t.MaxPathLen = true, 1
	t.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign // and DigitalSignature, for the inventory
	return t
}

// The device CA certifies clients only: an extended key usage on a CA holds for
// everything below it, so its key is of no use for posing as the join service.
func (c *cluster) deviceTemplate(now time.Time) *x509.Certificate {
	t := c.template("picluster "+c.Name+" devices", now, deviceCALife)
	t.IsCA, t.MaxPathLenZero = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return t
}

func (c *cluster) serviceTemplate(generation int, now time.Time) *x509.Certificate {
	t := c.template(c.serverName(), now, serviceLife)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.DNSNames = []string{c.serverName()}
	t.URIs = urn(c.serviceURN(generation))
	return t
}

func (c *cluster) operatorTemplate(now time.Time) *x509.Certificate {
	t := c.template("operator", now, operatorLife)
	t.Subject.Organization = []string{"picluster:operator"}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return t
}

// cardTemplate has no Organization, which Kubernetes would read as a group.
func (c *cluster) cardTemplate(r cardRecord, ttl time.Duration) *x509.Certificate {
	t := c.template(r.Node, r.Created, ttl)
	t.NotBefore = r.Created.Add(-backdate)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	t.URIs = urn(c.cardURN(r.ID, r.Generation))
	return t
}

func urn(s string) []*url.URL {
	return []*url.URL{{Scheme: "urn", Opaque: strings.TrimPrefix(s, "urn:")}}
}

// pair is a private key and its certificate.
type pair struct {
	key  secret.Text // PEM, PKCS #8
	pem  string
	cert *x509.Certificate // what pem says
}

// newPair parses a certificate and checks that key is the key of it.
func newPair(certificate string, key secret.Text) (pair, error) {
	der, err := decodePEM(certificate, "CERTIFICATE")
	if err != nil {
		return pair{}, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return pair{}, err
	}
	signer, err := parseKey(key)
	if err != nil {
		return pair{}, err
	}
	if !signer.PublicKey.Equal(cert.PublicKey) {
		return pair{}, errors.New("the key does not belong to the certificate")
	}
	return pair{key, certificate, cert}, nil
}

// issue makes a key and a certificate of it, signed by issuer.
func issue(template *x509.Certificate, issuer *pair) (pair, error) {
	key, err := newKey()
	if err != nil {
		return pair{}, err
	}
	return certify(template, key, issuer)
}

// certify makes a certificate of key, signed by issuer, or by key itself where
// issuer is nil.
func certify(template *x509.Certificate, key secret.Text, issuer *pair) (pair, error) {
	own, err := parseKey(key)
	if err != nil {
		return pair{}, err
	}
	signer, parent := own, template
	if issuer != nil {
		parent = issuer.cert
		if signer, err = parseKey(issuer.key); err != nil {
			return pair{}, err
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, own.Public(), signer)
	if err != nil {
		return pair{}, fmt.Errorf("certify %s: %w", template.Subject.CommonName, err)
	}
	return newPair(encodePEM(der, "CERTIFICATE"), key)
}

func (p *pair) hasURN(want string) bool {
	return slices.ContainsFunc(p.cert.URIs, func(u *url.URL) bool { return u.String() == want })
}

func newKey() (secret.Text, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return secret.Text{}, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return secret.Text{}, fmt.Errorf("make key: %w", err)
	}
	return secret.New(encodePEM(der, "PRIVATE KEY")), nil
}

func parseKey(key secret.Text) (*ecdsa.PrivateKey, error) {
	der, err := decodePEM(key.Reveal(), "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	ec, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the key is not an ECDSA key")
	}
	return ec, nil
}

func encodePEM(der []byte, kind string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func decodePEM(text, kind string) ([]byte, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != kind || len(rest) > 0 {
		return nil, fmt.Errorf("it is not one PEM block of type %s", kind)
	}
	return block.Bytes, nil
}
