package image

import (
	"fmt"
	"slices"
	"strings"
)

// Release is one Debian generation of Raspbian / Raspberry Pi OS and what about
// it decides how a card is patched. Sources: pi-gen's branches and tags of each
// generation, raspberrypi-net-mods, userconf-pi.
type Release struct {
	Name string // Debian's code name
	// BootDir is where the running system mounts the FAT partition.
	BootDir string
	// WPASupplicant: wpa_supplicant.conf on the FAT is imported at boot.
	// raspberrypi-net-mods 1.4.0 dropped that in October 2023 (bookworm).
	WPASupplicant bool
	// Kubernetes: the release can run the Kubernetes and the storage that
	// picluster installs (cgroup v2, containerd, glusterfs-server).
	Kubernetes bool
}

// Releases lists the generations that are recognised, oldest first.
var Releases = []Release{
	{Name: "stretch", BootDir: "/boot", WPASupplicant: true},
	{Name: "buster", BootDir: "/boot", WPASupplicant: true},
	{Name: "bullseye", BootDir: "/boot", WPASupplicant: true},
	{Name: "bookworm", BootDir: "/boot/firmware", Kubernetes: true},
	{Name: "trixie", BootDir: "/boot/firmware", Kubernetes: true},
}

// FindRelease returns the release of that code name.
func FindRelease(name string) (Release, error) {
	i := slices.IndexFunc(Releases, func(r Release) bool { return r.Name == name })
	if i < 0 {
		return Release{}, fmt.Errorf("recognise release %q: it is none of %s", name, releaseNames())
	}
	return Releases[i], nil
}

func releaseNames() string {
	names := make([]string, len(Releases))
	for i, r := range Releases {
		names[i] = r.Name
	}
	return strings.Join(names, ", ")
}
