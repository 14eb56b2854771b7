package join

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"time"

	"picluster/internal/host"
	"picluster/internal/joinapi"
	"picluster/internal/node"
	"picluster/internal/secret"
)

// Client is a Pi that wants to join. Its calls wait for node0 for as long as the
// context lasts, and say so by step.Note: whoever is switched on first waits for
// the others.
type Client struct {
	Config   *node.Config
	Hardware joinapi.Hardware
	Dir      string    // of the device key; absolute, on a disk of the Pi
	Host     host.Host // whose disk that is; nil: this machine's

	Address string                                     // of the service; "" is the cluster address of node0
	Dialer  net.Dialer                                 // its LocalAddr chooses one of several addresses
	Now     func() time.Time                           // nil: the clock
	Sleep   func(context.Context, time.Duration) error // nil: time passes
	Fault   func(op, path string)                      // for tests of power cuts; see host.Local

	// ServerTime is told the time by node0's clock whenever it answers. The channel
	// is authenticated, so a Pi without a clock may take it.
	ServerTime func(time.Time)

	device *device
}

// device is what a Pi keeps of its joining: device.json.
type device struct {
	CardID      string            `json:"cardID"`
	Key         secret.Wire       `json:"key"` // PEM
	Certificate string            `json:"certificate,omitempty"`
	Identity    *joinapi.Identity `json:"identity,omitempty"`
	Server      int               `json:"server"` // highest generation of the join service that was met
}

const deviceName = "device.json"

// Enroll makes the device key, if there is none yet, and binds it to the card. It
// comes back when the card has a name, for a spare the one that node0 has chosen.
func (c *Client) Enroll(ctx context.Context) (*joinapi.Identity, error) {
	if err := c.load(ctx); err != nil {
		return nil, err
	}
	if c.device.Identity != nil {
		return c.device.Identity, nil
	}
	if err := c.persist(ctx, "enroll", c.enroll); err != nil {
		return nil, err
	}
	return c.device.Identity, nil
}

// enroll tries once.
func (c *Client) enroll(ctx context.Context) error {
	csr, err := c.csr()
	if err != nil {
		return err
	}
	card, err := tls.X509KeyPair([]byte(c.Config.Join.Certificate), []byte(c.Config.Join.Key.Reveal()))
	if err != nil {
		return fmt.Errorf("read card certificate: %w", err)
	}
	var e joinapi.Enrollment
	if err := c.call(ctx, card, "/v1/enroll", joinapi.EnrollRequest{CSR: csr, Hardware: c.Hardware}, &e); err != nil {
		return err
	}
	return c.enrolled(ctx, &e)
}

// enrolled keeps an answer. Without a name the Pi asks on.
func (c *Client) enrolled(ctx context.Context, e *joinapi.Enrollment) error {
	if err := c.check(e.Certificate); err != nil {
		return err
	}
	next := *c.device
	next.Certificate = e.Certificate
	if e.Identity != nil {
		next.Identity = e.Identity
	}
	if err := c.save(ctx, &next); err != nil {
		return err
	}
	if next.Identity == nil {
		return &joinapi.Refusal{Reason: joinapi.AwaitingApproval, RetryAfter: pendingSeconds,
			Text: fmt.Sprintf("card %s waits for `clusterctl node approve %s`, or for a free name", c.device.CardID, c.device.CardID)}
	}
	return nil
}

// check refuses a certificate that is not of the device key.
func (c *Client) check(certificate string) error {
	if _, err := tls.X509KeyPair([]byte(certificate), []byte(c.device.Key.Reveal())); err != nil {
		return fmt.Errorf("read device certificate: %w", err)
	}
	return nil
}

// Join returns what the node joins with. The error is a *Refusal with AlreadyJoined
// where the node has said that it joined. rejoin is for a node that has, and whose
// kubelet certificate has run out.
func (c *Client) Join(ctx context.Context, rejoin bool) (*joinapi.Bundle, error) {
	var answer joinapi.JoinAnswer
	err := c.asDevice(ctx, "join", func(ctx context.Context, pair tls.Certificate) error {
		answer = joinapi.JoinAnswer{}
		if err := c.call(ctx, pair, "/v1/join", joinapi.JoinRequest{Hardware: c.Hardware, Rejoin: rejoin}, &answer); err != nil {
			return err
		}
		if p := answer.Pending; p != nil {
			return &joinapi.Refusal{Reason: p.Reason, Text: p.Text, RetryAfter: p.RetryAfter}
		}
		if answer.Bundle == nil {
			return errors.New("the answer is empty")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	next := *c.device
	next.Identity = &answer.Bundle.Identity
	return answer.Bundle, c.save(ctx, &next)
}

// Joined says that the node is a member; node0 takes the token away then.
func (c *Client) Joined(ctx context.Context, nodeUID string) error {
	return c.asDevice(ctx, "report that the node has joined", func(ctx context.Context, pair tls.Certificate) error {
		return c.call(ctx, pair, "/v1/joined", joinapi.JoinedRequest{NodeUID: nodeUID}, nil)
	})
}

// Report tells node0 where this Pi stands, and hears who else is there by now. It
// tries once: another event follows.
func (c *Client) Report(ctx context.Context, e joinapi.Event) (*joinapi.Standing, error) {
	pair, err := c.devicePair(ctx)
	var standing joinapi.Standing
	if err == nil {
		err = c.call(ctx, pair, "/v1/events", e, &standing)
	}
	if err != nil {
		return nil, fmt.Errorf("report to node0: %w", err)
	}
	return &standing, nil
}

// renewTime bounds asking for a new certificate: a refusal is repeated until then, and
// who keeps up asks again.
const renewTime = time.Minute

// KeepUp renews the certificate where that is due, and reports. One that has run out is
// good for its renewal alone, so that comes first; a renewal that is refused keeps nobody
// from reporting. The standing is nil only where there was no report.
func (c *Client) KeepUp(ctx context.Context, e joinapi.Event) (*joinapi.Standing, error) {
	renewing, cancel := context.WithTimeoutCause(ctx, renewTime, fmt.Errorf("gave up after %s", renewTime))
	defer cancel()
	renewErr := c.Renew(renewing)
	standing, err := c.Report(ctx, e)
	return standing, errors.Join(renewErr, err)
}

// Renew gets a new certificate of the device key when two thirds of the old one's
// life are over. Until then it does nothing.
func (c *Client) Renew(ctx context.Context) error {
	due, err := c.renewalDue(ctx)
	if err != nil || !due {
		return err
	}
	return c.asDevice(ctx, "renew the device certificate", func(ctx context.Context, pair tls.Certificate) error {
		csr, err := c.csr()
		if err != nil {
			return err
		}
		var e joinapi.Enrollment
		if err := c.call(ctx, pair, "/v1/renew", joinapi.RenewRequest{CSR: csr, Hardware: c.Hardware}, &e); err != nil {
			return err
		}
		return c.enrolled(ctx, &e)
	})
}

func (c *Client) renewalDue(ctx context.Context) (bool, error) {
	pair, err := c.devicePair(ctx)
	if err != nil {
		return false, err
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return false, err
	}
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return c.now().After(leaf.NotBefore.Add(life * 2 / 3)), nil
}

// asDevice repeats a call with the device's certificate. A node0 that was set up
// anew knows no devices; the card is good for one more first contact with it.
func (c *Client) asDevice(ctx context.Context, what string, call func(context.Context, tls.Certificate) error) error {
	if _, err := c.devicePair(ctx); err != nil {
		return err
	}
	return c.persist(ctx, what, func(ctx context.Context) error {
		pair, err := c.devicePair(ctx)
		if err != nil {
			return err
		}
		err = call(ctx, pair)
		var refusal *joinapi.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != joinapi.NotEnrolled {
			return err
		}
		if err := c.enroll(ctx); err != nil {
			return err
		}
		if pair, err = c.devicePair(ctx); err != nil {
			return err
		}
		return call(ctx, pair)
	})
}

func (c *Client) devicePair(ctx context.Context) (tls.Certificate, error) {
	if err := c.load(ctx); err != nil {
		return tls.Certificate{}, err
	}
	if c.device.Certificate == "" {
		return tls.Certificate{}, errors.New("read device certificate: this Pi is not enrolled")
	}
	return tls.X509KeyPair([]byte(c.device.Certificate), []byte(c.device.Key.Reveal()))
}

// load reads device.json, or makes the key and has it on the disk before anybody
// is shown its public half: an answer that is lost can then be asked for again.
func (c *Client) load(ctx context.Context) error {
	if c.device != nil {
		return nil
	}
	local := c.host()
	data, err := local.ReadFile(ctx, path.Join(c.Dir, deviceName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var d device
	if err == nil {
		if err := json.Unmarshal(data, &d); err != nil {
			return fmt.Errorf("read %s: %w", path.Join(c.Dir, deviceName), err)
		}
	}
	if d.CardID == c.Config.Join.CardID {
		c.device = &d
		return nil
	}
	if err := local.Write(ctx, c.Dir, owned(host.File{Mode: fs.ModeDir | 0o700})); err != nil {
		return err
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	return c.save(ctx, &device{CardID: c.Config.Join.CardID, Key: key})
}

func (c *Client) save(ctx context.Context, d *device) error {
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	local := c.host()
	if err := local.Write(ctx, path.Join(c.Dir, deviceName), owned(host.File{Mode: 0o600, Data: append(data, '\n')})); err != nil {
		return err
	}
	c.device = d
	return nil
}

func (c *Client) host() host.Host {
	if c.Host != nil {
		return c.Host
	}
	return host.Local{Fault: c.Fault}
}

func newKey() (secret.Wire, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return secret.Wire{}, fmt.Errorf("make device key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return secret.Wire{}, fmt.Errorf("make device key: %w", err)
	}
	return secret.NewWire(encodePEM("PRIVATE KEY", der)), nil
}

func (c *Client) csr() ([]byte, error) {
	key, err := parseKey(c.device.Key.Text)
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: c.device.CardID}}, key)
}
