package csi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"picluster/internal/host"
)

// mount is one of gluster's that the kernel has.
type mount struct {
	Target  string `json:"target"`
	Source  string `json:"source"`
	Options string `json:"options"`
}

// volume is the name in HOST:/NAME.
func (m mount) volume() string {
	_, name, _ := strings.Cut(m.Source, ":/")
	return name
}

func (m mount) readOnly() bool { return slices.Contains(strings.Split(m.Options, ","), "ro") }

type mounts []mount

// at is the mount at a path that hides the others there: the last one.
func (all mounts) at(path string) (mount, bool) {
	for _, m := range slices.Backward(all) {
		if m.Target == path {
			return m, true
		}
	}
	return mount{}, false
}

func (all mounts) of(volume string) mounts {
	return slices.DeleteFunc(slices.Clone(all), func(m mount) bool { return m.volume() != volume })
}

// mounts lists all of gluster's, those included that pods have of them. findmnt only
// reads what the kernel lists: a mount whose client has died keeps nobody waiting.
func (n *Node) mounts(ctx context.Context) (mounts, error) {
	out, err := n.Host.Run(ctx, host.Cmd{Args: []string{"findmnt", "--json", "--list", "--types", "fuse.glusterfs", "--output", "TARGET,SOURCE,OPTIONS"}})
	var exit *host.ExitError
	if errors.As(err, &exit) && exit.Code == 1 && len(exit.Stderr) == 0 {
		return nil, nil // there are none
	}
	if err != nil {
		return nil, err
	}
	var list struct {
		All mounts `json:"filesystems"`
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, fmt.Errorf("list mounts: read answer of findmnt: %w", err)
	}
	return list.All, nil
}
