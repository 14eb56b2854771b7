package fat

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestMakeShortName_keepsOrNumbers follows the rules of the specification's
// section "Basis-Name Generation".
func TestMakeShortName_keepsOrNumbers(t *testing.T) {
	cases := []struct {
		name, short string
		long        bool
	}{
		{"CONFIG.TXT", "CONFIG.TXT", false},
		{"NOEXT", "NOEXT", false},
		{"A-B_C~D.X$", "A-B_C~D.X$", false},
		{"config.txt", "CONFIG.TXT", true},
		{"Config.Txt", "CONFIG.TXT", true},
		{"eight888.txt", "EIGHT888.TXT", true},
		{"ninechars.txt", "NINECH~1.TXT", true},
		{"config.txt_bak", "CONFIG~1.TXT", true},
		{"w1.dtbo", "W1~1.DTB", true},
		{"a+b.txt", "A_B~1.TXT", true},
		{"a,b.txt", "A_B~1.TXT", true},
		{"a b.txt", "AB~1.TXT", true},
		{"archive.tar.gz", "ARCHIV~1.GZ", true},
		{"a.b.c", "AB~1.C", true},
		{".bashrc", "BASHRC~1", true},
		{"..a", "A~1", true},
		{". .a.b", "A~1.B", true},
		{"x.é", "X~1._", true},
		{"É", "_~1", true},
		{"日本語のファイル名.txt", "______~1.TXT", true},
		{"🍓", "_~1", true},
	}
	for _, c := range cases {
		short, long, err := makeShortName(c.name, func(shortName) bool { return false })
		if err != nil || short.String() != c.short || long != c.long {
			t.Errorf("%q becomes %q, long name %t, %v; want %q, %t", c.name, short, long, err, c.short, c.long)
		}
	}
}

func TestMakeShortName_makesRoomForItsNumber(t *testing.T) {
	used := map[shortName]bool{}
	for i := range 100_010 {
		short, _, err := makeShortName("a long name.txt", func(n shortName) bool { return i < 100_009 && used[n] })
		if err != nil || used[short] && i < 100_009 {
			t.Fatalf("name %d: %q, %v", i, short, err)
		}
		used[short] = true
		want := map[int]string{0: "ALONGN~1.TXT", 8: "ALONGN~9.TXT", 9: "ALONG~10.TXT", 99: "ALON~100.TXT", 999: "ALO~1000.TXT"}
		if w, ok := want[i]; ok && short.String() != w {
			t.Errorf("name %d is %q, want %q", i, short, w)
		}
		if i == 1_000 {
			for n := 1_000; n < 100_000; n++ { // not one by one: that takes n² steps
				tail := fmt.Sprintf("~%d", n)
				used[padShortName("ALONGNAM"[:8-len(tail)]+tail, "TXT")] = true
			}
			if short, _, _ = makeShortName("a long name.txt", func(n shortName) bool { return used[n] }); short.String() != "A~100000.TXT" {
				t.Errorf("name 100000 is %q", short)
			}
			return
		}
	}
}

// TestLongSlots_areUTF16 compares with bytes from the specification's figure and
// with a pair of surrogates, which mtools does not know.
func TestLongSlots_areUTF16(t *testing.T) {
	short, _, _ := makeShortName("The quick brown.fox", func(shortName) bool { return false })
	if short.String() != "THEQUI~1.FOX" {
		t.Fatalf("short name %q", short)
	}
	var got strings.Builder
	for _, s := range longSlots("The quick brown.fox", short) {
		fmt.Fprintf(&got, "%x\n", []byte(s))
	}
	sum := fmt.Sprintf("%02x", short.checksum())
	want := "42" + "77006e002e0066006f00" + "0f00" + sum + "7800" + "0000" + "ffffffffffffffff" + "0000" + "ffffffff" + "\n" +
		"01" + "54006800650020007100" + "0f00" + sum + "7500" + "6900" + "63006b0020006200" + "0000" + "72006f00" + "\n"
	if got.String() != want {
		t.Errorf("slots are\n%swant\n%s", got.String(), want)
	}
	if got := fmt.Sprintf("%x", []byte(longSlots("🍓", short)[0][1:7])); got != "3cd853df0000" {
		t.Errorf("strawberry is %s, want 3cd853df0000", got)
	}
}

func TestLongName_comesBack(t *testing.T) {
	for n := 1; n <= maxNameUnits; n++ {
		name := strings.Repeat("ñ", n-1) + "x"
		short, _, err := makeShortName(name, func(shortName) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		s := make(slot, slotSize)
		copy(s, short[:])
		slots := append(longSlots(name, short), s)
		got, first, err := parseLongName(slots, len(slots)-1)
		if err != nil || got != name || first != 0 {
			t.Errorf("%d characters: %q from slot %d, %v", n, got, first, err)
		}
		slots[0][checksumAt]++
		if got, _, err := parseLongName(slots, len(slots)-1); err == nil {
			t.Errorf("%d characters: %q in spite of a wrong checksum", n, got)
		}
	}
}

func TestDisplay_knowsFlagsAndCodePage(t *testing.T) {
	cases := []struct {
		raw   string
		flags byte
		want  string
	}{
		{"CONFIG  TXT", 0, "CONFIG.TXT"},
		{"CONFIG  TXT", lowerStem, "config.TXT"},
		{"CONFIG  TXT", lowerExtension, "CONFIG.txt"},
		{"SSH        ", lowerStem | lowerExtension, "ssh"},
		{"\x9aBER    TXT", 0, "ÜBER.TXT"},
		{"\x05ETA       ", 0, "σETA"},
	}
	for _, c := range cases {
		if got := shortName([]byte(c.raw)).display(c.flags); got != c.want {
			t.Errorf("%q with flags %#x is %q, want %q", c.raw, c.flags, got, c.want)
		}
	}
}

func TestTime_isClampedToWhatFATKnows(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	cases := []struct{ in, want string }{
		{"2025-11-24T17:03:07.89Z", "2025-11-24T17:03:06Z"},
		{"2024-02-29T23:59:59+01:00", "2024-02-29T22:59:58Z"},
		{"1970-01-01T00:00:00Z", "1980-01-01T00:00:00Z"},
		{"2107-12-31T23:59:59.99Z", "2107-12-31T23:59:58Z"},
		{"2999-01-01T00:00:00Z", "2107-12-31T23:59:58Z"},
	}
	for _, c := range cases {
		s := make(slot, slotSize)
		s.setModified(at(c.in))
		if got := s.modified(); !got.Equal(at(c.want)) {
			t.Errorf("%s is stored as %s, want %s", c.in, got, c.want)
		}
	}
	s := make(slot, slotSize)
	if s.setCreated(at("2025-11-24T17:03:07.89Z")); s[13] != 189 {
		t.Errorf("1.89 s beyond the even second are stored as %d hundredths", s[13])
	}
	if !make(slot, slotSize).modified().IsZero() {
		t.Error("no date is taken for one")
	}
}
