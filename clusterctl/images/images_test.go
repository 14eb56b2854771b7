package images

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"picluster/internal/debian"
	"picluster/internal/debian/debiantest"
)

// program writes a program's header: what the image's maker looks at.
func program(t *testing.T, machine elf.Machine, kind elf.ProgType) string {
	t.Helper()
	var out bytes.Buffer
	for _, part := range []any{
		elf.Header64{Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1},
		elf.Prog64{Type: uint32(kind)},
	} {
		if err := binary.Write(&out, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "storaged")
	if err := os.WriteFile(path, out.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// small is a Debian that has little more than the names of what the image is made of.
func small(t *testing.T) []debian.Source {
	t.Helper()
	key := debiantest.NewKey(t, "debian")
	repo := &debiantest.Repo{Key: key, Suite: Suite, Date: time.Now().Add(-time.Hour)}
	add := func(name, more string, files map[string]string) {
		repo.Debs = append(repo.Debs, debiantest.Deb{Control: "Package: " + name + "\nVersion: 1\nArchitecture: arm64\n" + more, Files: files})
	}
	for _, name := range Packages {
		switch name {
		case "glusterfs-server":
			add(name, "Depends: libgfapi0, python3, adduser\n", map[string]string{
				"/sbin/glusterd": "glusterd", "/etc/glusterfs/glusterd.vol": "the package's", "/usr/share/man/man8/glusterd.8": "for people",
				"/usr/share/doc/glusterfs-server/copyright": "licence", "/usr/share/doc/glusterfs-server/changelog": "for people"})
		case "mount":
			add(name, "", map[string]string{"/bin/mount": "mount"})
		default:
			add(name, "", map[string]string{"/usr/bin/" + name: name})
		}
	}
	add("libgfapi0", "", map[string]string{"/usr/lib/libgfapi.so.0": "library"})
	add("python3", "", map[string]string{"/usr/bin/python3": "python"})
	keys, err := debian.ReadKeys(key.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	return []debian.Source{{URI: debiantest.Serve(t, repo.Files(t)).URL, Suite: Suite, Components: []string{"main"}, Keyring: keys}}
}

func build(t *testing.T, s Storage) Built {
	t.Helper()
	s.Archive = &debian.Reader{Arch: s.Arch, Dir: t.TempDir()}
	built, err := s.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// contents are the files as a container sees them.
func contents(t *testing.T, b Built) map[string]string {
	t.Helper()
	r := mutate.Extract(b.Image)
	defer r.Close()
	all := map[string]string{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(built) {
			t.Errorf("%s is of %v", h.Name, h.ModTime)
		}
		switch h.Typeflag {
		case tar.TypeSymlink:
			all[h.Name] = "→ " + h.Linkname
		case tar.TypeReg:
			all[h.Name] = string(text)
		}
	}
}

// The image has what runs, in the places of a merged /usr, and nothing that is for
// people or for installing; what is ours wins; it is the same each time.
func TestBuild_isSmallAndTheSameEachTime(t *testing.T) {
	s := Storage{Arch: "arm64", Program: program(t, elf.EM_AARCH64, elf.PT_LOAD), Version: "1.0", Sources: small(t)}
	built := build(t, s)
	all := contents(t, built)
	for name, want := range map[string]string{
		"usr/sbin/glusterd": "glusterd", "usr/bin/mount": "mount", "usr/lib/libgfapi.so.0": "library", "bin": "→ usr/bin", "sbin": "→ usr/sbin",
		"etc/glusterfs/glusterd.vol": glusterdVol, "usr/share/doc/glusterfs-server/copyright": "licence", "usr/bin/awk": "→ mawk",
	} {
		if all[name] != want {
			t.Errorf("%s is %q, want %q", name, all[name], want)
		}
	}
	for _, name := range []string{"usr/bin/python3", "usr/share/man/man8/glusterd.8", "usr/share/doc/glusterfs-server/changelog"} {
		if _, there := all[name]; there {
			t.Errorf("it has %s", name)
		}
	}
	var sbom struct {
		Namespace string `json:"documentNamespace"`
		Packages  []struct {
			Name    string `json:"name"`
			Version string `json:"versionInfo"`
		} `json:"packages"`
	}
	if err := json.Unmarshal([]byte(all["usr/share/picluster/storage.spdx.json"]), &sbom); err != nil {
		t.Fatal(err)
	}
	if want := len(Packages) + 2; len(sbom.Packages) != want || string(built.SBOM) != all["usr/share/picluster/storage.spdx.json"] { // and storaged, libgfapi0
		t.Errorf("its list has %d packages, want %d: %s", len(sbom.Packages), want, built.SBOM)
	}
	config, err := built.Image.ConfigFile()
	if err != nil || config.Architecture != "arm64" || config.OS != "linux" || fmt.Sprint(config.Config.Entrypoint) != "[/usr/sbin/storaged]" {
		t.Errorf("it is described as %+v: %v", config, err)
	}
	first, err := built.Image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	again, err := build(t, s).Image.Digest()
	if err != nil || again != first {
		t.Errorf("the second time it is %s, the first %s: %v", again, first, err)
	}
}

func TestBuild_refuses(t *testing.T) {
	for name, test := range map[string]struct {
		storage Storage
		want    string
	}{
		"a 32-bit machine": {Storage{Arch: "arm", Program: program(t, elf.EM_ARM, elf.PT_LOAD)}, "there is no storage for arm: Debian has no 32-bit GlusterFS any more"},
		"a program for another machine": {Storage{Arch: "arm64", Program: program(t, elf.EM_X86_64, elf.PT_LOAD)},
			"it is for EM_X86_64, the image is for arm64"},
		"a program that needs libraries": {Storage{Arch: "arm64", Program: program(t, elf.EM_AARCH64, elf.PT_INTERP)}, "it needs libraries, and has to be static"},
		"no program":                     {Storage{Arch: "arm64", Program: filepath.Join(t.TempDir(), "storaged")}, "no such file"},
	} {
		if _, err := test.storage.Build(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
}
