package main

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"picluster/imagebuilder/baseimage"
	"picluster/imagebuilder/card"
	"picluster/imagebuilder/image"
	"picluster/internal/cli"
)

// A digest that turns out wrong when nearly all of the card is written.
func TestDeviceError_saysWhatTheCardIsNow(t *testing.T) {
	const size = 2 << 20
	device, err := card.Find(filepath.Join(t.TempDir(), "card.img"))
	if err != nil {
		t.Fatal(err)
	}
	wrong := imageError(&baseimage.DigestError{Source: "os.img.xz", Want: "00", Got: "11"})
	var out bytes.Buffer
	code := cli.Run(t.Context(), cli.Program{Name: "imagebuilder", Commands: func() []cli.Command {
		return []cli.Command{{Name: "write", Run: func(ctx context.Context, _ cli.Env, _ []string) error {
			_, err := (&target{}).write(ctx, device, image.NewOverlay(bytes.NewReader(make([]byte, size)), size), card.Options{
				Settle: func(context.Context) (image.Disk, []image.Extent, error) { return nil, nil, wrong }})
			return err
		}}}
	}}, cli.Env{Stdout: &out, Stderr: &out}, []string{"write"})
	want := `imagebuilder: error: read image at byte 2097152: verify os.img.xz: sha256 is 11, want 00
imagebuilder: hint: the card has no partition table, so no Pi boots from it; write it again
imagebuilder: hint: compare the digest with the publisher's, then download the file again
`
	if code != cli.Integrity || out.String() != want {
		t.Errorf("code %d:\n%swant code %d:\n%s", code, out.String(), cli.Integrity, want)
	}
}
