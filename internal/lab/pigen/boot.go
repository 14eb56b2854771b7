package pigen

import (
	"embed"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

//go:embed files
var files embed.FS

// BootFiles writes what pi-gen has on the FAT partition into dir: the real names
// with sizes of the right order. Firmware, kernels and device trees are patterned
// bytes; cmdline.txt, config.txt and issue.txt are as the firmware and the system
// read them.
func BootFiles(l Layout, dir string) error {
	g := l.generation()
	text := map[string]string{
		"cmdline.txt": fmt.Sprintf(g.cmdline, l.PartUUID(2)) + "\n",
		"issue.txt":   l.Issue(),
	}
	config, err := configTxt(l)
	if err != nil {
		return err
	}
	text["config.txt"] = config
	if g.cloudInit {
		for _, name := range []string{"meta-data", "user-data", "network-config"} {
			data, err := files.ReadFile("files/" + name)
			if err != nil {
				return err
			}
			text[name] = string(data)
		}
	}
	for name, content := range text {
		if err := writeFile(l, filepath.Join(dir, name), []byte(content)); err != nil {
			return err
		}
	}
	for name, size := range g.binaries(l.Arch) {
		if err := writeFile(l, filepath.Join(dir, name), pattern(name, size)); err != nil {
			return err
		}
	}
	return nil
}

// configTxt is the config.txt of the layout. 64-bit images differ by one line
// until the firmware made it the default where the kernel is kernel8.img.
func configTxt(l Layout) (string, error) {
	name := "files/config-" + l.Release + ".txt"
	if l.Release == "trixie" && l.Date >= "2026-06" {
		name = "files/config-trixie-2026.txt"
	}
	data, err := files.ReadFile(name)
	if err != nil {
		return "", err
	}
	arm64 := ""
	if l.Arch == "arm64" {
		arm64 = "# Run in 64-bit mode\narm_64bit=1\n\n"
	}
	return strings.ReplaceAll(string(data), "@arm64@\n\n", arm64), nil
}

// binaries are the patterned files: name below the FAT's root → bytes.
func (g generation) binaries(arch string) map[string]int64 {
	sizes := map[string]int64{
		"bootcode.bin":     52_460,
		"COPYING.linux":    18_693,
		"LICENCE.broadcom": 1_594,
		"overlays/README":  214_400,
		"start.elf":        2_873_444,
		"start_cd.elf":     685_668,
		"start_db.elf":     4_747_816,
		"start_x.elf":      3_697_960,
		"fixup.dat":        6_701,
		"fixup_cd.dat":     2_647,
		"fixup_db.dat":     9_898,
		"fixup_x.dat":      9_896,
	}
	if g.pi4 {
		for name, size := range map[string]int64{
			"start4.elf": 2_256_288, "start4cd.elf": 805_244, "start4db.elf": 3_752_040, "start4x.elf": 3_004_616,
			"fixup4.dat": 5_444, "fixup4cd.dat": 3_231, "fixup4db.dat": 8_424, "fixup4x.dat": 8_421,
		} {
			sizes[name] = size
		}
		sizes["overlays/overlay_map.dtb"] = 4_832
	}
	for name, size := range g.kernels(arch) {
		sizes[name] = size
		if g.initramfs {
			sizes[initramfsOf(name)] = 11_400_000 + size/100
		}
	}
	for _, name := range g.deviceTrees(arch) {
		sizes[name] = 24_000 + int64(seed(name)%56_000)
	}
	for _, name := range g.overlays() {
		sizes["overlays/"+name] = 400 + int64(seed(name)%4_600)
	}
	return sizes
}

// kernels are the kernels of the release. A 32-bit image carries one for each
// family of boards; a 64-bit one those for ARMv8 and for the Pi 5 only.
func (g generation) kernels(arch string) map[string]int64 {
	switch {
	case arch == "arm64" && g.pi5:
		return map[string]int64{"kernel8.img": 9_481_216, "kernel_2712.img": 9_484_288}
	case arch == "arm64":
		return map[string]int64{"kernel8.img": 8_224_192}
	}
	k := map[string]int64{"kernel.img": 4_643_104, "kernel7.img": 4_900_288}
	switch g.release {
	case "buster":
		k["kernel7l.img"] = 5_628_040
	case "bullseye", "bookworm":
		k["kernel7l.img"], k["kernel8.img"] = 6_744_216, 8_224_192
	case "trixie": // linux-image-rpi-v7l is no more
		k["kernel8.img"] = 9_481_216
	}
	return k
}

// initramfsOf is the name that auto_initramfs=1 makes the firmware look for.
func initramfsOf(kernel string) string {
	return strings.Replace(strings.TrimSuffix(kernel, ".img"), "kernel", "initramfs", 1)
}

func (g generation) deviceTrees(arch string) []string {
	var boards []string
	if arch == "armhf" {
		boards = append(boards, "2708-rpi-b-plus", "2708-rpi-b", "2708-rpi-cm", "2708-rpi-zero", "2708-rpi-zero-w", "2709-rpi-2-b")
	}
	boards = append(boards, "2710-rpi-2-b", "2710-rpi-3-b", "2710-rpi-3-b-plus", "2710-rpi-cm3")
	if g.pi4 {
		boards = append(boards, "2711-rpi-4-b")
	}
	if g.version >= 11 {
		boards = append(boards, "2710-rpi-zero-2", "2710-rpi-zero-2-w", "2711-rpi-400", "2711-rpi-cm4", "2711-rpi-cm4s")
	}
	if g.pi5 {
		boards = append(boards, "2712-rpi-5-b")
	}
	if g.date >= "2025" {
		boards = append(boards, "2712-rpi-500", "2712-rpi-cm5-cm4io", "2712-rpi-cm5-cm5io", "2712-rpi-cm5l-cm4io", "2712-rpi-cm5l-cm5io", "2712d0-rpi-5-b")
	}
	for i, b := range boards {
		boards[i] = "bcm" + b + ".dtb"
	}
	return boards
}

// overlays are the names of the device tree overlays. The list is one of a
// trixie image; stretch had about half as many.
func (g generation) overlays() []string {
	data, err := files.ReadFile("files/overlays.txt")
	if err != nil {
		panic(err) // embedded
	}
	var names []string
	for i, name := range strings.Fields(string(data)) {
		if g.version >= 11 || i%2 == 0 {
			names = append(names, name+".dtbo")
		}
	}
	return names
}

func seed(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// pattern is size bytes that depend on name and position, so that a block in the
// wrong place shows, and that compress to about a sixth, so that tests with
// compressed images stay quick. Every 16th page is zero as in real executables:
// a card writer that skips zero pages leaves stale bytes there.
func pattern(name string, size int64) []byte {
	const page = 4096
	rnd := rand.New(rand.NewPCG(seed(name), 0))
	data := make([]byte, size)
	line := fmt.Appendf(nil, "%-56.56s", name)
	for at := int64(0); at < size; at += 64 {
		if at/page%16 == 15 {
			continue
		}
		copy(data[at:], binary.LittleEndian.AppendUint64(nil, rnd.Uint64()))
		copy(data[min(at+8, size):], line)
	}
	return data
}

// writeFile writes one file of the image, dated like the image.
func writeFile(l Layout, path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return err
	}
	return os.Chtimes(path, l.built(), l.built())
}
