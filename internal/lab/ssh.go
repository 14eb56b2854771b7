package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"time"

	"picluster/internal/lab/tool"
)

// Login is how SSH gets into a machine: with a key, and only if the machine proves
// to be the one in the known_hosts file. Nothing of the caller's own configuration
// is used.
type Login struct {
	User       string
	Key        string // path of the private key
	KnownHosts string // path
	Host       string // name in KnownHosts
}

// SSH runs a command in the guest through the system's ssh and returns what it
// wrote to standard output. The context bounds it.
func (m *Machine) SSH(ctx context.Context, login Login, command string) (string, error) {
	m.t.Helper()
	path, err := tool.Path("ssh")
	if err != nil {
		m.t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(m.Addr(22))
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, path, "-F", "none", "-p", port, "-l", login.User, "-i", login.Key,
		"-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=60",
		"-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile="+login.KnownHosts, "-o", "GlobalKnownHostsFile=none",
		"-o", "HostKeyAlias="+login.Host, "-o", "UpdateHostKeys=no", "-o", "LogLevel=ERROR", host, command)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("run %q over ssh: %w: %s", command, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// AwaitSSH waits until the guest lets the login in, and fails the test if it does
// not within the timeout.
func (m *Machine) AwaitSSH(login Login, timeout time.Duration) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for {
		_, err := m.SSH(ctx, login, "true")
		if err == nil {
			return
		}
		if state := m.state(); state != nil {
			m.t.Fatalf("wait for ssh: %v", state)
		}
		select {
		case <-ctx.Done():
			m.t.Fatalf("wait for ssh: not within %s: %v", timeout, err)
		case <-time.After(time.Second):
		}
	}
}
