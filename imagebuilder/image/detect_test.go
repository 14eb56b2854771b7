package image_test

import (
	"os"
	"testing"

	"picluster/imagebuilder/image"
	"picluster/internal/lab"
)

func open(t *testing.T, path string) *image.Image {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	img, err := image.Open(image.NewOverlay(f, info.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// Every generation is recognised by its root file system, and again when that
// is not to be read, by what is on the FAT partition alone.
func TestDetect_everyGeneration(t *testing.T) {
	for _, layout := range lab.Layouts() {
		t.Run(layout.String(), func(t *testing.T) {
			img := open(t, lab.Image(t, layout))
			for _, root := range []string{"readable", "overwritten"} {
				if root == "overwritten" {
					// The superblock is 1024 bytes into the partition.
					if _, err := img.Disk.WriteAt(make([]byte, 4096), img.RootPartition.Start); err != nil {
						t.Fatal(err)
					}
					var err error
					if img, err = image.Open(img.Disk); err != nil {
						t.Fatal(err)
					}
				}
				facts, err := img.Detect("")
				if err != nil {
					t.Fatalf("root %s: %v", root, err)
				}
				if facts.Release.Name != layout.Release || facts.Arch != layout.Arch || facts.Built != layout.Date {
					t.Errorf("root %s: recognised as %s %s of %s (by %s)", root, facts.Release.Name, facts.Arch, facts.Built, facts.Evidence)
				}
				if facts.Hook == "" || facts.Booted {
					t.Errorf("root %s: no first-boot hook found", root)
				}
				if userconf := layout.Date >= "2022-04-04"; facts.Userconf != userconf {
					t.Errorf("root %s: reads userconf.txt: %v, want %v", root, facts.Userconf, userconf)
				}
			}
		})
	}
}

func TestDetect_takesThePersonsWord(t *testing.T) {
	img := open(t, lab.Image(t, lab.Layout{Release: "trixie"}))
	facts, err := img.Detect("bookworm")
	if err != nil || facts.Release.Name != "bookworm" {
		t.Errorf("assumed bookworm, got %v, %v", facts, err)
	}
	if _, err := img.Detect("sarge"); !image.IsUnknown(err) {
		t.Errorf("an unknown release is accepted: %v", err)
	}
}
