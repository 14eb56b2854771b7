// Package durable brings to the disk what a power cut must not take back.
package durable

import (
	"errors"
	"os"
)

// SyncDir brings a directory's own entries to the disk: names that were made, renamed
// or removed in it. Without it a file that was synced may be nameless after a power cut.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
