package spec

import (
	"fmt"
	"net/netip"
	"regexp"
)

// maxSpares is far more than anyone keeps in a drawer.
const maxSpares = 100

func nodeField(i int, key string) string { return fmt.Sprintf("nodes[%d].%s", i, key) }

func (c *Cluster) checkNodes(r *report) {
	if len(c.Nodes) == 0 {
		r.problem("nodes", "is missing").Hint = "nodes: 3"
	}
	if c.Spares < 0 || c.Spares > maxSpares {
		r.problem("spares", "%d spare cards, want 0 to %d", c.Spares, maxSpares)
		c.Spares = 0
	}
	// A wrong prefix is one problem, not one in each node.
	if longest := fmt.Sprintf("%snode%d", c.NodePrefix, len(c.Nodes)+c.Spares); len(longest) > maxLabel || !label.MatchString(longest) {
		r.problem("nodePrefix", "%s makes no host name of %s: lower-case letters, digits and hyphens, at most %d in all", quoted(c.NodePrefix), quoted(longest), maxLabel)
	}
	c.checkNodeNames(r)
	for i, n := range c.Nodes {
		if n.Interface == "wlan0" && len(c.Network.WiFi) == 0 {
			r.problem("network.wifi", "is missing: the interface of nodes[%d] is wlan0", i).
				Hint = "wifi: [{ssid: home, passphraseFile: wifi.txt, country: CH}]"
		}
		c.checkRole(r, i)
		c.checkLabels(r, i)
	}
}

func (c *Cluster) checkNodeNames(r *report) {
	owner := map[string]string{"localhost": "the machine itself"}
	for _, name := range c.SpareNames() {
		owner[name] = "a spare card"
	}
	for i, n := range c.Nodes {
		field := nodeField(i, "name")
		if !r.given(field) && r.bad["nodePrefix"] {
			continue
		}
		checkLabel(r, field, n.Name, "a host name")
		if other := owner[n.Name]; other != "" {
			r.problem(field, "%s is the name of %s already", quoted(n.Name), other)
		}
		owner[n.Name] = fmt.Sprintf("nodes[%d]", i)
	}
}

func (c *Cluster) checkRole(r *report, i int) {
	switch field := nodeField(i, "role"); {
	case i == 0 && c.Nodes[i].Role != "control-plane":
		r.problem(field, "the first node is the control plane")
	case i > 0 && c.Nodes[i].Role == "control-plane":
		r.problem(field, "a cluster has one control plane for now, and it is the first node").Hint = "put this node first, or leave the role out"
	}
}

// Forms of Kubernetes' labels and taints, from its documentation "Labels and
// Selectors" and "Taints and Tolerations".
var (
	labelKey   = regexp.MustCompile(`^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
	labelValue = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`)
	taintForm  = regexp.MustCompile(`^([^=:]+)(?:=([^=:]*))?:([A-Za-z]+)$`)
)

func (c *Cluster) checkLabels(r *report, i int) {
	n := &c.Nodes[i]
	for key, value := range n.Labels {
		field := nodeField(i, "labels."+keyName(key))
		if !labelKey.MatchString(key) {
			r.problem(field, "%s is not a label of Kubernetes", quoted(key))
		}
		if !labelValue.MatchString(value) {
			r.problem(field, "%s is not a label's value: at most 63 letters, digits, hyphens, dots and underscores", quoted(value))
		}
	}
	for j, taint := range n.Taints {
		field := fmt.Sprintf("nodes[%d].taints[%d]", i, j)
		m := taintForm.FindStringSubmatch(taint)
		if m == nil || !labelKey.MatchString(m[1]) || !labelValue.MatchString(m[2]) {
			r.problem(field, "%s is not a taint: key=value:effect", quoted(taint))
			continue
		}
		r.oneOf(field, m[3], []string{"NoSchedule", "PreferNoSchedule", "NoExecute"})
	}
}

// checkAddresses looks at all subnets and fixed addresses together.
func (c *Cluster) checkAddresses(r *report) {
	c.checkFixedAddresses(r)
	r.checkSubnet("network.clusterSubnet", c.Network.ClusterSubnet)
	if subnet := c.Network.ClusterSubnet; !r.isBad("network.clusterSubnet") {
		last := len(c.Nodes) + c.Spares - 1
		if last >= 0 && !c.ClusterAddress(last).IsValid() {
			r.problem("network.clusterSubnet", "%s has no room for %d nodes and %d spares: addresses begin at the tenth", subnet, len(c.Nodes), c.Spares)
		}
	}
	if c.Kubernetes.Enabled {
		c.checkPodSubnets(r)
	}
	c.checkOverlaps(r)
}

// checkSubnet wants an IPv4 network that hosts may have addresses in.
func (r *report) checkSubnet(field string, subnet netip.Prefix) {
	switch a := subnet.Addr(); {
	case !subnet.IsValid():
		r.problem(field, "is empty")
	case !a.Is4():
		r.problem(field, "%s is not IPv4", subnet)
	case subnet != subnet.Masked():
		r.problem(field, "%s is an address in a network, want the network", subnet).Hint = didYouMean(subnet.Masked().String())
	case a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalUnicast() || subnet.Bits() < 8:
		r.problem(field, "%s is not a network for hosts", subnet).Hint = "for example 10.77.0.0/24"
	}
}

// checkPodSubnets holds the limits of Kubernetes: its controller gives each node
// a /24 of the pod subnet, and the API server takes no service subnet larger
// than /12; kubeadm none smaller than ten addresses.
func (c *Cluster) checkPodSubnets(r *report) {
	pods, services := c.Kubernetes.PodSubnet, c.Kubernetes.ServiceSubnet
	r.checkSubnet("kubernetes.podSubnet", pods)
	r.checkSubnet("kubernetes.serviceSubnet", services)
	if nodes := len(c.Nodes) + c.Spares; !r.isBad("kubernetes.podSubnet") && addressesIn(pods) < 256*nodes {
		r.problem("kubernetes.podSubnet", "%s has no room for %d nodes with 256 addresses each", pods, nodes)
	}
	if !r.isBad("kubernetes.serviceSubnet") && (services.Bits() < 12 || services.Bits() > 28) {
		r.problem("kubernetes.serviceSubnet", "%s has a prefix length of %d, want 12 to 28", services, services.Bits())
	}
}

func (c *Cluster) checkFixedAddresses(r *report) {
	owner := map[netip.Addr]string{c.Network.Gateway: "network.gateway"}
	var first netip.Prefix
	for i, n := range c.Nodes {
		field, a := nodeField(i, "address"), n.Address
		if !a.IsValid() || r.isBad(field) {
			continue
		}
		if !first.IsValid() {
			first = a.Masked()
		}
		switch {
		case !a.Addr().Is4():
			r.problem(field, "%s is not IPv4", a)
		case a.Bits() < 31 && (a.Addr() == a.Masked().Addr() || !a.Contains(a.Addr().Next())):
			r.problem(field, "%s is not the address of a host: it is the first or the last of its network", a)
		case owner[a.Addr()] != "":
			r.problem(field, "%s is the address of %s already", a.Addr(), owner[a.Addr()])
		case a.Masked() != first:
			r.problem(field, "%s is not in %s as the other fixed addresses are", a, first)
		case c.Network.Gateway.IsValid() && !a.Contains(c.Network.Gateway):
			r.problem("network.gateway", "%s is not in %s, the network of nodes[%d]", c.Network.Gateway, a.Masked(), i)
		}
		owner[a.Addr()] = fmt.Sprintf("nodes[%d]", i)
	}
}

// checkOverlaps wants each address to belong to one network only. The problem
// stands at a network that the document gives, not at a default.
func (c *Cluster) checkOverlaps(r *report) {
	type network struct {
		field  string
		prefix netip.Prefix
	}
	networks := []network{{"network.clusterSubnet", c.Network.ClusterSubnet}}
	if c.Kubernetes.Enabled {
		networks = append(networks, network{"kubernetes.podSubnet", c.Kubernetes.PodSubnet},
			network{"kubernetes.serviceSubnet", c.Kubernetes.ServiceSubnet})
	}
	for i, n := range c.Nodes {
		if n.Address.IsValid() {
			networks = append(networks, network{nodeField(i, "address"), n.Address.Masked()})
			break // they are all in one network
		}
	}
	for i, b := range networks {
		for _, a := range networks[:i] {
			if r.isBad(a.field) || r.isBad(b.field) || !a.prefix.Overlaps(b.prefix) {
				continue
			}
			at, other := b, a
			if !r.given(at.field) {
				at, other = a, b
			}
			r.problem(at.field, "%s overlaps with %s, which is %s", at.prefix, other.field, other.prefix)
		}
	}
}
