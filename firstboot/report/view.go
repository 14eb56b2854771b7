package report

import (
	"fmt"
	"strings"

	"picluster/internal/node"
)

// view is a Status in the words of the page.
type view struct {
	Status
	Refresh  int    // seconds
	Every    string // the same in words
	Name     string // the node's, or what stands for it
	Word     string // the state
	Sentence string
	What     string // says what the next one is: "What failed"
	Place    string
	Why      string // says what Text is: "Waiting for"
	SinceAt  string
	RetryAt  string
	LastAt   string
	Do       string // the hint as a sentence
	Kind     string // the role
	Count    string // of steps
	ByNumber string // the command to log in with where NAME.local is not understood
}

// shortTime fits into a line of a phone.
const shortTime = "Mon 2 Jan, 15:04 MST"

var stateWords = map[State]string{
	Starting: "Starting", Running: "Working", Waiting: "Waiting", Failed: "Failed", Rebooting: "Rebooting", Done: "Ready",
}

var sentences = map[State]string{
	Starting:  "This Pi has just been switched on.",
	Running:   "This Pi is being configured. It goes on by itself.",
	Waiting:   "This Pi has to wait for something.",
	Failed:    "This Pi was configured in part only.",
	Rebooting: "This Pi reboots by itself and goes on.",
	Done:      "This Pi is configured.",
}

var roleWords = map[node.Role]string{
	node.ControlPlane: "control plane", node.Worker: "worker", node.Spare: "spare",
}

func viewOf(s Status) view {
	v := view{Status: s, Refresh: refresh(s.State), Name: s.Node, Word: stateWords[s.State], Sentence: sentences[s.State],
		Place: s.place(), Do: sentence(s.Hint), Kind: roleWords[s.Role],
		SinceAt: s.format(s.Since, shortTime), RetryAt: s.format(s.RetryAt, shortTime), LastAt: s.format(s.Time, shortTime),
		ByNumber: s.sshByAddress()}
	switch s.State {
	case Failed:
		v.What, v.Why = "What failed", "Why"
	case Waiting:
		v.What, v.Why = "At", "Waiting for"
	case Running:
		v.What, v.Why = "Now", "To change"
	default:
		v.Place, v.Text, v.SinceAt = "", "", ""
	}
	v.Every = fmt.Sprintf("%d seconds", v.Refresh)
	if s.Node == "" {
		v.Name, v.Sentence = "A Pi", "This Pi was not configured."
	}
	if s.Of > 0 && v.Place != "" {
		v.Count = fmt.Sprintf("step %d of %d", s.N, s.Of)
	}
	return v
}

// refresh is after how many seconds the page is loaded again. Where there is
// something to read and to copy, that is not to be disturbed all the time.
func refresh(s State) int {
	switch s {
	case Done:
		return 60
	case Failed, Waiting:
		return 20
	}
	return 5
}

// Named is how a warning is headed.
func (w Warning) Named() string { return w.Stage + "/" + w.Step }

// Sentence is the warning's hint as one.
func (w Warning) Sentence() string { return sentence(w.Hint) }

// sentence begins with a capital.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
