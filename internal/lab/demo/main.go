// Command demo shows what picluster does without a card, a Pi or the network: it
// makes a cluster in ./demo and writes its three cards to files there. Each command
// is printed before it runs, so that it can be typed by hand afterwards.
//
// It runs the program in bin/ (make build) on a small image of the lab's, which has
// everything of Raspberry Pi OS that imagebuilder looks at and does not boot. A
// second run starts over.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"picluster/internal/lab"
)

const (
	program = "bin/imagebuilder"
	dir     = "demo"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run() error {
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("find %s: it is not built, or this is not the repository's directory: run `make demo` there", program)
	}
	base, err := lab.MakeImage(lab.Layout{Release: "trixie"})
	if err != nil {
		return err
	}
	if err := startOver(); err != nil {
		return err
	}
	file, cards := filepath.Join(dir, "cluster.yaml"), []string{"card-0.img", "card-1.img", "card-2.img"}
	commands := [][]string{{"init", dir}, {"validate", "-f", file}}
	for _, card := range cards {
		commands = append(commands, []string{"write", filepath.Join(dir, card), "-f", file, "--image", base, "--yes"})
	}
	commands = append(commands, []string{"inspect", filepath.Join(dir, cards[0])})
	for _, args := range commands {
		if err := show(args); err != nil {
			return err
		}
	}
	fmt.Printf("\nThese are the bytes of three SD cards. What stands on one, as other tools see it:\n"+
		"  sfdisk --list %[1]s\n  mdir -i %[1]s@@%[2]d ::/\n", filepath.Join(dir, cards[0]), bootStart)
	return nil
}

// bootStart is where pi-gen puts the boot partition since 2025, in bytes.
const bootStart = 8 << 20

// startOver removes what an earlier run made. Anything else in the directory stays
// and stops the demo.
func startOver() error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); name != "cluster.yaml" && name != "secrets" && !strings.HasPrefix(name, "card-") {
			return fmt.Errorf("start over: %s is not the demo's: move it away", filepath.Join(dir, name))
		}
	}
	fmt.Printf("$ rm -rf %s\n", dir)
	return os.RemoveAll(dir)
}

// show prints a command and runs it. The program's own words are the
// demonstration.
func show(args []string) error {
	fmt.Printf("\n$ %s %s\n", program, strings.Join(args, " "))
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s %s: %w", program, args[0], err)
	}
	return nil
}
