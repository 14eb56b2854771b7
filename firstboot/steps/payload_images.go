package steps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"picluster/firstboot/kubeadm"
	"picluster/internal/blob"
	"picluster/internal/host"
	"picluster/internal/payload"
	"picluster/internal/step"
)

// PayloadImages wants containerd to have the images of the payload, unpacked, and to
// keep them: the kubelet removes images when the disk gets full, and offline nobody
// brings them back.
type PayloadImages struct{ Payload }

func (s PayloadImages) Name() string { return "payload images" }

// pinned is what the kubelet's garbage collection leaves alone (containerd 1.7,
// pkg/cri/labels). containerd 1.6 does not know it, and takes it for any label. It is
// given last, so that it also says: all of this image is there.
const pinned = "io.cri-containerd.pinned=pinned"

// Check implements Step.
func (s PayloadImages) Check(ctx context.Context, h host.Host) (string, error) {
	if done, err := s.marked(ctx, h, payloadDonePath); err != nil || done {
		return "", err
	}
	m, err := s.list(ctx, h)
	if err != nil {
		return "", err
	}
	missing, err := s.missing(ctx, h, m)
	if err != nil || len(missing) == 0 {
		return "", err
	}
	return fmt.Sprintf("containerd lacks %d of %d images", len(missing), len(m.Images)), nil
}

// missing are the images that containerd does not have, or not pinned. It lists
// REF TYPE DIGEST SIZE PLATFORMS LABELS.
func (s PayloadImages) missing(ctx context.Context, h host.Host, m *payload.Manifest) ([]payload.Image, error) {
	out, err := ctr(ctx, h, nil, "images", "list")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(m.Images), func(i payload.Image) bool {
		for line := range strings.Lines(string(out)) {
			f := strings.Fields(line)
			if len(f) > 2 && f[0] == i.Name && slices.Contains(f, "sha256:"+i.Manifest.SHA256) && strings.Contains(f[len(f)-1], pinned) {
				return true
			}
		}
		return false
	}), nil
}

// Apply implements Step. One image after the other, so that a power cut costs one.
func (s PayloadImages) Apply(ctx context.Context, h host.Host) error {
	m, err := s.list(ctx, h)
	if err != nil {
		return err
	}
	missing, err := s.missing(ctx, h, m)
	if err != nil {
		return err
	}
	for n, i := range missing {
		step.Note(ctx, fmt.Sprintf("image %d of %d: %s", n+1, len(missing), i.Name))
		if err := s.load(ctx, h, i); err != nil {
			return err
		}
	}
	return nil
}

// load streams an image to containerd, which takes it only as a whole.
func (s PayloadImages) load(ctx context.Context, h host.Host, i payload.Image) error {
	archive, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := i.Archive(w, func(ref blob.Ref) (io.ReadCloser, error) {
			data, err := h.ReadFile(ctx, path.Join(s.Dir, ref.SHA256))
			return io.NopCloser(bytes.NewReader(data)), err
		})
		w.CloseWithError(err)
		written <- err
	}()
	_, err := ctr(ctx, h, archive, "images", "import", "-")
	archive.CloseWithError(errors.New("containerd does not read on"))
	// What was wrong with the file says more than what containerd makes of its end.
	if damaged := (*blob.DigestError)(nil); errors.As(<-written, &damaged) {
		return fmt.Errorf("import image %s: its file on the card is damaged: %w", i.Name, damaged)
	}
	if err != nil {
		return importError(i.Name, err)
	}
	if _, err := ctr(ctx, h, nil, "images", "label", i.Name, pinned); err != nil {
		return importError(i.Name, err)
	}
	return nil
}

func importError(name string, err error) error {
	var exit *host.ExitError
	if errors.As(err, &exit) && strings.Contains(string(exit.Stderr), "no space left on device") {
		return fmt.Errorf("import image %s: no space left on the card: %w", name, err)
	}
	return fmt.Errorf("import image %s: %w", name, err)
}

// ctr asks containerd, in the part of it that the kubelet uses.
func ctr(ctx context.Context, h host.Host, stdin io.Reader, args ...string) ([]byte, error) {
	return h.Run(ctx, host.Cmd{Args: slices.Concat([]string{"ctr", "--address", strings.TrimPrefix(kubeadm.CRISocket, "unix://"), "--namespace", "k8s.io"}, args), Stdin: stdin})
}
