package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"picluster/clusterctl/keys"
	"picluster/clusterctl/observe"
	"picluster/internal/spec"
)

// Desk looks at what is there before any Pi is switched on. k is nil without secrets.
func Desk(c *spec.Cluster, k *keys.Keys, now time.Time) Group {
	g := Group{Name: "desk"}
	add := func(c Check) { g.Checks = append(g.Checks, c) }
	if warnings := c.Warnings(); len(warnings) > 0 {
		add(warn("cluster.yaml is valid", "", "%s", warnings[0]))
	} else {
		add(pass("cluster.yaml is valid", "%d nodes, %d spares", len(c.Nodes), c.Spares))
	}
	if k == nil {
		add(fail("secrets are there", "imagebuilder init makes them; or copy secrets/ from the computer that has made the cards", "there is no secrets/ beside cluster.yaml"))
		return g
	}
	add(pass("secrets are there", "cluster %s", k.ID))
	add(private(k))
	add(operatorCertificate(k, now))
	add(cardsMade(c, k))
	return g
}

func private(k *keys.Keys) Check {
	const name = "keys are private"
	open, err := k.Exposed()
	switch {
	case err != nil:
		return fail(name, "", "%v", err)
	case len(open) > 0:
		return fail(name, "chmod -R go= "+k.Dir, "others on this computer can read %s", open[0])
	}
	return pass(name, "")
}

func operatorCertificate(k *keys.Keys, now time.Time) Check {
	const name, hint = "operator's certificate", "remove secrets/operator/operator.crt and .key, then imagebuilder init makes new ones"
	end, err := k.OperatorExpires()
	switch left := end.Sub(now); {
	case err != nil:
		return fail(name, hint, "%v", err)
	case left < 0:
		return fail(name, hint, "it ended on %s", end.Format(time.DateOnly))
	case left < 30*24*time.Hour:
		return warn(name, hint, "it ends on %s", end.Format(time.DateOnly))
	}
	return pass(name, "until %s", end.Format(time.DateOnly))
}

func cardsMade(c *spec.Cluster, k *keys.Keys) Check {
	const name, hint = "each card has its keys", "imagebuilder init makes what is missing"
	cards, err := k.Cards()
	if err != nil {
		return fail(name, hint, "%v", err)
	}
	var missing []string
	for _, want := range append(c.NodeNames(), c.SpareNames()...) {
		if !slices.ContainsFunc(cards, func(card keys.Card) bool { return card.Node == want }) {
			missing = append(missing, want)
		}
	}
	if len(missing) > 0 {
		return fail(name, hint, "there are none of %s", strings.Join(missing, ", "))
	}
	return pass(name, "")
}

// Cluster are the groups that a snapshot answers.
func Cluster(s *observe.Snapshot) []Group {
	control := Group{Name: "control plane"}
	for _, source := range s.Sources {
		control.Checks = append(control.Checks, fromWarnings(source.Name+" answers", s.Warnings, func(w observe.Warning) bool {
			return w.ID[0] == 'K' && (w.ID == "K102") == (source.Name == observe.JoinSource)
		}))
	}
	nodes := Group{Name: "nodes"}
	for _, n := range s.Nodes {
		c := fromWarnings(n.Name, s.Warnings, func(w observe.Warning) bool { return w.ID[0] == 'N' && w.About == n.Name })
		if c.Result == Pass {
			c.Text = strings.ToLower(n.State)
		}
		nodes.Checks = append(nodes.Checks, c)
	}
	groups := []Group{nodes}
	if len(control.Checks) > 0 { // without Kubernetes there is none
		groups = []Group{control, nodes}
	}
	if s.Storage.State != observe.StateNone {
		c := fromWarnings("storage works", s.Warnings, func(w observe.Warning) bool { return w.ID[0] == 'S' })
		if s.Storage.State == observe.StateUnknown {
			c = skip(c.Name, "the API server does not answer")
		} else if c.Result == Pass {
			c.Text = fmt.Sprintf("on %d of %d nodes", s.Storage.Nodes, s.Storage.Of)
		}
		groups = append(groups, Group{Name: "storage", Checks: []Check{c}})
	}
	if len(s.Addons) > 0 {
		addons := Group{Name: "add-ons"}
		for _, a := range s.Addons {
			addons.Checks = append(addons.Checks, fromWarnings(a.Name, s.Warnings, func(w observe.Warning) bool { return w.ID[0] == 'A' && w.About == a.Name }))
		}
		groups = append(groups, addons)
	}
	if c := fromWarnings("certificates and cards", s.Warnings, func(w observe.Warning) bool { return w.ID[0] == 'C' }); c.Result != Pass {
		groups = append(groups, Group{Name: "trust", Checks: []Check{c}})
	}
	return groups
}

// fromWarnings is a check that passes where no warning is about it. The worst comes
// first in a snapshot.
func fromWarnings(name string, warnings []observe.Warning, about func(observe.Warning) bool) Check {
	for _, w := range warnings {
		if !about(w) {
			continue
		}
		c := Check{Name: name, Text: w.Text + " (" + w.ID + ")", Hint: w.Do}
		switch w.Severity {
		case observe.Serious:
			c.Result = Fail
		case observe.Warn:
			c.Result = Warn
		default:
			c.Result = Pass
			c.Hint = ""
		}
		return c
	}
	return pass(name, "")
}
