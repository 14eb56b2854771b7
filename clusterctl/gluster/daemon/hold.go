package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"picluster/clusterctl/gluster"
	"picluster/clusterctl/gluster/brick"
	"picluster/internal/host"
	"picluster/internal/step"
)

// holdFile keeps glusterd from being started. It is gone with the container.
const holdFile = "/run/picluster-hold"

const stateDir = "/var/lib/glusterd"

// stopTime is how long programs may take to end, startTime how long glusterd may take to
// answer: one that knows peers looks for all of them first.
const (
	stopTime  = time.Minute
	startTime = 5 * time.Minute
)

// hold ends programs of Gluster's on a node, and keeps glusterd from coming back.
func hold(ctx context.Context, h host.Host, programs ...string) error {
	if err := h.Write(ctx, holdFile, host.File{}); err != nil {
		return err
	}
	for _, program := range programs {
		err := step.Wait{For: program + " to end", Limit: stopTime, Every: time.Second / 2}.Until(ctx, func(ctx context.Context) error {
			_, err := h.Run(ctx, host.Cmd{Args: []string{"pkill", "--exact", program}})
			var exit *host.ExitError
			if errors.As(err, &exit) && exit.Code == 1 { // pkill(1): none matched
				return nil
			}
			if err == nil {
				err = errors.New("it still runs")
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// SetUUID makes the glusterd of a node, which knows nothing yet, the one that the pool
// has under that UUID, and acquainted with the pool's others: so a node that has been made
// anew takes the place of the lost one.
func SetUUID(ctx context.Context, h host.Host, uuid string, others []gluster.Peer) error {
	file := path.Join(stateDir, "glusterd.info")
	data, err := h.ReadFile(ctx, file)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "UUID=") {
			lines[i] = "UUID=" + uuid
		}
	}
	if err := hold(ctx, h, "glusterd"); err != nil {
		return fmt.Errorf("stop glusterd on %s: %w", h, err)
	}
	for _, p := range others {
		if err := h.Write(ctx, path.Join(stateDir, "peers", p.UUID), host.File{Mode: 0o600, Data: peerFile(p)}); err != nil {
			return err
		}
	}
	// Last: who has the UUID is taken to know the others.
	if err := h.Write(ctx, file, host.File{Mode: 0o600, Data: []byte(strings.Join(lines, "\n") + "\n")}); err != nil {
		return err
	}
	if err := h.Remove(ctx, holdFile); err != nil {
		return err
	}
	return step.Wait{For: "glusterd on " + h.String(), Limit: startTime, Every: time.Second}.Until(ctx, func(ctx context.Context) error {
		_, err := gluster.CLI{Host: h}.Peers(ctx)
		return err
	})
}

// peerFile is what glusterd keeps of a member of its pool (glusterd-store.c,
// glusterd_store_peerinfo_write). State 3 is "Peer in Cluster".
func peerFile(p gluster.Peer) []byte {
	text := fmt.Sprintf("uuid=%s\nstate=3\n", p.UUID)
	for i, name := range p.Names {
		text += fmt.Sprintf("hostname%d=%s\n", i+1, name)
	}
	return []byte(text)
}

// Reset makes a node forget that it has been part of the storage: volumes, peers, and
// what is on its devices. Glusterd stays stopped. Erase does the same for a device as
// it is there; devices that are away keep what they have. It can be repeated.
func Reset(ctx context.Context, h host.Host, erase func(ctx context.Context, h host.Host, id string) error) error {
	// Clients on this node are not the container's; these are its own.
	if err := hold(ctx, h, "glusterd", "glusterfsd", "glusterfs"); err != nil {
		return fmt.Errorf("reset %s: %w", h, err)
	}
	ids, err := brick.Prepared(ctx, h)
	if err != nil {
		return fmt.Errorf("reset %s: %w", h, err)
	}
	for _, id := range ids {
		if err := erase(ctx, h, id); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("reset %s: %w", h, err)
		}
	}
	// What is mounted below would be another's, and is not followed.
	if _, err := h.Run(ctx, host.Cmd{Args: []string{"sh", "-c", `rm -rf --one-file-system "$1"/* "$2"/*`, "sh", stateDir, brick.Root}}); err != nil {
		return fmt.Errorf("reset %s: %w", h, err)
	}
	return openPorts(ctx, h)
}
