package steps

import (
	"picluster/internal/node"
)

// Stages that the commands know by name.
const (
	EnrollStage = "enroll" // a spare is another node after it
	SealStage   = "seal"   // the last one
)

// Run lists what is done once systemd, the network and other services run. It is
// begun again at each boot until its last step has sealed the node. What can be
// waited for is waited for here; a step that gives up is tried again by the
// command, so nothing has to be switched off and on.
//
// A spare gets its name in the stage enroll. Its list is empty from there on: with
// the name it has another node.json, and so another list.
//
// The person's own packages come late: a name that no repository has keeps no
// node out of its cluster.
func Run(c *node.Config, e Env) []Stage {
	stages := []Stage{
		{Name: "preconditions", Steps: preconditions(c)},
		{Name: "disk", Steps: diskSteps()},
		{Name: "name", Steps: nameSteps(c)},
		{Name: "network", Steps: connectionSteps(c)},
		{Name: "time", Steps: timeSteps(c)},
		{Name: EnrollStage, Steps: enrollSteps(c, e)},
		{Name: "firmware", Steps: firmwareSteps(c, e)},
		{Name: "swap", Steps: swapSteps(c)},
		{Name: "locale", Steps: localeSteps(c)},
		{Name: "storage", Steps: storageSteps(c)},
		{Name: "kubernetes", Steps: kubernetesSteps(c, e)},
		{Name: "runtime", Steps: runtimeSteps(c, e)},
		{Name: "control-plane", Steps: controlPlaneSteps(c)},
		{Name: "join", Steps: joinSteps(c, e)},
		{Name: "packages", Steps: packageSteps(c)},
		Seal(c.Name),
	}
	past := false
	for i := range stages {
		if past {
			stages[i].Steps = nil
		}
		past = past || Nameless(c) && stages[i].Name == EnrollStage
	}
	return stages
}

// Seal is the last stage: a node of that name is done.
func Seal(name string) Stage {
	return Stage{Name: SealStage, Steps: []Step{Text{What: "seal", Path: SealPath, Content: name + "\n"}}}
}

// Nameless reports whether the card is a spare that is still to become a node.
func Nameless(c *node.Config) bool { return c.Role == node.Spare && c.Kubernetes != nil }
