package steps_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"picluster/firstboot/steps"
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
	"picluster/internal/node"
	"picluster/internal/step"
)

const (
	configPath  = "/boot/firmware/config.txt"
	stockConfig = "dtparam=audio=on\r\n[pi4]\r\narm_boost=1\r\n[all]\r\nenable_uart=1\r\n"
	usbBootLine = "program_usb_boot_mode=1"
)

// otpPi is a Pi with one-time programmable memory: power on is boot.
type otpPi struct {
	*hosttest.Machine
	t       *testing.T
	refuses bool // the memory keeps its value
	boots   int
}

func newOTPPi(t *testing.T, revision, row17 string) *otpPi {
	t.Helper()
	m := hosttest.NewMachine(t)
	m.Put("/proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 38.40\n\nRevision\t: "+revision+"\nSerial\t\t: 00000000deadbeef\n")
	m.Put(configPath, stockConfig)
	m.Put("/otp", row17)
	m.Put("/var/lib/picluster/.keep", "")
	// As the program prints it: rows 08 to 66.
	m.Fake("vcgencmd", `test "$*" = otp_dump || unexpected "$@"; printf '16:00280000\n17:%s\n18:%s\n' "$(cat "$ROOT/otp")" "$(cat "$ROOT/otp")"`)
	return &otpPi{Machine: m, t: t}
}

// boot is what the firmware does with the line.
func (p *otpPi) boot() {
	p.boots++
	if strings.Contains(p.Text(configPath), usbBootLine) && !p.refuses {
		p.Put("/otp", "3020000a")
	}
}

// run runs the steps as in this boot and says how it ended.
func (p *otpPi) run(h host.Host) (warnings []string, err error) {
	p.t.Helper()
	j, err := step.OpenJournal(filepath.Join(p.Root, steps.JournalPath))
	if err != nil {
		p.t.Fatal(err)
	}
	defer j.Close()
	r := &step.Recorder{Journal: j, Boot: fmt.Sprint("boot ", p.boots), Observers: []step.Observer{func(e step.Event) {
		if e.Kind == step.Warned {
			warnings = append(warnings, e.Step+": "+e.Text)
		}
	}}}
	for _, stage := range steps.Run(&node.Config{Boot: node.Boot{USBBoot: true}}, steps.Env{Boot: "/boot/firmware"}) {
		if stage.Name == "firmware" {
			err = step.Run(p.t.Context(), h, []steps.Stage{stage}, r)
		}
	}
	return warnings, err
}

// finish boots and runs until no reboot is asked for.
func (p *otpPi) finish(h host.Host) (warnings []string) {
	p.t.Helper()
	for range 4 {
		var err error
		if warnings, err = p.run(h); err == nil {
			return warnings
		} else if !errors.Is(err, step.ErrReboot) {
			p.t.Fatal(err)
		}
		p.boot()
	}
	p.t.Fatal("it reboots for ever")
	return nil
}

func (p *otpPi) wantLeft(row17 string) {
	p.t.Helper()
	if got := p.Text("/otp"); got != row17 {
		p.t.Errorf("row 17 is %s, want %s", got, row17)
	}
	if got := p.Text(configPath); got != stockConfig {
		p.t.Errorf("config.txt is %q", got)
	}
}

func TestUSBBoot_isSetOnTheBoardsThatHaveTheBit(t *testing.T) {
	for name, tc := range map[string]struct {
		revision, before, after string
		boots                   int
		warning                 string
	}{
		"3B":                 {"a02082", "1020000a", "3020000a", 1, ""},
		"3B, warranty bit":   {"2a22082", "1020000a", "3020000a", 1, ""},
		"2B 1.2":             {"a22042", "1020000a", "3020000a", 1, ""},
		"CM3":                {"a020a0", "1020000a", "3020000a", 1, ""},
		"CM3+":               {"a02100", "1020000a", "3020000a", 1, ""},
		"3B that has it":     {"a02082", "3020000a", "3020000a", 0, ""},
		"3B+":                {"a020d3", "3020000a", "3020000a", 0, ""},
		"4B":                 {"c03114", "0000000a", "0000000a", 0, ""},
		"5":                  {"d04170", "00000000", "00000000", 0, ""},
		"Zero 2 W":           {"902120", "3020000a", "3020000a", 0, ""},
		"3A+":                {"9020e0", "1020000a", "1020000a", 0, "USB boot: check: set USB boot bit: this board is a 3A+: the bit would end its USB device boot for ever"},
		"2B 1.1":             {"a01041", "1020000a", "1020000a", 0, "USB boot: check: set USB boot bit: this board is a 2B: it cannot boot from USB"},
		"Zero W":             {"9000c1", "1020000a", "1020000a", 0, "USB boot: check: set USB boot bit: this board is a Zero W: it cannot boot from USB"},
		"B of 2012":          {"000e", "1020000a", "1020000a", 0, "USB boot: check: set USB boot bit: this board is a Pi 1: it cannot boot from USB"},
		"one of tomorrow":    {"e05990", "1020000a", "1020000a", 0, "USB boot: check: find board: its revision code e05990 is not known"},
		"3B, memory locked":  {"40a02082", "1020000a", "1020000a", 0, "USB boot: check: set USB boot bit: the one-time programmable memory of this 3B is locked"},
		"no Pi, an emulator": {"", "1020000a", "1020000a", 0, "USB boot: check: find board: /proc/cpuinfo has no revision code"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newOTPPi(t, tc.revision, tc.before)
			warnings := p.finish(p.Machine)
			if got := strings.Join(warnings, "\n"); got != tc.warning {
				t.Errorf("warnings %q, want %q", got, tc.warning)
			}
			if p.boots != tc.boots {
				t.Errorf("it rebooted %d times, want %d", p.boots, tc.boots)
			}
			p.wantLeft(tc.after)
		})
	}
}

func TestUSBBoot_leavesNoLineBehind(t *testing.T) {
	t.Run("the board refuses", func(t *testing.T) {
		p := newOTPPi(t, "a02082", "1020000a")
		p.refuses = true
		warnings := p.finish(p.Machine)
		if got := strings.Join(warnings, "\n"); got != "USB boot: rebooted, but still: the USB boot bit of this 3B is not set" {
			t.Errorf("warnings %q", got)
		}
		if p.boots != 1 {
			t.Errorf("it rebooted %d times, want once", p.boots)
		}
		p.wantLeft("1020000a")
	})
	t.Run("the card is in another Pi after the reboot", func(t *testing.T) {
		p := newOTPPi(t, "a02082", "1020000a")
		if _, err := p.run(p.Machine); !errors.Is(err, step.ErrReboot) {
			t.Fatal(err)
		}
		if got := p.Text(configPath); got != stockConfig+usbBootLine+"\r\n" {
			t.Errorf("before the reboot config.txt is %q", got)
		}
		p.Put("/proc/cpuinfo", "Revision\t: c03114\n")
		p.Put("/otp", "0000000a")
		p.boots++ // an EEPROM does not know the line
		if warnings := p.finish(p.Machine); warnings != nil {
			t.Errorf("warnings %q", warnings)
		}
		p.wantLeft("0000000a")
	})
}

func TestUSBBoot_survivesAPowerCutAnywhere(t *testing.T) {
	cuts := 0
	for n := 1; ; n++ {
		p := newOTPPi(t, "a02082", "1020000a")
		h := p.Machine.Local
		count := 0
		h.Fault = func(op, path string) {
			if count++; count == n {
				panic(cut{op, path})
			}
		}
		reached := func() (reached bool) {
			defer func() {
				if e := recover(); e != nil {
					if _, ok := e.(cut); !ok {
						panic(e)
					}
					reached = true
				}
			}()
			p.finish(h)
			return false
		}()
		if !reached {
			break
		}
		cuts++
		p.boot()
		if warnings := p.finish(p.Machine); warnings != nil {
			t.Errorf("cut %d: warnings %q", n, warnings)
		}
		p.wantLeft("3020000a")
	}
	if cuts < 10 {
		t.Errorf("only %d cuts", cuts)
	}
}

func TestUSBBoot_isNotForEveryCluster(t *testing.T) {
	for _, stage := range steps.Run(&node.Config{}, steps.Env{Boot: "/boot/firmware"}) {
		if stage.Name == "firmware" && len(stage.Steps) > 0 {
			t.Errorf("without boot.usbBoot there are %d steps", len(stage.Steps))
		}
	}
}
