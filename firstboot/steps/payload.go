package steps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/payload"
)

// A card with a payload makes a node without a network:
//
//	stage kubernetes   payload            every file is the one that it should be
//	                   payload packages   Debian's and Kubernetes' packages
//	stage runtime      payload images     containerd has the images
//	                   payload room       the room on the boot partition is free again
//
// Once the last one has marked the payload as done, none of them has anything to do.

// payloadPackageSteps come before anything else that installs packages.
func payloadPackageSteps(c *node.Config, e Env) []Step {
	if c.Kubernetes == nil || c.Kubernetes.Payload == "" {
		return nil
	}
	p := payloadOf(c, e)
	return []Step{PayloadWhole{p}, PayloadPackages{p}}
}

// payloadImageSteps come once containerd runs.
func payloadImageSteps(c *node.Config, e Env) []Step {
	if c.Kubernetes == nil || c.Kubernetes.Payload == "" {
		return nil
	}
	p := payloadOf(c, e)
	return []Step{PayloadImages{p}, PayloadRoom{p}}
}

// Payload is the one that this node's card brings along.
type Payload struct {
	Dir                       string // where it is
	Digest                    string // of its list
	Kubernetes, Release, Arch string // what it has to be for
}

func payloadOf(c *node.Config, e Env) Payload {
	// A machine without a card may have one too, in the same place.
	return Payload{Dir: path.Join(cmp.Or(e.Boot, "/boot/firmware"), payload.Dir), Digest: c.Kubernetes.Payload,
		Kubernetes: c.Kubernetes.Version, Release: c.Build.Release, Arch: c.Build.Arch}
}

// Marks of what is done with a payload; each holds the digest of its list.
const (
	payloadCheckedPath = "/run/picluster/payload-checked" // gone at the next boot, and then looked at again
	payloadDonePath    = "/var/lib/picluster/payload-done"
)

func (p Payload) marked(ctx context.Context, h host.Host, name string) (bool, error) {
	mark, err := read(ctx, h, name)
	return strings.TrimSpace(string(mark)) == p.Digest, err
}

func (p Payload) mark(ctx context.Context, h host.Host, name string) error {
	return h.Write(ctx, name, host.File{Data: []byte(p.Digest + "\n")})
}

// list reads the list of what is in the payload. It is the one that node.json names,
// and for this node, or an error.
func (p Payload) list(ctx context.Context, h host.Host) (*payload.Manifest, error) {
	name := path.Join(p.Dir, payload.ManifestName)
	data, err := h.ReadFile(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("check payload: %s is missing", name)
	}
	if err != nil {
		return nil, err
	}
	if payload.Digest(data) != p.Digest {
		return nil, fmt.Errorf("check payload: %s is damaged, or of another card", name)
	}
	m, err := payload.Parse(data)
	if err != nil {
		return nil, err
	}
	return m, m.Fits(p.Kubernetes, p.Release, p.Arch)
}

// PayloadWhole wants every file of the payload to be there and right. Cards lose bits,
// and people lose files: better to know before anything is installed.
type PayloadWhole struct{ Payload }

func (s PayloadWhole) Name() string { return "payload" }

// Check implements Step. To read it all takes ten seconds or more, so it is done once
// in a boot.
func (s PayloadWhole) Check(ctx context.Context, h host.Host) (string, error) {
	for _, mark := range []string{payloadDonePath, payloadCheckedPath} {
		if ok, err := s.marked(ctx, h, mark); err != nil || ok {
			return "", err
		}
	}
	return "the payload on the card is not checked yet", nil
}

// Apply implements Step.
func (s PayloadWhole) Apply(ctx context.Context, h host.Host) error {
	m, err := s.list(ctx, h)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, f := range m.Files() {
		fmt.Fprintf(&sums, "%s  %s\n", f.SHA256, path.Join(s.Dir, f.Name))
	}
	out, err := h.Run(ctx, host.Cmd{Args: []string{"sha256sum", "--check", "--quiet", "-"}, Stdin: strings.NewReader(sums.String())})
	if wrong := s.wrongFiles(m, string(out)); len(wrong) > 0 {
		return fmt.Errorf("check payload: damaged or missing: %s", strings.Join(wrong, ", "))
	}
	if err != nil {
		return err
	}
	return s.mark(ctx, h, payloadCheckedPath)
}

// wrongFiles says what the files are for that sha256sum has not found to be right. It
// writes "NAME: FAILED" and "NAME: FAILED open or read".
func (s PayloadWhole) wrongFiles(m *payload.Manifest, output string) []string {
	var wrong []string
	for line := range strings.Lines(output) {
		name, _, failed := strings.Cut(line, ": FAILED")
		if failed {
			wrong = append(wrong, usedBy(m, path.Base(name)))
		}
	}
	return unique(wrong)
}

// usedBy is the first package or image that a file belongs to.
func usedBy(m *payload.Manifest, name string) string {
	for _, p := range m.Packages {
		if p.FileName() == name {
			return "package " + p.Name
		}
	}
	for _, i := range m.Images {
		for _, ref := range i.Files() {
			if ref.SHA256 == name {
				return "image " + i.Name
			}
		}
	}
	return name
}

// PayloadRoom wants the payload gone from the boot partition, which the kernel's next
// versions need room on, once everything is installed.
type PayloadRoom struct{ Payload }

func (s PayloadRoom) Name() string { return "payload room" }

// Check implements Step.
func (s PayloadRoom) Check(ctx context.Context, h host.Host) (string, error) {
	done, err := s.marked(ctx, h, payloadDonePath)
	if err != nil {
		return "", err
	}
	there, err := exists(ctx, h, s.Dir)
	switch {
	case err != nil:
		return "", err
	case there:
		return "the payload still takes room on the boot partition", nil
	case !done:
		return "the payload is not marked as installed", nil
	}
	return "", nil
}

// Apply implements Step. The mark comes first: without it, what a power cut leaves
// here of the payload would be called damaged.
func (s PayloadRoom) Apply(ctx context.Context, h host.Host) error {
	if err := s.mark(ctx, h, payloadDonePath); err != nil {
		return err
	}
	names, err := h.ReadDir(ctx, s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := h.Remove(ctx, path.Join(s.Dir, name)); err != nil {
			return err
		}
	}
	return h.Remove(ctx, s.Dir)
}
