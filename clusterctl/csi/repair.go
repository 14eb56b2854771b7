package csi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"picluster/internal/host"
)

// aliveTime is how long a client may take to answer. One that waits for a node that is
// away may take longer. Only tests change it.
var aliveTime = 10 * time.Second

// renewTime is for one volume: a mount waits for each node that is away.
const renewTime = 2 * time.Minute

// errStuck is in errors about mounts that do not answer, and have not lost their client
// for all we know.
var errStuck = errors.New("its client does not answer")

// KeepRepairing repairs at once, and then every so often: a client may be killed for
// memory at any time.
func (n *Node) KeepRepairing(ctx context.Context, log *slog.Logger, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := n.Repair(ctx, log); err != nil {
			log.Warn("volumes that have lost their client stay as they are", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// Repair mounts anew what has lost its client: a FUSE client that was killed leaves
// mounts that answer "Transport endpoint is not connected" to everybody. Pods keep the
// dead mount until their containers start again, and then get the new one.
func (n *Node) Repair(ctx context.Context, log *slog.Logger) error {
	all, err := n.mounts(ctx)
	errs := []error{err}
	for _, m := range all {
		if _, staged := n.noteOf(ctx, m.Target); !staged {
			continue
		}
		if err := n.repair(ctx, log, m.volume(), m.Target); err != nil {
			errs = append(errs, fmt.Errorf("mount volume %s anew: %w", m.volume(), err))
		}
	}
	return errors.Join(errs...)
}

// repair is Repair for one volume. Who has asked for it meanwhile comes first, and repairs
// what it needs.
func (n *Node) repair(ctx context.Context, log *slog.Logger, volume, at string) error {
	end, err := n.busy.begin(volume)
	if err != nil {
		return nil
	}
	defer end()
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	all, err := n.mounts(ctx)
	note, staged := n.noteOf(ctx, at)
	if _, mounted := all.at(at); err != nil || !staged || !mounted { // unstaged meanwhile
		return err
	}
	lost, err := n.lost(ctx, at)
	if lost {
		log.Warn("volume has lost its client", "volume", volume)
		err = n.renew(ctx, volume, note.Hosts, at, note.Flags)
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range all.of(volume) {
		if m.Target != at && m.Target != sparePath(at) {
			errs = append(errs, n.bindAnew(ctx, at, m))
		}
	}
	return errors.Join(errs...)
}

// sparePath is where a new client is mounted before it takes the place of a dead one.
func sparePath(staged string) string { return staged + ".new" }

// renew puts a new client in the place of a dead one, which goes only when the new one
// works: without any mount there, pods would write onto the node's own disk. Where all of a
// volume's nodes are away a client looks dead, and works again when one is back.
func (n *Node) renew(ctx context.Context, volume string, hosts []string, at string, flags []string) error {
	err := n.dropSpare(ctx, at)
	if err == nil {
		err = n.mount(ctx, volume, hosts, sparePath(at), flags)
	}
	if err == nil {
		err = n.alive(ctx, sparePath(at))
	}
	lost := false
	if err == nil {
		lost, err = n.lost(ctx, at)
	}
	ctx = context.WithoutCancel(ctx) // what comes is not left half done
	if lost {
		err = n.run(ctx, "umount", "--lazy", at)
		if err == nil { // it cannot be moved: mounts of a node are shared with its containers
			err = n.bind(ctx, sparePath(at), at, false)
		}
	}
	return errors.Join(err, n.dropSpare(ctx, at))
}

// dropSpare takes away what renew, or a power cut in it, has left. The client goes on where
// it is bound.
func (n *Node) dropSpare(ctx context.Context, at string) error {
	ctx, cancel := context.WithTimeout(ctx, aliveTime)
	defer cancel()
	if err := n.unmount(ctx, sparePath(at)); err != nil {
		return err
	}
	return n.Host.Remove(ctx, sparePath(at))
}

// bindAnew gives a pod the staged mount, which works, in the place of one that has lost its
// client.
func (n *Node) bindAnew(ctx context.Context, staged string, m mount) error {
	lost, err := n.lost(ctx, m.Target)
	if err != nil || !lost {
		return err
	}
	if err := n.run(ctx, "umount", "--lazy", m.Target); err != nil {
		return err
	}
	return n.bind(ctx, staged, m.Target, m.readOnly())
}

// lost reports whether a mount has lost its client, which the kernel says at once. One that
// only keeps us waiting may do so for a node that is away, with writers that must not lose
// it: that is an error.
func (n *Node) lost(ctx context.Context, at string) (bool, error) {
	err := n.alive(ctx, at)
	var said *host.ExitError
	if errors.As(err, &said) && said.Signal == "" {
		return true, nil
	}
	return false, err
}

// alive asks the file system for its size, which the client must answer.
func (n *Node) alive(ctx context.Context, at string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, aliveTime, errStuck)
	defer cancel()
	return n.run(ctx, "stat", "--file-system", "--format=%b", at)
}

// noteOf is what was noted when a volume was staged there; a mount of a pod has none.
func (n *Node) noteOf(ctx context.Context, at string) (note stageNote, ok bool) {
	data, err := n.Host.ReadFile(ctx, notePath(at))
	if err == nil {
		err = json.Unmarshal(data, &note)
	}
	return note, err == nil && len(note.Hosts) > 0
}
