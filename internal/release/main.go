// Command release makes what people download: for each system an archive with the
// programs, their manual pages and completion, the documentation and the licences
// of everything linked in; beside it the list of its parts (SPDX), and SHA256SUMS.
//
//	SOURCE_DATE_EPOCH=… go run ./internal/release -version v1.0.0 dist
//
// The same source, version, SOURCE_DATE_EPOCH and Go give the same bytes, wherever
// and whenever it runs. It runs on Linux: the agent's manual page is the agent's own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	version := flags.String("version", "", "what this release is called")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *version == "" || flags.NArg() != 1 {
		return errors.New("read arguments: want -version VERSION DIR")
	}
	// https://reproducible-builds.org/specs/source-date-epoch: a date that belongs to
	// the source, in place of today's.
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("read SOURCE_DATE_EPOCH: %w", err)
	}
	return release{source: ".", version: *version, date: time.Unix(seconds, 0).UTC(), out: flags.Arg(0), log: os.Stderr}.make(ctx, systems)
}
