package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"picluster/imagebuilder/card"
	"picluster/imagebuilder/plan"
	"picluster/imagebuilder/secrets"
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
	verify  string
	confirm string
	otp     bool
}

func (w *writeFlags) target(device string) *target {
	return &target{path: device, yes: w.yes, confirm: w.confirm, verify: w.verify == "full"}
}

func writeCommand() cli.Command {
	var w writeFlags
	return cli.Command{
		Name:    "write",
		Args:    "DEVICE",
		Summary: "write a card, and read back everything that was written",
		Details: "Without --node it writes the next node of cluster.yaml that has no card yet. Says what will be lost\n" +
			"and asks. A regular file may stand for the device. What is refused (a system disk, a mounted or\n" +
			"foreign one) is refused with --yes too; a disk that only looks wrong is written if you name its\n" +
			"model or serial with --confirm.",
		Examples: []string{
			"imagebuilder write /dev/sdb",
			"imagebuilder write /dev/sdb --node raspberrypi-node1",
			"imagebuilder write /dev/sdb --spare",
			"imagebuilder write /dev/sdb --all",
		},
		Flags: func(f *pflag.FlagSet) {
			w.register(f)
			f.StringVar(&w.node, "node", "", "the `node` whose card this is (or spare-1 …)")
			f.BoolVar(&w.spare, "spare", false, "the next spare card")
			f.BoolVar(&w.all, "all", false, "one card after the other, for all nodes and spares without one")
			f.BoolVar(&w.again, "again", false, "with --node: a card for it was written before; give it a new identity")
			f.BoolVarP(&w.yes, "yes", "y", false, "do not ask")
			f.StringVar(&w.confirm, "confirm", "", "model or serial of the disk, where write demands it")
			f.StringVar(&w.verify, "verify", "full", "read back what was written: full or off")
			registerOTP(f, &w.otp)
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			device, err := oneOperand(args, "device, as imagebuilder devices lists them")
			if err != nil {
				return err
			}
			return w.run(ctx, env, device)
		},
	}
}

func (w *writeFlags) run(ctx context.Context, env cli.Env, device string) error {
	if w.verify != "full" && w.verify != "off" {
		return cli.Exit(cli.Usage, fmt.Errorf("read flag --verify: it is %q, want full or off", w.verify))
	}
	project, err := w.load()
	if err != nil {
		return err
	}
	if err := checkOTP(project.cluster, w.otp); err != nil {
		return err
	}
	names, err := w.choose(project)
	if err != nil {
		return err
	}
	b, err := w.openBase(ctx, env, project.cluster)
	if err != nil {
		return err
	}
	defer b.Close()
	for i, name := range names {
		if w.all {
			if _, err := cli.Ask(env, fmt.Sprintf("Insert the card for %s (%d of %d) and press Enter: ", name, i+1, len(names))); err != nil {
				return err
			}
		}
		if err := w.card(ctx, env, project, b, device, name); err != nil {
			return err
		}
	}
	return nil
}

// choose returns the cards to write, in order.
func (w *writeFlags) choose(p *project) ([]string, error) {
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
			return names, w.renew(p, w.node)
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
	return unwritten[:1], nil
}

// renew gives a card that was written before a new identity. Two cards with the
// same one would be the same machine to node0, which keeps only the first.
func (w *writeFlags) renew(p *project, name string) error {
	if !w.again {
		ledger, err := p.bundle.Ledger()
		if err != nil {
			return err
		}
		last, _ := ledger.Last(name)
		return cli.Exit(cli.Refused, cli.Hint(
			fmt.Errorf("write card for %s: one was written on %s to %s", name, last.Time.Format(time.DateOnly), last.Device.Path),
			"--again makes another one with a new identity; the older card is then no use any more"))
	}
	_, err := p.bundle.Renew(name, plan.Want(p.cluster))
	return err
}

// card writes one card and records it.
func (w *writeFlags) card(ctx context.Context, env cli.Env, p *project, b *base, device, name string) error {
	made, err := w.makePlan(p, b, []string{name})
	if err != nil {
		return err
	}
	c := made.Cards[0]
	img, err := patchCard(b, made, c)
	if err != nil {
		return fmt.Errorf("patch image for %s: %w", name, err)
	}
	fmt.Fprintf(env.Stderr, "Card for %s (%s) of cluster %s, %s.\n", name, c.Config.Role, p.cluster.Name, b.info.Name)
	d, report, err := w.target(device).write(ctx, env, img)
	if err != nil {
		return fmt.Errorf("write card for %s: %w", name, err)
	}
	identity, err := p.bundle.Card(name)
	if err != nil {
		return err
	}
	entry := secrets.Entry{Node: name, CardID: identity.ID(), Generation: identity.Generation(), Time: time.Now().UTC().Truncate(time.Second),
		Device:      secrets.Device{Path: d.Path, Model: d.Model, Serial: d.Serial, Size: d.Size},
		ImageSHA256: report.SHA256, Size: img.Size()}
	sums, err := report.Sums.MarshalText()
	if err != nil {
		return err
	}
	if err := p.bundle.Record(entry, sums); err != nil {
		return err
	}
	sayNext(env, p, c, report)
	return nil
}

// sayNext ends with what a person wants to know now.
func sayNext(env cli.Env, p *project, c plan.Card, r *card.Report) {
	how := "written, not verified"
	if r.Verified {
		how = "written and verified"
	}
	name := c.Config.Name
	fmt.Fprintf(env.Stdout, "%s: %s, %s in %s\n", name, how, cli.Bytes(r.Written), r.Elapsed.Round(time.Second))
	fmt.Fprintf(env.Stderr, "On the card: %s, %s of cluster %s. NODE.txt on it says so too.\n", name, c.Config.Role, p.cluster.Name)
	fmt.Fprintf(env.Stderr, "After its first boot: STATUS.txt on the card, http://%s.local:7390/, ssh %s@%s.local\n", name, c.Config.System.User.Name, name)
	if next, more, err := p.bundle.Next(plan.CardNames(p.cluster)); err == nil && more {
		fmt.Fprintf(env.Stderr, "Next: imagebuilder write DEVICE, for %s.\n", next)
	} else {
		fmt.Fprintf(env.Stderr, "That was the last card. Put the cards into the Pis and switch on.\n")
	}
}
