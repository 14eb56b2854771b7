// Command firstboot is picluster's agent on every Pi. It travels on the card's
// FAT partition next to node.json, configures the Pi at its first boot and
// makes it a member of the cluster.
package main

import (
	"picluster/internal/cli"
	"picluster/internal/version"
)

func main() { cli.Main(program()) }

func program() cli.Program {
	return cli.Program{
		Name:    "firstboot",
		Summary: "configure this Pi from node.json",
		Version: version.String(),
		Commands: func() []cli.Command {
			return []cli.Command{earlyCommand(), runCommand(), planCommand(), reapplyCommand(), statusCommand(), logsCommand(), serveCommand(), syncCommand(), measureCommand()}
		},
	}
}
