// Command imagebuilder turns cluster.yaml into SD cards: it patches a stock
// Raspberry Pi OS image, as an ordinary user and without mounting anything, and
// writes it to cards, each with its own identity.
//
// This file lists the commands; each has a short file of its own, which parses
// flags, wires packages together and prints. What can be wrong sits one level
// below.
package main

import (
	"picluster/internal/cli"
	"picluster/internal/version"
)

func main() { cli.Main(program()) }

func program() cli.Program {
	return cli.Program{
		Name:    "imagebuilder",
		Summary: "from cluster.yaml to verified SD cards for Raspberry Pis",
		Version: version.String(),
		Commands: func() []cli.Command {
			return []cli.Command{
				initCommand(),
				validateCommand(),
				planCommand(),
				buildCommand(),
				devicesCommand(),
				writeCommand(),
				bundleCommand(),
				verifyCommand(),
				inspectCommand(),
				otpCardCommand(),
				cacheCommand(),
			}
		},
	}
}
