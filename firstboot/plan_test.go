package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"picluster/firstboot/steps"
	"picluster/internal/cli"
	"picluster/internal/host"
	"picluster/internal/step"
)

// said runs a command's function and returns what it printed.
func said(f func(cli.Env) error) (string, error) {
	var out bytes.Buffer
	err := f(cli.Env{Stdout: &out, Stderr: &out, Log: slog.New(slog.DiscardHandler)})
	return out.String(), err
}

func TestPlan_printsAndTouchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newRun(t, func() error { t.Error("applied"); return nil })
		out, err := said(func(env cli.Env) error { return r.plan(t.Context(), env, r.stages) })
		if want := "packages/kettle: the kettle is off\nseal/seal: " + steps.SealPath + " is missing\n"; err != nil || out != want {
			t.Errorf("got %q, %v", out, err)
		}
		if events, err := readJournal(r.host); err != nil || len(events) > 0 {
			t.Errorf("the journal has %v, %v", events, err)
		}
	})
}

func TestReapply_doesWhatThePlanSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newRun(t, func() error { return nil })
		m.Put(steps.SealPath, "node1\n")
		reapply := func(env cli.Env) error { return r.reapply(t.Context(), env, r.stages) }
		out, err := said(reapply)
		want := "applying packages/kettle the kettle is off\ndone packages/kettle\n" +
			"applying seal/seal " + steps.SealPath + " is missing\ndone seal/seal\nReboot for names, addresses and kernel settings to take effect.\n"
		if err != nil || out != want {
			t.Errorf("got %q, %v", out, err)
		}
		out, err = said(reapply)
		if err != nil || !strings.HasSuffix(out, "Nothing to do: this Pi is as node.json wants it.\n") || !r.isSealed(t) {
			t.Errorf("once more: got %q, %v", out, err)
		}
		if out, err = said(func(env cli.Env) error { return r.plan(t.Context(), env, r.stages) }); err != nil || out != "Nothing to do: this Pi is as node.json wants it.\n" {
			t.Errorf("plan: got %q, %v", out, err)
		}
	})
}

// A part of a node that was done: it is done again afterwards.
func TestReapply_ofAPartLeavesTheNodeDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newRun(t, func() error { return nil })
		part := r.stages[:1]
		if part[0].Name != "packages" {
			t.Fatalf("the first stage is %s", part[0].Name)
		}
		for _, sealed := range []bool{false, true} {
			if sealed {
				m.Put(steps.SealPath, "node1\n")
			}
			if _, err := said(func(env cli.Env) error { return r.reapply(t.Context(), env, part) }); err != nil || r.isSealed(t) != sealed {
				t.Errorf("sealed before: %v, now: %v, error %v", sealed, r.isSealed(t), err)
			}
		}
	})
}

// A node that is being changed again is not done until it is.
func TestReapply_takesTheSealOffFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newRun(t, func() error { return errors.New("no water") })
		m.Put(steps.SealPath, "node1\n")
		_, err := said(func(env cli.Env) error { return r.reapply(t.Context(), env, r.stages) })
		if err == nil || err.Error() != "packages/kettle: no water" || r.isSealed(t) {
			t.Errorf("sealed: %v, error %v", r.isSealed(t), err)
		}
	})
}

func TestReapply_leavesARunningServiceAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := newRun(t, nil)
		m.Put(steps.SealPath, "node1\n")
		j, err := r.journal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if _, err := said(func(env cli.Env) error { return r.reapply(t.Context(), env, r.stages) }); !errors.Is(err, step.ErrBusy) || !r.isSealed(t) {
			t.Errorf("sealed: %v, error %v", r.isSealed(t), err)
		}
	})
}

func TestCommands_areForAPi(t *testing.T) {
	if _, err := (host.Local{}).Stat(t.Context(), steps.ConfigPath); err == nil {
		t.Fatal("this machine is a Pi")
	}
	for _, name := range []string{"plan", "reapply"} {
		var out bytes.Buffer
		code := cli.Run(t.Context(), program(), cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out}, []string{name})
		if code == cli.OK || !strings.Contains(out.String(), "find boot partition") {
			t.Errorf("%s: exit code %d\n%s", name, code, out.String())
		}
	}
}
