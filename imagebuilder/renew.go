package main

import (
	"fmt"
	"slices"
	"time"

	"picluster/imagebuilder/plan"
	"picluster/internal/cli"
	"picluster/internal/node"
)

// leastLife is how long the certificate of a card that is written must still be good
// for: nobody puts all cards into Pis on the same day.
const leastLife = 30 * 24 * time.Hour

// refuseSecond keeps a card that was written from being written again by accident.
func (w *writeFlags) refuseSecond(p *project, name string) error {
	if w.again {
		return nil
	}
	ledger, err := p.bundle.Ledger()
	if err != nil {
		return err
	}
	last, _ := ledger.Last(name)
	return cli.Exit(cli.Refused, cli.Hint(
		fmt.Errorf("write card for %s: one was written on %s to %s", name, last.Time.Format(time.DateOnly), last.Device.Path),
		"--again makes another one with a new identity; the older card is then no use any more"))
}

// renew gives cards that were written before, or whose certificates end, new
// identities. A new generation is for good, so this comes after all that may be
// refused or answered with no.
func (w *writeFlags) renew(env cli.Env, p *project, b *base, orders []*order) error {
	renewed := false
	for _, o := range orders {
		needed, err := w.needsRenewal(env, p, o)
		if err != nil {
			return err
		}
		if !needed {
			continue
		}
		if _, err := p.bundle.Renew(o.name, plan.Want(p.cluster)); err != nil {
			return err
		}
		renewed = true
	}
	if !renewed {
		return nil
	}
	for _, o := range orders { // all: the control plane's card lists the others
		var err error
		if o.made, o.img, err = w.patch(p, b, o.name); err != nil {
			return err
		}
	}
	return nil
}

func (w *writeFlags) needsRenewal(env cli.Env, p *project, o *order) (bool, error) {
	if w.again {
		// Two cards with one identity would be the same machine to node0, which keeps
		// only the first.
		unwritten, err := p.bundle.Unwritten([]string{o.name})
		if err != nil || !slices.Contains(unwritten, o.name) {
			return true, err
		}
	}
	end, joins, err := lastJoin(p, o.made.Cards[0].Config)
	if err != nil || !joins || time.Until(end) >= leastLife {
		return false, err
	}
	fmt.Fprintf(env.Stderr, "The certificate of the card for %s is good until %s only: it gets a new one.\n", o.name, end.Format(time.DateOnly))
	return true, nil
}

// lastJoin is when node0 stops to take a card for a first contact. The control plane
// does not join, nor does a plain Pi.
func lastJoin(p *project, c *node.Config) (end time.Time, joins bool, err error) {
	if c.Join == nil || c.Role == node.ControlPlane {
		return time.Time{}, false, nil
	}
	identity, err := p.bundle.Card(c.Name)
	if err != nil {
		return time.Time{}, false, err
	}
	return identity.Expires(), true, nil
}

// refuseExpired keeps build from making images that node0 refuses. It does not renew:
// the same secrets give the same bytes, and only write knows which card is which.
func refuseExpired(p *project, cards []plan.Card) error {
	for _, c := range cards {
		name := c.Config.Name
		end, joins, err := lastJoin(p, c.Config)
		if err != nil {
			return err
		}
		if joins && !time.Now().Before(end) {
			return cli.Exit(cli.Refused, cli.Hint(
				fmt.Errorf("build image for %s: node0 would refuse it: the certificate of the card ended on %s", name, end.Format(time.DateOnly)),
				fmt.Sprintf("write makes a new one, into a file too: imagebuilder write %s.img --node %[1]s; --again if it was written before", name)))
		}
	}
	return nil
}
