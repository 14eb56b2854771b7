package main

import (
	"fmt"
	"io"

	"picluster/clusterctl/kube"
	"picluster/clusterctl/steps"
	"picluster/internal/cli"
	"picluster/internal/step"
)

// outputVersion is in all that a script reads; it is raised when a field changes its
// meaning.
const outputVersion = 1

// change is one step's, made or only planned.
type change struct {
	Addon string `json:"addon"`
	Step  string `json:"step"`
	Drift string `json:"drift,omitempty"`
	Error string `json:"error,omitempty"` // why nothing is known
}

// showDrifts is what --plan prints.
func showDrifts(w io.Writer, output string, drifts []step.Drift, fine string) error {
	if output == "json" {
		changes := []change{}
		for _, d := range drifts {
			c := change{Addon: d.Stage, Step: d.Step, Drift: d.Text}
			if d.Err != nil {
				c.Error = d.Err.Error()
			}
			changes = append(changes, c)
		}
		return cli.WriteJSON(w, struct {
			Version int      `json:"version"`
			Plan    []change `json:"plan"`
		}{outputVersion, changes})
	}
	if len(drifts) == 0 {
		fmt.Fprintf(w, "Nothing to do: %s.\n", fine)
	}
	for _, d := range drifts {
		fmt.Fprintln(w, d)
	}
	return nil
}

// runReport follows a run: a line for people as things happen, a result at the end.
type runReport struct {
	w       io.Writer
	addons  []string
	waits   map[[2]string]bool
	changes []change
}

func newRunReport(w io.Writer, stages []kube.Stage) *runReport {
	r := &runReport{w: w, waits: map[[2]string]bool{}}
	for _, stage := range stages {
		r.addons = append(r.addons, stage.Name)
		for _, s := range stage.Steps {
			r.waits[[2]string{stage.Name, s.Name()}] = steps.IsWait(s)
		}
	}
	return r
}

func (r *runReport) observe(e step.Event) {
	wait := r.waits[[2]string{e.Stage, e.Step}]
	switch e.Kind {
	case step.Applying:
		if !wait {
			r.changes = append(r.changes, change{Addon: e.Stage, Step: e.Step, Drift: e.Text})
		}
		fmt.Fprintf(r.w, "%s: %s: %s\n", e.Stage, e.Step, e.Text)
	case step.Waiting:
		fmt.Fprintf(r.w, "%s: waiting for %s\n", e.Stage, e.Text)
	case step.Done, step.Unchanged:
		// What was changed is said to be ready, also if it was so before anybody looked.
		if wait && (e.Kind == step.Done || r.changesOf(e.Stage) > 0) {
			fmt.Fprintf(r.w, "%s: %s\n", e.Stage, e.Step)
		}
	}
}

func (r *runReport) changesOf(addon string) int {
	n := 0
	for _, c := range r.changes {
		if c.Addon == addon {
			n++
		}
	}
	return n
}

// show prints the result. failure is what ended the run; the caller reports it.
func (r *runReport) show(w io.Writer, output string, failure error, fine string) error {
	if output == "json" {
		result := struct {
			Version int      `json:"version"`
			Addons  []string `json:"addons"`
			Changes []change `json:"changes"`
			Error   string   `json:"error,omitempty"`
		}{Version: outputVersion, Addons: r.addons, Changes: r.changes}
		if result.Changes == nil {
			result.Changes = []change{}
		}
		if failure != nil {
			result.Error = failure.Error()
		}
		return cli.WriteJSON(w, result)
	}
	if failure != nil {
		return nil
	}
	if len(r.changes) == 0 {
		fmt.Fprintf(w, "Nothing to do: %s.\n", fine)
		return nil
	}
	for _, name := range r.addons {
		if n := r.changesOf(name); n > 0 {
			fmt.Fprintf(w, "%-11s %s\n", name, cli.Count(n, "change"))
		}
	}
	return nil
}
