package host

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SSH says how to reach a machine by ssh.
type SSH struct {
	Name    string // for logs and errors; "" is Address
	Address string // host or host:port; no port is 22
	User    string
	Keys    []ssh.Signer // from key files or an agent, tried in this order

	// KnownHosts is a file as ssh keeps it, and KnownAs the name that the machine's
	// key has in it, "" for Address. A machine that is not in there, or has another
	// key, is not talked to.
	KnownHosts string
	KnownAs    string

	// Sudo makes everything run through `sudo -n`: as root, without a password.
	Sudo bool

	// KeepAlive is how often the other side is asked for a sign of life; after
	// three times as long without one the connection counts as lost. 0 is 15 s.
	KeepAlive time.Duration

	Log *slog.Logger // Debug: each command with its exit code; nil: none
}

// Remote is a machine at the other end of an ssh connection. It must have a POSIX
// shell as login shell, GNU coreutils and findutils; sftp is not needed. Several
// operations can run on it at the same time. A lost connection ends them with an
// error and is not opened again: whoever wants to go on dials anew.
type Remote struct {
	shellFiles
	config SSH
	client *ssh.Client
	closed chan struct{}

	// A connection has ten sessions unless the server is told otherwise
	// (sshd_config(5), MaxSessions). Two of them are kept for signals, or nothing
	// could be ended when it matters.
	running, signalling chan struct{}
}

var _ Host = (*Remote)(nil)

// Dial connects. The context bounds only that: give it a deadline. The caller
// closes the Remote.
func Dial(ctx context.Context, config SSH) (*Remote, error) {
	if config.Name == "" {
		config.Name = config.Address
	}
	if config.KeepAlive == 0 {
		config.KeepAlive = 15 * time.Second
	}
	if _, _, err := net.SplitHostPort(config.Address); err != nil {
		config.Address = net.JoinHostPort(config.Address, "22")
	}
	client, err := config.connect(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("dial %s: %w", config.Name, err)
	}
	r := &Remote{config: config, client: client, closed: make(chan struct{}),
		running: make(chan struct{}, 8), signalling: make(chan struct{}, 2)}
	r.shellFiles = shellFiles{r.start}
	go func() {
		client.Wait()
		close(r.closed)
	}()
	go r.keepAlive()
	return r, nil
}

func (c SSH) connect(ctx context.Context) (*ssh.Client, error) {
	clientConfig, err := c.clientConfig()
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", c.Address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() }) // the handshake knows no context
	sshConn, channels, requests, err := ssh.NewClientConn(conn, c.Address, clientConfig)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, c.explain(err)
	}
	return ssh.NewClient(sshConn, channels, requests), nil
}

func (c SSH) clientConfig() (*ssh.ClientConfig, error) {
	known, err := knownhosts.New(c.KnownHosts)
	if err != nil {
		return nil, fmt.Errorf("read known hosts: %w", err)
	}
	name := c.Address
	if c.KnownAs != "" {
		name = net.JoinHostPort(c.KnownAs, "22") // the form of an entry without a port
	}
	check := func(_ string, remote net.Addr, key ssh.PublicKey) error { return known(name, remote, key) }
	algorithms, err := keyAlgorithms(check)
	if err != nil {
		return nil, c.explain(err)
	}
	return &ssh.ClientConfig{
		User:              c.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(c.Keys...)},
		HostKeyCallback:   check,
		HostKeyAlgorithms: algorithms,
	}, nil
}

// keyAlgorithms are those of the keys that a machine is known by. A server has keys
// of several kinds and shows the one that the client likes best; unless that is the
// known one, it would look like a stranger's.
func keyAlgorithms(check ssh.HostKeyCallback) ([]string, error) {
	nobodys, err := ssh.NewPublicKey(make(ed25519.PublicKey, ed25519.PublicKeySize))
	if err != nil {
		return nil, err
	}
	err = check("", &net.TCPAddr{IP: net.IPv4zero}, nobodys)
	var mismatch *knownhosts.KeyError
	if !errors.As(err, &mismatch) || len(mismatch.Want) == 0 {
		return nil, err
	}
	var algorithms []string
	for _, known := range mismatch.Want {
		switch kind := known.Key.Type(); kind {
		case ssh.KeyAlgoRSA: // the old name of the key; its signatures have new ones, RFC 8332
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			algorithms = append(algorithms, kind)
		}
	}
	return algorithms, nil
}

// explain says what a rejected host key means.
func (c SSH) explain(err error) error {
	name := c.Address
	if c.KnownAs != "" {
		name = c.KnownAs
	}
	var mismatch *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case errors.As(err, &revoked):
		return fmt.Errorf("check host key: the key of %s is revoked in %s: %w", name, c.KnownHosts, err)
	case !errors.As(err, &mismatch):
		return err
	case len(mismatch.Want) == 0:
		return fmt.Errorf("check host key: %s is not in %s: %w", name, c.KnownHosts, err)
	}
	return fmt.Errorf("check host key: %s has another key than in %s: %w", name, c.KnownHosts, err)
}

// String is the machine's name.
func (r *Remote) String() string { return r.config.Name }

// Close ends the connection and everything that still runs over it.
func (r *Remote) Close() error {
	err := r.client.Close()
	<-r.closed
	if errors.Is(err, net.ErrClosed) { // it was lost before
		return nil
	}
	return err
}

// keepAlive closes a connection whose other side is silent. TCP alone notices only
// after a quarter of an hour, and never while it has nothing to send.
func (r *Remote) keepAlive() {
	tick := time.NewTicker(r.config.KeepAlive)
	defer tick.Stop()
	for {
		select {
		case <-r.closed:
			return
		case <-tick.C:
		}
		answered := make(chan error, 1)
		go func() {
			// Nobody knows this request, which is an answer too.
			_, _, err := r.client.SendRequest("keepalive@openssh.com", true, nil)
			answered <- err
		}()
		select {
		case err := <-answered:
			if err == nil {
				continue
			}
		case <-time.After(3 * r.config.KeepAlive):
		}
		r.client.Close()
		return
	}
}
