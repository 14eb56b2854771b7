package report

import (
	"fmt"
	"strings"

	"picluster/internal/node"
	"picluster/internal/status"
)

// view is a Status in the words of the page.
type view struct {
	status.Status
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
	Warnings []warning
}

// shortTime fits into a line of a phone.
const shortTime = "Mon 2 Jan, 15:04 MST"

var stateWords = map[status.State]string{
	status.Starting: "Starting", status.Running: "Working", status.Waiting: "Waiting", status.Failed: "Failed", status.Rebooting: "Rebooting", status.Done: "Ready",
}

var sentences = map[status.State]string{
	status.Starting:  "This Pi has just been switched on.",
	status.Running:   "This Pi is being configured. It goes on by itself.",
	status.Waiting:   "This Pi has to wait for something.",
	status.Failed:    "This Pi was configured in part only.",
	status.Rebooting: "This Pi reboots by itself and goes on.",
	status.Done:      "This Pi is configured.",
}

var roleWords = map[node.Role]string{
	node.ControlPlane: "control plane", node.Worker: "worker", node.Spare: "spare",
}

func viewOf(s status.Status) view {
	v := view{Status: s, Refresh: refresh(s.State), Name: s.Node, Word: stateWords[s.State], Sentence: sentences[s.State],
		Place: s.Place(), Do: sentence(s.Hint), Kind: roleWords[s.Role],
		SinceAt: s.Format(s.Since, shortTime), RetryAt: s.Format(s.RetryAt, shortTime), LastAt: s.Format(s.Time, shortTime),
		ByNumber: sshByAddress(s)}
	switch s.State {
	case status.Failed:
		v.What, v.Why = "What failed", "Why"
	case status.Waiting:
		v.What, v.Why = "At", "Waiting for"
	case status.Running:
		v.What, v.Why = "Now", "To change"
	default:
		v.Place, v.Text, v.SinceAt = "", "", ""
	}
	for _, w := range s.Warnings {
		v.Warnings = append(v.Warnings, warning{w})
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
func refresh(s status.State) int {
	switch s {
	case status.Done:
		return 60
	case status.Failed, status.Waiting:
		return 20
	}
	return 5
}

// warning is a status's in the words of the page.
type warning struct{ status.Warning }

// Named is how a warning is headed.
func (w warning) Named() string { return w.Stage + "/" + w.Step }

// Sentence is the warning's hint as one.
func (w warning) Sentence() string { return sentence(w.Hint) }

// sentence begins with a capital.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
