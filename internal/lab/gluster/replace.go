package gluster

import (
	"os"
	"path/filepath"
)

// Replace puts a new machine in the place of the node, under its name and address: its
// disk is empty, and its glusterd knows nobody.
func (n *Node) Replace() {
	n.cluster.t.Helper()
	n.PowerOff()
	if err := detach(n.disk); err != nil {
		n.cluster.t.Fatal(err)
	}
	for _, dir := range []string{"upper", "workdir", "srv", "tmp"} {
		if err := os.RemoveAll(filepath.Join(n.disk, dir)); err != nil {
			n.cluster.t.Fatal(err)
		}
	}
	n.PowerOn()
}
