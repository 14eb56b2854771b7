package brick_test

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	. "picluster/clusterctl/gluster/brick"
	"picluster/internal/host"
	"picluster/internal/lab/gluster"
)

const (
	mib    = 1 << 20
	disk   = "00000000000000000000000000000d15"
	first  = "0000000000000000000000000000000a"
	second = "0000000000000000000000000000000b"
)

// machine is a node with a device.
type machine struct {
	*gluster.Node
	t *testing.T
}

func newMachine(t *testing.T) (machine, Device) {
	t.Helper()
	m := machine{gluster.Start(t, 0).Client, t}
	return m, Device{ID: disk, Name: m.device("2G")}
}

func (m machine) run(script string, args ...string) string {
	m.t.Helper()
	out, err := m.Run(m.t.Context(), host.Cmd{Args: append([]string{"sh", "-ec", script, "sh"}, args...)})
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func (m machine) device(size string) string {
	return m.run(`f=$(mktemp /srv/disk.XXXXXX); truncate -s "$1" $f; losetup --find --show $f`, size)
}

func (m machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// room is what df shows of a brick, in bytes.
func (m machine) room(path string) int64 {
	n, err := strconv.ParseInt(m.run(`df --block-size=1 --output=avail "$1" | tail -1`, path), 10, 64)
	m.must(err)
	return n
}

func TestPath_isReadBack(t *testing.T) {
	d := Device{ID: disk}
	if device, id, ok := InPath(Path(d, first)); device != disk || id != first || !ok {
		t.Errorf("%s is %s on %s, %v", Path(d, first), id, device, ok)
	}
	for _, path := range []string{"", "/", Root, Root + "/a/b/brick", Path(d, first) + "/x", "/srv" + Path(d, first), strings.ToUpper(Path(d, first))} {
		if _, _, ok := InPath(path); ok {
			t.Errorf("%s is taken for a brick", path)
		}
	}
}

func TestLoopFile_makesBricksOfASize(t *testing.T) {
	m, d := newMachine(t)
	ctx, k := t.Context(), LoopFile{}
	m.must(k.Prepare(ctx, m, d, false))
	m.must(k.Prepare(ctx, m, d, true)) // never erases what is the storage's
	empty, err := k.Usage(ctx, m, d)
	m.must(err)
	if empty.Total < 1900*mib || empty.Total > 2048*mib || len(empty.Bricks) != 0 {
		t.Errorf("an empty device of 2 GiB has %+v", empty)
	}
	m.must(k.Create(ctx, m, d, Brick{first, 500 * mib}))
	m.must(k.Create(ctx, m, d, Brick{second, 1}))
	if got := m.room(Path(d, first)); got < 500*mib || got > 560*mib {
		t.Errorf("a brick of 500 MiB has room for %d MiB", got/mib)
	}
	m.run(`echo kept >"$1/file"`, Path(d, first))

	m.must(k.Grow(ctx, m, d, Brick{first, 700 * mib}))
	m.must(k.Grow(ctx, m, d, Brick{first, 600 * mib})) // it is large enough
	if got := m.room(Path(d, first)); got < 700*mib || got > 760*mib {
		t.Errorf("a brick that has grown to 700 MiB has room for %d MiB", got/mib)
	}
	u, err := k.Usage(ctx, m, d)
	m.must(err)
	if want := map[string]int64{first: k.Footprint(700 * mib), second: 300 * mib}; !maps.Equal(u.Bricks, want) || u.Total != empty.Total || u.Free() != u.Total-want[first]-want[second] {
		t.Errorf("the device has %+v, want %v", u, want)
	}
	if err := k.Create(ctx, m, d, Brick{"0000000000000000000000000000000c", 2000 * mib}); err == nil || !strings.Contains(err.Error(), "No space left") {
		t.Errorf("a brick that is too large: %v", err)
	}

	m.PowerOff()
	m.PowerOn()
	if _, err := m.Stat(ctx, Path(d, first)); err == nil {
		t.Error("a brick that is not mounted looks like one")
	}
	d.Name = m.run(`losetup --find --show "$(ls /srv/disk.*)"`)
	m.must(k.Attach(ctx, m, d))
	m.must(k.Attach(ctx, m, d))
	if got := m.run(`cat "$1/file"; ls -A "$2"`, Path(d, first), Root+"/"+disk); got != "kept\n"+first+"\n"+first+".img\n"+second+"\n"+second+".img" {
		t.Errorf("after a power cut there is\n%s", got)
	}
	if err := k.Release(ctx, m, d); err == nil || err.Error() != "release "+d.Name+": 2 bricks are on it" {
		t.Errorf("a device in use is released: %v", err)
	}
	for _, id := range []string{first, second, second} {
		m.must(k.Delete(ctx, m, d, id))
	}
	m.must(k.Release(ctx, m, d))
	if got := m.run(`wipefs --no-act --parsable "$1"; ls -A "$2"; losetup --list --noheadings --output BACK-FILE | grep "$3" || true`, d.Name, Root, Root); got != "" {
		t.Errorf("the device has not been given back: %s", got)
	}
}

// A device that is prepared once more has its bricks: whoever looks for them then takes
// one that is not there for lost.
func TestLoopFile_preparedAgainHasItsBricks(t *testing.T) {
	m, d := newMachine(t)
	ctx, k := t.Context(), LoopFile{}
	m.must(k.Prepare(ctx, m, d, false))
	m.must(k.Create(ctx, m, d, Brick{first, 1}))
	m.run(`echo kept >"$1/file"; umount "$2"`, Path(d, first), Root+"/"+disk+"/"+first)
	m.must(k.Prepare(ctx, m, d, true))
	if got := m.run(`cat "$1/file"`, Path(d, first)); got != "kept" {
		t.Errorf("the brick has %q", got)
	}
}

// What a power cut has left of a file system that was being made has the device's id
// already, and is made again.
func TestPrepare_endsWhatWasCutOff(t *testing.T) {
	m, d := newMachine(t)
	ctx, k := t.Context(), LoopFile{}
	m.run(`mkfs.xfs -q -m uuid=00000000-0000-0000-0000-000000000d15 "$1"
		xfs_db -x -c "sb 0" -c "write -d inprogress 1" "$1"`, d.Name)
	m.must(k.Prepare(ctx, m, d, false))
	m.must(k.Create(ctx, m, d, Brick{first, 1}))
}

func TestPrepare_refusesWhatHoldsData(t *testing.T) {
	m, d := newMachine(t)
	ctx, k := t.Context(), LoopFile{}
	m.run(`mkfs.ext4 -q -L photos "$1"`, d.Name)
	before := m.run(`sha256sum <"$1"`, d.Name)
	err := k.Prepare(ctx, m, d, false)
	if !errors.Is(err, ErrData) || err.Error() != fmt.Sprintf("prepare %s: it is not empty: [ext4 “photos”]", d.Name) {
		t.Errorf("got %v", err)
	}
	if err := k.Release(ctx, m, d); err != nil {
		t.Errorf("what is not the storage's cannot be released: %v", err)
	}
	if after := m.run(`sha256sum <"$1"`, d.Name); after != before {
		t.Error("the device has been changed")
	}
	m.run(`mkdir -p /srv/mnt; mount "$1" /srv/mnt`, d.Name)
	if err := k.Prepare(ctx, m, d, true); err == nil || !strings.Contains(err.Error(), "busy") {
		t.Errorf("a mounted device: %v", err)
	}
	m.run(`umount /srv/mnt`)
	m.must(k.Prepare(ctx, m, d, true))
	other := Device{ID: second, Name: d.Name}
	if err := k.Prepare(ctx, m, other, false); !errors.Is(err, ErrData) {
		t.Errorf("another storage's device: %v", err)
	}
	if err := k.Prepare(ctx, m, Device{ID: "x", Name: d.Name}, true); err == nil {
		t.Error("a device without an id is prepared")
	}
	if err := k.Prepare(ctx, m, Device{ID: second, Name: "/dev/none"}, true); err == nil || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("a device that does not exist: %v", err)
	}
}

// Whatever a power cut leaves of a brick that is being made is no brick, and the same
// brick can be made afterwards.
func TestLoopFile_cutOffAnywhere(t *testing.T) {
	m, d := newMachine(t)
	ctx, k := t.Context(), LoopFile{}
	m.must(k.Prepare(ctx, m, d, false))
	for n := 1; ; n++ {
		making, deleting := gluster.NewPower(n), gluster.NewPower(n)
		if err := k.Create(ctx, making.On(m), d, Brick{first, 1}); (err == nil) != making.Lasted() {
			t.Fatalf("after %d operations: %v", n, err)
		}
		m.must(k.Attach(ctx, m, d))
		u, err := k.Usage(ctx, m, d)
		m.must(err)
		if bytes, ok := u.Bricks[first]; ok && bytes != k.Footprint(1) {
			t.Fatalf("after %d operations the brick has %d bytes", n, bytes)
		}
		m.must(k.Create(ctx, m, d, Brick{first, 1}))
		m.run(`touch "$1/file"`, Path(d, first))
		if err := k.Delete(ctx, deleting.On(m), d, first); (err == nil) != deleting.Lasted() {
			t.Fatalf("after %d operations: %v", n, err)
		}
		m.must(k.Delete(ctx, m, d, first))
		if got := m.run(`ls -A "$1"`, Root+"/"+disk); got != "" {
			t.Fatalf("after %d operations there is %s", n, got)
		}
		if making.Lasted() && deleting.Lasted() {
			return
		}
	}
}
