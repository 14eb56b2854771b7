// Package status is where a Pi stands, as its agent says it: on the page
// http://NODE.local:7390/status.json, which clusterctl reads.
//
// What a Status is made from is the agent's business (firstboot/report).
package status

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"picluster/internal/node"
)

// Version is the form of Status as JSON.
const Version = 1

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
	EtcdDisk       *Latency     `json:"etcdDisk,omitempty"`
}

// Latency is how long a disk takes to have a small write for good (fdatasync), in
// nanoseconds: the median, and what 99 of 100 writes stay below.
type Latency struct {
	P50 time.Duration `json:"p50"`
	P99 time.Duration `json:"p99"`
}

// Warning is an optional step that has failed.
type Warning struct {
	Stage string `json:"stage"`
	Step  string `json:"step"`
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
}

// Progress is how far a stage is.
type Progress string

const (
	ToDo     Progress = "to do"
	Now      Progress = "now"
	Stuck    Progress = "failed"
	Complete Progress = "done"
)

// Stage is a part of what the agent does once systemd runs.
type Stage struct {
	Name     string   `json:"name"`
	Title    string   `json:"title"` // for people
	Progress Progress `json:"progress"`
}

// Line is the status in one line, for consoles.
func (s Status) Line() string {
	name := s.Node
	if name == "" {
		name = "this Pi"
	}
	switch {
	case s.State == Done:
		return strings.TrimSuffix(s.Headline(), ".")
	case s.State == Running:
		return fmt.Sprintf("%s: running: %s", name, s.Activity())
	case s.State == Failed || s.State == Waiting:
		place := s.Place()
		if place != "" {
			place += s.Count() + ": "
		}
		return fmt.Sprintf("%s: %s: %s%s", name, s.State, place, s.Text)
	}
	return fmt.Sprintf("%s: %s", name, s.State)
}

// Headline is the first sentence.
func (s Status) Headline() string {
	name := fmt.Sprintf("%s of the cluster %s", s.Node, s.Cluster)
	switch {
	case s.State == Done:
		return "This Pi is configured: it is " + name + "."
	case s.Node == "":
		return "This Pi was NOT configured."
	case s.State == Failed:
		return "This Pi was configured in part only. It should be " + name + "."
	case s.State == Waiting:
		return "This Pi is becoming " + name + ". It has to wait."
	case s.State == Rebooting:
		return "This Pi is becoming " + name + ". It reboots by itself."
	case s.State == Starting:
		return "This Pi is becoming " + name + ". It has just been switched on."
	}
	return "This Pi is becoming " + name + "."
}

// Place is where in the run: "packages/containerd".
func (s Status) Place() string {
	switch {
	case s.Step != "":
		return s.Stage + "/" + s.Step
	case s.State == Failed && s.Node != "":
		return "the first boot"
	}
	return ""
}

// Count is how far in the run: " (step 3 of 9)"; empty if that is not known.
func (s Status) Count() string {
	if s.Of == 0 {
		return ""
	}
	return fmt.Sprintf(" (step %d of %d)", s.N, s.Of)
}

// Activity is what a running node is at. Between the two lists of steps, the one
// before systemd and the one after, it is at none.
func (s Status) Activity() string {
	switch {
	case s.Of > 0 && s.N == s.Of && s.Text == "":
		return "its name, user and keys are set up; the rest follows"
	case s.Text != "":
		return s.Place() + s.Count() + ": " + s.Text
	}
	return s.Place() + s.Count()
}

// Format is a time by the clock on the wall where the Pi is; "" if not known.
func (s Status) Format(t time.Time, layout string) string {
	if t.IsZero() {
		return ""
	}
	zone, err := time.LoadLocation(s.Timezone)
	if err != nil {
		zone = time.UTC
	}
	return t.In(zone).Format(layout)
}
