package plan

import (
	"fmt"
	"slices"
	"strings"

	"picluster/imagebuilder/secrets"
	"picluster/internal/bootfiles"
	"picluster/internal/node"
	"picluster/internal/secret"
	"picluster/internal/spec"
)

// CardNames lists the cards of a cluster in the order in which they are written:
// the nodes, then the spares.
func CardNames(c *spec.Cluster) []string {
	names := c.NodeNames()
	return append(names, c.SpareNames()...)
}

// Want says what secrets the cluster needs.
func Want(c *spec.Cluster) secrets.Want {
	w := secrets.Want{Cluster: c.Name, Spares: c.Spares}
	for i, n := range c.Nodes {
		w.Nodes = append(w.Nodes, secrets.Node{
			Name: n.Name, ControlPlane: i == 0, ClusterAddress: c.ClusterAddress(i).Addr(), Labels: n.Labels,
		})
	}
	return w
}

// config translates one node of the spec into the document that its Pi reads.
// This is the only place where the two meet.
func (in *Inputs) config(name string) (*node.Config, error) {
	s, f := in.Cluster, in.Base.Facts
	card, err := in.Secrets.Card(name)
	if err != nil {
		return nil, err
	}
	c := &node.Config{
		Version: node.Version, Name: name, Role: node.Spare,
		Cluster: node.Cluster{Name: s.Name, ID: in.Secrets.ID()},
		Build: node.Build{Time: card.Created(), Tool: in.Tool, Image: in.Base.SHA256,
			Release: f.Release.Name, Arch: f.Arch},
		System: system(&s.System, in.Secrets.OperatorPublicKey()),
		SSH:    node.SSH{HostKey: secret.Wire{Text: card.HostKey()}, HostPublicKey: card.HostPublicKey()},
		Boot:   node.Boot{USBBoot: s.Boot.USBBoot == "agent"},
	}
	if c.Network, err = network(&s.Network); err != nil {
		return nil, err
	}
	for i, n := range s.Nodes {
		c.Peers = append(c.Peers, node.Peer{Name: n.Name, Address: s.ClusterAddress(i).Addr()})
		if n.Name == name {
			in.named(c, i)
		}
	}
	if c.Role == node.Spare {
		c.Network.ClusterSubnet = s.Network.ClusterSubnet
	}
	if c.Role == node.Spare && s.Storage.OnNodes() {
		c.Storage = storage(s.Storage.Device)
	}
	if s.Kubernetes.Enabled {
		c.Kubernetes = in.kubernetes(name)
		if c.Join, err = in.join(c, card); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// named fills in what only a node with a name of its own has.
func (in *Inputs) named(c *node.Config, i int) {
	s, n := in.Cluster, in.Cluster.Nodes[i]
	c.Role = node.Role(n.Role)
	c.Network.Interface = n.Interface
	c.Network.ClusterAddress = s.ClusterAddress(i)
	if n.Address.IsValid() {
		c.Network.Static = &node.Static{Address: n.Address, Gateway: s.Network.Gateway, DNS: s.Network.DNS}
	}
	if n.Storage.Enabled {
		c.Storage = storage(n.Storage.Device)
	}
}

// system adds the operator's key to the person's own: clusterctl logs in with it.
func system(s *spec.System, operatorKey string) node.System {
	out := node.System{
		Timezone: s.Timezone, Locale: s.Locale, Keymap: s.Keymap, Swap: s.Swap, Packages: s.Packages,
		User: node.User{Name: s.User.Name, AuthorizedKeys: append(slices.Clone(s.User.Keys), operatorKey), Sudo: s.User.Sudo,
			PasswordHash: secret.Wire{Text: s.User.Password.Hash}},
	}
	for _, f := range s.Files {
		out.Files = append(out.Files, node.File{Path: f.Path, Mode: uint32(f.Mode), Owner: f.Owner, Content: secret.Wire{Text: f.Data}})
	}
	return out
}

func network(n *spec.Network) (node.Network, error) {
	out := node.Network{Interface: n.Interface, Country: n.Country, NTP: n.NTP}
	for _, w := range n.WiFi {
		key, err := wifiKey(w)
		if err != nil {
			return out, err
		}
		out.WiFi = append(out.WiFi, node.WiFi{SSID: []byte(w.SSID), Security: security(w.Security), Hidden: w.Hidden, Key: secret.Wire{Text: key}})
	}
	return out, nil
}

func security(s string) string {
	if s == "auto" {
		return "wpa2-wpa3"
	}
	return s
}

// wifiKey returns what the card keeps: the passphrase, or the key that is made
// from it. A key cannot do WPA3, and hides nothing of this network, only a
// passphrase that is in use elsewhere (raspberrypi/linux#7634).
func wifiKey(w spec.WiFi) (secret.Text, error) {
	if w.Passphrase.IsZero() || w.StoreAs == "passphrase" || w.StoreAs == "auto" && w.Security != "wpa2" {
		return w.Passphrase, nil
	}
	return bootfiles.PMK(w.Passphrase, []byte(w.SSID))
}

func storage(d spec.Device) *node.Storage {
	return &node.Storage{LoopPath: d.Loop.Path, LoopSize: int64(d.Loop.Size), Disk: d.Disk, Wipe: d.Wipe}
}

func (in *Inputs) kubernetes(name string) *node.Kubernetes {
	k := in.Cluster.Kubernetes
	// A spare becomes a worker, and workers run workloads.
	out := &node.Kubernetes{Version: k.Version, CNI: k.CNI, PodSubnet: k.PodSubnet, ServiceSubnet: k.ServiceSubnet, Schedulable: true,
		Kubelet: k.Kubelet, KubeProxy: k.KubeProxy, IgnorePreflight: k.IgnorePreflight}
	out.Repository, out.Mirrors = repository(&in.Cluster.Mirrors), in.Cluster.Mirrors.Images
	out.Packages = HostPackages(in.Cluster)
	for i, n := range in.Cluster.Nodes {
		if n.Name == name {
			out.Labels, out.Taints = n.Labels, n.Taints
			out.Schedulable = i > 0 || k.ControlPlaneSchedulable
		}
	}
	return out
}

// repository names the key, or what it is known by.
func repository(m *spec.Mirrors) node.Repository {
	r := node.Repository{URL: strings.TrimSuffix(m.Kubernetes, "/") + "/", Key: m.Key}
	if r.Key == "" {
		r.Fingerprint = spec.KubernetesFingerprint
	}
	return r
}

// join gives the card its identity. Only the control plane's card carries the
// keys of the join service.
func (in *Inputs) join(c *node.Config, card *secrets.Card) (*node.Join, error) {
	j := &node.Join{
		CardID: card.ID(), Generation: card.Generation(),
		CA: in.Secrets.CA(), Certificate: card.Certificate(), Key: secret.Wire{Text: card.Key()},
		ServerName: in.Secrets.ServerName(), Server: in.Cluster.ClusterAddress(0).Addr(),
	}
	if c.Role != node.ControlPlane {
		return j, nil
	}
	inventory, signature, err := in.Secrets.Inventory(Want(in.Cluster))
	if err != nil {
		return nil, err
	}
	j.Service = &node.JoinService{
		Certificate: in.Secrets.ServerCertificate(), Key: secret.Wire{Text: in.Secrets.ServerKey()},
		DeviceCA: in.Secrets.DeviceCA(), DeviceCAKey: secret.Wire{Text: in.Secrets.DeviceCAKey()},
		Inventory: inventory, InventorySig: signature,
	}
	return j, nil
}

// vendorEdits writes the files that the image's own first boot reads, on the
// releases where it does: Wi-Fi and the user come up even before our agent has
// had its turn. On newer ones everything travels in node.json.
func (in *Inputs) vendorEdits(c *node.Config) ([]Edit, error) {
	release := in.Base.Facts.Release
	if !release.WPASupplicant {
		return nil, nil
	}
	var edits []Edit
	if len(c.Network.WiFi) > 0 {
		var networks []bootfiles.Network
		for _, w := range c.Network.WiFi {
			networks = append(networks, bootfiles.Network{SSID: w.SSID, Security: bootfiles.Security(w.Security), Key: w.Key.Text, Hidden: w.Hidden})
		}
		data, err := bootfiles.WPASupplicant(c.Network.Country, networks)
		if err != nil {
			return nil, fmt.Errorf("%w (the image is %s)", err, release.Name)
		}
		edits = append(edits, WriteFile{Name: "wpa_supplicant.conf", Data: data, Masked: true})
	}
	if in.Base.Facts.Userconf && !c.System.User.PasswordHash.IsZero() {
		data, err := bootfiles.Userconf(c.System.User.Name, c.System.User.PasswordHash.Text)
		if err != nil {
			return nil, err
		}
		edits = append(edits, WriteFile{Name: "userconf.txt", Data: data, Masked: true})
	}
	return edits, nil
}
