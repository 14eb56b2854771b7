package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// system is what a laptop runs.
type system struct{ os, arch string }

var systems = []system{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}}

// program is one file in bin/.
type program struct {
	file, pkg string
	system
}

// programs are the two for the laptop, and beside them what these look for there:
// the agents that travel on cards, and the program of the storage's image.
func (s system) programs() []program {
	return []program{
		{"imagebuilder", "./imagebuilder", s},
		{"clusterctl", "./clusterctl", s},
		{"firstboot-linux-arm64", "./firstboot", system{"linux", "arm64"}},
		{"firstboot-linux-armv6", "./firstboot", system{"linux", "arm"}},
		{"storaged-linux-amd64", "./clusterctl/storaged", system{"linux", "amd64"}},
		{"storaged-linux-arm64", "./clusterctl/storaged", system{"linux", "arm64"}},
	}
}

// build builds programs as `make build` does. What this machine prefers otherwise
// has no say.
func (r release) build(ctx context.Context, dir string, programs []program) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for _, p := range programs {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
			"-ldflags", "-s -w -X picluster/internal/version.stamp="+r.version, "-o", filepath.Join(dir, p.file), p.pkg)
		cmd.Dir = r.source
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath", "GOWORK=off", "GOEXPERIMENT=",
			"GOOS="+p.os, "GOARCH="+p.arch, "GOAMD64=v1", "GOARM64=v8.0", "GOARM=6")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", p.file, err, out)
		}
	}
	return nil
}

// pages are what programs print about themselves, and where systems look for it.
var pages = []struct {
	path string // %s is the program
	args []string
}{
	{"share/man/man1/%s.1", []string{"man"}},
	{"share/bash-completion/completions/%s", []string{"completion", "bash"}},
	{"share/zsh/site-functions/_%s", []string{"completion", "zsh"}},
	{"share/fish/vendor_completions.d/%s.fish", []string{"completion", "fish"}},
}

// writePages has the programs, built for this machine, print their pages.
func (r release) writePages(ctx context.Context, dir string) error {
	here := system{runtime.GOOS, runtime.GOARCH}
	bin := dir + "-bin"
	if err := r.build(ctx, bin, []program{
		{"imagebuilder", "./imagebuilder", here}, {"clusterctl", "./clusterctl", here}, {"firstboot", "./firstboot", here},
	}); err != nil {
		return err
	}
	for _, name := range []string{"imagebuilder", "clusterctl", "firstboot"} {
		for _, page := range pages {
			cmd := exec.CommandContext(ctx, filepath.Join(bin, name), page.args...)
			cmd.Stderr = new(bytes.Buffer)
			out, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("run %s %s: %w: %s", name, strings.Join(page.args, " "), err, cmd.Stderr)
			}
			path := filepath.Join(dir, fmt.Sprintf(page.path, name))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, out, 0o644); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(bin)
}
