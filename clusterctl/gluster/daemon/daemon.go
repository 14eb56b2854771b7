// Package daemon keeps glusterd running on a node, in a container that has no systemd:
// ports are closed to strangers first, bricks are mounted, then it starts. What fails
// is tried again, so a disk that spins up late, or a list of peers that comes later, is
// made use of by itself.
//
// Bricks are processes of their own. They go on when glusterd ends, and when it is
// started again it finds them.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"picluster/clusterctl/gluster"
	"picluster/clusterctl/gluster/brick"
	"picluster/internal/host"
)

// Daemon is a node's part of the storage.
type Daemon struct {
	Host   host.Host // the container's file system
	Bricks brick.Kind
	Log    *slog.Logger

	// Peers is a file with the addresses that may talk to Gluster, one in a line.
	Peers string
}

// retryTime is how long what went wrong, or may have changed, is left alone.
const retryTime = 5 * time.Second

// versionFile says which glusterd has last written the state beside it.
const versionFile = "/var/lib/glusterd/picluster-version"

// Run runs until the context ends.
func (d Daemon) Run(ctx context.Context) error {
	for _, dir := range []string{"/run/gluster", "/var/log/glusterfs/bricks", "/var/lib/glusterd", brick.Root} {
		if err := d.Host.Write(ctx, dir, host.File{Mode: fs.ModeDir}); err != nil {
			return err
		}
	}
	var ports firewall
	d.until(ctx, "close ports", func() error { return ports.keep(ctx, d.Host, d.Peers) })
	attached := map[string]bool{}
	if err := brick.AttachAll(ctx, d.Host, d.Bricks, attached); err != nil {
		d.Log.Warn("bricks are missing", "error", err)
	}
	d.until(ctx, "upgrade volume files", func() error { return d.upgrade(ctx) })
	go d.watch(ctx, &ports, attached)
	for ; ctx.Err() == nil; pause(ctx) {
		if _, err := d.Host.Stat(ctx, holdFile); err == nil {
			continue
		}
		// In the foreground, with a log of its own. Its children would keep our end of its
		// outputs open, and nobody would notice that it has ended.
		_, err := d.Host.Run(ctx, host.Cmd{Args: []string{"sh", "-c", "exec glusterd --no-daemon --log-level=WARNING >/dev/null 2>&1"}})
		if ctx.Err() == nil {
			d.Log.Error("glusterd has ended", "error", err, "said", d.lastErrors(ctx))
		}
	}
	return context.Cause(ctx)
}

// lastErrors are those in glusterd's own log: its exit code says nothing. What went
// wrong is told in four lines, the first of which has the reason.
func (d Daemon) lastErrors(ctx context.Context) []string {
	out, err := d.Host.Run(ctx, host.Cmd{Args: []string{"tail", "--lines=50", "/var/log/glusterfs/glusterd.log"}})
	if err != nil {
		return nil
	}
	var errs []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "] E [") {
			errs = append(errs, strings.TrimSpace(line))
		}
	}
	return errs[max(0, len(errs)-4):]
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(retryTime):
	}
}

// until does something until it succeeds.
func (d Daemon) until(ctx context.Context, what string, do func() error) {
	for ctx.Err() == nil {
		err := do()
		if err == nil {
			return
		}
		d.Log.Warn("waiting", "to", what, "error", err)
		pause(ctx)
	}
}

// watch follows the list of peers, and attaches devices that come late.
func (d Daemon) watch(ctx context.Context, ports *firewall, attached map[string]bool) {
	late := lateBricks{attached: attached}
	for pause(ctx); ctx.Err() == nil; pause(ctx) {
		if err := ports.keep(ctx, d.Host, d.Peers); err != nil {
			d.Log.Warn("ports stay open to whom they were", "error", err)
		}
		if err := late.bring(ctx, d); err != nil {
			d.Log.Warn("bricks are missing", "error", err)
		}
	}
}

// lateBricks are those of devices that come when glusterd has looked for them already.
type lateBricks struct {
	attached map[string]bool
	waiting  bool // some have yet to be started
}

// bring attaches devices that have come, and has gluster start their bricks: again until
// it has, for glusterd may not answer yet.
func (l *lateBricks) bring(ctx context.Context, d Daemon) error {
	before := len(l.attached)
	err := brick.AttachAll(ctx, d.Host, d.Bricks, l.attached)
	l.waiting = l.waiting || len(l.attached) > before
	if !l.waiting {
		return err
	}
	startErr := d.startBricks(ctx)
	l.waiting = startErr != nil
	return errors.Join(err, startErr)
}

// startBricks has gluster start those that were not there when it looked for them. One
// volume that does not start keeps no other from it.
func (d Daemon) startBricks(ctx context.Context) error {
	cli := gluster.CLI{Host: d.Host}
	volumes, err := cli.Volumes(ctx)
	errs := []error{err}
	for _, v := range volumes {
		if v.Started {
			errs = append(errs, cli.Start(ctx, v.Name, true))
		}
	}
	return errors.Join(errs...)
}

// upgrade has a glusterd of another version than before write its files anew, as
// Debian's package does when it is installed (glusterfs-server.postinst).
func (d Daemon) upgrade(ctx context.Context) error {
	out, err := d.Host.Run(ctx, host.Cmd{Args: []string{"glusterd", "--version"}})
	if err != nil {
		return err
	}
	version, _, _ := strings.Cut(string(out), "\n")
	was, err := d.Host.ReadFile(ctx, versionFile)
	if err == nil && strings.TrimSpace(string(was)) == version {
		return nil
	}
	if err == nil { // there was another one
		if _, err := d.Host.Run(ctx, host.Cmd{Args: []string{"glusterd", "--xlator-option", "*.upgrade=on", "-N"}}); err != nil {
			return fmt.Errorf("upgrade from %s to %s: %w", strings.TrimSpace(string(was)), version, err)
		}
	}
	return d.Host.Write(ctx, versionFile, host.File{Data: []byte(version + "\n")})
}
