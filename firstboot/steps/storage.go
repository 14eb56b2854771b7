package steps

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"picluster/internal/host"
	"picluster/internal/node"
)

// Paths of storage. StorageLink leads to the loop device, whatever its number.
const (
	StorageLink   = "/dev/picluster/storage"
	storageMark   = "/var/lib/picluster/storage.json"
	storageUnit   = "picluster-storage.service"
	storageScript = "/usr/local/sbin/picluster-storage"
)

// loopScript attaches and detaches the file's loop device.
//
//go:embed storage.sh
var loopScript string

// storageSteps make an empty device for the cluster's storage. What is on it later
// is not theirs: once the device is marked as ready, no step writes to it again.
func storageSteps(c *node.Config) []Step {
	s := c.Storage
	switch {
	case s == nil:
		return nil
	case s.Disk != "":
		return []Step{StorageDisk{Path: s.Disk, Wipe: s.Wipe}}
	}
	return []Step{
		StorageFile{Path: s.LoopPath, Size: s.LoopSize},
		Text{What: "storage script", Path: storageScript, Mode: 0o755, Content: loopScript},
		// A running one stays: detaching the device would take it away from what is
		// mounted on it.
		Service{What: "storage", Unit: storageUnit, Content: storageService(s.LoopPath)},
		LoopDevice{File: s.LoopPath},
	}
}

// storageService attaches the file before the kubelet starts what uses it.
// RequiresMountsFor also makes it end before the file's own file system is
// unmounted; a device that is still in use then goes with its last user.
func storageService(file string) string {
	return `[Unit]
Description=Loop device of this node's storage (picluster)
RequiresMountsFor=` + file + `
Before=kubelet.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=` + storageScript + ` start ` + file + `
ExecStop=` + storageScript + ` stop ` + file + `

[Install]
WantedBy=multi-user.target
`
}

// mark says what this node's storage is. It is written before anything is made or
// erased, so that what the next run finds is known to be ours.
type mark struct {
	Path     string `json:"path"`               // of the file or of the disk
	Identity string `json:"identity,omitempty"` // of the disk
	Ready    bool   `json:"ready"`              // the rest of it belongs to the storage
}

// readMark returns no mark if there is none. A damaged one is an error: what it
// said is not to be guessed.
func readMark(ctx context.Context, h host.Host) (mark, error) {
	var m mark
	data, err := h.ReadFile(ctx, storageMark)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if err = json.Unmarshal(data, &m); err == nil && m.Path == "" {
		err = errors.New("no path in it")
	}
	if err != nil {
		return m, fmt.Errorf("read %s, which says what this node's storage is: %w", storageMark, err)
	}
	return m, nil
}

func (m mark) write(ctx context.Context, h host.Host) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return h.Write(ctx, storageMark, host.File{Mode: 0o600, Data: append(data, '\n')})
}

// elsewhere is the refusal of a second storage on one node.
func (m mark) elsewhere(path string) error {
	if m.Path == "" || m.Path == path {
		return nil
	}
	return fmt.Errorf("use %s for storage: this node's storage is %s (%s)", path, m.Path, storageMark)
}
