// Package raspios makes bootable images that look and start like Raspberry Pi OS
// Lite (64-bit), from Debian's packages and kernel: the real thing cannot be had
// everywhere, and its kernel does not run on an emulator's generic machine.
//
// Packages are unpacked without running anything of the other architecture; what
// their installation scripts do is done here as far as a boot needs it. The
// initramfs is made of initramfs-tools' own scripts. What Raspberry Pi OS adds to
// Debian is imitated where a first boot meets it: its first-boot hook, the user
// dialog that waits on a console, switched-off SSH, missing host keys, blocked
// Wi-Fi (sources: RPi-Distro's pi-gen, raspberrypi-sys-mods and userconf-pi).
// Not there: cloud-init itself, rpi-swap, firmware and its effects, Wi-Fi chips.
//
// Partitions and the vendor's other boot files are package pigen's.
package raspios

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"picluster/internal/lab/pigen"
	"picluster/internal/lab/tool"
)

// Build makes the image of a resolved arm64 layout of bookworm or trixie. It
// needs root, because files get their owners, and takes a minute or two. out must
// not exist; its directory needs 3 GB while building.
func Build(ctx context.Context, l pigen.Layout, out string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("build bootable image %s: %w", l, err)
		}
	}()
	if os.Getuid() != 0 {
		return fmt.Errorf("become root: user id %d may not give files away", os.Getuid())
	}
	dir, err := os.MkdirTemp(filepath.Dir(out), "raspios-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &system{layout: l, root: filepath.Join(dir, "root"), boot: filepath.Join(dir, "boot")}
	if err := pigen.BootFiles(l, s.boot); err != nil {
		return err
	}
	steps := []struct {
		name string
		run  func(context.Context) error
	}{
		{"unpack packages", s.unpack},
		{"register packages", s.register},
		{"lay files", s.layFiles},
		{"make accounts", s.makeAccounts},
		{"configure", s.configure},
		{"enable units", s.enableUnits},
		{"prune modules", s.pruneModules},
		{"make initramfs", s.makeInitramfs},
		{"move kernel", s.moveKernel},
	}
	for _, step := range steps {
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return pigen.Assemble(ctx, l, out, s.boot, s.root)
}

// system is the tree under construction.
type system struct {
	layout pigen.Layout
	root   string // becomes the ext4 partition
	boot   string // becomes the FAT partition
}

// path is a path of the system on the build machine.
func (s *system) path(name string) string { return filepath.Join(s.root, name) }

// write writes a file of the system, with its directory.
func (s *system) write(name, content string, mode fs.FileMode) error {
	path := s.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// link makes a symbolic link in the system, in place of what is there.
func (s *system) link(target, name string) error {
	path := s.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Symlink(target, path)
}

// kernelVersion is the version of the only kernel in the tree.
func (s *system) kernelVersion() (string, error) {
	entries, err := os.ReadDir(s.path("usr/lib/modules"))
	if err != nil {
		return "", err
	}
	if len(entries) != 1 {
		return "", fmt.Errorf("find kernel: there are %d in /usr/lib/modules", len(entries))
	}
	return entries[0].Name(), nil
}

// pruneModules removes the drivers of hardware that neither a Pi nor the emulator
// has; what a Kubernetes node needs stays, and mac80211_hwsim for Wi-Fi without a
// radio.
func (s *system) pruneModules(ctx context.Context) error {
	version, err := s.kernelVersion()
	if err != nil {
		return err
	}
	kernel := s.path("usr/lib/modules/" + version + "/kernel")
	unwanted := strings.Fields(`sound drivers/accel drivers/ata drivers/comedi drivers/gpu drivers/hwmon drivers/iio
		drivers/infiniband drivers/isdn drivers/media drivers/mtd drivers/net/can drivers/net/dsa
		drivers/net/ethernet drivers/net/fddi drivers/net/hamradio drivers/net/usb drivers/net/wwan drivers/nfc
		drivers/platform drivers/power drivers/staging drivers/thunderbolt drivers/usb drivers/w1`)
	for _, name := range unwanted {
		if err := os.RemoveAll(filepath.Join(kernel, name)); err != nil {
			return err
		}
	}
	wireless, err := filepath.Glob(filepath.Join(kernel, "drivers/net/wireless/*"))
	if err != nil {
		return err
	}
	for _, vendor := range wireless {
		if info, err := os.Stat(vendor); err == nil && info.IsDir() && filepath.Base(vendor) != "virtual" {
			if err := os.RemoveAll(vendor); err != nil {
				return err
			}
		}
	}
	return tool.Run(ctx, "depmod", "-b", s.root, version)
}

// moveKernel puts kernel and device trees on the FAT under the names that the
// Pi's firmware looks for, the kernel compressed as there.
func (s *system) moveKernel(ctx context.Context) error {
	version, err := s.kernelVersion()
	if err != nil {
		return err
	}
	kernel, err := os.Create(filepath.Join(s.boot, "kernel8.img"))
	if err != nil {
		return err
	}
	defer kernel.Close()
	gzip := tool.Cmd{Args: []string{"gzip", "-6", "-n", "-c", s.path("boot/vmlinuz-" + version)}, Stdout: kernel}
	if _, err := gzip.Output(ctx); err != nil {
		return err
	}
	for _, name := range []string{"vmlinuz-", "System.map-"} {
		if err := os.Remove(s.path("boot/" + name + version)); err != nil {
			return err
		}
	}
	return kernel.Close()
}
