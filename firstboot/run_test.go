package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"picluster/firstboot/steps"
	"picluster/internal/cli"
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
	"picluster/internal/node"
	"picluster/internal/step"
)

// kettle wants a file to be there, and may have trouble in making it.
type kettle struct {
	trouble func() error
}

const kettlePath = "/etc/kettle"

func (kettle) Name() string { return "kettle" }

func (kettle) Check(ctx context.Context, h host.Host) (string, error) {
	if _, err := h.Stat(ctx, kettlePath); errors.Is(err, fs.ErrNotExist) {
		return "the kettle is off", nil
	}
	return "", nil
}

func (k kettle) Apply(ctx context.Context, h host.Host) error {
	if err := k.trouble(); err != nil {
		return err
	}
	return h.Write(ctx, kettlePath, host.File{})
}

// newRun is a run of one step, and the seal, on a machine without anything else.
func newRun(t *testing.T, trouble func() error) (run, *hosttest.Machine) {
	// A bubble's clock begins in 2000, before any card was made.
	time.Sleep(time.Until(time.Date(2026, 12, 24, 18, 0, 0, 0, time.UTC)))
	m := hosttest.NewMachine(t)
	m.Put(bootDir+"/config.txt", "")
	m.Put("/proc/sys/kernel/random/boot_id", "boot-1\n")
	r := run{
		agent:  agent{host: m.Local, boot: bootDir, log: slog.New(slog.DiscardHandler), console: new(bytes.Buffer)},
		config: plainPi(),
		stages: []steps.Stage{
			{Name: "packages", Steps: []steps.Step{kettle{trouble}}},
			{Name: "seal", Steps: []steps.Step{steps.Text{What: "seal", Path: steps.SealPath, Content: "node1\n"}}},
		},
	}
	return r, m
}

func (r run) isSealed(t *testing.T) bool {
	t.Helper()
	_, err := r.host.Stat(t.Context(), steps.SealPath)
	return err == nil
}

func (r run) status(t *testing.T) string {
	t.Helper()
	return early{r.agent}.status(t)
}

func TestRun_triesAgainUntilItIsSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		r, _ := newRun(t, func() error {
			if tries++; tries < 4 {
				return errors.New("no water")
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.untilSealed(ctx) }()

		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := r.status(t); tries != 1 || !strings.Contains(got, "What failed: packages/kettle\nWhy: no water\n") || !strings.Contains(got, "Next try, by itself: ") {
			t.Errorf("after ten seconds and %d tries STATUS.txt is\n%s", tries, got)
		}
		time.Sleep(3 * time.Minute) // tries after about 15, 45 and 105 seconds
		synctest.Wait()
		if got := r.status(t); tries != 4 || !r.isSealed(t) || !strings.HasPrefix(got, "This Pi is configured: it is node1 of the cluster home.\n") {
			t.Errorf("after %d tries STATUS.txt is\n%s", tries, got)
		}
		// Others may work on the Pi while the page is still up.
		j, err := r.journal(ctx)
		if err != nil {
			t.Fatal(err)
		}
		j.Close()
		began := time.Now()
		if err := <-done; err != nil || time.Since(began) < pageStays/2 {
			t.Errorf("the page was taken down after %v: %v", time.Since(began), err)
		}
		cancel()
	})
}

func TestRun_waitsNeverLongerThanFiveMinutes(t *testing.T) {
	for tries, want := range []time.Duration{15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
		if got := retryAfter(tries); got < want*8/10 || got > want*12/10 {
			t.Errorf("try %d waits %v, want about %v", tries, got, want)
		}
	}
	if got := retryAfter(1 << 30); got > 6*time.Minute || got < 4*time.Minute {
		t.Errorf("after a year it waits %v", got)
	}
}

func TestRun_reboots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newRun(t, func() error { return step.ErrReboot })
		m.Fake("systemctl", "")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.untilSealed(ctx) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := r.status(t); !strings.Contains(got, "It reboots by itself.") {
			t.Errorf("STATUS.txt is\n%s", got)
		}
		m.WantCalls("systemctl --no-block reboot")
		cancel() // as systemd does on the way down
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestRun_stopsWhenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newRun(t, func() error { return errors.New("no water") })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.untilSealed(ctx) }()
		time.Sleep(time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if r.isSealed(t) {
			t.Error("sealed all the same")
		}
		if got := r.status(t); !strings.Contains(got, "Why: no water\n") {
			t.Errorf("STATUS.txt is\n%s", got)
		}
	})
}

func TestRun_isAloneOnThePi(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newRun(t, nil)
		j, err := r.journal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if err := r.untilSealed(t.Context()); !errors.Is(err, step.ErrBusy) {
			t.Errorf("got error %v", err)
		}
	})
}

func TestRun_ofSomeStagesEndsWithThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newRun(t, func() error { return nil })
		var err error
		if r.stages, err = selected(r.stages, []string{"packages"}); err != nil {
			t.Fatal(err)
		}
		r.partial = true
		began := time.Now()
		if err := r.untilSealed(t.Context()); err != nil || time.Since(began) > time.Minute || r.isSealed(t) {
			t.Errorf("after %v: %v, sealed %v", time.Since(began), err, r.isSealed(t))
		}
	})
}

func TestRun_ofUnknownStagesIsNone(t *testing.T) {
	all := []steps.Stage{{Name: "disk"}, {Name: "seal"}}
	if _, err := selected(all, []string{"disk", "sael"}); err == nil || err.Error() != `read flag --stage: "sael" is none of disk, seal` || cli.CodeOf(err) != cli.Usage {
		t.Errorf("got %v", err)
	}
	some, err := selected(all, []string{"seal", "disk"})
	if err != nil || len(some) != 2 || some[0].Name != "disk" {
		t.Errorf("got %v, %v", some, err)
	}
}

// A spare that has got its name is not sealed: it has another list of steps now.
func TestRun_ofASpareBeginsAnewWithItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newRun(t, func() error { return nil })
		r.config.Role, r.config.Kubernetes = node.Spare, &node.Kubernetes{}
		r.stages = []steps.Stage{{Name: steps.EnrollStage}, {Name: steps.SealStage}}
		if err := r.untilSealed(t.Context()); !errors.Is(err, errNamed) || r.isSealed(t) {
			t.Errorf("got %v, sealed %v", err, r.isSealed(t))
		}
	})
}
