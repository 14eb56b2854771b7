//go:build e2e

package e2e

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// partitions are the two partitions of a disk, as files of their own.
type partitions struct{ boot, root string }

// extract copies the partitions out with sfdisk's and dd's understanding of where
// they are.
func extract(t *testing.T, disk string) partitions {
	t.Helper()
	dir := t.TempDir()
	var files []string
	for line := range strings.Lines(run(t, "sfdisk", "--dump", disk)) {
		if !strings.Contains(line, "start=") {
			continue
		}
		path := filepath.Join(dir, "partition"+strconv.Itoa(len(files)+1))
		run(t, "dd", "if="+disk, "of="+path, "bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse", "status=none",
			"skip="+strconv.FormatInt(startOf(t, line), 10), "count="+strconv.FormatInt(field(t, line, "size")*512, 10))
		files = append(files, path)
	}
	if len(files) != 2 {
		t.Fatalf("%s has %d partitions", disk, len(files))
	}
	return partitions{files[0], files[1]}
}

// startOf is where a partition of sfdisk's dump starts, in bytes.
func startOf(t *testing.T, line string) int64 { return field(t, line, "start") * 512 }

func field(t *testing.T, line, name string) int64 {
	t.Helper()
	m := regexp.MustCompile(name + `= *(\d+)`).FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("sfdisk's line has no %s: %s", name, line)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// copyFAT copies all files out of a FAT volume with mtools.
func copyFAT(t *testing.T, volume string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "mcopy", "-s", "-m", "-n", "-i", volume, "::*", dir)
	return dir
}
