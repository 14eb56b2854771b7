package bootfiles

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"picluster/internal/golden"
)

const hook = `init=/bin/sh -- -c "mount -t proc proc /proc; for b in /boot/firmware /boot; do mount $b && sh $b/picluster/start.sh $b; done; exec /sbin/init"`

var cgroups = []string{"cgroup_enable=cpuset", "cgroup_memory=1", "cgroup_enable=memory"}

func parse(t *testing.T, line string) *Cmdline {
	t.Helper()
	c, err := ParseCmdline([]byte(line))
	if err != nil {
		t.Fatalf("ParseCmdline(%q): %v", line, err)
	}
	return c
}

// takeOver does to a line what a card gets.
func takeOver(t *testing.T, line, hook string) *Cmdline {
	t.Helper()
	c := parse(t, line)
	if _, err := c.RemoveHook(); err != nil {
		t.Fatalf("RemoveHook on %q: %v", line, err)
	}
	c.Add(cgroups...)
	if err := c.SetTail(hook); err != nil {
		t.Fatalf("SetTail on %q: %v", line, err)
	}
	return c
}

func TestCmdline_takesOverFirstBootOfEachRelease(t *testing.T) {
	for _, r := range releases {
		t.Run(r, func(t *testing.T) {
			c := takeOver(t, string(read(t, r, "cmdline.txt")), hook)
			golden.Equal(t, filepath.Join("testdata", r, "cmdline.golden"), c.Bytes())
			golden.Equal(t, filepath.Join("testdata", r, "cmdline-restored.golden"), c.Restored())
			if again := takeOver(t, string(c.Bytes()), hook); !bytes.Equal(again.Bytes(), c.Bytes()) {
				t.Errorf("the second time makes it\n%s", again.Bytes())
			}
		})
	}
}

func TestCmdline_removeHookTakesTheVendorsWordsOnly(t *testing.T) {
	for _, tc := range []struct{ name, have, want, removed string }{
		{"stretch to early bullseye", "a quiet init=/usr/lib/raspi-config/init_resize.sh", "a quiet", "init=/usr/lib/raspi-config/init_resize.sh"},
		{"bullseye, bookworm", "a init=/usr/lib/raspberrypi-sys-mods/firstboot b", "a b", "init=/usr/lib/raspberrypi-sys-mods/firstboot"},
		{"trixie", "a resize b", "a b", "resize"},
		{"not a longer word", "resize=1 noresize", "resize=1 noresize", ""},
		{"Imager",
			"a systemd.run=/boot/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target b",
			"a b", "systemd.run=/boot/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target"},
		{"Imager on bookworm, quoted", `a systemd.run="/boot/firmware/firstrun.sh" resize`, "a", `systemd.run="/boot/firmware/firstrun.sh" resize`},
		{"a systemd.unit of one's own", "systemd.unit=multi-user.target systemd.run=/boot/firstrun.sh", "systemd.unit=multi-user.target", "systemd.run=/boot/firstrun.sh"},
		{"Imager's companions without it", "systemd.unit=kernel-command-line.target", "systemd.unit=kernel-command-line.target", ""},
		{"cloud-init's source stays", "a ds=nocloud;i=rpi-imager-1 resize", "a ds=nocloud;i=rpi-imager-1", "resize"},
		{"the ordinary init stays", "a init=/sbin/init", "a init=/sbin/init", ""},
		{"ours stays", "a resize " + hook, "a " + hook, "resize"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := parse(t, tc.have)
			removed, err := c.RemoveHook()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(removed, " "); got != tc.removed {
				t.Errorf("removed %q, want %q", got, tc.removed)
			}
			if got := string(c.Bytes()); got != tc.want+"\n" {
				t.Errorf("left %q, want %q", got, tc.want)
			}
		})
	}
}

func TestCmdline_refusesAHookOfSomebodyElse(t *testing.T) {
	for _, tc := range []struct{ have, word string }{
		{"a init=/usr/local/bin/preinit resize", "init=/usr/local/bin/preinit"},
		{`a init="/bin/sh"`, `init="/bin/sh"`},
		{"a init=/bin/sh -- -c true", "init=/bin/sh"},
		{"a resize -- single", "-- single"},
		{"a resize --", "--"},
		{"a systemd.run=/boot/mine.sh", "systemd.run=/boot/mine.sh"},
		{"a systemd.run=/boot/firstrun.sh systemd.run=/boot/mine.sh", "systemd.run=/boot/mine.sh"},
	} {
		t.Run(tc.have, func(t *testing.T) {
			c := parse(t, tc.have)
			_, err := c.RemoveHook()
			var foreign ForeignHookError
			if !errors.As(err, &foreign) || foreign.Word != tc.word {
				t.Errorf("RemoveHook: %v, want a ForeignHookError about %q", err, tc.word)
			}
			if err := c.SetTail(hook); !errors.As(err, &foreign) {
				t.Errorf("SetTail: %v, want a ForeignHookError", err)
			}
			if got := string(c.Bytes()); got != tc.have+"\n" {
				t.Errorf("the line was changed to %q", got)
			}
		})
	}
}

func TestCmdline_keepsWordsAndTheirOrder(t *testing.T) {
	c := takeOver(t, "\tconsole=tty1  foo=\"a  b\" console=serial0,115200 dyndbg=\"file x +p\" cgroup_memory=1 console=ttyS1 \r\n\n", hook)
	want := []string{
		"console=tty1", `foo="a  b"`, "console=serial0,115200", `dyndbg="file x +p"`, "cgroup_memory=1", "console=ttyS1",
		"cgroup_enable=cpuset", "cgroup_enable=memory",
	}
	if got := c.Words()[:len(want)]; !slices.Equal(got, want) {
		t.Errorf("words %q\nwant  %q", got, want)
	}
	if !strings.HasSuffix(string(c.Bytes()), " "+hook+"\n") {
		t.Errorf("the hook is not the end of %q", c.Bytes())
	}
	if c.Tail() != hook {
		t.Errorf("Tail() = %q", c.Tail())
	}
}

func TestCmdline_replacesAnOlderHookOfOurs(t *testing.T) {
	old := `init=/bin/sh -- -c "mount /boot; /boot/picluster/start.sh; exec /sbin/init"`
	c := takeOver(t, string(takeOver(t, "a resize", old).Bytes()), hook)
	if got, want := c.Bytes(), takeOver(t, "a resize", hook).Bytes(); !bytes.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestCmdline_refusesFilesThatMislead(t *testing.T) {
	for _, tc := range []struct{ name, have, want string }{
		{"no file", "", "no arguments"},
		{"white space", " \n\t\r\n", "no arguments"},
		{"two lines", "a\nb\n", "more than one line"},
		{"an empty line first", "\na\n", "more than one line"},
		{"CR between", "a\rb\n", "more than one line"},
		{"a comment behind", "a\n# b\n", "more than one line"},
		{"open quote", `a b="c d`, "double quote"},
		{"zero byte", "a\x00b", "zero byte"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseCmdline([]byte(tc.have))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestCmdline_setTailRefusesWhatWouldNotRun(t *testing.T) {
	for _, tc := range []struct{ name, line, tail, want string }{
		{"not a hook", "a", "quiet splash", "not of the form"},
		{"not ours", "a", `init=/bin/sh -- -c "true"`, "not of the form"},
		{"no arguments for init", "a", "init=/picluster/start.sh", "not of the form"},
		{"open quote", "a", `init=/bin/sh -- -c "/picluster/start.sh`, "double quote"},
		{"two lines", "a", strings.Replace(hook, ";", ";\n", 1), "not of the form"},
		{"too long", strings.Repeat("x", MaxCmdline-len(hook)-1), hook, "701 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := parse(t, tc.line)
			err := c.SetTail(tc.tail)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
			if got := string(c.Bytes()); got != tc.line+"\n" {
				t.Errorf("the line was changed to %q", got)
			}
		})
	}
}

// FuzzCmdline holds the editor to its promises on any line that it takes: every
// word that is neither a hook nor ours is kept in its order, our hook is the
// end, and the second time changes nothing.
func FuzzCmdline(f *testing.F) {
	for _, r := range releases {
		data, err := os.ReadFile(filepath.Join("testdata", r, "cmdline.txt"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("a systemd.run=\"/boot/firstrun.sh\" b=\"c  d\"e\" f\" " + hook))
	f.Add([]byte("init=/x -- -c \"picluster/start.sh\" \xff\xfe"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCmdline(data)
		if err != nil {
			return
		}
		before := slices.Clone(c.words)
		removed, err := c.RemoveHook()
		if err != nil {
			return
		}
		kept := slices.Clone(c.words)
		c.Add(cgroups...)
		if c.SetTail(hook) != nil {
			return
		}
		again := takeOver(t, string(c.Bytes()), hook)
		if !bytes.Equal(again.Bytes(), c.Bytes()) {
			t.Fatalf("once %q\ntwice %q", c.Bytes(), again.Bytes())
		}
		if !slices.Equal(again.words[:len(kept)], kept) {
			t.Fatalf("words %q became %q", kept, again.words)
		}
		if len(kept)+len(removed) != len(before) {
			t.Fatalf("of %q, %q were removed and %q kept", before, removed, kept)
		}
		if !strings.HasSuffix(string(c.Bytes()), " "+hook+"\n") && len(kept) > 0 {
			t.Fatalf("the hook is not the end of %q", c.Bytes())
		}
		if _, err := ParseCmdline(c.Restored()); err != nil {
			t.Fatalf("restored %q: %v", c.Restored(), err)
		}
	})
}
