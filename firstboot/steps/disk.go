package steps

import (
	"context"
	"fmt"
	"strings"

	"picluster/internal/cli"
	"picluster/internal/host"
	"picluster/internal/step"
)

func diskSteps() []Step {
	return []Step{RootPartition{Mount: "/"}, RootFileSystem{Mount: "/"}}
}

// spareBytes at the end of a disk are not worth a change: partitioning programs
// end partitions at whole mebibytes.
const spareBytes = 1 << 20

// RootPartition wants the partition of a mounted file system to reach the end of
// its disk, while it is mounted. It leaves it alone if there is nothing behind it
// that could be used: another partition is there, or there is no partition.
type RootPartition struct{ Mount string }

func (s RootPartition) Name() string { return "partition" }

// growth is what there is to do.
type growth struct {
	part  blockDevice
	table partitionTable
	entry partition
	want  int64  // sectors of the entry
	leave string // why there is nothing to do, if that is not how it should be
}

func (s RootPartition) growth(ctx context.Context, h host.Host) (growth, error) {
	m, err := mounted(ctx, h, s.Mount)
	if err != nil {
		return growth{}, err
	}
	g := growth{}
	if g.part, err = deviceByNumber(ctx, h, m.device); err != nil {
		return g, err
	}
	if g.part.number == 0 {
		g.leave = fmt.Sprintf("%s is on no partition and stays as large as it is", s.Mount)
		return g, nil
	}
	if g.table, err = readTable(ctx, h, g.part.disk); err != nil {
		return g, err
	}
	at := g.part.start * sysSector / g.table.sector
	for _, p := range g.table.partitions {
		switch {
		case p.start == at:
			g.entry = p
		case p.start > at:
			g.leave = fmt.Sprintf("%s stays as large as it is: another partition lies behind it", g.part.path())
		}
	}
	switch {
	case g.entry.start != at || at == 0:
		return g, fmt.Errorf("find %s in the partition table: no partition begins at sector %d", g.part.path(), at)
	case g.table.label == "dos" && g.part.number > 4:
		g.leave = fmt.Sprintf("%s stays as large as it is: it is a logical partition", g.part.path())
	}
	g.want = g.table.end() - at
	return g, nil
}

func (g growth) tableDrift() string {
	if have := g.entry.size * g.table.sector; g.want*g.table.sector-have >= spareBytes {
		return fmt.Sprintf("%s has %s, its disk room for %s", g.part.path(), cli.Bytes(have), cli.Bytes(g.want*g.table.sector))
	}
	return ""
}

// kernelDrift is what a power cut cannot leave, but the end of this process can.
func (g growth) kernelDrift() string {
	if g.entry.size*g.table.sector > g.part.size*sysSector {
		return fmt.Sprintf("the kernel has not seen that %s has grown", g.part.path())
	}
	return ""
}

// Check implements Step.
func (s RootPartition) Check(ctx context.Context, h host.Host) (string, error) {
	g, err := s.growth(ctx, h)
	if err != nil {
		return "", err
	}
	if g.leave != "" {
		step.Note(ctx, g.leave)
		return "", nil
	}
	if drift := g.tableDrift(); drift != "" {
		return drift, nil
	}
	return g.kernelDrift(), nil
}

// Apply implements Step. The table is one sector of an MBR; of a GPT sfdisk writes
// the copy at the end first. After a power cut the kernel reads the table that is
// there.
func (s RootPartition) Apply(ctx context.Context, h host.Host) error {
	g, err := s.growth(ctx, h)
	if err != nil {
		return err
	}
	if g.tableDrift() != "" {
		if _, err := h.Run(ctx, g.sfdisk()); err != nil {
			return err
		}
	}
	// BLKPG_RESIZE_PARTITION; reading the table anew is refused while a partition
	// is mounted.
	_, err = h.Run(ctx, host.Cmd{Args: []string{"partx", "--update", "--nr", fmt.Sprint(g.part.number), "/dev/" + g.part.disk}})
	return err
}

// sfdisk changes the one entry and nothing else: fstab and cmdline.txt name
// partitions by the table's identifier. All options are known to util-linux 2.29
// (stretch). Only 2.36 can move a GPT's copy (--relocate); older ones lay it anew
// where a script does not say where the usable sectors end, with all the
// identifiers that the script has.
func (g growth) sfdisk() host.Cmd {
	args := []string{"sfdisk", "--no-reread", "--no-tell-kernel", "--wipe=never", "--wipe-partitions=never"}
	entry := fmt.Sprintf("start=%d, size=%d", g.entry.start, g.want)
	if g.table.label == "dos" {
		args = append(args, "-N", fmt.Sprint(g.part.number), "/dev/"+g.part.disk)
		return host.Cmd{Args: args, Stdin: strings.NewReader(entry + "\n")}
	}
	return host.Cmd{Args: append(args, "/dev/"+g.part.disk), Stdin: strings.NewReader(g.table.grown(g.entry, g.want))}
}

// RootFileSystem wants a mounted ext4 file system to fill its partition.
type RootFileSystem struct{ Mount string }

func (s RootFileSystem) Name() string { return "root file system" }

// extent is a file system and the device that it is on.
type extent struct {
	device     blockDevice
	have, want int64  // bytes
	slack      int64  // bytes that resize2fs may leave
	leave      string // why there is nothing to do, if that is not how it should be
}

func (s RootFileSystem) extent(ctx context.Context, h host.Host) (extent, error) {
	m, err := mounted(ctx, h, s.Mount)
	if err != nil {
		return extent{}, err
	}
	if m.kind != "ext4" {
		return extent{leave: fmt.Sprintf("%s stays as large as it is: it is %s, not ext4", s.Mount, m.kind)}, nil
	}
	e := extent{}
	if e.device, err = deviceByNumber(ctx, h, m.device); err != nil {
		return e, err
	}
	out, err := h.Run(ctx, host.Cmd{Args: []string{"dumpe2fs", "-h", e.device.path()}})
	if err != nil {
		return e, err
	}
	count, size, group := superblock(out, "Block count"), superblock(out, "Block size"), superblock(out, "Blocks per group")
	if count == 0 || size == 0 || group == 0 {
		return e, fmt.Errorf("read the superblock of %s: dumpe2fs does not show its size", e.device.path())
	}
	e.have, e.want = count*size, e.device.size*sysSector
	// A last block group that would hold little but its own tables is left out
	// (resize2fs, adjust_fs_info): two bitmaps, the inodes, reserved descriptors.
	e.slack = group * size / 4
	return e, nil
}

// Check implements Step.
func (s RootFileSystem) Check(ctx context.Context, h host.Host) (string, error) {
	e, err := s.extent(ctx, h)
	if err != nil {
		return "", err
	}
	if e.leave != "" {
		step.Note(ctx, e.leave)
		return "", nil
	}
	if e.want-e.have < e.slack {
		return "", nil
	}
	return fmt.Sprintf("the file system on %s has %s of %s", e.device.path(), cli.Bytes(e.have), cli.Bytes(e.want)), nil
}

// Apply implements Step. The kernel adds one block group after the other, each in
// its own transaction: a power cut leaves a smaller file system, which the next
// run meets.
func (s RootFileSystem) Apply(ctx context.Context, h host.Host) error {
	e, err := s.extent(ctx, h)
	if err != nil {
		return err
	}
	step.Note(ctx, "growing the file system to "+cli.Bytes(e.want))
	_, err = h.Run(ctx, host.Cmd{Args: []string{"resize2fs", e.device.path()}})
	return err
}
