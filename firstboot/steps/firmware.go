package steps

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"

	"picluster/internal/bootfiles"
	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/step"
)

// firmwareSteps set the bit in the Pi 3's one-time programmable memory that lets
// it boot from USB and from the network. The firmware does it at a boot that finds
// a line in config.txt; the line must not stay, or the card would do it to each
// board it is put in. No node is lost for want of the bit.
func firmwareSteps(c *node.Config, e Env) []Step {
	if !c.Boot.USBBoot {
		return nil
	}
	config := path.Join(e.Boot, "config.txt")
	return []Step{
		step.Optional[host.Host](USBBootBit{Config: config}),
		step.Optional[host.Host](NoUSBBootLine{Config: config}),
	}
}

// The line, as the firmware knows it (Raspberry Pi's documentation, "Enable USB
// host boot mode with OTP").
const usbBootKey, usbBootValue = "program_usb_boot_mode", "1"

// USBBootBit wants the bit set where the board has one. The reboot that it asks for
// is granted once: a board that still says no has refused.
type USBBootBit struct{ Config string }

func (s USBBootBit) Name() string { return "USB boot" }

// Check implements Step. A board that cannot have the bit, or should not, is an
// error: somebody has asked for it.
func (s USBBootBit) Check(ctx context.Context, h host.Host) (string, error) {
	b, err := findBoard(ctx, h)
	if err != nil || b.usbBoot == usbBootBuiltIn {
		return "", err
	}
	if b.usbBoot != usbBootByOTP {
		return "", fmt.Errorf("set USB boot bit: this board is a %s: %s", b.name, b.usbBoot)
	}
	set, err := usbBootBit(ctx, h)
	switch {
	case err != nil || set:
		return "", err
	case b.locked:
		return "", fmt.Errorf("set USB boot bit: the one-time programmable memory of this %s is locked", b.name)
	}
	return "the USB boot bit of this " + b.name + " is not set", nil
}

// Apply implements Step. The line stands under [all]: which board this is has been
// looked at, and a filter by model would leave out the 2B or the CM3.
func (s USBBootBit) Apply(ctx context.Context, h host.Host) error {
	err := editConfig(ctx, h, s.Config, func(c *bootfiles.Config) error { return c.Set(bootfiles.All, usbBootKey, usbBootValue) })
	if err != nil {
		return err
	}
	return step.ErrReboot
}

// NoUSBBootLine wants the line gone again: from the boot on that was to set the
// bit, whether it has, the board refused, or the card is in another Pi now.
type NoUSBBootLine struct{ Config string }

func (s NoUSBBootLine) Name() string { return "USB boot line" }

// Check implements Step.
func (s NoUSBBootLine) Check(ctx context.Context, h host.Host) (string, error) {
	data, err := h.ReadFile(ctx, s.Config)
	if err != nil || !bootfiles.ParseConfig(data).Remove(bootfiles.All, usbBootKey, usbBootValue) {
		return "", err
	}
	return s.Config + " still sets the USB boot bit of each board that the card is put in", nil
}

// Apply implements Step.
func (s NoUSBBootLine) Apply(ctx context.Context, h host.Host) error {
	return editConfig(ctx, h, s.Config, func(c *bootfiles.Config) error {
		c.Remove(bootfiles.All, usbBootKey, usbBootValue)
		return nil
	})
}

func editConfig(ctx context.Context, h host.Host, name string, edit func(*bootfiles.Config) error) error {
	data, err := h.ReadFile(ctx, name)
	if err != nil {
		return err
	}
	c := bootfiles.ParseConfig(data)
	if err := edit(c); err != nil {
		return fmt.Errorf("edit %s: %w", name, err)
	}
	return h.Write(ctx, name, host.File{Data: c.Bytes()})
}

// usbBootRow is row 17 of the memory, the boot mode: 1020000a as it leaves the
// factory, 3020000a with the bit.
var usbBootRow = regexp.MustCompile(`(?m)^17:([0-9a-f]{8})$`)

const usbBootMask = 1 << 29

func usbBootBit(ctx context.Context, h host.Host) (bool, error) {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"vcgencmd", "otp_dump"}})
	if err != nil {
		return false, err
	}
	m := usbBootRow.FindSubmatch(out)
	if m == nil {
		return false, errors.New("read one-time programmable memory: vcgencmd shows no row 17")
	}
	row, err := strconv.ParseUint(string(m[1]), 16, 32)
	return row&usbBootMask != 0, err
}

// board is a model of the Raspberry Pi.
type board struct {
	name      string
	usbBoot   string // one of the first two below, or why not
	locked    bool   // its one-time programmable memory takes no more
	only24GHz bool   // its Wi-Fi does not do 5 GHz
}

const (
	usbBootByOTP   = "by the bit"
	usbBootBuiltIn = "built in"
	usbBootNever   = "it cannot boot from USB"
)

// boards are by the type in a new-style revision code (Raspberry Pi's
// documentation, "Raspberry Pi revision codes", "USB mass storage boot" and "USB
// boot modes"). On a CM3 the bit leaves USB device boot alone, because a pin of its
// connector chooses; on a 3A+, where nothing is connected to that pin, it does not.
var boards = map[uint64]board{
	0x00: {name: "A", usbBoot: usbBootNever}, 0x01: {name: "B", usbBoot: usbBootNever},
	0x02: {name: "A+", usbBoot: usbBootNever}, 0x03: {name: "B+", usbBoot: usbBootNever},
	0x04: {name: "2B", usbBoot: usbBootByOTP}, 0x06: {name: "CM1", usbBoot: usbBootNever},
	0x08: {name: "3B", usbBoot: usbBootByOTP, only24GHz: true}, 0x0a: {name: "CM3", usbBoot: usbBootByOTP},
	0x09: {name: "Zero", usbBoot: usbBootNever}, 0x0c: {name: "Zero W", usbBoot: usbBootNever, only24GHz: true},
	0x0d: {name: "3B+", usbBoot: usbBootBuiltIn}, 0x10: {name: "CM3+", usbBoot: usbBootByOTP},
	0x0e: {name: "3A+", usbBoot: "the bit would end its USB device boot for ever"},
	0x12: {name: "Zero 2 W", usbBoot: usbBootBuiltIn, only24GHz: true},
	// From here on an EEPROM has the boot order.
	0x11: {name: "4B", usbBoot: usbBootBuiltIn}, 0x13: {name: "400", usbBoot: usbBootBuiltIn},
	0x14: {name: "CM4", usbBoot: usbBootBuiltIn}, 0x15: {name: "CM4S", usbBoot: usbBootBuiltIn},
	0x17: {name: "5", usbBoot: usbBootBuiltIn}, 0x18: {name: "CM5", usbBoot: usbBootBuiltIn},
	0x19: {name: "500", usbBoot: usbBootBuiltIn}, 0x1a: {name: "CM5 Lite", usbBoot: usbBootBuiltIn},
}

var revisionLine = regexp.MustCompile(`(?m)^Revision\s*: ([0-9a-f]+)$`)

func findBoard(ctx context.Context, h host.Host) (board, error) {
	cpuinfo, err := h.ReadFile(ctx, "/proc/cpuinfo")
	if err != nil {
		return board{}, err
	}
	m := revisionLine.FindSubmatch(cpuinfo)
	if m == nil {
		return board{}, errors.New("find board: /proc/cpuinfo has no revision code")
	}
	code, err := strconv.ParseUint(string(m[1]), 16, 64)
	if err != nil {
		return board{}, fmt.Errorf("find board: %w", err)
	}
	return boardOf(code)
}

// boardOf reads a revision code: NOQuuuWuFMMMCCCCPPPPTTTTTTTTRRRR. F is set in all
// but the oldest ones, T is the type, P the processor, O forbids programming the
// one-time memory.
func boardOf(code uint64) (board, error) {
	const newStyle, noOTP, bcm2837 = 1 << 23, 1 << 30, 2
	if code&newStyle == 0 {
		return board{name: "Pi 1", usbBoot: usbBootNever}, nil
	}
	b, known := boards[code>>4&0xff]
	if !known {
		return board{}, fmt.Errorf("find board: its revision code %x is not known", code)
	}
	// Version 1.2 is the first 2B with the Pi 3's processor.
	if b.name == "2B" && code>>12&0xf != bcm2837 {
		b.usbBoot = usbBootNever
	}
	b.locked = code&noOTP != 0
	return b, nil
}
