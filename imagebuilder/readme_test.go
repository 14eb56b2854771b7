package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"picluster/internal/doccheck"
	"picluster/internal/golden"
	"picluster/internal/lab"
	"picluster/internal/lab/tool"
)

// TestREADME_isWhatHappens types the commands of README.md, in one shell, and
// compares what they print with what stands there. A block that is to be their
// cluster.yaml is written to where the shell is at that point.
func TestREADME_isWhatHappens(t *testing.T) {
	path := filepath.Join(doccheck.Root(t), "README.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	var blocks []doccheck.Block
	for _, page := range doccheck.Pages(t) {
		for _, b := range page.Blocks {
			switch {
			case page.Name != "README.md":
			case b.Kind == "yaml" && b.Note == "cluster.yaml of what follows":
				fmt.Fprintf(&script, "cat >cluster.yaml <<'END'\n%sEND\n", b.Text)
			case b.Kind == "console":
				blocks = append(blocks, b)
				script.WriteString("printf '\\002'\n")
				for line := range strings.Lines(b.Text) {
					if command, ok := strings.CutPrefix(line, "$ "); ok {
						fmt.Fprintf(&script, "cat <<'END'\n%sEND\n{ %s; } || echo \"exit code $?\"\n", line, strings.TrimSpace(command))
					}
				}
			}
		}
	}
	happened := strings.Split(typed(t, script.String()), "\x02")[1:]
	if len(blocks) == 0 || len(happened) != len(blocks) {
		t.Fatalf("%d blocks have %d outputs", len(blocks), len(happened))
	}
	readme := string(text)
	for i, b := range blocks {
		if masked(b.Text) != masked(happened[i]) {
			readme = strings.Replace(readme, b.Text, happened[i], 1)
		}
	}
	golden.Equal(t, path, []byte(readme))
}

// TestREADME_quotesTheTour: a block that is a file of the tour is that file.
func TestREADME_quotesTheTour(t *testing.T) {
	const tour = "testdata/scripts/tour.txtar"
	archive, err := txtar.ParseFile(filepath.Join(doccheck.Root(t), tour))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range archive.Files {
		files[f.Name] = string(f.Data)
	}
	quoted := 0
	for _, page := range doccheck.Pages(t) {
		for _, b := range page.Blocks {
			name, ok := strings.CutSuffix(b.Note, " of the tour")
			if !ok || page.Name != "README.md" {
				continue
			}
			quoted++
			if files[name] != b.Text {
				t.Errorf("README.md quotes %s as\n%sin %s it is\n%s", name, b.Text, tour, files[name])
			}
		}
	}
	if quoted == 0 {
		t.Error("README.md quotes nothing of the tour")
	}
}

// typed runs a script as somebody who has never used the program before, and
// returns what stands on the terminal afterwards.
func typed(t *testing.T, script string) string {
	t.Helper()
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".ssh/id_ed25519.pub"), []byte(testKey), 0o644); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(home, ".bin")
	if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "clusterctl"), "picluster/clusterctl").CombinedOutput(); err != nil {
		t.Fatalf("build clusterctl: %v\n%s", err, out)
	}
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+home, "TZ=UTC", "PICLUSTER_AGENTS="+buildAgents(t),
		"PICLUSTER_CACHE="+t.TempDir(), listURLVariable+"="+raspberryPi(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return progressLine.ReplaceAllString(string(out), "")
}

// raspberryPi serves the list of images and one image, as Raspberry Pi does.
func raspberryPi(t *testing.T) (listURL string) {
	t.Helper()
	const file = "/raspios_lite_arm64/images/2026-06-18-raspios-trixie-arm64-lite.img.zst"
	packed := filepath.Join(t.TempDir(), "image.zst")
	if err := tool.Run(t.Context(), "zstd", "-q", "-1", "-o", packed, lab.Image(t, lab.Layout{Release: "trixie", Arch: "arm64"})); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(packed)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc(file, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, packed) })
	mux.HandleFunc("/list.json", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"os_list": []any{map[string]any{
			"url": server.URL + file, "image_download_sha256": fmt.Sprintf("%x", sha256.Sum256(data)), "release_date": "2026-06-18",
		}}})
	})
	return server.URL + "/list.json"
}

var (
	// Lines that come only where something takes more than a second.
	progressLine = regexp.MustCompile(`(?m)^(download|decompress|hash|patch|write|verify) (\d+ % of .*|\.\.\.)\n`)
	changing     = regexp.MustCompile(`\d+(\.\d+)? MiB( in (\d+m)?\d+s)?|(on|until) \d{4}-\d\d-\d\d|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
)

// masked hides what differs from run to run: sizes of programs, times, dates, the
// cluster's id.
func masked(text string) string { return changing.ReplaceAllString(text, "…") }
