package csi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
)

// Repair mounts anew what has lost its client: a FUSE client that was killed leaves
// mounts that answer "Transport endpoint is not connected" to everybody. Pods keep the
// dead mount until their containers start again, and then get the new one.
func (n *Node) Repair(ctx context.Context, log *slog.Logger) error {
	all, err := n.mounts(ctx)
	if err != nil {
		return err
	}
	var errs []error
	staged := map[string]string{} // volume → where it has been mounted anew
	for _, m := range all {
		note, ok := n.noteOf(ctx, m)
		if !ok || n.alive(ctx, m.Target) == nil {
			continue
		}
		log.Warn("volume has lost its client", "volume", m.volume())
		if err := n.stage(ctx, m.volume(), note.Hosts, m.Target, note.Flags); err != nil {
			errs = append(errs, fmt.Errorf("mount volume %s anew: %w", m.volume(), err))
			continue
		}
		staged[m.volume()] = m.Target
	}
	for _, m := range all {
		from := staged[m.volume()]
		if from == "" || m.Target == from || n.alive(ctx, m.Target) == nil {
			continue
		}
		if err := n.bindAnew(ctx, from, m); err != nil {
			errs = append(errs, fmt.Errorf("mount volume %s anew: %w", m.volume(), err))
		}
	}
	return errors.Join(errs...)
}

func (n *Node) bindAnew(ctx context.Context, from string, m mount) error {
	if err := n.run(ctx, "umount", "--lazy", m.Target); err != nil {
		return err
	}
	return n.bind(ctx, from, m.Target, m.readOnly())
}

// noteOf is what was noted when the volume was staged there; a mount of a pod has none.
func (n *Node) noteOf(ctx context.Context, m mount) (note stageNote, ok bool) {
	data, err := n.Host.ReadFile(ctx, notePath(m.Target))
	if err == nil {
		err = json.Unmarshal(data, &note)
	}
	return note, err == nil && len(note.Hosts) > 0
}
