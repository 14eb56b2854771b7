package steps

import (
	"picluster/internal/node"
)

// SealStage is the last stage of Run.
const SealStage = "seal"

// Run lists what is done once systemd, the network and other services run. It is
// begun again at each boot until its last step has sealed the node. What can be
// waited for is waited for here; a step that gives up is tried again by the
// command, so nothing has to be switched off and on.
//
// The person's own packages come late: a name that no repository has keeps no
// node out of its cluster.
func Run(c *node.Config, e Env) []Stage {
	return []Stage{
		{Name: "preconditions", Steps: preconditions(c)},
		{Name: "disk", Steps: diskSteps()},
		{Name: "network", Steps: connectionSteps(c)},
		{Name: "time", Steps: timeSteps(c)},
		{Name: "firmware", Steps: firmwareSteps(c, e)},
		{Name: "swap", Steps: swapSteps(c)},
		{Name: "locale", Steps: localeSteps(c)},
		{Name: "storage", Steps: storageSteps(c)},
		{Name: "kubernetes", Steps: nil},
		{Name: "packages", Steps: packageSteps(c)},
		{Name: SealStage, Steps: []Step{Text{What: "seal", Path: SealPath, Content: c.Name + "\n"}}},
	}
}
