package patch_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"picluster/imagebuilder/fat"
	"picluster/imagebuilder/image"
	"picluster/imagebuilder/patch"
	"picluster/imagebuilder/plan"
	"picluster/imagebuilder/secrets"
	"picluster/internal/golden"
	"picluster/internal/lab"
	"picluster/internal/lab/tool"
	"picluster/internal/spec"
)

// makePlan plans all cards of a fixture cluster for an image.
func makePlan(t *testing.T, cluster string, img *image.Image) (*plan.Plan, error) {
	t.Helper()
	c, err := spec.Load(filepath.Join("../../testdata/clusters", cluster))
	if err != nil {
		t.Fatal(err)
	}
	bundle, _, err := secrets.Init(filepath.Join(t.TempDir(), "secrets"), plan.Want(c))
	if err != nil {
		t.Fatal(err)
	}
	facts, err := img.Detect("")
	if err != nil {
		t.Fatal(err)
	}
	return plan.Make(plan.Inputs{
		Cluster: c, Secrets: bundle, Cards: plan.CardNames(c), Tool: "v0-test",
		Base:  plan.Base{Name: "base.img", SHA256: strings.Repeat("ab", 32), Size: img.Disk.Size(), Facts: facts},
		Agent: plan.Agent{Arch: facts.Arch, Data: bytes.Repeat([]byte{0x7f, 'E', 'L', 'F', 0, 1, 2, 3}, 1<<20)},
	})
}

// open opens a lab image under an overlay: it is shared, and never written to.
func open(t *testing.T, layout lab.Layout) (*image.Image, *image.Overlay) {
	t.Helper()
	f, err := os.Open(lab.Image(t, layout))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	o := image.NewOverlay(f, info.Size())
	img, err := image.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return img, o
}

// clusterFor names a fixture cluster that the layout is able to become.
func clusterFor(l lab.Layout) string {
	if l.Arch == "arm64" && (l.Release == "bookworm" || l.Release == "trixie") {
		return "home.yaml"
	}
	return "plain.yaml"
}

// Every generation and architecture: what a patch changes is exactly what the
// preview said, as other programs see it.
func TestApply_onEveryGeneration(t *testing.T) {
	for _, layout := range lab.Layouts() {
		t.Run(layout.String(), func(t *testing.T) {
			t.Parallel()
			img, _ := open(t, layout)
			p, err := makePlan(t, clusterFor(layout), img)
			if err != nil {
				t.Fatal(err)
			}
			boot, err := img.Boot()
			if err != nil {
				t.Fatal(err)
			}
			before, outside := digests(t, boot), digestOutside(t, img)
			changes, err := patch.Preview(boot, p.EditsOf(p.Cards[0]))
			if err != nil {
				t.Fatal(err)
			}
			if err := patch.Apply(boot, changes, p.Time); err != nil {
				t.Fatal(err)
			}
			volume := extractBoot(t, img)
			if err := tool.Run(t.Context(), "fsck.vfat", "-n", volume); err != nil {
				t.Errorf("fsck.vfat: %v", err)
			}
			for _, c := range changes {
				if got := mtype(t, volume, c.Path); !bytes.Equal(got, c.After) {
					t.Errorf("mtype reads %d bytes of %s, want the %d planned", len(got), c.Path, len(c.After))
				}
			}
			after := digests(t, boot)
			for name, sum := range before {
				if !planned(changes, name) && after[name] != sum {
					t.Errorf("%s was not in the plan and changed", name)
				}
			}
			for name := range after {
				if _, old := before[name]; !old && !planned(changes, name) {
					t.Errorf("%s was not in the plan and appeared", name)
				}
			}
			if digestOutside(t, img) != outside {
				t.Error("bytes outside of the boot partition changed")
			}
			goldenPlan(t, layout, changes)
			again, err := patch.Preview(boot, p.EditsOf(p.Cards[0]))
			if err != nil {
				t.Fatal(err)
			}
			if len(again) != 0 {
				t.Errorf("patching again would change %d files, %s first", len(again), again[0].Path)
			}
		})
	}
}

func goldenPlan(t *testing.T, layout lab.Layout, changes []patch.Change) {
	var out bytes.Buffer
	for _, c := range changes {
		if err := c.Print(&out); err != nil {
			t.Fatal(err)
		}
	}
	// Certificates differ by a byte or two in length from one key to the next.
	text := regexp.MustCompile(`\d+ bytes, holds secrets`).ReplaceAllString(out.String(), "N bytes, holds secrets")
	golden.Equal(t, filepath.Join("testdata", layout.String()+".golden"), []byte(text))
}

func planned(changes []patch.Change, name string) bool {
	for _, c := range changes {
		if strings.EqualFold(c.Path, name) {
			return true
		}
	}
	return false
}

func digests(t *testing.T, v *fat.Volume) map[string][32]byte {
	t.Helper()
	sums := map[string][32]byte{}
	err := v.Walk(func(i fat.Info) error {
		if i.Dir {
			return nil
		}
		data, err := v.ReadFile(i.Path)
		sums[i.Path] = sha256.Sum256(append(data, fmt.Sprint(i.Modified, i.Attributes)...))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

// digestOutside covers everything but the boot partition: the table, the gaps
// and the root file system, bit for bit.
func digestOutside(t *testing.T, img *image.Image) [32]byte {
	t.Helper()
	b := img.BootPartition
	return digest(t,
		io.NewSectionReader(img.Disk, 0, b.Start),
		io.NewSectionReader(img.Disk, b.Start+b.Size, img.Disk.Size()-b.Start-b.Size))
}

// extractBoot writes the boot partition to a file, zeros as holes.
func extractBoot(t *testing.T, img *image.Image) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "boot.fat"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := img.BootPartition
	if err := f.Truncate(b.Size); err != nil {
		t.Fatal(err)
	}
	chunk, zero := make([]byte, 1<<16), make([]byte, 1<<16)
	for at := int64(0); at < b.Size; at += int64(len(chunk)) {
		part := chunk[:min(int64(len(chunk)), b.Size-at)]
		if _, err := img.Disk.ReadAt(part, b.Start+at); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(part, zero[:len(part)]) {
			continue
		}
		if _, err := f.WriteAt(part, at); err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

func mtype(t *testing.T, volume, name string) []byte {
	t.Helper()
	out, err := tool.Cmd{Args: []string{"mtype", "-i", volume, "::" + name}, Env: []string{"MTOOLS_SKIP_CHECK=1"}}.Output(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestApply_writesNothingThatDoesNotFit(t *testing.T) {
	img, overlay := open(t, lab.Layout{Release: "stretch", Arch: "armhf"})
	boot, err := img.Boot()
	if err != nil {
		t.Fatal(err)
	}
	edits := []plan.Edit{
		plan.WriteFile{Name: "first.txt", Data: []byte("x")},
		plan.WriteFile{Name: "picluster/huge", Data: make([]byte, boot.Free()+1)},
	}
	changes, err := patch.Preview(boot, edits)
	if err != nil {
		t.Fatal(err)
	}
	err = patch.Apply(boot, changes, time.Unix(0, 0))
	if err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("the error is %v", err)
	}
	if overlay.Changed() != 0 {
		t.Errorf("%d bytes of the image changed", overlay.Changed())
	}
}

// Two builds of a card from the same inputs change the same blocks to the same
// bytes, in memory and not in the image.
func TestApply_twiceGivesTheSameOverlay(t *testing.T) {
	for _, layout := range []lab.Layout{{Release: "stretch", Arch: "armhf"}, {Release: "trixie", Arch: "arm64"}} {
		t.Run(layout.Release, func(t *testing.T) {
			base, under := open(t, layout)
			p, err := makePlan(t, clusterFor(layout), base)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range p.Cards {
				first, second := overlay(t, base, p, c), overlay(t, base, p, c)
				extents := first.ChangedExtents()
				if len(extents) == 0 || !slices.Equal(extents, second.ChangedExtents()) {
					t.Fatalf("%s: the first build changes %v, the second %v", c.Config.Name, extents, second.ChangedExtents())
				}
				for _, e := range extents {
					if end := base.BootPartition.Start + base.BootPartition.Size; e.Start < base.BootPartition.Start || e.Start+e.Length > end {
						t.Errorf("%s: %v is outside the boot partition", c.Config.Name, e)
					}
					if digest(t, io.NewSectionReader(first, e.Start, e.Length)) != digest(t, io.NewSectionReader(second, e.Start, e.Length)) {
						t.Errorf("%s: the builds differ in %v", c.Config.Name, e)
					}
				}
			}
			if under.Changed() != 0 {
				t.Error("the base was written to")
			}
		})
	}
}

// overlay builds a card over the base.
func overlay(t *testing.T, base *image.Image, p *plan.Plan, c plan.Card) *image.Overlay {
	t.Helper()
	o := image.NewOverlay(base.Disk, base.Disk.Size())
	img, err := image.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := img.Boot()
	if err != nil {
		t.Fatal(err)
	}
	changes, err := patch.Preview(boot, p.EditsOf(c))
	if err != nil {
		t.Fatal(err)
	}
	if err := patch.Apply(boot, changes, p.Time); err != nil {
		t.Fatal(err)
	}
	return o
}

func digest(t *testing.T, parts ...io.Reader) [32]byte {
	t.Helper()
	h := sha256.New()
	for _, r := range parts {
		if _, err := io.Copy(h, r); err != nil {
			t.Fatal(err)
		}
	}
	return [32]byte(h.Sum(nil))
}
