package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"picluster/firstboot/steps"
	"picluster/internal/cli"
	"picluster/internal/status"
)

func measureCommand() cli.Command {
	return cli.Command{
		Name:    "measure",
		Args:    "DIR",
		Summary: "how long does a disk take to have a small write for good?",
		Details: "Writes 200 times 2300 bytes into a file in DIR, each with fdatasync, as etcd does, and\n" +
			"prints the median and the time that 99 of 100 writes keep below, in nanoseconds, as JSON.",
		Examples: []string{"sudo firstboot measure /var/lib"},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if len(args) != 1 {
				return cli.Exit(cli.Usage, errors.New("read operands of measure: it takes one directory"))
			}
			l, err := measure(ctx, args[0])
			if err != nil {
				return err
			}
			return json.NewEncoder(env.Stdout).Encode(l)
		},
	}
}

// What etcd's documentation measures with fio ("Disks", --fdatasync=1 --bs=2300). A
// card that needs a second for each write is known after half a minute.
const (
	measuredWrites = 200
	measuredBytes  = 2300
	measuredTime   = 30 * time.Second
)

func measure(ctx context.Context, dir string) (m steps.Measured, err error) {
	f, err := os.CreateTemp(dir, ".picluster-measure-")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	block := make([]byte, measuredBytes)
	var times []time.Duration
	for began := time.Now(); len(times) < measuredWrites && time.Since(began) < measuredTime; {
		if ctx.Err() != nil {
			return m, context.Cause(ctx)
		}
		before := time.Now()
		if _, err := f.Write(block); err != nil {
			return m, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return m, &os.PathError{Op: "fdatasync", Path: filepath.Clean(f.Name()), Err: err}
		}
		times = append(times, time.Since(before))
	}
	slices.Sort(times)
	return steps.Measured{Version: 1, Latency: status.Latency{P50: times[len(times)/2], P99: times[len(times)*99/100]}}, nil
}
