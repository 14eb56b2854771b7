package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"picluster/internal/host"
)

// sysSector is the unit of sizes and starts in /sys, whatever the disk's own
// (Documentation/block/stat.rst).
const sysSector = 512

// mount is a line of /proc/self/mountinfo (proc(5)).
type mount struct {
	device string // "179:2"; "0:…" for what is on no single device
	point  string
	kind   string // "ext4"
}

func mounts(ctx context.Context, h host.Host) ([]mount, error) {
	data, err := h.ReadFile(ctx, "/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var all []mount
	for line := range strings.Lines(string(data)) {
		left, right, _ := strings.Cut(line, " - ")
		f, kind := strings.Fields(left), strings.Fields(right)
		if len(f) < 5 || len(kind) < 1 {
			return nil, fmt.Errorf("read /proc/self/mountinfo: line %q", line)
		}
		all = append(all, mount{f[2], unescapeMount.Replace(f[4]), kind[0]})
	}
	return all, nil
}

var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// mounted finds what is mounted at a directory: the last one covers the others.
func mounted(ctx context.Context, h host.Host, point string) (mount, error) {
	all, err := mounts(ctx, h)
	if err != nil {
		return mount{}, err
	}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].point == point {
			return all[i], nil
		}
	}
	return mount{}, fmt.Errorf("find the file system of %s: it is no mount point", point)
}

// blockDevice is a disk or a partition as the kernel has it.
type blockDevice struct {
	name        string // "mmcblk0p2"
	disk        string // "mmcblk0"; of a disk its own name
	number      int    // of a partition; a disk has none
	start, size int64  // sysSectors
}

func (d blockDevice) path() string { return "/dev/" + d.name }

// deviceByNumber finds a device by "179:2". Of a file system on no single device
// (overlay, btrfs) there is none: then it has no name and no partition.
func deviceByNumber(ctx context.Context, h host.Host, number string) (blockDevice, error) {
	if strings.HasPrefix(number, "0:") {
		return blockDevice{}, nil
	}
	is, err := h.Stat(ctx, "/sys/dev/block/"+number)
	if err != nil {
		return blockDevice{}, err
	}
	return deviceByName(ctx, h, path.Base(is.Target))
}

func deviceByName(ctx context.Context, h host.Host, name string) (blockDevice, error) {
	d := blockDevice{name: name, disk: name}
	dir := "/sys/class/block/" + name
	is, err := h.Stat(ctx, dir)
	if err != nil {
		return d, err
	}
	if d.size, err = sysNumber(ctx, h, dir+"/size"); err != nil {
		return d, err
	}
	number, err := sysNumber(ctx, h, dir+"/partition")
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	// "…/block/mmcblk0/mmcblk0p2"
	d.number, d.disk = int(number), path.Base(path.Dir(is.Target))
	d.start, err = sysNumber(ctx, h, dir+"/start")
	return d, err
}

func sysNumber(ctx context.Context, h host.Host, name string) (int64, error) {
	data, err := h.ReadFile(ctx, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	return n, nil
}

// partitionTable is what sfdisk --dump shows, and the disk that it is on.
type partitionTable struct {
	text       string
	label      string // "dos", "gpt"
	sector     int64  // bytes; the unit of all numbers in the table
	sectors    int64  // of the disk
	partitions []partition
}

// partition is an entry of a table. An empty or an extended one is one too.
type partition struct {
	line        string
	start, size int64 // sectors of the table
}

func readTable(ctx context.Context, h host.Host, disk string) (partitionTable, error) {
	t := partitionTable{}
	var err error
	if t.sector, err = sysNumber(ctx, h, "/sys/class/block/"+disk+"/queue/logical_block_size"); err != nil {
		return t, err
	}
	size, err := sysNumber(ctx, h, "/sys/class/block/"+disk+"/size")
	if err != nil {
		return t, err
	}
	t.sectors = size * sysSector / t.sector
	out, err := h.Run(ctx, host.Cmd{Args: []string{"sfdisk", "--dump", "/dev/" + disk}})
	if err != nil {
		return t, err
	}
	t.text = string(out)
	err = t.parse()
	if err == nil && t.label != "dos" && t.label != "gpt" {
		err = fmt.Errorf("unknown kind %q", t.label)
	}
	if err != nil {
		return t, fmt.Errorf("read the partition table of /dev/%s: %w", disk, err)
	}
	return t, nil
}

// parse reads lines like "label: dos" and
// "/dev/mmcblk0p2 : start=      532480, size=     4538368, type=83".
func (t *partitionTable) parse() error {
	for line := range strings.Lines(t.text) {
		line = strings.TrimSuffix(line, "\n")
		if label, ok := strings.CutPrefix(line, "label: "); ok {
			t.label = label
		}
		_, fields, ok := strings.Cut(line, " : ")
		if !ok || !strings.HasPrefix(line, "/dev/") {
			continue
		}
		p := partition{line: line}
		for field := range strings.SplitSeq(fields, ",") {
			key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
			var err error
			switch value = strings.TrimSpace(value); key {
			case "start":
				p.start, err = strconv.ParseInt(value, 10, 64)
			case "size":
				p.size, err = strconv.ParseInt(value, 10, 64)
			}
			if err != nil {
				return fmt.Errorf("line %q: %w", line, err)
			}
		}
		t.partitions = append(t.partitions, p)
	}
	return nil
}

// end is the first sector behind what a partition can have.
func (t partitionTable) end() int64 {
	if t.label == "gpt" {
		// The copy of the table: a header and 128 entries of 128 bytes (UEFI 5.3).
		return t.sectors - 1 - 128*128/t.sector
	}
	// Sector numbers have 32 bits.
	return min(t.sectors, 1<<32)
}

// grown is the table as a script for sfdisk with another size of the entry and
// without the last sector that can be used.
func (t partitionTable) grown(entry partition, size int64) string {
	var out strings.Builder
	for line := range strings.Lines(t.text) {
		if strings.HasPrefix(line, "last-lba:") {
			continue
		}
		if strings.TrimSuffix(line, "\n") == entry.line {
			head, fields, _ := strings.Cut(line, " : ")
			rest := strings.SplitN(fields, ",", 3)
			if len(rest) == 3 && strings.HasPrefix(strings.TrimSpace(rest[1]), "size=") {
				line = fmt.Sprintf("%s : %s, size=%d,%s", head, rest[0], size, rest[2])
			}
		}
		out.WriteString(line)
	}
	return out.String()
}

// superblock is a number in what dumpe2fs -h shows ("Block count:  1054720"), 0 if
// it is not there.
func superblock(out []byte, field string) int64 {
	for line := range strings.Lines(string(out)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}
