package plan

import (
	"fmt"
	"strings"

	"picluster/internal/node"
)

// nodeTxt is what a person reads who finds the card and puts it into a laptop.
// Lines end in CRLF, because Notepad on Windows is where it may be read.
func nodeTxt(c *node.Config, image string) []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }

	line("This is a picluster card.")
	line("")
	line("  card:     %s", c.Name)
	line("  role:     %s", roleText[c.Role])
	line("  cluster:  %s", c.Cluster.Name)
	line("  image:    %s (%s, %s)", image, c.Build.Release, c.Build.Arch)
	line("  made by:  imagebuilder %s", c.Build.Tool)
	line("")
	line("What to do: put it into the Raspberry Pi and switch on. The first boot takes")
	line("%s; do not switch off before it has ended. Nothing bad happens if you do:", firstBootTakes(c))
	line("it goes on where it stopped.")
	line("")
	if c.Role != node.Spare {
		line("Log in:     ssh %s@%s.local", c.System.User.Name, c.Name)
		line("See it work: http://%s.local:7390/", c.Name)
	} else {
		line("It joins as the next free node and takes that node's name.")
	}
	line("If it does not come up: put this card into a computer again and read")
	line("STATUS.txt here; it says what is wrong and what to do.")
	if len(c.Network.WiFi) > 0 {
		line("")
		line("Before its first boot this card holds your Wi-Fi password. Keep it safe.")
	}
	return []byte(b.String())
}

var roleText = map[node.Role]string{
	node.ControlPlane: "control plane (the first node; switch it on first or together with the others)",
	node.Worker:       "worker",
	node.Spare:        "spare (becomes the next free node)",
}

// firstBootTakes is for people who would otherwise pull the plug; boards and networks
// differ too much for more.
func firstBootTakes(c *node.Config) string {
	if c.Kubernetes == nil {
		return "some minutes"
	}
	return "up to half an hour"
}
