package steps

import (
	"context"
	"strings"

	"picluster/internal/bootfiles"
	"picluster/internal/host"
)

// KernelCommandLine wants cmdline.txt without our hook, and the country that the
// Wi-Fi driver takes from there before any file. It is the commit: as long as it
// is not on the disk, the next power-on does everything again.
type KernelCommandLine struct {
	Path    string
	Country string // empty: as it is
}

func (s KernelCommandLine) Name() string { return "kernel command line" }

func (s KernelCommandLine) want(ctx context.Context, h host.Host) (have, want string, err error) {
	data, err := h.ReadFile(ctx, s.Path)
	if err != nil {
		return "", "", err
	}
	c, err := bootfiles.ParseCmdline(data)
	if err != nil {
		return "", "", err
	}
	if s.Country != "" {
		c.Add("cfg80211.ieee80211_regdom=" + s.Country)
	}
	return string(data), string(c.Restored()), nil
}

// Check implements Step.
func (s KernelCommandLine) Check(ctx context.Context, h host.Host) (string, error) {
	have, want, err := s.want(ctx, h)
	if err != nil || have == want {
		return "", err
	}
	if strings.Contains(have, bootfiles.StartScript) {
		return s.Path + " still starts the agent", nil
	}
	return s.Path + " has other content", nil
}

// Apply implements Step. The new file takes the old one's name by a rename, of
// which vfat writes the directory entry's one sector: the firmware finds the old
// line or the new one.
func (s KernelCommandLine) Apply(ctx context.Context, h host.Host) error {
	_, want, err := s.want(ctx, h)
	if err != nil {
		return err
	}
	return h.Write(ctx, s.Path, host.File{Data: []byte(want)})
}
