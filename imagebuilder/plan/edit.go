package plan

import (
	"bytes"
	"fmt"

	"picluster/internal/bootfiles"
)

// Edit is one change of the boot partition: a pure function from a file's
// content to its new content. Applying an edit to its own result changes
// nothing.
type Edit interface {
	// Path names the file, relative to the FAT partition, with slashes.
	Path() string
	// Apply returns the new content. before is nil where there is no such file.
	Apply(before []byte) (after []byte, err error)
	// Secret says that the content must not be shown.
	Secret() bool
}

// WriteFile puts a whole file in place.
type WriteFile struct {
	Name   string
	Data   []byte
	Masked bool // holds secrets
}

func (w WriteFile) Path() string                 { return w.Name }
func (w WriteFile) Secret() bool                 { return w.Masked }
func (w WriteFile) Apply([]byte) ([]byte, error) { return bytes.Clone(w.Data), nil }

// Touch makes sure that a file exists, whatever is in it: the vendor's marker
// files.
type Touch struct{ Name string }

func (e Touch) Path() string { return e.Name }
func (e Touch) Secret() bool { return false }
func (e Touch) Apply(before []byte) ([]byte, error) {
	if before == nil {
		return []byte{}, nil
	}
	return before, nil
}

// ConfigTxt sets one line of config.txt so that it holds under one filter.
type ConfigTxt struct{ Section, Key, Value string }

func (e ConfigTxt) Path() string { return "config.txt" }
func (e ConfigTxt) Secret() bool { return false }
func (e ConfigTxt) Apply(before []byte) ([]byte, error) {
	c := bootfiles.ParseConfig(before)
	if err := c.Set(e.Section, e.Key, e.Value); err != nil {
		return nil, fmt.Errorf("set %s=%s in config.txt: %w", e.Key, e.Value, err)
	}
	return c.Bytes(), nil
}

// CmdlineTxt takes the vendor's first-boot hook off the kernel command line,
// adds Arguments once each and ends it with our own hook.
type CmdlineTxt struct {
	Arguments []string
	Tail      string
}

func (e CmdlineTxt) Path() string { return "cmdline.txt" }
func (e CmdlineTxt) Secret() bool { return false }
func (e CmdlineTxt) Apply(before []byte) ([]byte, error) {
	c, err := bootfiles.ParseCmdline(before)
	if err != nil {
		return nil, err
	}
	if _, err := c.RemoveHook(); err != nil {
		return nil, err
	}
	c.Add(e.Arguments...)
	if err := c.SetTail(e.Tail); err != nil {
		return nil, err
	}
	return c.Bytes(), nil
}

// USBBoot makes the firmware of a Pi 3 set the bit that lets it boot from USB,
// when it reads the line; [pi3] keeps it off other families. The bit is permanent:
// package main asks for an explicit flag.
var USBBoot = ConfigTxt{"pi3", "program_usb_boot_mode", "1"}
