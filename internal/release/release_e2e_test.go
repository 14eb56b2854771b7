//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"picluster/internal/lab"
)

const tested = "picluster-v0.0.1-linux-amd64"

// makeRelease makes the release of one system from a copy of the source.
func makeRelease(t *testing.T, source string) (out string) {
	t.Helper()
	out = t.TempDir()
	r := release{source: source, version: "v0.0.1", date: time.Unix(1700000000, 0).UTC(), out: out, log: t.Output()}
	if err := r.make(t.Context(), []system{{"linux", "amd64"}}); err != nil {
		t.Fatal(err)
	}
	return out
}

// copySource copies what belongs to the repository to another directory.
func copySource(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "elsewhere")
	list, err := exec.Command("git", "-C", "../..", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join("../..", name))
		if os.IsNotExist(err) {
			continue // removed, and not committed yet
		}
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Two people who make the same release can compare what they have. Both share the
// compiler's cache here: that the compiler gives the same bytes twice is Go's word.
func TestRelease_isTheSameFromElsewhere(t *testing.T) {
	first := makeRelease(t, "../..")
	t.Setenv("GOAMD64", "v3")
	t.Setenv("CGO_ENABLED", "1")
	t.Setenv("GOFLAGS", "-race")
	t.Setenv("TMPDIR", t.TempDir())
	second := makeRelease(t, copySource(t))
	for _, name := range []string{tested + ".tar.gz", tested + ".spdx.json", "SHA256SUMS"} {
		a, err := os.ReadFile(filepath.Join(first, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(second, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs", name)
		}
	}
	isUsable(t, first)
	listsItsParts(t, first)
}

// isUsable does what somebody does who has downloaded it, with other tools.
func isUsable(t *testing.T, out string) {
	t.Helper()
	home := t.TempDir()
	sh := func(dir, script string) string {
		t.Helper()
		cmd := exec.Command("sh", "-euc", script)
		// Nothing but the archive: no Go, no agents of the environment.
		cmd.Dir, cmd.Env = dir, []string{"HOME=" + home, "PATH=/usr/bin:/bin", "IMAGE=" + lab.Image(t, lab.Layout{Release: "trixie", Arch: "arm64"})}
		text, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, text)
		}
		return string(text)
	}
	sh(out, "sha256sum --strict --check SHA256SUMS && tar -xzf "+tested+".tar.gz -C "+home)
	bin := filepath.Join(home, tested, "bin")
	if got := sh(home, bin+"/imagebuilder version; "+bin+"/clusterctl version"); got != "imagebuilder v0.0.1\nclusterctl v0.0.1\n" {
		t.Errorf("the programs say %q", got)
	}
	sh(home, "mkdir .ssh; echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB7d8d2yV0kW0Yw6PWbYwR0h1nDsdmMmxWMkFEYQXb0a me' > .ssh/id_ed25519.pub")
	plan := sh(home, "mkdir cluster; cd cluster; "+bin+"/imagebuilder init && "+bin+"/imagebuilder plan --image $IMAGE")
	if !strings.Contains(plan, "picluster/firstboot") {
		t.Errorf("the plan has no agent:\n%s", plan)
	}
	for _, page := range []string{"share/man/man1/clusterctl.1", "share/fish/vendor_completions.d/imagebuilder.fish", "docs/cluster-yaml.md", "licences/go/LICENSE"} {
		if info, err := os.Stat(filepath.Join(home, tested, page)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", page, err)
		}
	}
}

func listsItsParts(t *testing.T, out string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(out, tested+".spdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Files         []struct{ SPDXID, FileName string }
		Packages      []struct{ SPDXID, Name string }
		Relationships []struct{ SpdxElementID, RelationshipType, RelatedSpdxElement string }
	}
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"SPDXRef-DOCUMENT": true}
	module := ""
	for _, p := range list.Packages {
		known[p.SPDXID] = true
		if p.Name == "k8s.io/client-go" {
			module = p.SPDXID
		}
	}
	for _, f := range list.Files {
		known[f.SPDXID] = true
	}
	in := false
	for _, r := range list.Relationships {
		if !known[r.SpdxElementID] || !known[r.RelatedSpdxElement] {
			t.Errorf("%+v is about what is not in the list", r)
		}
		if r.RelatedSpdxElement == module && r.SpdxElementID == "SPDXRef-bin-imagebuilder" {
			t.Error("imagebuilder is said to hold Kubernetes' client")
		}
		in = in || r.RelatedSpdxElement == module && r.SpdxElementID == "SPDXRef-bin-clusterctl"
	}
	if module == "" || !in {
		t.Error("clusterctl's client of Kubernetes is not in the list")
	}
}
