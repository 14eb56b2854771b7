package gluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"picluster/internal/host"
	"picluster/internal/step"
)

// BrickStatus is how one brick of a started volume is.
type BrickStatus struct {
	Brick
	Online      bool  // its process runs, and its node is connected
	Total, Free int64 // bytes of its file system, or of its quota; 0 if unknown
}

type nodeStatus struct {
	Hostname string `xml:"hostname"`
	Path     string `xml:"path"`
	Status   int    `xml:"status"`
	Total    int64  `xml:"sizeTotal"`
	Free     int64  `xml:"sizeFree"`
}

// Status tells of all bricks of a started volume, in the volume's order. Gluster
// leaves out those on nodes that are away; here they are offline.
func (c CLI) Status(ctx context.Context, v Volume) ([]BrickStatus, error) {
	out, err := c.do(ctx, "look at the bricks of volume "+v.Name, "volume", "status", v.Name, "detail")
	if err != nil {
		return nil, err
	}
	found := map[string]nodeStatus{}
	for _, n := range out.Status {
		found[n.Hostname+":"+n.Path] = n
	}
	var all []BrickStatus
	for _, b := range v.Bricks {
		n := found[b.String()]
		all = append(all, BrickStatus{Brick: b, Online: n.Status == 1, Total: n.Total, Free: n.Free})
	}
	return all, nil
}

// BrickHeal is what one brick knows of files that other bricks of its set lack.
type BrickHeal struct {
	Name       string // HOST:PATH
	Connected  bool
	Pending    int // files and directories that are to be healed, those that are being healed included
	SplitBrain int // of these, those that nobody can decide but a person
}

type brickHeal struct {
	Name       string `xml:"name"`
	Status     string `xml:"status"`
	Total      string `xml:"totalNumberOfEntries"`
	SplitBrain string `xml:"numberOfEntriesInSplitBrain"`
}

// Heal asks all bricks of a started volume what is to be healed. With a node away it
// takes about ten seconds.
func (c CLI) Heal(ctx context.Context, name string) ([]BrickHeal, error) {
	op := "look at what is to heal in volume " + name
	out, err := c.do(ctx, op, "volume", "heal", name, "info", "summary")
	if err != nil {
		return nil, err
	}
	var all []BrickHeal
	for _, b := range out.Heal {
		is := BrickHeal{Name: b.Name, Connected: b.Status == "Connected"}
		if is.Connected { // the numbers of another one are missing, or have slipped into its status
			if is.Pending, err = count("totalNumberOfEntries", b.Total); err == nil {
				is.SplitBrain, err = count("numberOfEntriesInSplitBrain", b.SplitBrain)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: read gluster's answer: %w", op, err)
		}
		all = append(all, is)
	}
	return all, nil
}

// Healed says in a sentence why a volume is not whole, "" if it is: every brick is
// connected, and none has anything to heal.
func Healed(bricks []BrickHeal) string {
	pending, split := 0, 0
	for _, b := range bricks {
		if !b.Connected {
			return "brick " + b.Name + " is not connected"
		}
		pending, split = pending+b.Pending, split+b.SplitBrain
	}
	switch {
	case split > 0:
		return fmt.Sprintf("%d files are in split-brain", split)
	case pending > 0:
		return fmt.Sprintf("%d files are to be healed", pending)
	}
	return ""
}

// healTime is how long a self-heal daemon may take to come after its volume has
// changed: each change starts it anew.
const healTime = time.Minute

// StartHeal asks the self-heal daemons to look at everything, not only at what the
// bricks know to be pending: a brick that is new knows nothing.
func (c CLI) StartHeal(ctx context.Context, name string) error {
	// This command answers in plain text, with --xml too; its exit code is right.
	args := []string{"--timeout=" + commandTime, "volume", "heal", name, "full"}
	var refused error
	err := step.Wait{For: "self-heal daemons", Limit: healTime}.Until(ctx, func(context.Context) error {
		text, err := c.run(ctx, args) // the limit does not cut it off, see do
		var exit *host.ExitError
		if errors.As(err, &exit) && (strings.Contains(string(exit.Stderr), "Commit failed on ") || saysLocked(string(exit.Stderr))) {
			return err
		}
		if err != nil {
			refused = c.explain(err, text)
		}
		return nil
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return fmt.Errorf("heal volume %s: %w", name, err)
	}
	return nil
}
