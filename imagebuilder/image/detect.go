package image

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Facts is what an image says about itself. Everything comes from the image's
// content: file names lie, and a derived image has none that we know.
type Facts struct {
	Release  Release `json:"-"`
	Arch     string  `json:"arch"`            // Debian's name of the userland: "arm64" or "armhf"
	Built    string  `json:"built,omitempty"` // date in issue.txt, "2025-10-01"
	Stage    string  `json:"stage,omitempty"` // pi-gen stage: stage2 is Lite
	Hook     string  `json:"hook,omitempty"`  // the vendor's own first-boot hook on the kernel command line
	CloudCfg bool    `json:"cloudInit"`       // cloud-init's NoCloud files are on the FAT
	Userconf bool    `json:"userconf"`        // userconf.txt is read: there is no default user any more
	Evidence string  `json:"evidence"`        // what decided the release
	Booted   bool    `json:"booted"`          // no first-boot hook left: the image has run on a Pi
}

// UnknownError says that an image is no Raspberry Pi OS that we recognise.
type UnknownError struct{ Reason string }

func (e UnknownError) Error() string { return "recognise image: " + e.Reason }

// Known first-boot hooks of the vendor, as they stand in cmdline.txt.
const (
	hookInitResize = "init=/usr/lib/raspi-config/init_resize.sh"    // stretch to early bullseye
	hookSysMods    = "init=/usr/lib/raspberrypi-sys-mods/firstboot" // bullseye from 2022-09, bookworm
	hookResize     = "resize"                                       // trixie: read by the initramfs and rpi-resize
)

// evidence is what detection looks at, gathered before anything is concluded.
type evidence struct {
	cmdline   []string // words of cmdline.txt
	issue     string   // issue.txt
	codename  string   // VERSION_CODENAME of the root file system, "" if unreadable
	files     []string // names in the FAT's root directory, lower case
	bootBytes int64    // size of the FAT partition
}

// Detect recognises the image. assume names a release to take instead of the
// one found, for derived images that hide theirs; it is usually empty.
func (i *Image) Detect(assume string) (*Facts, error) {
	e, err := i.gather()
	if err != nil {
		return nil, err
	}
	return e.conclude(assume)
}

func (i *Image) gather() (*evidence, error) {
	boot, err := i.LookAtBoot()
	if err != nil {
		return nil, err
	}
	e := &evidence{bootBytes: i.BootPartition.Size}
	entries, err := boot.ReadDir("/")
	if err != nil {
		return nil, fmt.Errorf("list boot partition: %w", err)
	}
	for _, f := range entries {
		e.files = append(e.files, strings.ToLower(f.Name))
	}
	if !e.has("cmdline.txt") || !e.has("config.txt") {
		return nil, UnknownError{"the FAT partition has no cmdline.txt and config.txt: this is no Raspberry Pi image"}
	}
	cmdline, err := boot.ReadFile("cmdline.txt")
	if err != nil {
		return nil, fmt.Errorf("read cmdline.txt: %w", err)
	}
	e.cmdline = strings.Fields(string(cmdline))
	if e.has("issue.txt") {
		issue, err := boot.ReadFile("issue.txt")
		if err != nil {
			return nil, fmt.Errorf("read issue.txt: %w", err)
		}
		e.issue = string(issue)
	}
	if root, err := i.Root(); err == nil {
		if data, err := root.ReadFile("etc/os-release"); err == nil {
			e.codename = osReleaseValue(data, "VERSION_CODENAME")
		}
	}
	return e, nil
}

func (e *evidence) has(name string) bool { return slices.Contains(e.files, name) }

func (e *evidence) hook() string {
	for _, h := range []string{hookInitResize, hookSysMods, hookResize} {
		if slices.Contains(e.cmdline, h) {
			return h
		}
	}
	return ""
}

// Dates and stage in issue.txt: "Raspberry Pi reference 2025-10-01\nGenerated
// using pi-gen, https://…, <commit>, stage2".
var (
	issueDate  = regexp.MustCompile(`(?m)\b(20\d\d-\d\d-\d\d)\b`)
	issueStage = regexp.MustCompile(`\b(stage\d)\b`)
)

func (e *evidence) conclude(assume string) (*Facts, error) {
	f := &Facts{
		Hook:     e.hook(),
		CloudCfg: e.has("user-data") && e.has("meta-data"),
		Built:    issueDate.FindString(e.issue),
		Stage:    issueStage.FindString(e.issue),
	}
	var err error
	if f.Arch, err = e.arch(); err != nil {
		return nil, err
	}
	name := assume
	if name != "" {
		f.Evidence = "you said so"
	} else if name, f.Evidence = e.release(f); name == "" {
		return nil, UnknownError{"nothing in it tells its release (" + f.Evidence + ")"}
	}
	if f.Release, err = FindRelease(name); err != nil {
		return nil, UnknownError{fmt.Sprintf("its release is %q, which is none of %s", name, releaseNames())}
	}
	f.Booted = f.Hook == ""
	// userconf-pi came with the image of 2022-04-04 and the default user went.
	f.Userconf = name == "bookworm" || name == "trixie" || name == "bullseye" && (f.Built == "" || f.Built >= "2022-04-04")
	return f, nil
}

// release names the release and says what shows it. The root file system's own
// word is best; without a readable one the FAT partition's generation-specific
// traits decide.
func (e *evidence) release(f *Facts) (name, why string) {
	const mib = 1 << 20
	switch {
	case e.codename != "":
		return e.codename, "os-release of the root partition"
	case f.Hook == hookResize || f.CloudCfg:
		return "trixie", "the word resize in cmdline.txt, or cloud-init's files"
	case f.Hook == hookSysMods && (e.bootBytes >= 512*mib || e.has("initramfs8") || e.has("initramfs7")):
		return "bookworm", "raspberrypi-sys-mods' first-boot hook and an initramfs on the FAT"
	case f.Hook == hookSysMods:
		return "bullseye", "raspberrypi-sys-mods' first-boot hook and no initramfs on the FAT"
	case f.Hook == hookInitResize && e.bootBytes < 128*mib:
		return "stretch", "raspi-config's first-boot hook and a FAT partition under 128 MiB"
	case f.Hook == hookInitResize && f.Built != "" && f.Built < "2021-10-30":
		return "buster", "raspi-config's first-boot hook and the date in issue.txt"
	case f.Hook == hookInitResize && f.Built != "":
		return "bullseye", "raspi-config's first-boot hook and the date in issue.txt"
	}
	return "", fmt.Sprintf("hook %q, date %q, FAT partition of %d MiB, no readable os-release", f.Hook, f.Built, e.bootBytes/mib)
}

// arch tells the userland by the kernels that pi-gen puts on the FAT: 32-bit
// images carry kernels for all boards, 64-bit ones only kernel8.img and newer.
// (A 64-bit kernel under a 32-bit userland is normal since bookworm, so the
// presence of kernel8.img says nothing.)
func (e *evidence) arch() (string, error) {
	switch {
	case e.has("kernel.img") || e.has("kernel7.img"):
		return "armhf", nil
	case e.has("kernel8.img"):
		return "arm64", nil
	}
	return "", UnknownError{"the FAT partition has no kernel.img, kernel7.img or kernel8.img"}
}

func osReleaseValue(data []byte, key string) string {
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), key+"="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return ""
}

// IsUnknown reports whether err says that the image was not recognised.
func IsUnknown(err error) bool {
	var u UnknownError
	return errors.As(err, &u)
}
