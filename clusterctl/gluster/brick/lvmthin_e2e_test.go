//go:build e2e

package brick_test

import (
	"errors"
	"strings"
	"testing"

	. "picluster/clusterctl/gluster/brick"
	"picluster/internal/host"
)

// A kernel without thin pools, as this machine's may be, is refused before anything is
// written.
func TestLVMThin_refusesAKernelWithoutThinPools(t *testing.T) {
	h := host.Local{}
	if out, err := h.Run(t.Context(), host.Cmd{Args: []string{"dmsetup", "targets"}}); err == nil && strings.Contains(string(out), "thin-pool") {
		return // there is nothing to refuse
	}
	err := LVMThin{}.Prepare(t.Context(), h, Device{ID: disk, Name: "/dev/null"}, true)
	if !errors.Is(err, ErrNoThinPools) || err.Error() != "prepare /dev/null: the kernel has no thin pools (dm_thin_pool): bricks can be of kind xfs or loopfile there" {
		t.Errorf("got %v", err)
	}
}

func TestLVMThin_makesThinVolumes(t *testing.T) { inGuest(t, lvmMakesThinVolumes) }

// lvmMakesThinVolumes runs in the guest, whose one disk is empty.
func lvmMakesThinVolumes(t *testing.T) {
	ctx, h, k, d := t.Context(), host.Local{}, LVMThin{}, Device{ID: disk, Name: "/dev/vda"}
	must, run := here(t, h)
	must(k.Prepare(ctx, h, d, false))
	must(k.Prepare(ctx, h, d, true))
	if err := k.Prepare(ctx, h, Device{ID: first, Name: "/dev/vda"}, false); !errors.Is(err, ErrData) {
		t.Errorf("another's device: %v", err)
	}
	for range 2 {
		must(k.Create(ctx, h, d, Brick{first, 300 * mib}))
	}
	must(k.Create(ctx, h, d, Brick{second, 300 * mib}))
	run(`dd if=/dev/zero of="$1/file" bs=1M count=300 2>/dev/null; sync`, Path(d, first))
	must(k.Grow(ctx, h, d, Brick{first, 500 * mib}))
	must(k.Grow(ctx, h, d, Brick{first, 400 * mib}))
	run(`dd if=/dev/zero of="$1/more" bs=1M count=199 2>/dev/null; sync`, Path(d, first))
	is, err := h.Stat(ctx, Path(d, first)+"/more")
	must(err)
	if is.Size != 199*mib {
		t.Errorf("%d bytes fit into what has grown", is.Size)
	}
	u, err := k.Usage(ctx, h, d)
	must(err)
	if len(u.Bricks) != 2 || u.Bricks[second] != k.Footprint(300*mib) || u.Bricks[first] < 500*mib || u.Total < 1800*mib {
		t.Errorf("the device has %+v", u)
	}
	run(`umount "$1"/*`, Root+"/"+disk)
	done := map[string]bool{}
	must(AttachAll(ctx, h, k, done))
	if got := run(`ls "$1"`, Path(d, first)); got != "file\nmore" || !done[disk] {
		t.Errorf("after it has been mounted again it has %q", got)
	}
	if err := k.Release(ctx, h, d); err == nil {
		t.Error("a device in use is released")
	}
	for range 2 {
		must(k.Delete(ctx, h, d, first))
	}
	must(k.Delete(ctx, h, d, second))
	must(k.Release(ctx, h, d))
	if got := run(`wipefs --no-act --parsable /dev/vda`); got != "" {
		t.Errorf("the device has %s", got)
	}
}
