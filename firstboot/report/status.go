package report

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"picluster/internal/node"
	"picluster/internal/step"
	"picluster/internal/version"
)

// StatusVersion is the form of Status as JSON.
const StatusVersion = 1

// Port is where the status page is: http://node1.local:7390/.
const Port = "7390"

// State is where a Pi stands, in a word.
type State string

const (
	Starting  State = "starting" // nothing has been done yet in this boot
	Running   State = "running"
	Waiting   State = "waiting" // for what Text says
	Failed    State = "failed"
	Rebooting State = "rebooting"
	Done      State = "done" // for good
)

// Status is what a person, or a program that waits, wants to know of a Pi. A time
// that is not known, or was taken before the clock was set, is zero.
type Status struct {
	Version  int       `json:"version"`
	Node     string    `json:"node,omitempty"` // empty: node.json was not readable
	Cluster  string    `json:"cluster,omitempty"`
	Role     node.Role `json:"role,omitempty"`
	Agent    string    `json:"agent"` // the agent's version
	Timezone string    `json:"timezone,omitempty"`

	State   State     `json:"state"`
	Stage   string    `json:"stage,omitempty"`
	Step    string    `json:"step,omitempty"`
	N       int       `json:"n,omitempty"`  // the step's place, from 1
	Of      int       `json:"of,omitempty"` // how many steps there are
	Since   time.Time `json:"since,omitzero"`
	Time    time.Time `json:"time,omitzero"`    // when something last happened
	Text    string    `json:"text,omitempty"`   // what is wrong, waited for, or being changed
	Hint    string    `json:"hint,omitempty"`   // what a person does about it
	RetryAt time.Time `json:"retryAt,omitzero"` // when it tries again by itself

	Warnings       []Warning    `json:"warnings,omitempty"` // what was left out
	Stages         []Stage      `json:"stages,omitempty"`
	Addresses      []netip.Addr `json:"addresses,omitempty"`
	ClusterAddress netip.Addr   `json:"clusterAddress,omitzero"`
	SSH            string       `json:"ssh,omitempty"` // the command to log in with; empty before there is a user
}

// Warning is an optional step that has failed.
type Warning struct {
	Stage string `json:"stage"`
	Step  string `json:"step"`
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
}

// Facts are what a Status is made from.
type Facts struct {
	Config    *node.Config // nil: node.json is not readable
	Summary   step.Summary
	Boot      string // id of the boot that this is; empty: not known
	Sealed    bool
	Error     error // what ended the run outside of any step, if that is what happened
	RetryAt   time.Time
	Addresses []netip.Addr
	Now       time.Time
}

// Make is the status that follows from the facts. It shows no secret of the
// config's, whatever the texts of the events say.
func Make(f Facts) Status { return makeStatus(f, newRedactor(f.Config)) }

func makeStatus(f Facts, r *redactor) Status {
	s := Status{Version: StatusVersion, Agent: version.String(), State: f.state(),
		Stage: f.Summary.Stage, Step: f.Summary.Step, N: f.Summary.N, Of: f.Summary.Of,
		Since: f.believable(f.Summary.Since), Time: f.believable(f.Summary.Time), RetryAt: f.believable(f.RetryAt),
		Addresses: slices.Clone(f.Addresses)}
	if s.State == Starting { // what the journal knows is of another boot
		s.N, s.Of, s.Since, s.Time = 0, 0, time.Time{}, f.believable(f.Now)
	}
	switch {
	case f.Error != nil:
		s.Text = f.Error.Error()
	case s.State != Done && s.State != Starting:
		s.Text = f.Summary.Text
	}
	s.Text = r.text(strings.TrimPrefix(s.Text, s.place()+": ")) // as step.Run begins its errors
	s.Step = r.text(s.Step)
	if s.State != Failed {
		s.RetryAt = time.Time{}
	}
	for _, w := range f.Summary.Warnings {
		text := r.text(w.Text)
		s.Warnings = append(s.Warnings, Warning{Stage: w.Stage, Step: r.text(w.Step), Text: text, Hint: knownHint(w.Stage, w.Step, text)})
	}
	if c := f.Config; c != nil {
		s.Node, s.Cluster, s.Role, s.Timezone = c.Name, c.Cluster.Name, c.Role, c.System.Timezone
		s.ClusterAddress = c.Network.ClusterAddress.Addr()
		s.Addresses = slices.DeleteFunc(s.Addresses, func(a netip.Addr) bool { return a == s.ClusterAddress })
		s.Stages = stagesOf(c, s)
		if s.State == Done || canLogIn(s.Stage) {
			s.SSH = "ssh " + c.System.User.Name + "@" + c.Name + ".local"
		}
	}
	s.Hint = hint(s)
	return s
}

// state is the summary's, but for what the summary does not know: whether the
// list of steps that was finished was the last one, and whether the run that it
// saw was of this boot.
func (f Facts) state() State {
	if f.Error != nil {
		return Failed
	}
	switch s := f.Summary; {
	case s.State == step.Stopped:
		return Failed
	case f.Sealed, s.State == step.Finished && s.Stage == sealStage:
		return Done
	case s.State == step.NotStarted, f.Boot != "" && s.Boot != "" && f.Boot != s.Boot:
		return Starting
	case s.State == step.WaitingFor:
		return Waiting
	case s.State == step.Rebooting:
		return Rebooting
	}
	return Running
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
