package report

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"picluster/internal/node"
	"picluster/internal/status"
	"picluster/internal/step"
	"picluster/internal/version"
)

// Facts are what a Status is made from.
type Facts struct {
	Config    *node.Config // nil: node.json is not readable
	Summary   step.Summary
	Boot      string // id of the boot that this is; empty: not known
	Sealed    bool
	Error     error // what ended the run outside of any step, if that is what happened
	RetryAt   time.Time
	Addresses []netip.Addr
	EtcdDisk  *status.Latency // of the control plane, once it is known
	Now       time.Time
}

// Make is the status that follows from the facts. It shows no secret of the
// config's, whatever the texts of the events say.
func Make(f Facts) status.Status { return makeStatus(f, newRedactor(f.Config)) }

func makeStatus(f Facts, r *redactor) status.Status {
	s := status.Status{Version: status.Version, Agent: version.String(), State: f.state(),
		Stage: f.Summary.Stage, Step: f.Summary.Step, N: f.Summary.N, Of: f.Summary.Of,
		Since: f.believable(f.Summary.Since), Time: f.believable(f.Summary.Time), RetryAt: f.believable(f.RetryAt),
		Addresses: slices.Clone(f.Addresses), EtcdDisk: f.EtcdDisk}
	if s.State == status.Starting { // what the journal knows is of another boot
		s.N, s.Of, s.Since, s.Time = 0, 0, time.Time{}, f.believable(f.Now)
	}
	switch {
	case f.Error != nil:
		s.Text = f.Error.Error()
	case s.State != status.Done && s.State != status.Starting:
		s.Text = f.Summary.Text
	}
	s.Text = r.text(strings.TrimPrefix(s.Text, s.Place()+": ")) // as step.Run begins its errors
	s.Step = r.text(s.Step)
	if s.State != status.Failed {
		s.RetryAt = time.Time{}
	}
	for _, w := range f.Summary.Warnings {
		text := r.text(w.Text)
		s.Warnings = append(s.Warnings, status.Warning{Stage: w.Stage, Step: r.text(w.Step), Text: text, Hint: knownHint(w.Stage, w.Step, text)})
	}
	if c := f.Config; c != nil {
		s.Node, s.Cluster, s.Role, s.Timezone = c.Name, c.Cluster.Name, c.Role, c.System.Timezone
		s.ClusterAddress = c.Network.ClusterAddress.Addr()
		s.Addresses = slices.DeleteFunc(s.Addresses, func(a netip.Addr) bool { return a == s.ClusterAddress })
		s.Stages = stagesOf(c, s)
		if s.State == status.Done || canLogIn(s.Stage) {
			s.SSH = "ssh " + c.System.User.Name + "@" + c.Name + ".local"
		}
	}
	s.Hint = hint(s)
	return s
}

// state is the summary's, but for what the summary does not know: whether the
// list of steps that was finished was the last one, and whether the run that it
// saw was of this boot.
func (f Facts) state() status.State {
	if f.Error != nil {
		return status.Failed
	}
	switch s := f.Summary; {
	case s.State == step.Stopped:
		return status.Failed
	case f.Sealed, s.State == step.Finished && s.Stage == sealStage:
		return status.Done
	case s.State == step.NotStarted, f.Boot != "" && s.Boot != "" && f.Boot != s.Boot:
		return status.Starting
	case s.State == step.WaitingFor:
		return status.Waiting
	case s.State == step.Rebooting:
		return status.Rebooting
	}
	return status.Running
}

// believable is t, or zero if the clock was not set when it was taken. No Pi before
// the fifth has a clock that runs while it is off: a first boot begins in 1970 or
// when the image was made, and the agent moves that on to when the card was. So
// until the stage that sets the clock is behind, the hour after that says nothing.
func (f Facts) believable(t time.Time) time.Time {
	first := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	if f.Config != nil {
		first = f.Config.Build.Time
	}
	if !clockIsSet(f.Summary.Stage) {
		first = first.Add(time.Hour)
	}
	if t.Before(first) {
		return time.Time{}
	}
	return t.UTC()
}
