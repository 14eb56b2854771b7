// Command clusterctl looks after a cluster from the desk: it waits for its nodes,
// deploys what they share, and repairs it.
package main

import (
	"picluster/internal/cli"
	"picluster/internal/version"
)

func main() { cli.Main(program()) }

func program() cli.Program {
	return cli.Program{
		Name:    "clusterctl",
		Summary: "deploy and look after a cluster of Pis",
		Version: version.String(),
		Commands: func() []cli.Command {
			return []cli.Command{
				waitCommand(),
				statusCommand(),
				explainCommand(),
				doctorCommand(),
				kubeconfigCommand(),
				nodeCommand(),
				auditCommand(),
				supportCommand(),
				deployCommand(),
				removeCommand(),
				dashboardCommand(),
				storageCommand(),
				diskCommand(),
				imagesCommand(),
				maintenanceCommand(),
				registryCommand(),
				demoCommand(),
			}
		},
	}
}
