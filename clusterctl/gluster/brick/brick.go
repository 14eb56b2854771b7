// Package brick makes directories of a limited size on a node's devices, which
// GlusterFS then uses as bricks.
//
// A device is one XFS file system whose UUID is the device's id: that is how a node
// knows its own again, whatever the kernel calls it, and never takes another's for
// it. What is on the device is the only record of bricks. A brick is made under
// another name and gets its own when all of it is there, so a power cut leaves a
// brick or none.
package brick

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"

	"picluster/internal/host"
)

// Root is the directory on a node that devices are mounted below.
const Root = "/var/lib/picluster/bricks"

// Device is a block device of a node.
type Device struct {
	ID   string // 32 hexadecimal digits
	Name string // path, such as /dev/sda
}

// Brick is one directory of a device.
type Brick struct {
	ID    string // 32 hexadecimal digits
	Bytes int64  // what can be written to it, at least
}

// Usage is what a device has, and what bricks take of it: not what is written to
// them, but what may be.
type Usage struct {
	Total  int64            // bytes that bricks can take
	Bricks map[string]int64 // id → bytes that it takes, see Footprint
}

// Free is what further bricks can take.
func (u Usage) Free() int64 {
	free := u.Total
	for _, bytes := range u.Bricks {
		free -= bytes
	}
	return max(free, 0)
}

// Path is the directory that gluster is given for a brick. It is one below the
// brick's own, so that a file system that is not mounted is a missing directory and
// not an empty brick.
func Path(d Device, id string) string { return path.Join(dir(d, id), "brick") }

// InPath returns the ids in a Path.
func InPath(p string) (device, id string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(p, Root+"/"), "/")
	if !strings.HasPrefix(p, Root+"/") || len(parts) != 3 || parts[2] != "brick" || !isID.MatchString(parts[0]) || !isID.MatchString(parts[1]) {
		return "", "", false
	}
	return parts[0], parts[1], true
}

var isID = regexp.MustCompile(`^[0-9a-f]{32}$`)

func mountPoint(d Device) string     { return path.Join(Root, d.ID) }
func dir(d Device, id string) string { return path.Join(mountPoint(d), id) }

// uuid is an id as file systems have it.
func uuid(id string) string {
	return id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}

// ErrData is in the refusal of a device that holds something.
var ErrData = errors.New("it is not empty")

// disk is what all kinds of bricks have in common: the file system that they are on.
type disk struct {
	options string // of mount, beside noatime
}

// prepare makes the file system if it is not there. Wipe permits to erase something
// else; a device that is prepared already is never erased.
func (k disk) prepare(ctx context.Context, h host.Host, d Device, wipe bool) error {
	if !isID.MatchString(d.ID) {
		return fmt.Errorf("prepare %s: %q is no id", d.Name, d.ID)
	}
	found, err := signatures(ctx, h, d.Name)
	if err != nil {
		return fmt.Errorf("prepare %s: %w", d.Name, err)
	}
	if isOurs(found, d) {
		half, err := isHalf(ctx, h, d)
		if err != nil {
			return fmt.Errorf("prepare %s: %w", d.Name, err)
		}
		if !half {
			return k.attach(ctx, h, d)
		}
		wipe = true // nobody has been able to mount it
	}
	if err := format(ctx, h, d, found, wipe); err != nil {
		return fmt.Errorf("prepare %s: %w", d.Name, err)
	}
	return k.attach(ctx, h, d)
}

// isHalf reports whether mkfs.xfs was cut off: it writes the UUID at its beginning, and
// last of all that it is no longer in progress.
func isHalf(ctx context.Context, h host.Host, d Device) (bool, error) {
	out, err := run(ctx, h, "xfs_db", "-r", "-c", "sb 0", "-c", "print inprogress", d.Name)
	if err != nil {
		return false, err
	}
	switch out {
	case "inprogress = 0":
		return false, nil
	case "inprogress = 1":
		return true, nil
	}
	return false, fmt.Errorf("look at its file system: xfs_db says %.80q", out)
}

func format(ctx context.Context, h host.Host, d Device, found []signature, wipe bool) error {
	if len(found) > 0 && !wipe {
		return fmt.Errorf("%w: %s", ErrData, found)
	}
	if len(found) > 0 { // wipefs opens it for itself alone, and fails if anything uses it
		if _, err := run(ctx, h, "wipefs", "--all", d.Name); err != nil {
			return err
		}
	}
	_, err := run(ctx, h, "mkfs.xfs", "-q", "-m", "uuid="+uuid(d.ID), d.Name)
	return err
}

// signature is something that libblkid recognises.
type signature struct{ kind, uuid, label string }

func (s signature) String() string {
	if s.label != "" {
		return s.kind + " “" + s.label + "”"
	}
	return s.kind
}

// signatures lists all of a device; wipefs prints "offset,uuid,label,type".
func signatures(ctx context.Context, h host.Host, device string) ([]signature, error) {
	out, err := run(ctx, h, "wipefs", "--no-act", "--parsable", device)
	if err != nil {
		return nil, err
	}
	var found []signature
	for line := range strings.Lines(out) {
		fields := strings.Split(strings.TrimSpace(line), ",")
		if len(fields) < 4 || strings.HasPrefix(line, "#") {
			continue
		}
		n := len(fields)
		found = append(found, signature{kind: fields[n-1], uuid: fields[1], label: strings.Join(fields[2:n-1], ",")})
	}
	return found, nil
}

func isOurs(found []signature, d Device) bool {
	return len(found) == 1 && found[0].kind == "xfs" && found[0].uuid == uuid(d.ID)
}

// attach mounts the device, if it is not mounted, and takes away what a power cut
// has left of bricks that were being made or removed.
func (k disk) attach(ctx context.Context, h host.Host, d Device) error {
	at := mountPoint(d)
	options, err := mountOptions(ctx, h, at)
	if err != nil {
		return fmt.Errorf("mount %s: %w", d.Name, err)
	}
	if options == "" {
		if err := h.Write(ctx, at, host.File{Mode: fs.ModeDir | 0o700}); err != nil {
			return err
		}
		if _, err := run(ctx, h, "mount", "-t", "xfs", "-o", "noatime"+k.options, d.Name, at); err != nil {
			return fmt.Errorf("mount %s: %w", d.Name, err)
		}
	}
	return k.sweep(ctx, h, d)
}

// sweep removes hidden entries: those without their final name.
func (k disk) sweep(ctx context.Context, h host.Host, d Device) error {
	names, err := h.ReadDir(ctx, mountPoint(d))
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, ".") {
			if _, err := run(ctx, h, "rm", "-rf", "--one-file-system", path.Join(mountPoint(d), name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// release gives an empty device back: no file system is left on it. A device that is
// not prepared is left alone.
func (k disk) release(ctx context.Context, h host.Host, d Device, bricks int) error {
	if bricks > 0 {
		return fmt.Errorf("release %s: %d bricks are on it", d.Name, bricks)
	}
	found, err := signatures(ctx, h, d.Name)
	if err != nil || !isOurs(found, d) {
		return err
	}
	if err := unmount(ctx, h, mountPoint(d)); err != nil {
		return err
	}
	if err := h.Remove(ctx, mountPoint(d)); err != nil {
		return err
	}
	_, err = run(ctx, h, "wipefs", "--all", d.Name)
	return err
}

// total is how much of the file system bricks can take. Of one that is empty XFS
// itself takes 1 to 2 % (measured with xfsprogs 6.1, 5 to 100 GiB, without rmapbt,
// which newer ones add); its free space must not come to an end.
func (k disk) total(ctx context.Context, h host.Host, d Device) (int64, error) {
	out, err := run(ctx, h, "stat", "--file-system", "--format=%S %b", mountPoint(d))
	if err != nil {
		return 0, err
	}
	var size, blocks int64
	if _, err := fmt.Sscan(out, &size, &blocks); err != nil {
		return 0, fmt.Errorf("read size of %s: stat says %q", d.Name, out)
	}
	return size * blocks / 100 * 97, nil
}

// openBrick is the rest of making a brick that is a file system of its own: it is
// mounted, and has its directory inside. err is how far it went before.
func openBrick(ctx context.Context, h host.Host, d Device, b Brick, err error, mount func(context.Context, host.Host, Device, string) error) error {
	if err == nil {
		err = mount(ctx, h, d, b.ID)
	}
	if err == nil {
		err = h.Write(ctx, Path(d, b.ID), host.File{Mode: fs.ModeDir})
	}
	if err != nil {
		return fmt.Errorf("make brick %s on %s: %w", b.ID, d.Name, err)
	}
	return nil
}

// mountBrick mounts a brick that is a file system of its own, unless it is mounted.
func mountBrick(ctx context.Context, h host.Host, what, options, at string) error {
	mounted, err := mountOptions(ctx, h, at)
	if err != nil || mounted != "" {
		return err
	}
	if err := h.Write(ctx, at, host.File{Mode: fs.ModeDir}); err != nil {
		return err
	}
	_, err = run(ctx, h, "mount", "-t", "xfs", "-o", options, what, at)
	return err
}

// mountOptions are those of what is mounted exactly there, "" if nothing is.
func mountOptions(ctx context.Context, h host.Host, at string) (string, error) {
	out, err := run(ctx, h, "findmnt", "--noheadings", "--output", "OPTIONS", "--mountpoint", at)
	var exit *host.ExitError
	if errors.As(err, &exit) && exit.Code == 1 && len(exit.Stderr) == 0 {
		return "", nil
	}
	return out, err
}

func unmount(ctx context.Context, h host.Host, at string) error {
	options, err := mountOptions(ctx, h, at)
	if err != nil || options == "" {
		return err
	}
	_, err = run(ctx, h, "umount", at)
	return err
}

// exists reports whether there is anything at a path.
func exists(ctx context.Context, h host.Host, path string) (bool, error) {
	_, err := h.Stat(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func run(ctx context.Context, h host.Host, args ...string) (string, error) {
	out, err := h.Run(ctx, host.Cmd{Args: args})
	return strings.TrimSpace(string(out)), err
}

const mib = 1 << 20

// roundUp rounds to whole units.
func roundUp(bytes, unit int64) int64 { return (bytes + unit - 1) / unit * unit }

func atoi(what, text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("read %s: %.40q is no number", what, text)
	}
	return n, nil
}
