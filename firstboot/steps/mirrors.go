package steps

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"picluster/internal/node"
)

// mirrorSteps tell containerd where the images of a registry are had from instead. It
// reads these files at each pull (containerd: docs/hosts.md).
func mirrorSteps(k *node.Kubernetes) []Step {
	var steps []Step
	for _, registry := range slices.Sorted(maps.Keys(k.Mirrors)) {
		place := k.Mirrors[registry]
		if !strings.Contains(place, "://") {
			place = "https://" + place
		}
		// server is who is asked when the hosts below do not have an image: the
		// mirror again, and so nobody whom the person has not named.
		text := fmt.Sprintf("server = %q\n\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", place, place)
		steps = append(steps, Text{What: "mirror of " + registry, Path: "/etc/containerd/certs.d/" + registry + "/hosts.toml", Content: text})
	}
	return steps
}
