package card

import (
	"fmt"
	"os"
	"path"
	"strings"
)

// uses is what the running system does with block devices.
type uses struct {
	mounts map[string][]string // device number "8:1" → mount points
	swaps  map[string]bool     // "/dev/sda2"
}

func (s sysfs) uses() (*uses, error) {
	u := &uses{mounts: map[string][]string{}, swaps: map[string]bool{}}
	// Without it nobody knows what is mounted, and nothing may be written.
	table, err := os.ReadFile(s.path("proc/self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	for line := range strings.Lines(string(table)) {
		u.addMount(strings.Fields(line), s)
	}
	swaps, err := os.ReadFile(s.path("proc/swaps"))
	if err != nil && !os.IsNotExist(err) { // a kernel without swap has no such file
		return nil, fmt.Errorf("read swaps: %w", err)
	}
	for line := range strings.Lines(string(swaps)) {
		if f := strings.Fields(line); len(f) > 0 {
			u.swaps[f[0]] = true
		}
	}
	return u, nil
}

// addMount reads one line of mountinfo (proc(5)): id, parent, major:minor, root,
// mount point, options, optional fields, "-", type, source, options.
func (u *uses) addMount(f []string, s sysfs) {
	if len(f) < 10 {
		return
	}
	number, point := f[2], unescapeMount(f[4])
	u.mounts[number] = append(u.mounts[number], point)
	// btrfs and overlay show a number of their own; the source says which disk.
	for i, word := range f {
		if word != "-" || i+2 >= len(f) {
			continue
		}
		if source := f[i+2]; strings.HasPrefix(source, "/dev/") {
			if real := s.read("sys/class/block", path.Base(source), "dev"); real != "" && real != number {
				u.mounts[real] = append(u.mounts[real], point)
			}
		}
		break
	}
}

// unescapeMount decodes the octal escapes of blanks in proc's tables.
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace
