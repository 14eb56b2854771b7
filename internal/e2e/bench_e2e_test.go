//go:build e2e && bench

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"picluster/internal/lab"
)

// rounds is how often each way to write a card is measured. The ways take turns, so
// that what else the machine does meets all of them.
const rounds = 5

// way is a way to write the image to a card.
type way struct {
	name    string
	prepare func(t *testing.T)
	argv    func(device string) []string
	runs    []measured
}

// measured is one run of it.
type measured struct {
	wall, cpu float64 // seconds
	written   int64   // bytes that the kernel wrote to the card
	peak      int64   // bytes of memory of the largest process
}

// bench is one image, one card, and a desk to write it from.
type bench struct {
	*desk
	raw, packed, card string
	root              int64 // where the root partition begins
}

// The card is a loop device with direct I/O over a file of old data. The cache is in
// memory: it stands for the laptop's own disk, which is another one than the card.
func newBench(t *testing.T) (*bench, string) {
	t.Helper()
	b := &bench{desk: newDesk(t), raw: lab.Bootable(t, "trixie"), packed: lab.BootableXZ(t, "trixie")}
	info, err := os.Stat(b.raw)
	if err != nil {
		t.Fatal(err)
	}
	b.card = usedCard(t, info.Size()+64<<20)
	table := strings.Split(strings.TrimSpace(run(t, "sfdisk", "--dump", b.raw)), "\n")
	b.root = startOf(t, table[len(table)-1])
	cache := t.TempDir()
	run(t, "mount", "-t", "tmpfs", "-o", "size=4g", "cache", cache)
	t.Cleanup(func() { run(t, "umount", cache) })
	return b, cache
}

// How long a person waits for a card, against the two ways people know.
func TestBench_aCardAgainstOtherTools(t *testing.T) {
	b, cache := newBench(t)
	bmap := filepath.Join(t.TempDir(), "image.bmap")
	run(t, "bmaptool", "create", "-o", bmap, b.raw)
	ours := func(device string) []string {
		return []string{b.program, "write", device, "--yes", "--confirm", b.card, "--image", b.packed, "--cache", cache,
			"--node", "raspberrypi-node0"}
	}
	ways := []*way{
		{name: "xz | dd", argv: func(device string) []string {
			return []string{"bash", "-o", "pipefail", "-c",
				"xz -dc -T0 " + b.packed + " | dd of=" + device + " bs=4M iflag=fullblock oflag=direct conv=fsync"}
		}},
		{name: "bmaptool copy", argv: func(device string) []string {
			return []string{"bmaptool", "copy", "--bmap", bmap, b.packed, device}
		}},
		{name: "ours, first card", argv: ours, prepare: func(t *testing.T) { run(t, b.program, "cache", "clear", "--cache", cache) }},
		{name: "ours, later card", argv: ours},
	}
	for round := range rounds {
		for _, w := range ways {
			t.Run(fmt.Sprintf("%d %s", round+1, w.name), func(t *testing.T) {
				stale(t, b.card)
				if w.prepare != nil {
					w.prepare(t)
				}
				t.Run("write", func(t *testing.T) { w.runs = append(w.runs, b.measure(t, w.argv)) })
				b.judge(t)
			})
		}
	}
	t.Log("\n" + compare(ways))
}

// How much longer a card takes than its own speed allows, where that is what decides:
// 20 MB/s, as ordinary cards write. The measure is dd of as many bytes.
func TestBench_aSlowCard(t *testing.T) {
	b, cache := newBench(t)
	b.card = serve(t, "--filter=rate", "file", b.card, "rate=160M")
	write := func(device string) []string {
		return []string{b.program, "write", device, "--yes", "--confirm", b.card, "--image", b.packed, "--cache", cache,
			"--node", "raspberrypi-node0", "--verify=off"}
	}
	var used int64
	t.Run("once", func(t *testing.T) { used = b.measure(t, write).written })
	copying := &way{name: "dd of as much", argv: func(device string) []string {
		return []string{"dd", "if=/dev/zero", "of=" + device, "bs=4M", "oflag=direct", "conv=fsync", fmt.Sprintf("count=%d", used>>22), "status=none"}
	}}
	first := &way{name: "ours, first card", argv: write, prepare: func(t *testing.T) { run(t, b.program, "cache", "clear", "--cache", cache) }}
	later := &way{name: "ours, later card", argv: write}
	for range rounds {
		for _, w := range []*way{copying, first, later} {
			if w.prepare != nil {
				w.prepare(t)
			}
			t.Run(w.name, func(t *testing.T) { w.runs = append(w.runs, b.measure(t, w.argv)) })
		}
	}
	t.Log("\n" + compare([]*way{copying, first, later}))
}

// stale fills the card with what an earlier owner left.
func stale(t *testing.T, card string) {
	t.Helper()
	info, err := os.Stat(card)
	if err != nil {
		t.Fatal(err)
	}
	run(t, "bash", "-c", fmt.Sprintf("yes 'old data' | dd of=%s bs=4M iflag=fullblock,count_bytes count=%d conv=notrunc,fsync status=none", card, info.Size()))
}

// measure runs a command in the desk's directory. The loop device is there only for
// that: no other may be over the same file.
func (b *bench) measure(t *testing.T, command func(device string) []string) measured {
	t.Helper()
	device := attach(t, b.card)
	before := sectors(t, device)
	argv := command(device)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = b.dir
	// Each is the card's first: writing one again begins with a new identity for it.
	if err := os.Remove(filepath.Join(b.dir, "secrets/cards.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	began := time.Now()
	out, err := cmd.CombinedOutput()
	wall := time.Since(began).Seconds()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return measured{wall, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(),
		512 * (sectors(t, device) - before), usage.Maxrss << 10}
}

// judge compares all files of the root partition with the image's.
func (b *bench) judge(t *testing.T) {
	t.Helper()
	options := fmt.Sprintf("ro,noload,loop,offset=%d", b.root)
	if got := differences(t, mount(t, b.raw, options), mount(t, b.card, options)); len(got) > 0 {
		t.Errorf("on the root partition differ: %q", got)
	}
}

// compare prints each way's medians, and the ratio to the first way's run of the
// same round, with its smallest and largest.
func compare(ways []*way) string {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%-18s %8s %8s %8s %8s   %s\n", "", "wall s", "CPU s", "MiB out", "MiB RSS", "wall, to "+ways[0].name)
	for _, w := range ways {
		var ratios []float64
		for i, r := range w.runs {
			ratios = append(ratios, r.wall/ways[0].runs[i].wall)
		}
		median := func(value func(measured) float64) float64 {
			var all []float64
			for _, r := range w.runs {
				all = append(all, value(r))
			}
			slices.Sort(all)
			return all[len(all)/2]
		}
		slices.Sort(ratios)
		fmt.Fprintf(&out, "%-18s %8.1f %8.1f %8.0f %8.0f   %.2f (%.2f to %.2f)\n", w.name,
			median(func(r measured) float64 { return r.wall }), median(func(r measured) float64 { return r.cpu }),
			median(func(r measured) float64 { return float64(r.written) / (1 << 20) }), median(func(r measured) float64 { return float64(r.peak) / (1 << 20) }),
			ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])
	}
	return out.String()
}
