package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"picluster/internal/lab/tool"
)

// bootFiles are what a Pi's firmware takes from the FAT at power-on, as copies.
type bootFiles struct {
	kernel, initramfs string // paths
	cmdline           string
}

// readBoot does what the firmware of a 64-bit Pi 3 or 4 does at each power-on with
// the default config.txt: kernel8.img, the initramfs of that name (auto_initramfs)
// and the first line of cmdline.txt. config.txt itself is not read.
func readBoot(ctx context.Context, image, dir string) (bootFiles, error) {
	start, err := fatOffset(ctx, image)
	if err != nil {
		return bootFiles{}, err
	}
	volume := fmt.Sprintf("%s@@%d", image, start)
	for _, name := range []string{"kernel8.img", "initramfs8", "cmdline.txt"} {
		mcopy := tool.Cmd{
			Args: []string{"mcopy", "-n", "-o", "-i", volume, "::/" + name, filepath.Join(dir, name)},
			Env:  []string{"MTOOLS_SKIP_CHECK=1"},
		}
		if _, err := mcopy.Output(ctx); err != nil {
			return bootFiles{}, fmt.Errorf("boot from %s: read %s: %w", image, name, err)
		}
	}
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline.txt"))
	if err != nil {
		return bootFiles{}, err
	}
	line, _, _ := strings.Cut(string(cmdline), "\n")
	return bootFiles{
		kernel:    filepath.Join(dir, "kernel8.img"),
		initramfs: filepath.Join(dir, "initramfs8"),
		cmdline:   line,
	}, nil
}

// emulated exchanges the consoles for the emulator's only one and puts arguments
// in front; the rest stays as it is, up to a hook at its end. (On a Pi the firmware
// replaces serial0.)
func emulated(cmdline, arguments string) string {
	words := strings.SplitAfter(cmdline, " ")
	kept := words[:0]
	for _, word := range words {
		switch strings.TrimSuffix(word, " ") {
		case "console=serial0,115200":
			word = "console=ttyAMA0,115200 "
		case "console=tty1":
			continue
		}
		kept = append(kept, word)
	}
	return strings.TrimLeft(arguments+" ", " ") + strings.Join(kept, "")
}

// fatOffset is where the first partition starts, in bytes.
func fatOffset(ctx context.Context, image string) (int64, error) {
	table, err := tool.Output(ctx, "sfdisk", "--dump", image)
	if err != nil {
		return 0, fmt.Errorf("boot from %s: %w", image, err)
	}
	_, after, ok := strings.Cut(string(table), "start=")
	if !ok {
		return 0, fmt.Errorf("boot from %s: it has no partition", image)
	}
	start, _, _ := strings.Cut(after, ",")
	sectors, err := strconv.ParseInt(strings.TrimSpace(start), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("boot from %s: %w", image, err)
	}
	return sectors * 512, nil
}
