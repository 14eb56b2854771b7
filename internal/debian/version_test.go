package debian

import (
	"os/exec"
	"slices"
	"testing"
)

var versions = []string{
	"0", "1", "1.0", "1.0-1", "1.0-1+deb13u1", "1.0-1~deb13u1", "1.0~rc1-1", "1.0~~", "1.0~", "1.0a", "1.0+b1", "1.0-1.1", "1.00", "01.0", "1:0.9", "0:1.0",
	"1.37.2-1.1", "1.37.10-1.1", "1.7.24~ds1-6", "1.6.20~ds1-1+deb12u1", "2.4.105-3~bpo12+1", "1.a1", "1.a01", "1.a", "1.+", "1.-", "20240101", "1.0-0", "1.0-",
	"9.9.9999999999999999999999", "9.9.9999999999999999999998", "1.0.0.0", "1-1-1", "1A", "1a", "1.2.3:4-1",
}

// TestCompare_agreesWithDpkg sorts them all: neighbours in the right order are the
// whole order.
func TestCompare_agreesWithDpkg(t *testing.T) {
	valid := slices.DeleteFunc(slices.Clone(versions), func(v string) bool { return CheckVersion(v) != nil })
	slices.SortFunc(valid, Compare)
	for i, v := range valid[1:] {
		agree(t, valid[i], v)
		agree(t, v, valid[i])
	}
}

func agree(t *testing.T, a, b string) {
	t.Helper()
	op := map[int]string{-1: "lt", 0: "eq", 1: "gt"}[max(-1, min(1, Compare(a, b)))]
	if out, err := exec.Command("dpkg", "--compare-versions", a, op, b).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("we say %q %s %q; dpkg does not (%v) %s", a, op, b, err, out)
	}
}

func FuzzCompare(f *testing.F) {
	for i, v := range versions {
		f.Add(v, versions[len(versions)-1-i])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if CheckVersion(a) == nil && CheckVersion(b) == nil {
			agree(t, a, b)
		}
	})
}

func TestCheckVersion(t *testing.T) {
	for _, bad := range []string{"", "a1", "-1", "1 2", "1-", "x:1", "+1:1", "-1:1", "1:", "1.0-1_2", "1/../2", "--force", "1\n2"} {
		if err := CheckVersion(bad); err == nil {
			t.Errorf("%q is a version", bad)
		}
	}
	for _, good := range versions {
		err := CheckVersion(good)
		// dpkg refuses the same.
		out, dpkg := exec.Command("dpkg", "--validate-version", good).CombinedOutput()
		if (err == nil) != (dpkg == nil) {
			t.Errorf("%q: we say %v, dpkg %v %s", good, err, dpkg, out)
		}
	}
}
