// Package report says to people where a Pi stands. They have no screen: they put
// the card into a laptop and read STATUS.txt, open a page on a phone, or look at
// the lamp.
//
// Status is the one answer, made by the pure function Make from node.json and the
// journal's summary; everything else here shows it: sentences, a line, a page, a
// code of the lamp. Nothing here is the truth about a Pi (the steps' checks are),
// and nothing here may stop or slow down what it reports on.
package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/status"
	"picluster/internal/step"
)

// Options say what a Reporter reports, and where. A place that is left empty is
// not used.
type Options struct {
	Config *node.Config
	Events []step.Event // older ones, from the journal: since when things are wrong
	Boot   string       // id of the running boot

	Host    host.Host // the Pi
	Card    string    // directory of the FAT partition on it: STATUS.txt, firstboot.log
	LEDs    string    // LEDDir
	Console io.Writer // a line for each change
	Listen  string    // ":" + Port: the page, IPv4 and IPv6

	Log       *slog.Logger           // what goes wrong with reporting; nil: none
	Addresses func() []netip.Addr    // nil: Addresses
	EtcdDisk  func() *status.Latency // nil, and nil from it: not known
	Now       func() time.Time       // nil: time.Now
}

// Reporter shows the state of a run in all places at once. Observe, Retry and
// Handler may be used concurrently.
type Reporter struct {
	options Options
	redact  *redactor
	ring    *ring
	led     *led
	server  *http.Server

	mu      sync.Mutex
	summary step.Summary
	retryAt time.Time

	wake    chan struct{}
	stop    context.CancelFunc
	stopped sync.WaitGroup
	console string // the last line there
	card    *card
}

// New begins to report. It returns at once and has no error: what is in the way of
// reporting is logged. The caller closes the Reporter.
func New(o Options) *Reporter {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Addresses == nil {
		o.Addresses = Addresses
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Reporter{options: o, redact: newRedactor(o.Config), summary: step.Summarize(o.Events), wake: make(chan struct{}, 1)}
	r.ring = newRing(r.redact)
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	if o.Card != "" {
		r.card = &card{host: o.Host, dir: o.Card, log: o.Log}
	}
	r.seed(ctx)
	r.listen()
	if o.LEDs != "" {
		r.led = newLED(o.LEDs)
		r.stopped.Go(func() { r.led.run(ctx) })
	}
	r.stopped.Go(func() { r.write(ctx) })
	return r
}

// seed fills the log with what the card has of it or, on a first boot, with the
// journal's events.
func (r *Reporter) seed(ctx context.Context) {
	if r.card != nil {
		if old, err := r.card.load(ctx, r.ring); err == nil && old {
			return
		}
	}
	for _, e := range r.options.Events {
		r.ring.add(Line(e))
	}
}

// Observe is a step.Observer.
func (r *Reporter) Observe(e step.Event) {
	r.mu.Lock()
	r.summary.Add(e)
	r.retryAt = time.Time{}
	r.mu.Unlock()
	r.ring.add(Line(e))
	r.changed()
}

// Retry says that the run has failed and is going to be tried again then.
func (r *Reporter) Retry(at time.Time) {
	r.mu.Lock()
	r.retryAt = at
	r.mu.Unlock()
	r.changed()
}

// Status is where the Pi stands now.
func (r *Reporter) Status() status.Status {
	addresses := r.options.Addresses()
	var disk *status.Latency
	if r.options.EtcdDisk != nil {
		disk = r.options.EtcdDisk()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return makeStatus(Facts{Config: r.options.Config, Summary: r.summary, Boot: r.options.Boot,
		RetryAt: r.retryAt, Addresses: addresses, EtcdDisk: disk, Now: r.options.Now()}, r.redact)
}

// Close writes what is not written yet, gives back the lamp and takes down the
// page, or leaves that when ctx ends: a card that hangs must not keep a Pi from
// its reboot.
func (r *Reporter) Close(ctx context.Context) error {
	r.stop()
	if r.server != nil {
		r.server.Close()
	}
	done := make(chan struct{})
	go func() {
		r.stopped.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("write last status: %w", context.Cause(ctx))
	}
}

func (r *Reporter) changed() {
	select {
	case r.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

// write brings the slow places up to date, until ctx ends and then once more.
func (r *Reporter) write(ctx context.Context) {
	timer := time.NewTimer(time.Hour) // any time: it is reset before it is needed
	defer timer.Stop()
	for ctx.Err() == nil {
		if again := r.show(false); !again.IsZero() {
			timer.Reset(time.Until(again))
		}
		select {
		case <-r.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	r.show(true)
}

func (r *Reporter) show(all bool) (again time.Time) {
	s := r.Status()
	if r.led != nil {
		r.led.show(codeOf(s))
	}
	if line := s.Line(); r.options.Console != nil && line != r.console {
		r.console = line
		fmt.Fprintf(r.options.Console, "picluster: %s\n", line)
	}
	if r.card == nil {
		return time.Time{}
	}
	// Not the context that has just ended: this is the last chance to write.
	return r.card.show(context.Background(), s, r.ring, time.Now(), all)
}

// listen puts the page up. Without it a Pi is configured as well.
func (r *Reporter) listen() {
	if r.options.Listen == "" {
		return
	}
	listener, err := net.Listen("tcp", r.options.Listen)
	if err != nil {
		r.options.Log.Warn("status page", "error", err)
		return
	}
	r.server = newServer(newPage(r.Status, r.redact, r.ring))
	r.stopped.Go(func() {
		if err := r.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			r.options.Log.Warn("status page", "error", err)
		}
	})
}
