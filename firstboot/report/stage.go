package report

import (
	"picluster/internal/node"
	"picluster/internal/status"
)

const sealStage = "seal"

// stages are those of the agent's run, in their order, with what they are called
// by people and the short flashes that a failure in them has.
var stages = []struct {
	name, title string
	flashes     int
	wanted      func(*node.Config) bool // nil: always
}{
	{name: "preconditions", title: "Look at the board", flashes: 1},
	{name: "disk", title: "Use the whole card", flashes: 2},
	{name: "name", title: "Take its name", flashes: 1, wanted: isWorker},
	{name: "network", title: "Reach the network", flashes: 3},
	{name: "time", title: "Set the clock", flashes: 4},
	{name: "enroll", title: "Get a name from the first node", flashes: 7, wanted: isNameless},
	{name: "firmware", title: "Set up the board", flashes: 1},
	{name: "swap", title: "Set up memory", flashes: 2},
	{name: "locale", title: "Prepare the language", flashes: 1},
	{name: "storage", title: "Prepare storage", flashes: 8, wanted: func(c *node.Config) bool { return c.Storage != nil }},
	{name: "kubernetes", title: "Install Kubernetes", flashes: 6, wanted: hasKubernetes},
	{name: "runtime", title: "Start the container runtime", flashes: 6, wanted: hasKubernetes},
	{name: "control-plane", title: "Set up the control plane", flashes: 6, wanted: func(c *node.Config) bool { return hasKubernetes(c) && c.Role == node.ControlPlane }},
	{name: "join", title: "Join the cluster", flashes: 7, wanted: func(c *node.Config) bool { return hasKubernetes(c) && c.Role != node.ControlPlane }},
	{name: "packages", title: "Install your packages", flashes: 5, wanted: func(c *node.Config) bool { return len(c.System.Packages) > 0 }},
	{name: sealStage, title: "Finish", flashes: 1},
}

func hasKubernetes(c *node.Config) bool { return c.Kubernetes != nil }

func isWorker(c *node.Config) bool { return hasKubernetes(c) && c.Role == node.Worker }

func isNameless(c *node.Config) bool { return hasKubernetes(c) && c.Role == node.Spare }

// stagesOf lists the stages of this node. Of a run that is at none of them
// (before systemd, or another list of steps) nothing is known but that they come.
func stagesOf(c *node.Config, s status.Status) []status.Stage {
	current := -1
	for i, stage := range stages {
		if stage.name == s.Stage && s.State != status.Starting {
			current = i
		}
	}
	var list []status.Stage
	for i, stage := range stages {
		if stage.wanted != nil && !stage.wanted(c) {
			continue
		}
		p := status.ToDo
		switch {
		case s.State == status.Done || i < current:
			p = status.Complete
		case i == current && s.State == status.Failed:
			p = status.Stuck
		case i == current:
			p = status.Now
		}
		list = append(list, status.Stage{Name: stage.name, Title: stage.title, Progress: p})
	}
	return list
}

// canLogIn tells whether the stages that make the user are behind.
func canLogIn(stage string) bool {
	return stage != "" && stage != "install" && stage != "identity"
}

// clockIsSet tells whether the stage comes after the one that sets the clock.
func clockIsSet(stage string) bool {
	after := false
	for _, s := range stages {
		if s.name == stage {
			return after
		}
		after = after || s.name == "time"
	}
	return false
}

// flashesOf is the number of short flashes for a failure in the stage; the early
// ones, and any unknown one, count as configuration.
func flashesOf(stage string) int {
	for _, s := range stages {
		if s.name == stage {
			return s.flashes
		}
	}
	return 1
}
