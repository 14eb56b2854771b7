package steps

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"picluster/internal/host"
	"picluster/internal/node"
)

func identitySteps(c *node.Config) []Step {
	user := c.System.User
	return []Step{
		Text{What: "hostname", Path: "/etc/hostname", Content: c.Name + "\n"},
		Hosts{Host: c.Name, Peers: peers(c), Grow: true},
		Home{User: user.Name},
		Account{User: user.Name, PasswordHash: user.PasswordHash.Text},
		HomeFiles{User: user.Name},
		AuthorizedKeys{User: user.Name, Keys: user.AuthorizedKeys},
		sudo(user),
		Absent{What: "vendor's sudo rule", Paths: []string{"/etc/sudoers.d/010_pi-nopasswd"}},
		hostKey(c.SSH),
		Text{What: "ssh host key's public half", Path: hostKeyPath(c.SSH) + ".pub", Content: strings.TrimSpace(c.SSH.HostPublicKey) + "\n"},
		OnlyHostKey{Path: hostKeyPath(c.SSH)},
		sshServer(c),
		Absent{What: "ssh switched off", Paths: []string{"/etc/ssh/sshd_not_to_be_run"}},
		// As `systemctl enable ssh` does; /lib is right on every release, merged
		// /usr or not.
		Links{What: "ssh at boot", Target: "/lib/systemd/system/ssh.service",
			Paths: []string{atBoot("ssh.service"), unitDir + "sshd.service"}},
	}
}

// Hosts wants /etc/hosts to know this Pi and all nodes by their cluster
// addresses, so that nodes find each other without DNS.
type Hosts struct {
	Host  string
	Peers []Peer
	Grow  bool // nodes that are there already, by other names, stay: they came after the card was made
}

// Peer is a node's line in /etc/hosts.
type Peer struct {
	Name    string
	Address netip.Addr
}

func peers(c *node.Config) []Peer {
	var all []Peer
	for _, p := range c.Peers {
		all = append(all, Peer(p))
	}
	return all
}

func (s Hosts) Name() string { return "hosts file" }

func (s Hosts) edited() edited { return edited{path: "/etc/hosts", edit: s.edit} }

// edit sets the line of 127.0.1.1, which Debian gives to the own name (Debian
// reference 5.1.1; sudo waits for DNS without it), and our block.
func (s Hosts) edit(text string) (string, error) {
	var out strings.Builder
	own := "127.0.1.1\t" + s.Host + "\n"
	done := false
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 0 || f[0] != "127.0.1.1" {
			out.WriteString(line)
			continue
		}
		if !done {
			out.WriteString(own)
		}
		done = true
	}
	var nodes strings.Builder
	known := map[string]bool{}
	for _, p := range s.Peers {
		known[p.Name], known[p.Address.String()] = true, true
		fmt.Fprintf(&nodes, "%s\t%s\n", p.Address, p.Name)
	}
	for line := range strings.Lines(inBlock(text)) {
		if f := strings.Fields(line); s.Grow && len(f) == 2 && !known[f[0]] && !known[f[1]] {
			nodes.WriteString(line)
		}
	}
	all := out.String()
	if !done {
		all = block(all, "") // the own name goes above the nodes
		if all != "" && !strings.HasSuffix(all, "\n") {
			all += "\n"
		}
		all += own
	}
	return block(all, nodes.String()), nil
}

// Check implements Step.
func (s Hosts) Check(ctx context.Context, h host.Host) (string, error) {
	return s.edited().drift(ctx, h)
}

// Apply implements Step.
func (s Hosts) Apply(ctx context.Context, h host.Host) error { return s.edited().apply(ctx, h) }

// sudo gives the user root's rights. The stock files say the same of pi; the
// last rule that matches wins, so the name sorts behind 010_pi-nopasswd.
func sudo(u node.User) Text {
	tag := "NOPASSWD"
	if u.Sudo == "password" {
		tag = "PASSWD"
	}
	return Text{What: "sudo rule", Path: "/etc/sudoers.d/010_picluster", Mode: 0o440, // sudo ignores files that others can write
		Content: fmt.Sprintf("%s ALL=(ALL) %s: ALL\n", u.Name, tag)}
}

// hostKeyPath is where sshd looks for a key of that type: ssh_host_ed25519_key.
func hostKeyPath(s node.SSH) string {
	kind, _, _ := strings.Cut(s.HostPublicKey, " ")
	kind = strings.TrimPrefix(kind, "ssh-")
	if strings.HasPrefix(kind, "ecdsa-") {
		kind = "ecdsa"
	}
	return "/etc/ssh/ssh_host_" + kind + "_key"
}

func hostKey(s node.SSH) Private {
	return Private{What: "ssh host key", Path: hostKeyPath(s), Content: s.HostKey.Text}
}

// OnlyHostKey wants no other host keys: what a client can verify is the one made
// on the desk. Where the system makes others again (trixie's sshd-keygen.service),
// sshd does not offer them: see sshServer.
type OnlyHostKey struct{ Path string }

func (s OnlyHostKey) Name() string { return "other ssh host keys" }

func (s OnlyHostKey) others(ctx context.Context, h host.Host) ([]string, error) {
	names, err := h.ReadDir(ctx, path.Dir(s.Path))
	if err != nil {
		return nil, err
	}
	var others []string
	for _, name := range names {
		full := path.Join(path.Dir(s.Path), name)
		isKey := strings.HasPrefix(name, "ssh_host_") && (strings.HasSuffix(name, "_key") || strings.HasSuffix(name, "_key.pub"))
		if isKey && strings.TrimSuffix(full, ".pub") != s.Path {
			others = append(others, full)
		}
	}
	return others, nil
}

// Check implements Step.
func (s OnlyHostKey) Check(ctx context.Context, h host.Host) (string, error) {
	others, err := s.others(ctx, h)
	if err != nil || len(others) == 0 {
		return "", err
	}
	return others[0] + " is there", nil
}

// Apply implements Step.
func (s OnlyHostKey) Apply(ctx context.Context, h host.Host) error {
	others, err := s.others(ctx, h)
	for _, name := range others {
		if err == nil {
			err = h.Remove(ctx, name)
		}
	}
	return err
}

// sshServer makes sshd take keys only and offer the one host key only. The
// drop-in directory came with OpenSSH 8.2, so with bullseye; before, the
// settings go to the top of sshd_config, where the first one wins
// (sshd_config(5)).
func sshServer(c *node.Config) Step {
	lines := "HostKey " + hostKeyPath(c.SSH) + "\n" +
		"PasswordAuthentication no\n" +
		"ChallengeResponseAuthentication no\n" + // KbdInteractiveAuthentication since 8.7, which knows this name too
		"PermitRootLogin no\n"
	if slices.Contains([]string{"stretch", "buster"}, c.Build.Release) {
		return SSHServer{Settings: lines}
	}
	return Text{What: "ssh server", Path: "/etc/ssh/sshd_config.d/010_picluster.conf", Content: lines}
}

// SSHServer wants settings at the top of sshd_config.
type SSHServer struct{ Settings string }

func (s SSHServer) Name() string   { return "ssh server" }
func (s SSHServer) String() string { return fmt.Sprintf("{/etc/ssh/sshd_config top %q}", s.Settings) }

func (s SSHServer) edited() edited {
	return edited{path: "/etc/ssh/sshd_config", edit: func(text string) (string, error) {
		return block("", s.Settings) + block(text, ""), nil
	}}
}

// Check implements Step.
func (s SSHServer) Check(ctx context.Context, h host.Host) (string, error) {
	return s.edited().drift(ctx, h)
}

// Apply implements Step.
func (s SSHServer) Apply(ctx context.Context, h host.Host) error { return s.edited().apply(ctx, h) }
