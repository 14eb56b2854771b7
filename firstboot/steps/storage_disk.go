package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"picluster/internal/host"
	"picluster/internal/step"
)

// StorageDisk wants a whole disk for the storage, empty when it is handed over.
// Only Wipe permits to erase what is on it, and only once: a disk that is marked
// as ready is the storage's.
type StorageDisk struct {
	Path string
	Wipe bool
}

func (s StorageDisk) Name() string { return "storage disk" }

// diskTime is how long a disk may take to come: a USB disk spins up, and a bridge
// is found again after a reset.
const diskTime = time.Minute

// seen is a disk as it is.
type seen struct {
	disk     blockDevice
	parts    []blockDevice
	identity string
	mark     mark
}

// errNoDisk is for what may still come.
var errNoDisk = errors.New("it is not there")

// look finds the disk and refuses what is not to be touched.
func (s StorageDisk) look(ctx context.Context, h host.Host) (seen, error) {
	d := seen{}
	var err error
	if d.mark, err = readMark(ctx, h); err != nil {
		return d, err
	}
	if err = d.mark.elsewhere(s.Path); err != nil {
		return d, err
	}
	if d.disk, err = s.device(ctx, h); err != nil {
		return d, err
	}
	if d.disk.number > 0 {
		return d, s.refusal("it is a partition, not a whole disk")
	}
	d.identity = identity(ctx, h, d.disk)
	if d.mark.Identity != "" && d.mark.Identity != d.identity {
		return d, s.refusal(fmt.Sprintf("it is another disk than before: %s, not %s", d.identity, d.mark.Identity))
	}
	if d.mark.Ready {
		return d, nil
	}
	if d.parts, err = partitions(ctx, h, d.disk); err != nil {
		return d, err
	}
	for _, part := range append([]blockDevice{d.disk}, d.parts...) {
		use, err := useOf(ctx, h, part)
		if err != nil {
			return d, err
		}
		if use != "" {
			return d, s.refusal(part.path() + " is " + use)
		}
	}
	return d, nil
}

func (s StorageDisk) refusal(why string) error {
	return fmt.Errorf("use disk %s for storage: %s", s.Path, why)
}

// device follows a link like /dev/disk/by-id/…, which udev makes, to a name in
// /dev.
func (s StorageDisk) device(ctx context.Context, h host.Host) (blockDevice, error) {
	name := s.Path
	is, err := h.Stat(ctx, name)
	if err == nil && is.Mode.Type() == fs.ModeSymlink {
		name = "/dev/" + path.Base(is.Target)
		is, err = h.Stat(ctx, name)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return blockDevice{}, errNoDisk
	case err != nil:
		return blockDevice{}, err
	case is.Mode.Type() != fs.ModeDevice:
		return blockDevice{}, s.refusal("it is no block device")
	}
	d, err := deviceByName(ctx, h, path.Base(name))
	if err == nil && d.size == 0 {
		err = errNoDisk // a reader without a card, a loop device without a file
	}
	return d, err
}

// Check implements Step.
func (s StorageDisk) Check(ctx context.Context, h host.Host) (string, error) {
	d, err := s.look(ctx, h)
	switch {
	case errors.Is(err, errNoDisk):
		return "disk " + s.Path + " is not there", nil
	case err != nil || d.mark.Ready:
		return "", err
	case d.mark.Path != "" && s.Wipe:
		return "clearing disk " + s.Path + " did not come to its end", nil
	}
	found, err := d.signatures(ctx, h)
	switch {
	case err != nil:
		return "", err
	case len(found) == 0:
		return fmt.Sprintf("disk %s (%s) is not the storage's yet", s.Path, d.identity), nil
	case s.Wipe:
		return fmt.Sprintf("disk %s (%s) is to be erased: %s", s.Path, d.identity, strings.Join(found, ", ")), nil
	}
	return "", s.refusal("it is not empty: " + strings.Join(found, ", ") + ". wipe: true permits to erase it")
}

// Apply implements Step.
func (s StorageDisk) Apply(ctx context.Context, h host.Host) error {
	var d seen
	var refused error
	wait := step.Wait{For: "disk " + s.Path, Limit: diskTime}
	err := wait.Until(ctx, func(ctx context.Context) (err error) {
		if d, err = s.look(ctx, h); !errors.Is(err, errNoDisk) {
			refused, err = err, nil
		}
		return err
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return err
	}
	// One that has come late has not been checked before.
	if drift, err := s.Check(ctx, h); err != nil || drift == "" {
		return err
	}
	d.mark = mark{Path: s.Path, Identity: d.identity}
	if err := d.mark.write(ctx, h); err != nil {
		return err
	}
	if s.Wipe {
		if err := d.clear(ctx, h); err != nil {
			return err
		}
	}
	d.mark.Ready = true
	return d.mark.write(ctx, h)
}

// clear takes the signatures away, those in partitions first: without a table
// nobody would find them again, until a later table has the same places. wipefs
// opens devices for itself alone, so it fails if anything uses them after all.
func (d seen) clear(ctx context.Context, h host.Host) error {
	for _, part := range d.parts {
		if _, err := h.Run(ctx, host.Cmd{Args: []string{"wipefs", "--all", part.path()}}); err != nil {
			return err
		}
	}
	if len(d.parts) > 0 {
		// udev looks into a partition that has been written to; while it does, the
		// partition cannot go (BLKPG_DEL_PARTITION: EBUSY).
		wait := step.Wait{For: "the partitions of " + d.disk.path() + " to go", Limit: 20 * time.Second, Every: time.Second}
		err := wait.Until(ctx, func(ctx context.Context) error {
			_, err := h.Run(ctx, host.Cmd{Args: []string{"partx", "--delete", d.disk.path()}})
			return err
		})
		if err != nil {
			return err
		}
		d.parts = nil
	}
	for _, args := range [][]string{{"wipefs", "--all"}, {"sync"}} {
		if _, err := h.Run(ctx, host.Cmd{Args: append(args, d.disk.path())}); err != nil {
			return err
		}
	}
	found, err := d.signatures(ctx, h)
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("clear disk %s: there still is %s", d.disk.path(), strings.Join(found, ", "))
	}
	return err
}

// signatures are what libblkid recognises on the disk and in its partitions: file
// systems, tables, RAID and LVM members, swap. It lists all of them, where blkid
// stops at the first, in lines like "0x1fe,,,dos".
func (d seen) signatures(ctx context.Context, h host.Host) ([]string, error) {
	var found []string
	for _, part := range append([]blockDevice{d.disk}, d.parts...) {
		out, err := h.Run(ctx, host.Cmd{Args: []string{"wipefs", "--no-act", "--parsable", part.path()}})
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(out)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				found = append(found, line[strings.LastIndexByte(line, ',')+1:]+" on "+part.path())
			}
		}
	}
	return unique(found), nil
}

// diskNames are where a disk has what tells it from others: the model, and the first
// there is of NVMe's and SCSI's world wide names, virtio's, USB's and old NVMe's
// serial numbers, an SD card's register, and a loop device's file.
var diskNames = [][]string{{"device/model"}, {"wwid", "device/wwid", "serial", "device/serial", "device/cid", "loop/backing_file"}}

// identity tells one disk from another. A USB bridge may have none of the names;
// reading them is then an error of one kind or another.
func identity(ctx context.Context, h host.Host, d blockDevice) string {
	var words []string
	for _, alternatives := range diskNames {
		for _, name := range alternatives {
			data, err := h.ReadFile(ctx, "/sys/class/block/"+d.name+"/"+name)
			if value := strings.Trim(string(data), " \n\x00"); err == nil && value != "" {
				words = append(words, value)
				break
			}
		}
	}
	return strings.Join(append(words, fmt.Sprintf("%d bytes", d.size*sysSector)), ", ")
}
