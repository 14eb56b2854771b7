package pigen

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"picluster/internal/lab/tool"
)

const sector = 512

// Build makes the small image of a layout: everything that can be read from an
// image is there, nothing that could boot. out must not exist. The same layout
// gives the same bytes on every machine with the same e2fsprogs and dosfstools.
func Build(ctx context.Context, l Layout, out string) error {
	dir, err := os.MkdirTemp(filepath.Dir(out), "image-")
	if err != nil {
		return fmt.Errorf("build image %s: %w", l, err)
	}
	defer os.RemoveAll(dir)
	boot, root := filepath.Join(dir, "boot"), filepath.Join(dir, "root")
	if err := BootFiles(l, boot); err != nil {
		return fmt.Errorf("build image %s: write boot files: %w", l, err)
	}
	if err := rootFiles(l, root); err != nil {
		return fmt.Errorf("build image %s: write root tree: %w", l, err)
	}
	if err := Assemble(ctx, l, out, boot, root); err != nil {
		return err
	}
	if err := settle(ctx, l, out, root); err != nil {
		return fmt.Errorf("build image %s: %w", l, err)
	}
	return nil
}

// Assemble makes an image of boot files and a root tree, which it does not
// change: the FAT is filled from bootDir, ext4 from rootDir with its owners and
// modes. out must not exist; it is removed again if anything goes wrong.
func Assemble(ctx context.Context, l Layout, out, bootDir, rootDir string) (err error) {
	defer func() {
		if err != nil {
			os.Remove(out)
			err = fmt.Errorf("assemble image %s: %w", l, err)
		}
	}()
	g, err := measure(l, bootDir, rootDir)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := file.Truncate(g.rootStart + g.rootSize); err != nil {
		file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	for _, step := range []func(context.Context, Layout, string, geometry) error{partition, makeFAT} {
		if err := step(ctx, l, out, g); err != nil {
			return err
		}
	}
	if err := fillFAT(ctx, l, out, g.bootStart, bootDir); err != nil {
		return err
	}
	return makeExt4(ctx, l, out, g, rootDir)
}

// geometry is where the two partitions are, in bytes.
type geometry struct{ bootStart, bootSize, rootStart, rootSize int64 }

// measure computes the partitions as pi-gen does: the root file system gets a
// fifth and 200 MiB more than it needs (stretch: 800 MiB; not repeated here).
func measure(l Layout, bootDir, rootDir string) (geometry, error) {
	gen := l.generation()
	up := func(n int64) int64 { return (n + gen.align - 1) / gen.align * gen.align }
	content, err := treeSize(bootDir)
	if err != nil {
		return geometry{}, err
	}
	used, err := treeSize(rootDir)
	if err != nil {
		return geometry{}, err
	}
	g := geometry{bootStart: gen.align, bootSize: up(gen.bootSize), rootSize: up(used + used/5 + 200*mib)}
	if gen.bootSize == 0 {
		// fdisk's "+N sectors" made a partition of N+1.
		g.bootSize = (2*content/sector + 1) * sector
	}
	g.rootStart = up(g.bootStart + g.bootSize)
	return g, nil
}

// treeSize is the size of all files of a tree, each rounded up to a 4 KiB block.
func treeSize(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum += (info.Size() + 4095) / 4096 * 4096
		return nil
	})
	return sum, err
}

func partition(ctx context.Context, l Layout, img string, g geometry) error {
	table := fmt.Sprintf("label: dos\nlabel-id: 0x%08x\nunit: sectors\nstart=%d, size=%d, type=c\nstart=%d, size=%d, type=83\n",
		l.DiskID(), g.bootStart/sector, g.bootSize/sector, g.rootStart/sector, g.rootSize/sector)
	_, err := tool.Cmd{Args: []string{"sfdisk", "--quiet", "--no-tell-kernel", img}, Stdin: strings.NewReader(table)}.Output(ctx)
	return err
}

func makeFAT(ctx context.Context, l Layout, img string, g geometry) error {
	gen := l.generation()
	return tool.Run(ctx, "mkfs.vfat", "-F", "32", "-n", gen.label, "-s", strconv.Itoa(gen.clusterSize),
		"--invariant", "-i", fmt.Sprintf("%08x", ^l.DiskID()),
		"--offset", strconv.FormatInt(g.bootStart/sector, 10), img, strconv.FormatInt(g.bootSize/1024, 10))
}

// makeExt4 passes the whole list of features, so that the build machine's
// /etc/mke2fs.conf has no say. ^64bit and ^huge_file are pi-gen's own options.
func makeExt4(ctx context.Context, l Layout, img string, g geometry, rootDir string) error {
	gen := l.generation()
	features := "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,flex_bg,sparse_super,large_file,dir_nlink,extra_isize"
	if gen.checksums {
		features += ",metadata_csum"
	}
	if gen.seedOrphan {
		features += ",metadata_csum_seed,orphan_file"
	}
	id := fmt.Sprintf("%08x-7069-4765-8e00-%012x", l.DiskID(), seed(l.String())>>16)
	_, err := tool.Cmd{
		// Without -b a file system under 512 MiB would get 1 KiB blocks.
		Args: []string{
			"mke2fs", "-q", "-F", "-t", "ext4", "-T", "default", "-b", "4096", "-I", "256", "-L", "rootfs", "-U", id,
			"-O", features, "-E", fmt.Sprintf("offset=%d,hash_seed=%s", g.rootStart, id), "-d", rootDir,
			img, strconv.FormatInt(g.rootSize/1024, 10) + "k",
		},
		Env: []string{l.fakeTime()},
	}.Output(ctx)
	return err
}

// fakeTime is the environment variable that stops the clock for e2fsprogs.
func (l Layout) fakeTime() string {
	return fmt.Sprintf("E2FSPROGS_FAKE_TIME=%d", l.built().Unix())
}

// settle gives every file of a small image the owner and the times that it would
// have if root had made the image on its date; mke2fs takes both from the tree,
// where they are those of whoever runs the tests now.
func settle(ctx context.Context, l Layout, img, rootDir string) error {
	var script strings.Builder
	err := filepath.WalkDir(rootDir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(rootDir, path)
		if err != nil {
			return err
		}
		name, owner := "/"+strings.TrimPrefix(rel, "."), 0
		if name == "/home/pi" || strings.HasPrefix(name, "/home/pi/") {
			owner = 1000
		}
		fmt.Fprintf(&script, "sif %s uid %d\nsif %s gid %d\n", name, owner, name, owner)
		for _, field := range []string{"atime", "ctime", "mtime"} {
			fmt.Fprintf(&script, "sif %s %s @%d\n", name, field, l.built().Unix())
		}
		return nil
	})
	if err != nil {
		return err
	}
	commands := img + ".debugfs"
	defer os.Remove(commands)
	if err := os.WriteFile(commands, []byte(script.String()), 0o644); err != nil {
		return err
	}
	start, err := rootOffset(ctx, img)
	if err != nil {
		return err
	}
	_, err = tool.Cmd{Args: []string{"debugfs", "-w", "-f", commands, fmt.Sprintf("%s?offset=%d", img, start)}, Env: []string{l.fakeTime()}}.Output(ctx)
	return err
}

// rootOffset asks sfdisk where the second partition starts, in bytes.
func rootOffset(ctx context.Context, img string) (int64, error) {
	dump, err := tool.Output(ctx, "sfdisk", "--dump", img)
	if err != nil {
		return 0, err
	}
	lines := slices.DeleteFunc(strings.Split(string(dump), "\n"), func(s string) bool { return !strings.Contains(s, "start=") })
	if len(lines) != 2 {
		return 0, fmt.Errorf("read partition table of %s: it has %d partitions", img, len(lines))
	}
	_, after, _ := strings.Cut(lines[1], "start=")
	start, _, _ := strings.Cut(after, ",")
	n, err := strconv.ParseInt(strings.TrimSpace(start), 10, 64)
	return n * sector, err
}
