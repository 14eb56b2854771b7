package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"picluster/internal/host"
)

// Ports of Gluster: of glusterd, and of bricks as glusterd.vol limits them. Without
// that limit bricks take any port up to 60999.
const (
	MinPort = 49152
	MaxPort = 49251
)

// firewall closes a node's Gluster ports to all but the pool. GlusterFS believes
// everybody who reaches it: whoever may connect may take part.
type firewall struct {
	applied string // the rules that are in force
}

// keep brings the rules up to date with the file of peers. No file is nobody.
func (f *firewall) keep(ctx context.Context, h host.Host, peers string) error {
	data, err := h.ReadFile(ctx, peers)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	rules, err := rules(string(data))
	if err != nil || rules == f.applied {
		return err
	}
	if _, err := h.Run(ctx, host.Cmd{Args: []string{"nft", "--file", "-"}, Stdin: strings.NewReader(rules)}); err != nil {
		return fmt.Errorf("close the storage's ports: %w", err)
	}
	f.applied = rules
	return nil
}

// rules are one transaction for nft(8): the table is there before it is deleted, and no
// packet passes between the old and the new one.
func rules(peers string) (string, error) {
	var elements []string
	for word := range strings.FieldsSeq(peers) {
		address, err := netip.ParseAddr(word)
		if err != nil || !address.Is4() {
			return "", fmt.Errorf("read peers: %q is no IPv4 address", word)
		}
		elements = append(elements, address.String())
	}
	slices.Sort(elements)
	set := ""
	if len(elements) > 0 {
		set = "\n\t\telements = { " + strings.Join(slices.Compact(elements), ", ") + " }"
	}
	return fmt.Sprintf(`add table inet %[1]s
delete table inet %[1]s
table inet %[1]s {
	set peers {
		type ipv4_addr%[2]s
	}
	chain input {
		type filter hook input priority filter - 10; policy accept;
		iif lo accept
		tcp dport { 24007, 24008, %[3]d-%[4]d } ip saddr != @peers drop
		tcp dport { 24007, 24008, %[3]d-%[4]d } meta nfproto ipv6 drop
	}
}
`, table, set, MinPort, MaxPort), nil
}

const table = "picluster_storage"

// openPorts takes the rules away.
func openPorts(ctx context.Context, h host.Host) error {
	_, err := h.Run(ctx, host.Cmd{Args: []string{"nft", "--file", "-"}, Stdin: strings.NewReader("add table inet " + table + "\ndelete table inet " + table + "\n")})
	return err
}
