package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"picluster/imagebuilder/card"
	"picluster/imagebuilder/image"
	"picluster/imagebuilder/plan"
	"picluster/imagebuilder/secrets"
	"picluster/internal/cli"
)

// insert asks for the cards of a round.
func insert(names, devices []string, done, total int) string {
	if len(names) == 1 {
		return fmt.Sprintf("Insert the card for %s (%d of %d) and press Enter: ", names[0], done+1, total)
	}
	var which []string
	for i, name := range names {
		if len(devices) > 0 {
			name += " into " + devices[i]
		}
		which = append(which, name)
	}
	return fmt.Sprintf("Insert the cards for %s (%d to %d of %d) and press Enter: ", strings.Join(which, ", "), done+1, done+len(names), total)
}

// readersWith returns the first n devices, or the n cards that are in readers. More
// cards than are wanted might be somebody's photos.
func (w *writeFlags) readersWith(devices []string, n int) ([]string, error) {
	if w.readers == 0 {
		return devices[:n], nil
	}
	all, err := card.List()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, d := range all {
		if d.Removable && d.Size > 0 {
			found = append(found, d.Path)
		}
	}
	if len(found) != n {
		return nil, cli.Exit(cli.Refused, cli.Hint(fmt.Errorf("find %s: the removable disks are: %s", cli.Count(n, "card"), cmp.Or(strings.Join(found, ", "), "none")),
			"put in as many as are to be written, or name the devices"))
	}
	return found, nil
}

// order is a card to be written: what, and where to.
type order struct {
	name   string
	made   *plan.Plan
	img    *patched
	target *target
	device *card.Device
	report *card.Report
	err    error
}

// round writes a card to each device, all at the same time. Whatever can be refused
// is refused before the first of them is touched.
func (w *writeFlags) round(ctx context.Context, env cli.Env, p *project, b *base, devices, names []string) error {
	orders := make([]*order, len(names))
	for i, name := range names {
		o := &order{name: name, target: w.target(devices[i])}
		var err error
		if o.made, o.img, err = w.patch(p, b, name); err != nil {
			return err
		}
		fmt.Fprintf(env.Stderr, "Card for %s (%s) of cluster %s, %s.\n", name, o.made.Cards[0].Config.Role, p.cluster.Name, b.info.Name)
		if o.device, err = o.target.prepare(ctx, env, o.img.Size()); err != nil {
			return fmt.Errorf("write card for %s: %w", name, err)
		}
		orders[i] = o
	}
	if err := w.renew(env, p, b, orders); err != nil {
		return err
	}
	shown := newBoard(env.Stderr, len(orders))
	var writing sync.WaitGroup
	for i, o := range orders {
		settle := w.settled(ctx, p, b, o)
		writing.Go(func() {
			o.report, o.err = o.target.write(ctx, o.device, o.img, card.Options{
				Mapped: b.mapped(o.img), Settle: settle, Progress: shown.show(i)})
		})
	}
	writing.Wait()
	shown.done()
	return w.finish(env, p, orders)
}

// patch makes a card's plan and image.
func (w *writeFlags) patch(p *project, b *base, name string) (*plan.Plan, *patched, error) {
	made, err := w.makePlan(p, b, []string{name})
	if err != nil {
		return nil, nil, err
	}
	img, err := patchCard(b, made, made.Cards[0])
	if err != nil {
		return nil, nil, fmt.Errorf("patch image for %s: %w", name, err)
	}
	return made, img, nil
}

// settled begins to make the card's image once more, for when the digest of the base
// image, which stands on the card, is known: on a slow card that is long before the
// rest is written. What it returns waits for it.
func (w *writeFlags) settled(ctx context.Context, p *project, b *base, o *order) card.Settle {
	type final struct {
		made *plan.Plan
		img  *patched
		err  error
	}
	done := make(chan final, 1)
	before := final{made: o.made, img: o.img}
	go func() {
		f := before
		if f.err = b.settle(ctx); f.err == nil && f.made.Base.SHA256 != b.digest() {
			f.made, f.img, f.err = w.patch(p, b, o.name)
		}
		done <- f
	}()
	return func(ctx context.Context) (image.Disk, []image.Extent, error) {
		f := <-done
		if f.err != nil || f.img == before.img {
			return before.img, nil, f.err
		}
		o.made, o.img = f.made, f.img
		return f.img, append(before.img.ChangedExtents(), f.img.ChangedExtents()...), nil
	}
}

// finish records the cards that were written, and says what became of each.
func (w *writeFlags) finish(env cli.Env, p *project, orders []*order) error {
	var failed []error
	for _, o := range orders {
		if o.err == nil {
			o.err = record(p, o)
		}
		if o.err != nil {
			failed = append(failed, fmt.Errorf("write card for %s: %w", o.name, o.err))
			continue
		}
		sayWritten(env, p, o.made.Cards[0], o.report)
	}
	switch {
	case len(failed) == 0:
		sayNext(env, p)
		return nil
	case len(failed) == 1 && len(orders) == 1:
		return failed[0]
	case len(failed) < len(orders):
		return cli.Exit(cli.Partial, errors.Join(failed...))
	}
	return cli.Exit(cli.CodeOf(failed[0]), errors.Join(failed...))
}

func record(p *project, o *order) error {
	identity, err := p.bundle.Card(o.name)
	if err != nil {
		return err
	}
	sums, err := o.report.Sums.MarshalText()
	if err != nil {
		return err
	}
	d := o.device
	return p.bundle.Record(secrets.Entry{Node: o.name, CardID: identity.ID(), Generation: identity.Generation(), Time: time.Now().UTC().Truncate(time.Second),
		Device:      secrets.Device{Path: d.Path, Model: d.Model, Serial: d.Serial, Size: d.Size},
		ImageSHA256: o.report.SHA256, Size: o.img.Size()}, sums)
}

// sayWritten says what is on a card now.
func sayWritten(env cli.Env, p *project, c plan.Card, r *card.Report) {
	how := "written, not verified"
	if r.Verified {
		how = "written and verified"
	}
	size := cli.Bytes(r.Used)
	if r.Written < r.Used {
		size = fmt.Sprintf("%s of %s", cli.Bytes(r.Written), size)
	}
	name := c.Config.Name
	fmt.Fprintf(env.Stdout, "%s: %s, %s in %s\n", name, how, size, r.Elapsed.Round(time.Second))
	fmt.Fprintf(env.Stderr, "On the card: %s, %s of cluster %s. NODE.txt on it says so too.\n", name, c.Config.Role, p.cluster.Name)
	fmt.Fprintf(env.Stderr, "After its first boot: STATUS.txt on the card, http://%s.local:7390/, ssh %s@%s.local\n", name, c.Config.System.User.Name, name)
}

// sayNext ends with what a person wants to know now.
func sayNext(env cli.Env, p *project) {
	if next, more, err := p.bundle.Next(plan.CardNames(p.cluster)); err == nil && more {
		fmt.Fprintf(env.Stderr, "Next: imagebuilder write DEVICE, for %s.\n", next)
	} else {
		fmt.Fprintf(env.Stderr, "That was the last card. Put the cards into the Pis and switch on.\n")
	}
}
