package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"picluster/imagebuilder/card"
	"picluster/imagebuilder/image"
	"picluster/internal/cli"
)

// target is the disk that a command writes to, and what the person said about it.
type target struct {
	path    string
	yes     bool   // do not ask
	confirm string // model or serial of the disk, where it is demanded
	verify  bool
	resume  bool
}

// prepare refuses or asks, and takes the disk out of use. Nothing on it is changed.
func (t *target) prepare(ctx context.Context, env cli.Env, size int64) (*card.Device, error) {
	device, err := card.Find(t.path)
	if err != nil {
		return nil, deviceError(err)
	}
	// What the system already knows forbids it before permission is asked for.
	if err := forbidden(device, size); err != nil {
		return nil, err
	}
	if err := device.Examine(); err != nil {
		return nil, deviceError(err)
	}
	if err := t.admit(ctx, env, device, size); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := device.Release(); err != nil {
		return nil, deviceError(err)
	}
	return device, nil
}

// write writes the image to the prepared disk and reads it back.
func (t *target) write(ctx context.Context, device *card.Device, img image.Disk, o card.Options) (*card.Report, error) {
	o.Verify, o.Resume = t.verify, t.resume
	report, err := card.Write(ctx, device, img, o)
	if err != nil {
		return nil, deviceError(err)
	}
	return report, nil
}

// admit returns nil when the disk may be written: nothing forbids it, the person
// named it where that is demanded, and agreed to lose what is on it.
func (t *target) admit(ctx context.Context, env cli.Env, d *card.Device, size int64) error {
	if err := forbidden(d, size); err != nil {
		return err
	}
	showLoss(env, d)
	if refusals := d.Refusals(size); len(refusals) > 0 {
		return t.demandName(ctx, env, d, refusals)
	}
	if t.yes || d.Size == 0 {
		return nil
	}
	answer, err := cli.Ask(ctx, env, fmt.Sprintf("Write to %s? All of the above will be lost. [y/N] ", d.Path))
	if err != nil {
		return err
	}
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return cli.Exit(cli.Refused, errors.New("write card: you said no; nothing was changed"))
	}
	return nil
}

// forbidden returns the first reason that no answer helps against.
func forbidden(d *card.Device, size int64) error {
	for _, r := range d.Refusals(size) {
		if !r.Nameable {
			return refused(d, r)
		}
	}
	return nil
}

func refused(d *card.Device, r card.Refusal) error {
	return cli.Exit(cli.Refused, cli.Hint(fmt.Errorf("use %s: it %s; nothing was changed", d.Title(), r.Reason), r.Hint))
}

// demandName lets only those go on who show that they know which disk it is.
func (t *target) demandName(ctx context.Context, env cli.Env, d *card.Device, refusals []card.Refusal) error {
	for _, r := range refusals {
		fmt.Fprintf(env.Stderr, "Careful: it %s.\n", r.Reason)
	}
	if d.Model == "" && d.Serial == "" {
		return refused(d, card.Refusal{Reason: refusals[0].Reason + ", and has no model or serial to name it by"})
	}
	name := t.confirm
	if name == "" && !t.yes {
		answer, err := cli.Ask(ctx, env, "If you are sure, type its model or serial: ")
		if err != nil {
			return err
		}
		name = answer
	}
	switch {
	case name == "":
		return refused(d, card.Refusal{Reason: refusals[0].Reason, Hint: "if it is the right disk, name its model or serial: --confirm " + cmp.Or(d.Serial, d.Model)})
	case !d.NamedBy(name):
		return refused(d, card.Refusal{Reason: fmt.Sprintf("is not %q", name)})
	}
	return nil
}

// showLoss says which disk it is and what will be lost.
func showLoss(env cli.Env, d *card.Device) {
	if d.Size == 0 {
		return
	}
	fmt.Fprintf(env.Stderr, "%s, %s\n", d.Title(), cli.Bytes(d.Size))
	if len(d.Volumes) == 0 {
		fmt.Fprintf(env.Stderr, "  no partitions\n")
	}
	for _, v := range d.Volumes {
		what := cmp.Or(v.Type, "unknown")
		if v.Label != "" {
			what += fmt.Sprintf(" %q", v.Label)
		}
		fmt.Fprintf(env.Stderr, "  %s  %s  %s%s\n", v.Path, cli.Bytes(v.Size), what, contents[v.Content])
		for _, m := range v.Mounts {
			fmt.Fprintf(env.Stderr, "    mounted at %s: will be unmounted\n", m)
		}
	}
}

var contents = map[card.Content]string{
	card.Empty:       ", empty",
	card.RaspberryPi: ", a Raspberry Pi's",
	card.Foreign:     ", with data",
}

// deviceError gives errors of package card their exit code and a hint.
func deviceError(err error) error {
	var liar *card.LiarError
	var mismatch *card.MismatchError
	var release *card.ReleaseError
	var interrupted *card.InterruptedError
	var source *card.SourceError
	switch {
	case errors.As(err, &liar):
		if liar.NotRestored != nil {
			return cli.Exit(cli.Device, cli.Hint(err, "send it back"))
		}
		return cli.Exit(cli.Device, cli.Hint(err, "nothing on it was changed; send it back"))
	case errors.As(err, &mismatch):
		return cli.Exit(cli.Integrity, cli.Hint(err, "the card has no partition table, so no Pi boots from it; try another reader, then another card"))
	case errors.As(err, &interrupted):
		return cli.Hint(err, "the same command with --resume goes on where it stopped")
	case errors.As(err, &source):
		return cli.Hint(imageError(err), "the card has no partition table, so no Pi boots from it; write it again")
	case errors.As(err, &release):
		return cli.Exit(cli.Refused, cli.Hint(err, release.Hint))
	}
	return cli.Exit(cli.Device, cli.Hint(err, card.Hint(err)))
}
