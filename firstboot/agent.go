package main

import (
	"context"
	"io"
	"log/slog"
	"path"
	"path/filepath"

	"picluster/firstboot/steps"
	"picluster/internal/host"
	"picluster/internal/status"
	"picluster/internal/step"
)

// agent is what all commands that change the Pi have in common.
type agent struct {
	host    host.Local
	boot    string // mount point of the FAT, as the host sees it
	log     *slog.Logger
	console io.Writer // what a person at a screen sees
}

// isMachine tells the Pi itself from a directory tree that stands in for it.
func (a agent) isMachine() bool { return a.host.Root == "" || a.host.Root == "/" }

func (a agent) bootID(ctx context.Context) string {
	id, err := a.host.ReadFile(ctx, "/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // a root file system that is not running
	}
	return string(id[:max(0, len(id)-1)])
}

// etcdDisk is how quick the control plane's disk was; nil on other nodes, and before
// it was measured.
func (a agent) etcdDisk() *status.Latency {
	m, err := steps.ReadDiskSpeed(context.Background(), a.host)
	if err != nil {
		return nil
	}
	return &m.Latency
}

// journal opens the journal; the caller closes it.
func (a agent) journal(ctx context.Context) (*step.Journal, error) {
	if err := a.host.Write(ctx, path.Dir(steps.JournalPath), directory); err != nil {
		return nil, err
	}
	return step.OpenJournal(filepath.Join(a.host.Root, steps.JournalPath))
}
