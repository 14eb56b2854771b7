package secrets

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"time"
)

// Want is what a cluster needs secrets for. Its order is the order of
// known_hosts and of the inventory.
type Want struct {
	Cluster string // the cluster's name
	Nodes   []Node
	Spares  int              // cards spare-1 to spare-N
	CardTTL time.Duration    // how long new cards are valid; zero for DefaultCardTTL
	Now     func() time.Time // nil for the clock
}

// Node is a named node of the cluster.
type Node struct {
	Name           string
	ClusterAddress netip.Addr // zero where there is none
	ControlPlane   bool
	Labels         map[string]string
}

// label is an RFC 1123 label. Names become parts of paths, of certificates and
// of lines of known_hosts; nothing else may stand in them.
var (
	label     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	spareName = regexp.MustCompile(`^spare-[0-9]+$`)
)

func (w *Want) check() error {
	if !label.MatchString(w.Cluster) {
		return fmt.Errorf("name cluster %q: it is no RFC 1123 label", w.Cluster)
	}
	if w.Spares < 0 || w.CardTTL < 0 {
		return errors.New("the number of spares and the life of cards are not negative")
	}
	seen := map[string]bool{}
	for _, n := range w.Nodes {
		switch {
		case !label.MatchString(n.Name):
			return fmt.Errorf("name node %q: it is no RFC 1123 label", n.Name)
		case spareName.MatchString(n.Name):
			return fmt.Errorf("name node %q: such names are kept for spares", n.Name)
		case seen[n.Name]:
			return fmt.Errorf("name node %q: two nodes have that name", n.Name)
		}
		seen[n.Name] = true
	}
	return nil
}

func (w *Want) spareNames() []string {
	var names []string
	for i := range w.Spares {
		names = append(names, fmt.Sprintf("spare-%d", i+1))
	}
	return names
}

func (w *Want) names() []string {
	var names []string
	for _, n := range w.Nodes {
		names = append(names, n.Name)
	}
	return append(names, w.spareNames()...)
}

func (w *Want) controlPlane(name string) bool {
	return slices.ContainsFunc(w.Nodes, func(n Node) bool { return n.Name == name && n.ControlPlane })
}

// now is the time for documents: UTC, whole seconds, as certificates have it.
func (w *Want) now() time.Time {
	now := w.Now
	if now == nil {
		now = time.Now
	}
	return now().UTC().Truncate(time.Second)
}

func (w *Want) cardTTL() time.Duration {
	if w.CardTTL == 0 {
		return DefaultCardTTL
	}
	return w.CardTTL
}

// OtherClusterError says that the bundle and cluster.yaml name different
// clusters. A cluster's name stands in its certificates and does not change.
type OtherClusterError struct{ Have, Want string }

func (e *OtherClusterError) Error() string {
	return fmt.Sprintf("the bundle is of cluster %q, not of %q", e.Have, e.Want)
}

func (c *cluster) fits(want Want) error {
	if c.Name != want.Cluster {
		return &OtherClusterError{Have: c.Name, Want: want.Cluster}
	}
	return nil
}

// fits checks a Want against the bundle.
func (b *Bundle) fits(want Want) error {
	if err := want.check(); err != nil {
		return err
	}
	return b.cluster.fits(want)
}
