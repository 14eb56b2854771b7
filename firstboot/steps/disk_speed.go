package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"picluster/internal/host"
	"picluster/internal/status"
)

// DiskSpeed wants to know how long etcd's disk takes to have a small write for good.
// etcd asks for 10 ms in 99 of 100 cases (etcd documentation, "Hardware
// recommendations"); an SD card may need ten times that, and works with our settings.
// Above a second the control plane loses its leases now and then, and a person
// should know.
type DiskSpeed struct{ Dir string }

func (s DiskSpeed) Name() string { return "etcd's disk" }

// DiskSpeedPath is where the result is kept. It is measured once: each time wears
// the card.
const DiskSpeedPath = "/var/lib/picluster/etcd-disk.json"

// Measured is what `firstboot measure` prints.
type Measured struct {
	Version int `json:"version"`
	status.Latency
}

const slowDisk = time.Second

// Check implements Step.
func (s DiskSpeed) Check(ctx context.Context, h host.Host) (string, error) {
	l, err := ReadDiskSpeed(ctx, h)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "nobody has measured it", nil
	case err != nil:
		return "", err
	case l.P99 > slowDisk:
		return slowText(l), nil
	}
	return "", nil
}

func slowText(l Measured) string {
	return fmt.Sprintf("one write in a hundred takes %s, which is too slow for a control plane", l.P99.Round(time.Millisecond))
}

// ReadDiskSpeed is the result; the error is fs.ErrNotExist as long as there is none.
func ReadDiskSpeed(ctx context.Context, h host.Host) (l Measured, err error) {
	data, err := h.ReadFile(ctx, DiskSpeedPath)
	if err == nil {
		err = json.Unmarshal(data, &l)
	}
	return l, err
}

// Apply implements Step.
func (s DiskSpeed) Apply(ctx context.Context, h host.Host) error {
	if l, err := ReadDiskSpeed(ctx, h); err == nil && l.P99 > slowDisk {
		return errors.New(slowText(l))
	}
	// The directory belongs to kubeadm, which makes it; what is above it is the same disk.
	out, err := h.Run(ctx, host.Cmd{Args: []string{path.Base(AgentPath), "measure", path.Dir(s.Dir)}})
	if err != nil {
		return err
	}
	var l Measured
	if err := json.Unmarshal(out, &l); err != nil {
		return fmt.Errorf("measure %s: %w", s.Dir, err)
	}
	if err := h.Write(ctx, DiskSpeedPath, host.File{Data: out}); err != nil {
		return err
	}
	if l.P99 > slowDisk {
		return errors.New(slowText(l))
	}
	return nil
}
