//go:build e2e && bench

package e2e

import (
	"runtime"
	"testing"
	"time"
)

// How much longer a cluster takes that forms by itself than one that somebody forms who
// knows how, from power on until pods and a Service answer: three nodes each, all
// packages and images at hand.
func TestBench_aClusterByItself(t *testing.T) {
	from := onlineDesk(t, bare, runtime.GOARCH)
	from.gather(t)
	var byHand, byItself time.Duration
	t.Run("by hand", func(t *testing.T) { byHand = formByHand(t) })
	t.Run("by itself", func(t *testing.T) {
		b := newOfflineBox(t, bare, from)
		began := time.Now()
		for _, n := range b.nodes {
			n.PowerOn()
		}
		b.awaitReady(t, formed[:3]...)
		works(t, b.nodes[0], formed[:3]...)
		byItself = time.Since(began)
	})
	t.Logf("by hand %.1f s, by itself %.1f s: ratio %.2f", byHand.Seconds(), byItself.Seconds(), byItself.Seconds()/byHand.Seconds())
}
