package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"picluster/imagebuilder/card"
	"picluster/imagebuilder/image"
	"picluster/imagebuilder/plan"
	"picluster/imagebuilder/secrets"
	"picluster/internal/golden"
	"picluster/internal/lab"
	"picluster/internal/lab/tool"
	"picluster/internal/spec"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"imagebuilder": main})
}

// images are the base images that transcripts name by variable.
var images = map[string]lab.Layout{
	"STRETCH":     {Release: "stretch", Arch: "armhf"},
	"BUSTER":      {Release: "buster", Arch: "armhf"},
	"BULLSEYE":    {Release: "bullseye", Arch: "arm64"},
	"BOOKWORM":    {Release: "bookworm", Arch: "arm64"},
	"TRIXIE":      {Release: "trixie", Arch: "arm64"},
	"TRIXIE_2025": {Release: "trixie", Arch: "arm64", Date: "2025-10-01"},
	"TRIXIE32":    {Release: "trixie", Arch: "armhf"},
}

// TestScripts runs the transcripts: the program as a person meets it.
func TestScripts(t *testing.T) {
	p := scripts(t)
	p.Dir = "../testdata/scripts/imagebuilder"
	testscript.Run(t, p)
}

// TestTour runs the transcript of all three programs.
func TestTour(t *testing.T) {
	bin := t.TempDir()
	if err := tool.Run(t.Context(), "go", "build", "-o", bin, "picluster/clusterctl", "picluster/firstboot"); err != nil {
		t.Fatal(err)
	}
	p := scripts(t)
	p.Files = []string{"../testdata/scripts/tour.txtar"}
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		e.Setenv("PATH", bin+string(filepath.ListSeparator)+e.Getenv("PATH"))
		return setup(e)
	}
	testscript.Run(t, p)
}

// scripts are what transcripts have at hand.
func scripts(t *testing.T) testscript.Params {
	agents := buildAgents(t)
	paths := map[string]string{}
	for name, layout := range images {
		paths[name] = lab.Image(t, layout)
	}
	cache := t.TempDir() // digests of the images above are taken once
	return testscript.Params{
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       golden.Updating(),
		Setup: func(e *testscript.Env) error {
			for name, path := range paths {
				e.Setenv(name, path)
			}
			e.Setenv("PICLUSTER_AGENTS", agents)
			e.Setenv("PICLUSTER_CACHE", cache)
			e.Setenv("ROOT_DISK", rootDisk(t))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("MTOOLS_SKIP_CHECK", "1")
			e.Setenv("TZ", "UTC")
			ssh := filepath.Join(e.WorkDir, ".ssh")
			if err := os.Mkdir(ssh, 0o700); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(ssh, "id_ed25519.pub"), []byte(testKey), 0o644)
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "rootdisk":
				return rootDisk(t) != "", nil
			case "root":
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %s", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"aged":     aged,
			"planted":  planted,
			"flip":     flip,
			"fsck":     fsck,
			"programs": programs,
		},
	}
}

const testKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB7d8d2yV0kW0Yw6PWbYwR0h1nDsdmMmxWMkFEYQXb0a me@laptop\n"

// buildAgents builds the binaries that travel on cards, as `make build` does.
func buildAgents(t *testing.T) string {
	dir := t.TempDir()
	for file, env := range map[string][]string{
		"firstboot-linux-arm64": {"GOARCH=arm64"},
		"firstboot-linux-armv6": {"GOARCH=arm", "GOARM=6"},
	} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, file), "picluster/firstboot")
		cmd.Env = append(append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0"), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", file, err, out)
		}
	}
	return dir
}

// rootDisk is the disk that this machine runs from, "" in a container, which has
// none to refuse: there the recorded machine of package card has to do.
func rootDisk(t *testing.T) string {
	disks, err := card.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range disks {
		if slices.Contains(d.Mounts(), "/") {
			return d.Path
		}
	}
	return ""
}

// aged makes the secrets of a cluster as init would have made them some days ago:
//
//	aged cluster.yaml DAYS
func aged(ts *testscript.TestScript, neg bool, args []string) {
	var days int
	if _, err := fmt.Sscan(args[1], &days); neg || err != nil {
		ts.Fatalf("usage: aged FILE DAYS")
	}
	home := filepath.Dir(ts.MkAbs(args[0]))
	cluster, err := spec.Parse(args[0], []byte(ts.ReadFile(args[0])), spec.References{Dir: home, Home: ts.Getenv("HOME")})
	ts.Check(err)
	dir := filepath.Join(home, "secrets")
	ts.Check(os.RemoveAll(dir))
	want := plan.Want(cluster)
	want.Now = func() time.Time { return time.Now().AddDate(0, 0, -days) }
	_, _, err = secrets.Init(dir, want)
	ts.Check(err)
}

// planted fails when a secret, a line of the named files, stands in what the last
// command printed. Of a directory (secrets/*) the private keys below it count.
//
//	planted wifi.txt hash.txt secrets/*
func planted(ts *testscript.TestScript, neg bool, files []string) {
	if neg || len(files) == 0 {
		ts.Fatalf("usage: planted FILE...")
	}
	output := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	for _, file := range secretFiles(ts, files) {
		for line := range strings.Lines(ts.ReadFile(file)) {
			secret := strings.TrimSpace(line)
			// The first and last line of a key name only its kind.
			if len(secret) >= 8 && !strings.HasPrefix(secret, "-----") && strings.Contains(output, secret) {
				ts.Fatalf("the output shows the secret in %s", file)
			}
		}
	}
}

func secretFiles(ts *testscript.TestScript, names []string) []string {
	var files []string
	keys := 0
	for _, name := range names {
		dir, isDir := strings.CutSuffix(name, "/*")
		if !isDir {
			files = append(files, name)
			continue
		}
		ts.Check(filepath.WalkDir(ts.MkAbs(dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if strings.Contains(string(data), "PRIVATE KEY") {
				keys++
				files = append(files, path)
			}
			return err
		}))
		if keys == 0 {
			ts.Fatalf("there is no private key in %s", dir)
		}
	}
	return files
}

// flip inverts one byte of a file: flip FILE OFFSET, which counts from the end if it
// is negative.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	var offset int64
	if _, err := fmt.Sscan(args[1], &offset); neg || err != nil {
		ts.Fatalf("usage: flip FILE OFFSET")
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	if offset < 0 {
		info, err := f.Stat()
		ts.Check(err)
		offset += info.Size()
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, offset)
	ts.Check(err)
	b[0] ^= 0xff
	_, err = f.WriteAt(b, offset)
	ts.Check(err)
}

// fsck has dosfstools judge the boot partition of an image: fsck IMAGE.
func fsck(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fsck IMAGE")
	}
	f, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	info, err := f.Stat()
	ts.Check(err)
	table, err := image.ReadTable(f, info.Size())
	ts.Check(err)
	boot := table.Partitions[0]
	volume, err := os.CreateTemp(ts.Getenv("TMPDIR"), "boot")
	ts.Check(err)
	defer os.Remove(volume.Name())
	defer volume.Close()
	_, err = io.Copy(volume, io.NewSectionReader(f, boot.Start, boot.Size))
	ts.Check(err)
	// Exit code 0: neither an error nor a thing to repair.
	ts.Check(tool.Run(context.Background(), "fsck.vfat", "-n", volume.Name()))
}

// programs copies programs of this machine, and the libraries they need, into the root
// file system of a Pi: programs ROOT NAME...
func programs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: programs ROOT NAME...")
	}
	for _, name := range args[1:] {
		path, err := exec.LookPath(name)
		ts.Check(err)
		files := []string{path}
		libraries, err := exec.Command("ldd", path).Output()
		ts.Check(err)
		for word := range strings.FieldsSeq(string(libraries)) {
			if filepath.IsAbs(word) {
				files = append(files, word)
			}
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			ts.Check(err)
			to := filepath.Join(ts.MkAbs(args[0]), file)
			ts.Check(os.MkdirAll(filepath.Dir(to), 0o755))
			ts.Check(os.WriteFile(to, data, 0o755))
		}
	}
}
