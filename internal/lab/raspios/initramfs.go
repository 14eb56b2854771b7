package raspios

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"picluster/internal/lab/tool"
)

// initramfs is the tree of an initramfs under construction. It is what
// mkinitramfs makes with BUSYBOX=n: its init, its scripts, klibc's small tools and
// what the hooks of udev, kmod and fsck copy. mkinitramfs itself cannot run here:
// its hooks start programs of the target.
type initramfs struct {
	from, to string
}

// makeInitramfs packs the initramfs and puts it on the FAT, where the firmware
// looks for it. Command line, root device and the hand-over to init with the
// arguments behind "--" are thus initramfs-tools' own.
func (s *system) makeInitramfs(ctx context.Context) error {
	i := initramfs{from: s.root, to: s.root + ".initramfs"}
	defer os.RemoveAll(i.to)
	version, err := s.kernelVersion()
	if err != nil {
		return err
	}
	steps := []func() error{
		i.skeleton,
		i.scripts,
		i.programs,
		i.udev,
		func() error { return i.modules(ctx, version) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return i.pack(ctx, filepath.Join(s.boot, "initramfs8"))
}

func (i *initramfs) skeleton() error {
	for _, dir := range []string{"conf/conf.d", "etc", "run", "scripts", "usr/bin", "usr/lib", "usr/sbin", "var"} {
		if err := os.MkdirAll(filepath.Join(i.to, dir), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"bin", "lib", "sbin"} {
		if err := os.Symlink("usr/"+name, filepath.Join(i.to, name)); err != nil {
			return err
		}
	}
	if err := os.Symlink("/proc/mounts", filepath.Join(i.to, "etc/mtab")); err != nil {
		return err
	}
	for name, content := range map[string]string{"etc/fstab": "", "conf/arch.conf": "DPKG_ARCH=arm64\n"} {
		if err := os.WriteFile(filepath.Join(i.to, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return i.copyFile("/etc/initramfs-tools/initramfs.conf", "/conf/initramfs.conf")
}

// scripts copies init and the boot scripts, and writes the ORDER file of each
// directory of scripts, which mkinitramfs sorts by their prerequisites. Those that
// are here have none.
func (i *initramfs) scripts() error {
	const source = "/usr/share/initramfs-tools"
	if err := i.copyFile(source+"/init", "/init"); err != nil {
		return err
	}
	orders := map[string]string{}
	err := filepath.WalkDir(filepath.Join(i.from, source, "scripts"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		script := strings.TrimPrefix(name, filepath.Join(i.from, source))
		if dir := path.Dir(script); dir != "/scripts" {
			orders[dir] += fmt.Sprintf("%s \"$@\"\n[ -e /conf/param.conf ] && . /conf/param.conf\n", script)
		}
		return i.copyFile(source+script, script)
	})
	if err != nil {
		return err
	}
	for dir, order := range orders {
		if err := os.WriteFile(filepath.Join(i.to, dir, "ORDER"), []byte(order), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (i *initramfs) programs() error {
	// fsck for the unclean root of a power cut; the second line for growing it.
	for _, name := range strings.Fields(`/sbin/modprobe /sbin/rmmod /sbin/blkid /sbin/fsck /sbin/fsck.ext4 /sbin/logsave
		/sbin/sfdisk /usr/bin/partx /sbin/e2fsck /sbin/resize2fs`) {
		if err := i.copyProgram(name); err != nil {
			return err
		}
	}
	klibc, err := filepath.Glob(filepath.Join(i.from, "usr/lib/klibc/bin/*"))
	if err != nil {
		return err
	}
	for _, name := range klibc {
		base := filepath.Base(name)
		if slices.Contains([]string{"gzip", "kinit", "zcat"}, base) {
			continue
		}
		if err := i.copyFile("/usr/lib/klibc/bin/"+base, "/usr/bin/"+base); err != nil {
			return err
		}
	}
	libraries, err := filepath.Glob(filepath.Join(i.from, "usr/lib/klibc-*.so"))
	if err != nil {
		return err
	}
	for _, name := range libraries {
		if err := i.copyFile("/usr/lib/"+filepath.Base(name), "/usr/lib/"+filepath.Base(name)); err != nil {
			return err
		}
	}
	return nil
}

// udev follows the hook of the udev package.
func (i *initramfs) udev() error {
	for _, name := range []string{"/usr/lib/systemd/systemd-udevd", "/usr/bin/udevadm", "/usr/lib/udev/ata_id", "/usr/lib/udev/scsi_id"} {
		if err := i.copyProgram(name); err != nil {
			return err
		}
	}
	// Loaded at run time, so no program names them.
	for _, name := range []string{"libkmod.so.2", "liblzma.so.5", "libzstd.so.1"} {
		if err := i.copyProgram(libraryDirs[0] + "/" + name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, name := range strings.Fields(`50-firmware 50-udev-default 60-block 60-persistent-storage 71-seat 73-special-net-names
		75-net-description 80-net-setup-link 80-drivers`) {
		rules := "/usr/lib/udev/rules.d/" + name + ".rules"
		if err := i.copyFile(rules, rules); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// modules copies the drivers of disk and root file system with what they need.
func (i *initramfs) modules(ctx context.Context, version string) error {
	dir := "/usr/lib/modules/" + version
	for _, name := range []string{"modules.builtin", "modules.builtin.modinfo", "modules.order"} {
		if err := i.copyFile(dir+"/"+name, dir+"/"+name); err != nil {
			return err
		}
	}
	for _, module := range []string{"virtio_pci", "virtio_blk", "virtio_mmio", "ext4", "mmc_block", "sdhci_iproc", "bcm2835"} {
		list, err := tool.Output(ctx, "modprobe", "--set-version", version, "--dirname", i.from, "--show-depends", module)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(list)) {
			f := strings.Fields(line)
			if len(f) < 2 || f[0] != "insmod" {
				continue
			}
			_, name, ok := strings.Cut(f[1], "/modules/"+version)
			if !ok {
				return fmt.Errorf("copy module %s: modprobe names %s", module, f[1])
			}
			if err := i.copyFile(dir+name, dir+name); err != nil {
				return err
			}
		}
	}
	return tool.Run(ctx, "depmod", "-b", i.to, version)
}

func (i *initramfs) pack(ctx context.Context, out string) error {
	var names bytes.Buffer
	err := filepath.WalkDir(i.to, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(i.to, name)
		fmt.Fprintln(&names, rel)
		return err
	})
	if err != nil {
		return err
	}
	archive, err := os.Create(out + ".cpio")
	if err != nil {
		return err
	}
	defer os.Remove(archive.Name())
	defer archive.Close()
	cpio := tool.Cmd{Args: []string{"cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"}, Dir: i.to, Stdin: &names, Stdout: archive}
	if _, err := cpio.Output(ctx); err != nil {
		return err
	}
	return tool.Run(ctx, "zstd", "-q", "-f", "-9", archive.Name(), "-o", out)
}

// libraryDirs is where the dynamic loader looks, and systemd's private libraries.
var libraryDirs = []string{"/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/lib/aarch64-linux-gnu/systemd"}

// copyProgram copies a program or library with its loader and libraries.
func (i *initramfs) copyProgram(name string) error {
	if _, err := os.Lstat(filepath.Join(i.to, name)); err == nil {
		return nil
	}
	if err := i.copyFile(name, name); err != nil {
		return err
	}
	program, err := elf.Open(filepath.Join(i.to, name))
	if err != nil {
		return fmt.Errorf("read program %s: %w", name, err)
	}
	defer program.Close()
	needed, err := program.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read program %s: %w", name, err)
	}
	for _, segment := range program.Progs {
		if segment.Type != elf.PT_INTERP {
			continue
		}
		loader := make([]byte, segment.Filesz)
		if _, err := segment.ReadAt(loader, 0); err != nil {
			return fmt.Errorf("read program %s: %w", name, err)
		}
		if err := i.copyProgram(strings.TrimRight(string(loader), "\x00")); err != nil {
			return err
		}
	}
	for _, library := range needed {
		if err := i.copyLibrary(library); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
	}
	return nil
}

func (i *initramfs) copyLibrary(name string) error {
	for _, dir := range libraryDirs {
		err := i.copyProgram(dir + "/" + name)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("find library %s: it is in none of %s", name, strings.Join(libraryDirs, ", "))
}

// copyFile copies what from leads to, by links within the tree, to the path to.
func (i *initramfs) copyFile(from, to string) error {
	source, err := resolve(i.from, from)
	if err != nil {
		return err
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	target := filepath.Join(i.to, to)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.WriteFile(target, data, info.Mode().Perm())
}

// resolve follows the links of a path as a process in root would.
func resolve(root, name string) (string, error) {
	rest, at := strings.Split(strings.Trim(name, "/"), "/"), "/"
	for links := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil { // no link; a missing file shows when it is opened
			at = next
			continue
		}
		if links++; links > 40 {
			return "", fmt.Errorf("resolve %s: too many links", name)
		}
		if strings.HasPrefix(target, "/") {
			at = "/"
		}
		rest = append(strings.Split(strings.Trim(target, "/"), "/"), rest...)
	}
	return filepath.Join(root, at), nil
}
