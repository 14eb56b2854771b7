package gluster_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "picluster/clusterctl/gluster"
	"picluster/internal/host"
)

// scripted is a node whose gluster takes its time, and answers one after the other.
type scripted struct {
	host.Host
	takes   time.Duration
	answers []string // the last one again and again
	ran     []string
}

func (s *scripted) String() string { return "scripted" }

func (s *scripted) Run(ctx context.Context, c host.Cmd) ([]byte, error) {
	s.ran = append(s.ran, strings.Join(c.Args, " "))
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	answer := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	return []byte(answer), nil
}

const (
	fine   = head + "<opRet>0</opRet><opErrno>0</opErrno><opErrstr/></cliOutput>"
	locked = head + "<opRet>-1</opRet><opErrno>0</opErrno><opErrstr>Another transaction is in progress for data. Please try again after some time.</opErrstr></cliOutput>"
	noData = head + "<opRet>-1</opRet><opErrno>30800</opErrno><opErrstr>Volume data does not exist</opErrstr></cliOutput>"
)

// The wait for the lock ends long before gluster gives a command up: what has begun is
// not cut off by it, or glusterd would go on with what nobody waits for.
func TestCLI_commandOutlivesTheWaitForTheLock(t *testing.T) {
	for what, do := range map[string]func(CLI, context.Context) error{
		"volume create": func(c CLI, ctx context.Context) error {
			return c.Create(ctx, "data", [][]Brick{{{Host: "a", Path: "/b"}}})
		},
		"volume heal": func(c CLI, ctx context.Context) error { return c.StartHeal(ctx, "data") },
	} {
		synctest.Test(t, func(t *testing.T) {
			on := &scripted{takes: 9 * time.Minute, answers: []string{fine}}
			if err := do(CLI{Host: on}, t.Context()); err != nil || len(on.ran) != 1 {
				t.Errorf("%s that takes nine minutes: %v; it ran %q", what, err, on.ran)
			}
		})
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			err := do(CLI{Host: &scripted{takes: 24 * time.Hour, answers: []string{fine}}}, t.Context())
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took < 10*time.Minute || took > 11*time.Minute {
				t.Errorf("%s that never ends: after %v %v", what, took, err)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := CLI{Host: &scripted{answers: []string{locked}}}.Start(t.Context(), "data", false)
		if took := time.Since(began); err == nil || !strings.Contains(err.Error(), "nother transaction") || took > 3*time.Minute {
			t.Errorf("a lock that nobody gives back: after %v %v", took, err)
		}
	})
}

// A change that whoever began it has been cut off from goes on in glusterd.
func TestCLI_idleWaitsForWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, last := range []string{fine, noData} {
			on := &scripted{answers: []string{locked, locked, last}}
			if err := (CLI{Host: on}).Idle(t.Context(), "data"); err != nil || len(on.ran) != 3 {
				t.Errorf("got %v, and it asked %q", err, on.ran)
			}
		}
		if err := (CLI{Host: &scripted{answers: []string{locked}}}).Idle(t.Context(), "data"); err == nil {
			t.Error("a change that does not end is taken for ended")
		}
		if err := (CLI{Host: &scripted{answers: []string{"no answer"}}}).Idle(t.Context(), "data"); err == nil {
			t.Error("what is no answer is taken for one")
		}
	})
}

// Gluster means every volume by "all".
func TestCLI_noVolumeIsNamedAll(t *testing.T) {
	on := &scripted{answers: []string{fine}}
	if _, err := (CLI{Host: on}).Volume(t.Context(), "all"); !errors.Is(err, ErrNoVolume) {
		t.Errorf("got %v", err)
	}
}
