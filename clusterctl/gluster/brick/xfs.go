package brick

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"picluster/internal/host"
)

// XFS makes each brick a directory with a project quota, which the kernel enforces
// to the byte and df shows as the size. It needs CONFIG_XFS_QUOTA, as Debian's and
// Raspberry Pi's kernels have it.
type XFS struct{}

var quota = disk{options: ",prjquota"}

// Prepare makes a device ready, see package brick.
func (XFS) Prepare(ctx context.Context, h host.Host, d Device, wipe bool) error {
	return quota.prepare(ctx, h, d, wipe)
}

// Attach mounts a prepared device, as after a boot.
func (XFS) Attach(ctx context.Context, h host.Host, d Device) error {
	return quota.attach(ctx, h, d)
}

// Release gives a device back that has no bricks.
func (k XFS) Release(ctx context.Context, h host.Host, d Device) error {
	u, err := k.Usage(ctx, h, d)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return quota.release(ctx, h, d, len(u.Bricks))
}

// Footprint is what a brick takes of its device.
func (XFS) Footprint(bytes int64) int64 { return roundUp(bytes, mib) }

// Usage looks at a prepared device.
func (k XFS) Usage(ctx context.Context, h host.Host, d Device) (Usage, error) {
	projects, err := k.projects(ctx, h, d)
	if err != nil {
		return Usage{}, err
	}
	limits, err := k.limits(ctx, h, d)
	if err != nil {
		return Usage{}, err
	}
	u := Usage{Bricks: map[string]int64{}}
	for id, project := range projects {
		if u.Bricks[id] = limits[project]; u.Bricks[id] == 0 {
			return Usage{}, fmt.Errorf("look at bricks on %s: %s has no limit", d.Name, id)
		}
	}
	u.Total, err = quota.total(ctx, h, d)
	return u, err
}

// projects maps bricks to the numbers of their projects. lsattr prints "   12
// -----------------P-- /path" for each.
func (XFS) projects(ctx context.Context, h host.Host, d Device) (map[string]int64, error) {
	names, err := h.ReadDir(ctx, mountPoint(d))
	if err != nil {
		return nil, err
	}
	projects := map[string]int64{}
	args := []string{"lsattr", "-p", "-d"}
	for _, name := range names {
		if isID.MatchString(name) {
			args = append(args, dir(d, name))
		}
	}
	if len(args) == 3 {
		return projects, nil
	}
	out, err := run(ctx, h, args...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("look at bricks on %s: lsattr says %.80q", d.Name, line)
		}
		n, err := atoi("project of "+fields[2], fields[0])
		if err != nil {
			return nil, err
		}
		projects[strings.TrimPrefix(fields[2], mountPoint(d)+"/")] = n
	}
	return projects, nil
}

// limits maps numbers of projects to bytes. xfs_quota prints "#12  used  soft  hard
// …" in KiB for each.
func (XFS) limits(ctx context.Context, h host.Host, d Device) (map[int64]int64, error) {
	out, err := run(ctx, h, "xfs_quota", "-x", "-c", "report -p -n -N -b", mountPoint(d))
	if err != nil {
		return nil, err
	}
	limits := map[int64]int64{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) < 4 || fields[0][0] != '#' {
			return nil, fmt.Errorf("look at limits on %s: xfs_quota says %.80q", d.Name, line)
		}
		project, err := atoi("project", fields[0][1:])
		if err != nil {
			return nil, err
		}
		kib, err := atoi("limit of project "+fields[0], fields[3])
		if err != nil {
			return nil, err
		}
		limits[project] = kib << 10
	}
	return limits, nil
}

// Create makes a brick, if it is not there.
func (k XFS) Create(ctx context.Context, h host.Host, d Device, b Brick) error {
	there, err := exists(ctx, h, dir(d, b.ID))
	if err == nil && !there {
		err = k.make(ctx, h, d, b)
	}
	if err != nil {
		return fmt.Errorf("make brick %s on %s: %w", b.ID, d.Name, err)
	}
	return nil
}

func (k XFS) make(ctx context.Context, h host.Host, d Device, b Brick) error {
	project, err := k.unused(ctx, h, d)
	if err != nil {
		return err
	}
	raw := dir(d, "."+b.ID)
	if _, err := run(ctx, h, "rm", "-rf", raw); err != nil {
		return err
	}
	if err := h.Write(ctx, raw, host.File{Mode: fs.ModeDir}); err != nil {
		return err
	}
	if err := k.limit(ctx, h, d, project, k.Footprint(b.Bytes)); err != nil {
		return err
	}
	for _, args := range [][]string{
		// What is made below inherits the project (+P); what is there does not.
		{"xfs_io", "-r", "-c", fmt.Sprintf("chproj %d", project), "-c", "chattr +P", raw},
		{"mkdir", raw + "/brick"},
		{"sync", "--file-system", raw},
		{"mv", "--no-target-directory", raw, dir(d, b.ID)},
		{"sync", mountPoint(d)},
	} {
		if _, err := run(ctx, h, args...); err != nil {
			return err
		}
	}
	return nil
}

// unused is the lowest number above 0, which is everybody's, that no brick has.
func (k XFS) unused(ctx context.Context, h host.Host, d Device) (int64, error) {
	projects, err := k.projects(ctx, h, d)
	if err != nil {
		return 0, err
	}
	used := map[int64]bool{}
	for _, n := range projects {
		used[n] = true
	}
	n := int64(1)
	for used[n] {
		n++
	}
	return n, nil
}

// limit sets how much a project may use; 0 is no limit.
func (XFS) limit(ctx context.Context, h host.Host, d Device, project, bytes int64) error {
	_, err := run(ctx, h, "xfs_quota", "-x", "-c", fmt.Sprintf("limit -p bhard=%d %d", bytes, project), mountPoint(d))
	return err
}

// Grow makes a brick at least as large as it says.
func (k XFS) Grow(ctx context.Context, h host.Host, d Device, b Brick) error {
	projects, err := k.projects(ctx, h, d)
	if err != nil {
		return err
	}
	project, ok := projects[b.ID]
	if !ok {
		return fmt.Errorf("grow brick %s on %s: it is not there", b.ID, d.Name)
	}
	limits, err := k.limits(ctx, h, d)
	if err != nil || limits[project] >= k.Footprint(b.Bytes) {
		return err
	}
	return k.limit(ctx, h, d, project, k.Footprint(b.Bytes))
}

// Delete removes a brick and all that is in it, if it is there. Its number is free
// again when its directory has gone.
func (k XFS) Delete(ctx context.Context, h host.Host, d Device, id string) error {
	if _, err := run(ctx, h, "rm", "-rf", "--one-file-system", dir(d, "."+id)); err != nil { // it was being made
		return err
	}
	there, err := exists(ctx, h, dir(d, id))
	if err != nil || !there {
		return err
	}
	projects, err := k.projects(ctx, h, d)
	if err != nil {
		return err
	}
	raw := dir(d, "."+id+".old")
	for _, args := range [][]string{
		{"mv", "--no-target-directory", dir(d, id), raw},
		{"rm", "-rf", "--one-file-system", raw},
	} {
		if _, err := run(ctx, h, args...); err != nil {
			return fmt.Errorf("delete brick %s on %s: %w", id, d.Name, err)
		}
	}
	return k.limit(ctx, h, d, projects[id], 0)
}
