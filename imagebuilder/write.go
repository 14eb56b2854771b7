package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"picluster/imagebuilder/plan"
	"picluster/internal/cli"
)

// writeFlags are the flags of write.
type writeFlags struct {
	projectFlags
	node    string
	spare   bool
	all     bool
	again   bool
	yes     bool
	resume  bool
	readers int
	verify  string
	confirm string
	otp     bool
}

func (w *writeFlags) target(device string) *target {
	return &target{path: device, yes: w.yes, confirm: w.confirm, verify: w.verify == "full", resume: w.resume}
}

func writeCommand() cli.Command {
	var w writeFlags
	return cli.Command{
		Name:    "write",
		Args:    "DEVICE...",
		Summary: "write a card, and read back everything that was written",
		Details: "Without --node it writes the next node of cluster.yaml that has no card yet. Says what will be lost\n" +
			"and asks. A regular file may stand for the device. What is refused (a system disk, a mounted or\n" +
			"foreign one) is refused with --yes too; a disk that only looks wrong is written if you name its\n" +
			"model or serial with --confirm. Several devices get a card each, at the same time.",
		Examples: []string{
			"imagebuilder write /dev/sdb",
			"imagebuilder write /dev/sdb --node raspberrypi-node1",
			"imagebuilder write /dev/sdb --spare",
			"imagebuilder write /dev/sdb --resume",
			"imagebuilder write /dev/sdb /dev/sdc --all",
			"imagebuilder write --all --readers 4",
		},
		Flags: func(f *pflag.FlagSet) {
			w.register(f)
			f.StringVar(&w.node, "node", "", "the `node` whose card this is (or spare-1 …)")
			f.BoolVar(&w.spare, "spare", false, "the next spare card")
			f.BoolVar(&w.all, "all", false, "one card after the other, for all nodes and spares without one")
			f.IntVar(&w.readers, "readers", 0, "instead of DEVICE: the cards in all `N` card readers that are here")
			f.BoolVar(&w.again, "again", false, "with --node: a card for it was written before; give it a new identity")
			f.BoolVarP(&w.yes, "yes", "y", false, "do not ask")
			f.StringVar(&w.confirm, "confirm", "", "model or serial of the disk, where write demands it")
			f.BoolVar(&w.resume, "resume", false, "write only what is not on the card already: for a card whose writing was stopped")
			f.StringVar(&w.verify, "verify", "full", "read back what was written: full or off")
			registerOTP(f, &w.otp)
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error { return w.run(ctx, env, args) },
	}
}

func (w *writeFlags) run(ctx context.Context, env cli.Env, devices []string) error {
	if err := w.check(devices); err != nil {
		return err
	}
	project, err := w.load()
	if err != nil {
		return err
	}
	if err := checkOTP(project.cluster, w.otp); err != nil {
		return err
	}
	atOnce := max(w.readers, len(devices))
	names, err := w.choose(project, atOnce)
	if err != nil {
		return err
	}
	if spare := devices[min(len(names), len(devices)):]; len(spare) > 0 {
		fmt.Fprintf(env.Stderr, "No card is left for %s.\n", strings.Join(spare, ", "))
	}
	if err := lookForAgents(w.agents); err != nil {
		return err
	}
	b, err := w.openBase(ctx, env, project.cluster, false)
	if err != nil {
		return err
	}
	defer b.Close()
	done := 0
	for round := range slices.Chunk(names, atOnce) {
		if w.all {
			if _, err := cli.Ask(ctx, env, insert(round, devices, done, len(names))); err != nil {
				return err
			}
		}
		here, err := w.readersWith(devices, len(round))
		if err != nil {
			return err
		}
		if err := w.round(ctx, env, project, b, here, round); err != nil {
			return err
		}
		done += len(round)
	}
	b.keep(ctx, env)
	return nil
}

func (w *writeFlags) check(devices []string) error {
	switch {
	case w.verify != "full" && w.verify != "off":
		return cli.Exit(cli.Usage, fmt.Errorf("read flag --verify: it is %q, want full or off", w.verify))
	case w.readers < 0, w.readers > 0 && len(devices) > 0:
		return cli.Exit(cli.Usage, errors.New("read flag --readers: give a number of readers, or name devices"))
	case w.readers == 0 && len(devices) == 0:
		return cli.Exit(cli.Usage, errors.New("read arguments: name the device, as imagebuilder devices lists them"))
	case w.node != "" && max(w.readers, len(devices)) > 1:
		return cli.Exit(cli.Usage, errors.New("read arguments: --node is one card, for one device"))
	}
	for i, d := range devices {
		if slices.Contains(devices[:i], d) {
			return cli.Exit(cli.Usage, fmt.Errorf("read arguments: %s is named twice", d))
		}
	}
	return nil
}

// choose returns the cards to write, in order: all that are left, or as many as are
// written at once.
func (w *writeFlags) choose(p *project, atOnce int) ([]string, error) {
	all := plan.CardNames(p.cluster)
	unwritten, err := p.bundle.Unwritten(all)
	if err != nil {
		return nil, err
	}
	switch {
	case w.node != "":
		names, err := p.chooseCards(w.node)
		if err != nil {
			return nil, err
		}
		if len(unwritten) == 0 || !slices.Contains(unwritten, w.node) {
			return names, w.refuseSecond(p, w.node)
		}
		return names, nil
	case w.spare:
		spares := p.cluster.SpareNames()
		unwritten = slices.DeleteFunc(unwritten, func(n string) bool { return !slices.Contains(spares, n) })
		if len(unwritten) == 0 {
			return nil, cli.Exit(cli.Usage, cli.Hint(errors.New("find spare card: all are written"), "raise spares: in cluster.yaml and run imagebuilder init"))
		}
	}
	if len(unwritten) == 0 {
		return nil, cli.Exit(cli.Usage, cli.Hint(errors.New("find next card: each node and spare of cluster.yaml has one"),
			"--node NAME --again writes one of them anew"))
	}
	if w.all {
		return unwritten, nil
	}
	return unwritten[:min(atOnce, len(unwritten))], nil
}
