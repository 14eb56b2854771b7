package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"picluster/imagebuilder/plan"
	"picluster/internal/cli"
)

// agentFiles names the firstboot binary for each userland. A 64-bit kernel may
// run under a 32-bit userland, so it is the userland that decides; armv6 runs on
// every 32-bit image.
var agentFiles = map[string]string{
	"arm64": "firstboot-linux-arm64",
	"armhf": "firstboot-linux-armv6",
}

// readAgent reads the binary that travels on the card, from dir or, when dir is
// empty, from beside this program.
func readAgent(dir, arch string) (plan.Agent, error) {
	dir, err := agentDir(dir)
	if err != nil {
		return plan.Agent{}, err
	}
	path := filepath.Join(dir, agentFiles[arch])
	data, err := os.ReadFile(path)
	if err != nil {
		return plan.Agent{}, noAgent(err)
	}
	if err := checkAgent(data, arch); err != nil {
		return plan.Agent{}, fmt.Errorf("read agent %s: %w", path, err)
	}
	return plan.Agent{Arch: arch, Data: data}, nil
}

func agentDir(dir string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	return filepath.Dir(self), err
}

// lookForAgents finds out whether there is any, which is known before the image is
// downloaded; which one the card needs only the image tells.
func lookForAgents(dir string) error {
	dir, err := agentDir(dir)
	if err != nil {
		return err
	}
	for _, file := range agentFiles {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			return nil
		}
	}
	return noAgent(fmt.Errorf("there is none in %s: %w", dir, fs.ErrNotExist))
}

func noAgent(err error) error {
	err = fmt.Errorf("read agent: %w", err)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return cli.Hint(err, "it belongs beside imagebuilder (make build puts it there); --agents names another directory")
}

// checkAgent makes sure that the Pi will be able to run the binary: a wrong one
// would show only there, as a card that boots and is not configured.
func checkAgent(data []byte, arch string) error {
	machines := map[string]elf.Machine{"arm64": elf.EM_AARCH64, "armhf": elf.EM_ARM}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("it is no Linux program: %w", err)
	}
	if f.Machine != machines[arch] {
		return fmt.Errorf("it is for %s, the image needs %s", f.Machine, machines[arch])
	}
	return nil
}
