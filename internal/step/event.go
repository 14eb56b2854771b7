package step

import (
	"slices"
	"time"
)

// Kind says what an Event is about.
type Kind string

const (
	Unchanged Kind = "unchanged" // Check had nothing to say
	Applying  Kind = "applying"  // Text is the drift that Apply is to remove
	Waiting   Kind = "waiting"   // Text is what for; see Note
	Done      Kind = "done"      // Apply worked, and Check agrees
	Failed    Kind = "failed"    // Text is the error; the run ends
	Warned    Kind = "warned"    // Text is the error of an Optional step; the run goes on
	Reboot    Kind = "reboot"    // Text is the drift; the run ends until the next boot
)

// Event is one line of the journal.
type Event struct {
	Time  time.Time `json:"time"`           // by the machine's clock, which may be wrong before it is set
	Boot  string    `json:"boot,omitempty"` // boot id of the machine that ran the step
	Stage string    `json:"stage"`
	Step  string    `json:"step"`
	N     int       `json:"n"`  // the step's place in the whole list, from 1
	Of    int       `json:"of"` // how many steps there are
	Kind  Kind      `json:"event"`
	Text  string    `json:"text,omitempty"`
}

// Observer is told of every event, in order, one at a time, after it is in the
// journal: a status file, an LED, a status page. It returns soon and must not call
// Note. What goes wrong in it is its own affair.
type Observer func(Event)

// State is where a run stands.
type State string

const (
	NotStarted State = ""
	Running    State = "running"
	WaitingFor State = "waiting" // for what Text says
	Stopped    State = "failed"
	Rebooting  State = "rebooting"
	Finished   State = "finished"
)

// Summary is what a person wants to know of a run: where it stands, since when, and
// what is wrong. The zero value has seen nothing; Add shows it an event. It has no
// locks.
type Summary struct {
	State       State
	Stage, Step string    // the latest
	N, Of       int       // the step's place
	Text        string    // what is wrong, or waited for, or being changed
	Since       time.Time // when this step was first found not right, also in an earlier run; for a step that is right, when that was seen
	Time        time.Time // of the last event
	Boot        string    // of the last event: another boot's run is not running any more
	Warnings    []Event   // optional steps whose latest try failed, the latest try last

	open map[[2]string]time.Time // steps not right yet, and since when
}

// Summarize shows a new Summary all events.
func Summarize(events []Event) Summary {
	var s Summary
	for _, e := range events {
		s.Add(e)
	}
	return s
}

// Add brings the summary up to date with one more event.
func (s *Summary) Add(e Event) {
	if s.open == nil {
		s.open = map[[2]string]time.Time{}
	}
	s.Stage, s.Step, s.N, s.Of = e.Stage, e.Step, e.N, e.Of
	s.Text, s.Time, s.Boot = e.Text, e.Time, e.Boot
	s.State = Running
	step := [2]string{e.Stage, e.Step}
	if _, ok := s.open[step]; !ok {
		s.open[step] = e.Time
	}
	s.Since = s.open[step]
	switch e.Kind {
	case Unchanged, Done:
		delete(s.open, step)
		s.Since = e.Time
		s.forgive(step)
	case Warned:
		s.forgive(step)
		s.Warnings = append(s.Warnings, e)
	case Waiting:
		s.State = WaitingFor
	case Failed:
		s.State = Stopped
	case Reboot:
		s.State = Rebooting
	}
	if e.N == e.Of && (e.Kind == Unchanged || e.Kind == Done || e.Kind == Warned) {
		s.State = Finished
	}
}

// forgive takes a step off the warnings.
func (s *Summary) forgive(step [2]string) {
	s.Warnings = slices.DeleteFunc(s.Warnings, func(w Event) bool { return [2]string{w.Stage, w.Step} == step })
}
