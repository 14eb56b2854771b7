package reach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"picluster/clusterctl/keys"
	"picluster/internal/host"
)

// sshTime is for finding a machine and logging in: a Pi that installs packages
// answers slowly.
const sshTime = 20 * time.Second

// Login opens ssh connections to a cluster's machines. They are known by the host
// keys that imagebuilder has written onto their cards, from the first connection on.
type Login struct {
	Finder *Finder
	Keys   *keys.Keys
	User   string
	Agent  string // the agent's socket, SSH_AUTH_SOCK; "": none
	Log    *slog.Logger
}

// NoKeyError says that there is nothing to log in with.
type NoKeyError struct{ Why error }

func (e *NoKeyError) Error() string {
	return "find SSH key: neither secrets/operator/id_ed25519 nor an agent has one"
}
func (e *NoKeyError) Unwrap() error { return e.Why }

// Open logs in to a node, as root where sudo asks for no password. knownAs is the
// name on its card, "spare-1" of a node that was a spare; "" is the node's own. The
// caller closes the machine.
func (l *Login) Open(ctx context.Context, node, knownAs string) (*host.Remote, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, sshTime, errors.New("it does not answer in time"))
	defer cancel()
	signers, closeAgent, err := l.signers(ctx)
	if err != nil {
		return nil, err
	}
	defer closeAgent()
	address, err := l.Finder.Find(ctx, node, "22")
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", node, err)
	}
	if knownAs == "" {
		knownAs = node
	}
	return host.Dial(ctx, host.SSH{Name: node, Address: address, User: l.User, Keys: signers,
		KnownHosts: l.Keys.KnownHosts(), KnownAs: knownAs, Sudo: l.User != "root", Log: l.Log})
}

// signers are the operator's key and those of the agent, which may be behind a
// passphrase or in hardware. The connection to the agent is closed by the caller.
func (l *Login) signers(ctx context.Context) (all []ssh.Signer, closeAgent func(), err error) {
	closeAgent = func() {}
	text, err := l.Keys.SSHKey()
	if err == nil {
		signer, parseErr := ssh.ParsePrivateKey([]byte(text.Reveal()))
		var locked *ssh.PassphraseMissingError
		switch {
		case errors.As(parseErr, &locked):
			err = errors.New("the operator's SSH key has a passphrase, and an agent has to hold it: ssh-add secrets/operator/id_ed25519")
		case parseErr != nil:
			return nil, nil, fmt.Errorf("read operator's SSH key: %w", parseErr)
		default:
			all = append(all, signer)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	if l.Agent != "" {
		fromAgent, closer, agentErr := agentSigners(ctx, l.Agent)
		if agentErr == nil {
			all, closeAgent = append(all, fromAgent...), closer
		}
		err = errors.Join(err, agentErr)
	}
	if len(all) == 0 {
		return nil, nil, &NoKeyError{err}
	}
	return all, closeAgent, nil
}

func agentSigners(ctx context.Context, socket string) ([]ssh.Signer, func(), error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, nil, fmt.Errorf("ask SSH agent: %w", err)
	}
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("ask SSH agent: %w", err)
	}
	return signers, func() { conn.Close() }, nil
}

// AgentSocket is where this computer's agent listens, "" if there is none.
func AgentSocket() string { return os.Getenv("SSH_AUTH_SOCK") }
