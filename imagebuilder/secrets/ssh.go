package secrets

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"picluster/internal/secret"
)

// sshPair is an SSH key in OpenSSH's own form.
type sshPair struct {
	private secret.Text // the file, comment included
	public  string      // type, key and comment, without a line end
}

func newSSH(comment string) (sshPair, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return sshPair{}, fmt.Errorf("make SSH key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return sshPair{}, fmt.Errorf("make SSH key: %w", err)
	}
	private := secret.New(string(pem.EncodeToMemory(block)))
	public, err := publicLine(private, comment)
	return sshPair{private, public}, err
}

// publicLine derives the public half. The comment inside the private key is
// beyond reach of x/crypto/ssh, so it is told again.
func publicLine(private secret.Text, comment string) (string, error) {
	signer, err := ssh.ParsePrivateKey([]byte(private.Reveal()))
	if err != nil {
		return "", err
	}
	line := string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	return strings.TrimSuffix(line, "\n") + " " + comment, nil
}

// readSSH reads a key and checks its public half.
func (s *store) readSSH(name string) (sshPair, error) {
	key, err := s.read(name)
	if err != nil {
		return sshPair{}, err
	}
	pub, err := s.read(name + ".pub")
	if err != nil {
		return sshPair{}, err
	}
	p := sshPair{secret.New(string(key)), strings.TrimSpace(string(pub))}
	derived, err := publicLine(p.private, "")
	if err != nil {
		return sshPair{}, fmt.Errorf("read %s: %w", name, err)
	}
	if strings.ContainsAny(p.public, "\r\n") || !strings.HasPrefix(p.public+" ", derived) {
		return sshPair{}, fmt.Errorf("read %s.pub: %w", name, errors.New("it is not the public half of the key beside it"))
	}
	return p, nil
}

// ensureSSH makes what is missing of a key.
func (m *maker) ensureSSH(name, comment string) (sshPair, error) {
	haveKey, havePub, err := m.store.halves(name, name+".pub")
	if err != nil {
		return sshPair{}, err
	}
	if !haveKey {
		p, err := newSSH(comment)
		if err != nil {
			return sshPair{}, err
		}
		if err := m.store.write(name, []byte(p.private.Reveal()), privateFile); err != nil {
			return sshPair{}, err
		}
	}
	if !havePub {
		key, err := m.store.read(name)
		if err != nil {
			return sshPair{}, err
		}
		line, err := publicLine(secret.New(string(key)), comment)
		if err != nil {
			return sshPair{}, fmt.Errorf("read %s: %w", name, err)
		}
		if err := m.store.write(name+".pub", []byte(line+"\n"), publicFile); err != nil {
			return sshPair{}, err
		}
	}
	return m.store.readSSH(name)
}

// knownHosts lists the host keys for ssh's UserKnownHostsFile. A spare goes by
// its own name until the join service gives it a node's.
func knownHosts(want Want, hosts map[string]sshPair) []byte {
	var b strings.Builder
	b.WriteString("# Host keys of cluster " + want.Cluster + ". `imagebuilder init` writes this file anew.\n")
	line := func(names, name string) {
		words := strings.Fields(hosts[name].public)
		fmt.Fprintf(&b, "%s %s %s\n", names, words[0], words[1])
	}
	for _, n := range want.Nodes {
		names := n.Name + "," + n.Name + ".local"
		if n.ClusterAddress.IsValid() {
			names += "," + n.ClusterAddress.String()
		}
		line(names, n.Name)
	}
	for _, name := range want.spareNames() {
		line(name+","+name+".local", name)
	}
	return []byte(b.String())
}
