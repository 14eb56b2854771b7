package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"picluster/clusterctl/gluster/brick"
	"picluster/internal/host"
)

// AddDevice prepares a device for bricks. Wipe permits to erase what is on it. One that
// an earlier try has left half prepared is taken from there.
func (e *Engine) AddDevice(ctx context.Context, node string, d Device, wipe bool) (Device, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	d.Mode = Online
	err := e.change(ctx, func(s *State) (err error) {
		_, n := s.node(node)
		if n == nil {
			return fmt.Errorf("node %s: %w", node, ErrNotFound)
		}
		if slices.ContainsFunc(n.Devices, func(other Device) bool { return other.Name == d.Name }) {
			return fmt.Errorf("%w on %s", ErrExists, n)
		}
		if d.ID, err = e.promise(ctx, s, n, d.Name); err == nil {
			d.Total, err = e.prepare(ctx, *n, d, wipe)
		}
		if errors.Is(err, brick.ErrData) { // nothing has been done to it
			delete(n.Preparing, d.Name)
			err = errors.Join(err, e.Store.Save(ctx, *s))
		}
		if err != nil {
			return fmt.Errorf("on %s: %w", n, err)
		}
		delete(n.Preparing, d.Name)
		n.Devices = append(n.Devices, d)
		return nil
	})
	if err != nil {
		return Device{}, fmt.Errorf("add device %s: %w", d.Name, err)
	}
	return d, nil
}

// promise writes down what id a device is getting before it is formatted with it. By
// that it is known for ours, and not taken for another's, if the rest of it is cut off.
func (e *Engine) promise(ctx context.Context, s *State, n *Node, name string) (id string, err error) {
	if id := n.Preparing[name]; id != "" {
		return id, nil
	}
	if n.Preparing == nil {
		n.Preparing = map[string]string{}
	}
	id = NewID()
	n.Preparing[name] = id
	return id, e.Store.Save(ctx, *s)
}

// prepare returns how large the device is.
func (e *Engine) prepare(ctx context.Context, n Node, d Device, wipe bool) (total int64, err error) {
	h, err := e.Reach(ctx, n)
	if err == nil {
		err = e.Bricks.Prepare(ctx, h, d.brick(), wipe)
	}
	if err != nil {
		return 0, err
	}
	return e.total(ctx, h, d)
}

func (e *Engine) total(ctx context.Context, h host.Host, d Device) (int64, error) {
	u, err := e.Bricks.Usage(ctx, h, d.brick())
	return u.Total, err
}

// RemoveDevice gives a device without bricks back. Forget leaves it as it is, on a
// node that is away for good.
func (e *Engine) RemoveDevice(ctx context.Context, id string, forget bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.change(ctx, func(s *State) error {
		c, n, d := s.device(id)
		if d == nil {
			return fmt.Errorf("remove device %s: %w", id, ErrNotFound)
		}
		used, err := e.bricksOn(ctx, *c, id)
		if err == nil && len(used) > 0 {
			err = fmt.Errorf("%w: %d bricks are on it", ErrInUse, len(used))
		}
		if err == nil && !forget {
			var h host.Host
			if h, err = e.Reach(ctx, *n); err == nil {
				err = e.Bricks.Release(ctx, h, d.brick())
			}
		}
		if err != nil {
			return fmt.Errorf("remove device %s of %s: %w", d.Name, n, err)
		}
		n.Devices = slices.DeleteFunc(n.Devices, func(d Device) bool { return d.ID == id })
		return nil
	})
}

// ResyncDevice looks again how large a device is.
func (e *Engine) ResyncDevice(ctx context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.change(ctx, func(s *State) error {
		_, n, d := s.device(id)
		if d == nil {
			return fmt.Errorf("look at device %s: %w", id, ErrNotFound)
		}
		h, err := e.Reach(ctx, *n)
		if err == nil {
			d.Total, err = e.total(ctx, h, *d)
		}
		return err
	})
}
