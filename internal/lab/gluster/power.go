package gluster

import (
	"context"
	"errors"
	"sync/atomic"

	"picluster/internal/host"
)

// Power is that of whoever works on hosts: it lasts for a number of operations, and
// all that come after them fail without having done anything. So a test can see what
// is left when somebody is cut off anywhere.
type Power struct{ left atomic.Int64 }

// NewPower lasts for that many operations.
func NewPower(operations int) *Power {
	p := new(Power)
	p.left.Store(int64(operations))
	return p
}

// Lasted reports whether there was enough of it.
func (p *Power) Lasted() bool { return p.left.Load() >= 0 }

// ErrPower is what operations fail with that come too late.
var ErrPower = errors.New("the power is off")

func (p *Power) use() error {
	if p.left.Add(-1) < 0 {
		return ErrPower
	}
	return nil
}

// On is the host as it can be worked on with this power. Looking at files costs
// nothing, but needs power too.
func (p *Power) On(h host.Host) host.Host { return powered{h, p} }

type powered struct {
	host.Host
	power *Power
}

func (h powered) Run(ctx context.Context, c host.Cmd) ([]byte, error) {
	if err := h.power.use(); err != nil {
		return nil, err
	}
	return h.Host.Run(ctx, c)
}

func (h powered) Write(ctx context.Context, path string, f host.File) error {
	if err := h.power.use(); err != nil {
		return err
	}
	return h.Host.Write(ctx, path, f)
}

func (h powered) Remove(ctx context.Context, path string) error {
	if err := h.power.use(); err != nil {
		return err
	}
	return h.Host.Remove(ctx, path)
}

func (h powered) ReadFile(ctx context.Context, path string) ([]byte, error) {
	if !h.power.Lasted() {
		return nil, ErrPower
	}
	return h.Host.ReadFile(ctx, path)
}
