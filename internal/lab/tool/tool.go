// Package tool runs the Debian programs that the lab is made of, as argument
// lists without a shell. A program that is not there is an error that names its
// package: a test that needs it fails, it is never skipped.
//
// It knows nothing about images or machines; those are its callers' business.
package tool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// packages names the Debian package of each program that the lab runs.
var packages = map[string]string{
	"apt-ftparchive":      "apt-utils",
	"apt-get":             "apt",
	"cpio":                "cpio",
	"debugfs":             "e2fsprogs",
	"depmod":              "kmod",
	"dnsmasq":             "dnsmasq-base",
	"dpkg-deb":            "dpkg",
	"dumpe2fs":            "e2fsprogs",
	"e2fsck":              "e2fsprogs",
	"fsck.vfat":           "dosfstools",
	"ip":                  "iproute2",
	"mcopy":               "mtools",
	"mdel":                "mtools",
	"mdir":                "mtools",
	"mke2fs":              "e2fsprogs",
	"minfo":               "mtools",
	"mkfs.vfat":           "dosfstools",
	"mkswap":              "util-linux",
	"mmd":                 "mtools",
	"mtype":               "mtools",
	"mmdebstrap":          "mmdebstrap",
	"modprobe":            "kmod",
	"qemu-system-aarch64": "qemu-system-arm",
	"sfdisk":              "fdisk",
	"ssh":                 "openssh-client",
	"ssh-keygen":          "openssh-client",
	"systemd-nspawn":      "systemd-container",
	"xz":                  "xz-utils",
	"zstd":                "zstd",
}

// Cmd is one run of a program. The zero value of each field but Args is useful.
type Cmd struct {
	Args   []string  // program and arguments
	Dir    string    // working directory, "" is the current one
	Env    []string  // added to this process's environment
	Stdin  io.Reader // nil is empty
	Stdout io.Writer // nil collects it for Output
}

// Run runs a program and returns what went wrong, with the last line that it
// wrote to standard error.
func Run(ctx context.Context, args ...string) error {
	_, err := Cmd{Args: args}.Output(ctx)
	return err
}

// Output is Run that returns what the program wrote to standard output.
func Output(ctx context.Context, args ...string) ([]byte, error) {
	return Cmd{Args: args}.Output(ctx)
}

// Output runs the command and returns its standard output, which is empty where
// Stdout is set.
func (c Cmd) Output(ctx context.Context) ([]byte, error) {
	path, err := Path(c.Args[0])
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, c.Args[1:]...)
	cmd.Dir, cmd.Stdin = c.Dir, c.Stdin
	// mtools and e2fsprogs write dates in the local zone into file systems.
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	cmd.Env = append(cmd.Env, c.Env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run %s: %w%s", c.Args[0], err, lastLine(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// Path finds a program, also where Debian keeps the system administrator's.
func Path(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if path, sbinErr := exec.LookPath(dir + name); sbinErr == nil {
			return path, nil
		}
	}
	if pkg := packages[name]; pkg != "" && errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("run %s: it is not installed: the Debian package is %s (`make setup` installs it)", name, pkg)
	}
	return "", fmt.Errorf("run %s: %w", name, err)
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return ""
	}
	return ": " + s[strings.LastIndexByte(s, '\n')+1:]
}
