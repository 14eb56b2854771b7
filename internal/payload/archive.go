package payload

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"picluster/internal/blob"
)

// Archive writes an image as an OCI image layout in a tar archive
// (github.com/opencontainers/image-spec, image-layout.md), the form that `ctr images
// import` takes. containerd gives the image the name that stands in the annotation.
// open opens a file of the payload; what it gives is compared with its digest on the
// way, and a wrong byte ends the archive before its index, so nothing is imported.
func (i Image) Archive(w io.Writer, open func(blob.Ref) (io.ReadCloser, error)) error {
	index, err := json.Marshal(ociIndex{SchemaVersion: 2, MediaType: "application/vnd.oci.image.index.v1+json", Manifests: []ociDescriptor{{
		MediaType: i.MediaType, Digest: "sha256:" + i.Manifest.SHA256, Size: i.Manifest.Size,
		Annotations: map[string]string{"io.containerd.image.name": i.Name},
	}}})
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	written := map[string]bool{}
	for _, ref := range i.Files() {
		if written[ref.SHA256] {
			continue
		}
		written[ref.SHA256] = true
		if err := addBlob(out, ref, open); err != nil {
			return fmt.Errorf("read image %s: %w", i.Name, err)
		}
	}
	// containerd takes the end of the stream for the end of the archive, wherever it
	// comes, and makes an image of what it has by then. Without the index that is
	// nothing.
	for _, f := range []struct{ name, text string }{{"oci-layout", `{"imageLayoutVersion":"1.0.0"}`}, {"index.json", string(index)}} {
		if err := out.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.text)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		if _, err := io.WriteString(out, f.text); err != nil {
			return err
		}
	}
	return out.Close()
}

type ociIndex struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Manifests     []ociDescriptor `json:"manifests"`
}

type ociDescriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func addBlob(out *tar.Writer, ref blob.Ref, open func(blob.Ref) (io.ReadCloser, error)) error {
	content, err := open(ref)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := out.WriteHeader(&tar.Header{Name: "blobs/sha256/" + ref.SHA256, Mode: 0o644, Size: ref.Size, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(content, ref.Size))
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != ref.Size || got != ref.SHA256 {
		return &blob.DigestError{Source: ref.SHA256, Want: ref.SHA256, Got: got}
	}
	return nil
}
