//go:build e2e

package images

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"picluster/internal/debian"
	"picluster/internal/lab"
	"picluster/internal/lab/raspios"
	"picluster/internal/lab/tool"
)

// debianImage is an image of what Debian has today, and the directory that it is unpacked
// into, by another program than ours.
func debianImage(t *testing.T, arch string) (Built, string) {
	t.Helper()
	lines, err := raspios.Sources(t.Context(), Suite)
	if err != nil {
		t.Fatal(err)
	}
	uri := func(line string) string { return strings.Fields(line)[1] } // deb URI SUITE main
	keys, err := debian.ArchiveKeys()
	if err != nil {
		t.Fatal(err)
	}
	cache, err := lab.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	storaged := filepath.Join(t.TempDir(), "storaged")
	_, err = tool.Cmd{Env: []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch},
		Args: []string{"go", "build", "-trimpath", "-buildvcs=false", "-o", storaged, "picluster/clusterctl/storaged"}}.Output(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := Storage{Arch: arch, Program: storaged, Version: "test", Sources: Sources(uri(lines[0]), uri(lines[len(lines)-1]), keys)}
	assemble := func() Built {
		began := time.Now()
		s.Archive = &debian.Reader{Arch: arch, Dir: filepath.Join(cache, "debian-"+arch)}
		built, err := s.Build(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		digest, err := built.Image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		size, err := built.Image.Size()
		manifest, manifestErr := built.Image.Manifest()
		if err != nil || manifestErr != nil {
			t.Fatal(err, manifestErr)
		}
		for _, layer := range manifest.Layers {
			size += layer.Size
		}
		t.Logf("%s: %s, %d MB compressed, of %d packages, in %v", arch, digest, size>>20, len(built.Packages), time.Since(began).Round(time.Second))
		return built
	}
	first, second := assemble(), assemble()
	one, err := first.Image.Digest()
	other, otherErr := second.Image.Digest()
	if err != nil || otherErr != nil || one != other {
		t.Errorf("two builds have the digests %s and %s (%v, %v)", one, other, err, otherErr)
	}
	root := t.TempDir()
	r := mutate.Extract(first.Image)
	defer r.Close()
	if _, err := (tool.Cmd{Args: []string{"tar", "--extract", "--directory", root}, Stdin: r}).Output(t.Context()); err != nil {
		t.Fatal(err)
	}
	return first, root
}

// Every library that a program of the image needs is in the image, for it is made
// without Debian's scripts and without what Debian thinks that every machine has.
func TestImage_isComplete(t *testing.T) {
	for _, arch := range []string{"arm64", "amd64"} {
		built, root := debianImage(t, arch)
		libraries, needs := linked(t, root)
		for file, names := range needs {
			for _, name := range names {
				if !libraries[name] {
					t.Errorf("%s: %s needs %s, which is not in the image", arch, file, name)
				}
			}
		}
		if len(needs) < 100 {
			t.Errorf("%s: only %d programs and libraries were looked at", arch, len(needs))
		}
		for _, p := range built.Packages {
			t.Logf("%s: %s", arch, p)
		}
		if arch == "amd64" {
			runs(t, root)
			glusterdStarts(t, root)
		}
	}
}

// linked lists the libraries of a tree by their names, and what each file needs.
func linked(t *testing.T, root string) (libraries map[string]bool, needs map[string][]string) {
	t.Helper()
	libraries, needs = map[string]bool{}, map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		libraries[d.Name()] = true
		if !d.Type().IsRegular() {
			return nil
		}
		f, err := elf.Open(path)
		if err != nil {
			return nil // a script
		}
		defer f.Close()
		names, err := f.ImportedLibraries()
		needs[strings.TrimPrefix(path, root)] = names
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return libraries, needs
}

// inContainer is as much of a container as programs notice: without /proc gluster's
// program crashes.
const inContainer = `mkdir -p "$1/proc" "$1/dev"; mount -t proc proc "$1/proc"; mount --bind /dev "$1/dev"; exec chroot "$@"`

// runs starts what the product runs in the container.
func runs(t *testing.T, root string) {
	t.Helper()
	for _, command := range []string{
		"glusterd --version", "gluster --version", "glusterfsd --version", "mkfs.xfs -V", "xfs_quota -V", "xfs_io -V", "xfs_growfs -V",
		"wipefs --version", "blkid -V", "findmnt --version", "losetup --version", "mount --version", "fallocate --version",
		"lvm version --config devices{use_devicesfile=0}", "dmsetup --help", "thin_check -V", "nft --version", "lsattr -V", "pkill --version",
		"stat --version", "sh -c true", "awk 1", "storaged --version", "sh -n /usr/sbin/mount.glusterfs",
	} {
		cmd := exec.Command("unshare", append([]string{"--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", inContainer, "sh", root}, strings.Fields(command)...)...)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", command, err, out)
		}
		t.Logf("%-40s %s", command, firstLine(out))
	}
	vol, err := os.ReadFile(filepath.Join(root, "etc/glusterfs/glusterd.vol"))
	if err != nil || string(vol) != glusterdVol {
		t.Errorf("glusterd's settings are not ours: %s (%v)", vol, err)
	}
}

// glusterdStarts lets the one daemon of the image start, with all that it looks for.
func glusterdStarts(t *testing.T, root string) {
	t.Helper()
	const script = `mkdir -p /run/gluster /var/log/glusterfs; glusterd --log-level=WARNING; sleep 3; gluster --mode=script pool list || { cat /var/log/glusterfs/glusterd.log; exit 1; }`
	cmd := exec.Command("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-ec", "ip link set lo up; "+inContainer, "sh", root, "sh", "-c", script)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "localhost") {
		t.Errorf("glusterd: %v\n%s", err, out)
	}
}

func firstLine(out []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return fmt.Sprintf("%.100s", line)
}
