// Package spec is cluster.yaml: the one document that a person writes.
//
// It reads the file strictly, fills in the defaults, resolves what the document
// only refers to (keys, passphrases, extra files) and reports every problem at
// once, each with its line and column. What a Cluster means for a card is not
// its business: imagebuilder/plan turns it into the documents that Pis read.
//
// The comments on the fields below are the reference that people read: a test
// turns them into docs/cluster-yaml.md. The tag `json` holds a key's name,
// `oneof` its allowed words, `example` a value; `default` says in words what
// setDefaults works out, or that there is no default.
package spec

import (
	"net/netip"

	"picluster/internal/secret"
)

// Cluster is the whole document with its defaults filled in. encoding/json
// prints it, and what it prints is a valid document again. Fields without a key
// are results of reading; they are left out when printing.
type Cluster struct {
	// The form of this document.
	APIVersion string `json:"apiVersion" oneof:"picluster/v1"`
	// What the document describes.
	Kind string `json:"kind" oneof:"Cluster"`
	// The cluster's name: lower-case letters, digits and hyphens.
	Name string `json:"name" example:"home"`
	// What the cards start from.
	Image Image `json:"image"`
	// What the names of nodes begin with, for those that have no name of their own.
	NodePrefix string `json:"nodePrefix" example:"pi-"`
	// How many nodes there are, or a list of them. The first is the control plane.
	Nodes Nodes `json:"nodes" default:"none: has to be given" example:"3"`
	// Cards without a name, which become the next free node when they are switched on.
	Spares int `json:"spares" example:"1"`
	// The operating system of every node.
	System System `json:"system"`
	// How nodes reach each other and the world.
	Network Network `json:"network"`
	// Changes of how a board boots.
	Boot Boot `json:"boot"`
	// The Kubernetes cluster.
	Kubernetes Kubernetes `json:"kubernetes"`
	// Where software comes from, if not from its makers.
	Mirrors Mirrors `json:"mirrors"`
	// Storage that the nodes share.
	Storage Storage `json:"storage"`
	// What is deployed into the cluster.
	Addons Addons `json:"addons"`

	// File is the path that the document was read from.
	File string `json:"-"`

	warnings Problems
}

// Image says which stock image all cards start from.
type Image struct {
	// A known name, an http or https address, or a file: .img, .img.xz, .img.gz, .img.zst or .zip.
	Source string `json:"source" example:"~/Downloads/raspios.img.xz"`
	// Digest of the file as it is downloaded: 64 hexadecimal digits. Without it, the digest published beside the image counts.
	SHA256 string `json:"sha256,omitzero" example:"3f1c…"`

	// Path is the file if Source names one, "" otherwise.
	Path string `json:"-"`
}

// Node is one named Pi. Everything has a default: `nodes: 3` is the same as a
// list of three empty items.
type Node struct {
	// The host name, and the name in Kubernetes: at most 63 lower-case letters, digits and hyphens.
	Name string `json:"name" default:"nodePrefix, then node0, node1, …" example:"alpha"`
	// The first node is the control plane, all others are workers.
	Role string `json:"role" oneof:"control-plane|worker" default:"by position"`
	// The network interface of this node.
	Interface string `json:"interface" oneof:"auto|eth0|wlan0" default:"network.interface"`
	// A fixed IPv4 address with its prefix length, in place of the one from DHCP.
	Address netip.Prefix `json:"address,omitzero" default:"DHCP" example:"192.168.1.20/24"`
	// Kubernetes labels.
	Labels map[string]string `json:"labels,omitzero" example:"{disk: ssd}"`
	// Kubernetes taints: key=value:effect or key:effect.
	Taints []string `json:"taints,omitzero" example:"[dedicated=db:NoSchedule]"`
	// What this node gives to the shared storage.
	Storage NodeStorage `json:"storage"`
}

// NodeStorage is one node's part of the shared storage.
type NodeStorage struct {
	// Whether this node holds data.
	Enabled bool `json:"enabled" default:"true where storage.backend is not none"`
	// The device of this node.
	Device Device `json:"device,omitzero" default:"storage.device"`
}

// Device is where a node keeps the data of the shared storage: either a file
// that is used as a disk, or a disk.
type Device struct {
	// A file on the card.
	Loop Loop `json:"loop,omitzero"`
	// A whole disk. Never the card itself.
	Disk string `json:"disk,omitzero" example:"/dev/sda"`
	// Permission to erase what is on the disk.
	Wipe bool `json:"wipe,omitzero"`
}

// Loop is a file that is used as a disk.
type Loop struct {
	// Where the file is.
	Path string `json:"path"`
	// How large it is. The space is taken when the node is set up.
	Size Size `json:"size" example:"100Gi"`
}

// System is what makes a machine one's own.
type System struct {
	// The time zone by its IANA name.
	Timezone string `json:"timezone" example:"Europe/Zurich"`
	// Language and country of messages and formats; always UTF-8.
	Locale string `json:"locale" example:"de_CH.UTF-8"`
	// The keyboard layout by its XKB name.
	Keymap string `json:"keymap" example:"ch"`
	// The account that people log in with.
	User User `json:"user"`
	// zram: compressed memory. file: a file on the card, which wears it. keep: as the image has it. off: none.
	Swap string `json:"swap" oneof:"zram|file|keep|off"`
	// Debian packages to install.
	Packages []string `json:"packages" example:"[htop, vim]"`
	// Files to put onto every node.
	Files []File `json:"files"`
}

// User is the one account of a node. There is no default password, and SSH
// accepts keys only.
type User struct {
	// The account's name.
	Name string `json:"name" example:"anna"`
	// Public keys that may log in: paths of .pub files, or the keys themselves. Needed unless there is a password.
	AuthorizedKeys []string `json:"authorizedKeys" example:"[~/.ssh/id_ed25519.pub]"`
	// A password for the console and for sudo.
	Password Password `json:"password,omitzero"`
	// Whether sudo asks for the password.
	Sudo string `json:"sudo" oneof:"password|nopasswd" default:"password if there is one, else nopasswd"`

	// Keys are the lines of authorized_keys that AuthorizedKeys stand for.
	Keys []string `json:"-"`
}

// Password says where the hash of a password is. `openssl passwd -6` makes one.
type Password struct {
	// A file that holds the hash: $6$…, $5$… or, for images from bullseye on, $y$….
	HashFile string `json:"hashFile,omitzero" example:"password.hash"`
	// An environment variable that holds the hash.
	HashEnv string `json:"hashEnv,omitzero" example:"PI_PASSWORD_HASH"`

	// Hash is the hash itself.
	Hash secret.Text `json:"-"`
}

// File is an extra file on the root file system: text of at most 1 MiB.
type File struct {
	// Where the file goes.
	Path string `json:"path" default:"none: has to be given" example:"/etc/motd"`
	// A local file to copy.
	Source string `json:"source,omitzero" example:"motd.txt"`
	// Or the content itself.
	Content secret.Text `json:"content,omitzero" example:"\"Hello\\n\""`
	// Permission bits, octal.
	Mode Mode `json:"mode" example:"0600"`
	// The owner: user or user:group.
	Owner string `json:"owner" example:"anna:anna"`

	// Data is what the file will hold, from Source or Content.
	Data secret.Text `json:"-"`
}

// Network is how nodes reach each other and the world.
type Network struct {
	// The interface of all nodes. auto takes the cable if there is one, else Wi-Fi.
	Interface string `json:"interface" oneof:"auto|eth0|wlan0"`
	// Wi-Fi networks, the best one first.
	WiFi []WiFi `json:"wifi" example:"[{ssid: home, passphraseFile: wifi.txt}]"`
	// Where the nodes are, as an ISO 3166 code: what radio may do depends on it. Needed with Wi-Fi.
	Country string `json:"country,omitzero" default:"the country of the first Wi-Fi network that has one" example:"CH"`
	// Fixed second addresses on the same link, which the nodes use among themselves: node 0 has the tenth, node 1 the eleventh and so on.
	ClusterSubnet netip.Prefix `json:"clusterSubnet" example:"10.78.0.0/24"`
	// The router, for nodes with a fixed address.
	Gateway netip.Addr `json:"gateway,omitzero" example:"192.168.1.1"`
	// Name servers, for nodes with a fixed address.
	DNS []netip.Addr `json:"dns,omitzero" example:"[192.168.1.1]"`
	// Time servers.
	NTP []string `json:"ntp,omitzero" default:"those of the image" example:"[ntp.example.org]"`
}

// WiFi is one Wi-Fi network.
type WiFi struct {
	// The network's name, 1 to 32 octets. One that is not text is given as {hex: 686f6d65}.
	SSID SSID `json:"ssid" default:"none: has to be given" example:"home"`
	// A file that holds the passphrase (8 to 63 characters) or the key made from it (64 hexadecimal digits).
	PassphraseFile string `json:"passphraseFile,omitzero" example:"wifi.txt"`
	// An environment variable that holds it.
	PassphraseEnv string `json:"passphraseEnv,omitzero" example:"WIFI_PASSPHRASE"`
	// auto joins WPA2 and WPA3 networks.
	Security string `json:"security" oneof:"auto|wpa2|wpa3|open"`
	// How the card keeps it. pmk: as the key made from passphrase and name, which opens this network just as well but does not tell a passphrase that is used elsewhere too; WPA2 only. passphrase: as it is. auto: pmk where security is wpa2, else passphrase.
	StoreAs string `json:"storeAs" oneof:"auto|pmk|passphrase"`
	// Whether the network hides its name.
	Hidden bool `json:"hidden,omitzero"`
	// The same as network.country, which may stand here as well.
	Country string `json:"country,omitzero" example:"CH"`

	// Passphrase is the passphrase, or the 64 digits; empty for an open network.
	Passphrase secret.Text `json:"-"`
}

// Boot changes how a board boots.
type Boot struct {
	// Sets the bit in a Pi 3 that lets it boot from USB and network. The bit can never be cleared again. card: by the firmware, on any board that the card is put into. agent: by the node itself, after a look at the board. off: not at all.
	USBBoot string `json:"usbBoot" oneof:"off|card|agent"`
}

// Kubernetes is the cluster's software. It needs a 64-bit image of bookworm or
// trixie.
type Kubernetes struct {
	// false makes plain configured Pis.
	Enabled bool `json:"enabled"`
	// The version, v1.34 to v1.37.
	Version string `json:"version" example:"v1.36.3"`
	// The pod network.
	CNI string `json:"cni" oneof:"flannel|weave"`
	// Addresses of pods; each node takes 256 of them.
	PodSubnet netip.Prefix `json:"podSubnet"`
	// Addresses of services.
	ServiceSubnet netip.Prefix `json:"serviceSubnet"`
	// Whether the control plane runs workloads too.
	ControlPlaneSchedulable bool `json:"controlPlaneSchedulable"`
	// Keys of KubeletConfiguration, for all nodes; they go over ours.
	Kubelet Settings `json:"kubelet,omitzero" example:"{maxPods: 50}"`
	// Keys of KubeProxyConfiguration.
	KubeProxy Settings `json:"kubeProxy,omitzero" example:"{mode: nftables}"`
	// Checks of kubeadm whose errors are taken for warnings, by name. Those that a board is known to fail (Mem on 1 GB) need not be named.
	IgnorePreflight []string `json:"ignorePreflight,omitzero" example:"[NumCPU]"`
}

// Mirrors says where software comes from: for a network of one's own, or one without
// the world. `imagebuilder bundle` and the nodes use the same.
type Mirrors struct {
	// Debian's packages. Only `imagebuilder bundle` asks for it; nodes have what their image has.
	Debian string `json:"debian" example:"http://mirror.lan/debian"`
	// Debian's security updates, in the same way.
	Security string `json:"security" example:"http://mirror.lan/debian-security"`
	// Kubernetes' packages: a flat repository.
	Kubernetes string `json:"kubernetes" default:"that of kubernetes.version on pkgs.k8s.io" example:"http://mirror.lan/kubernetes/"`
	// A file with the public key of that repository, armoured. Without it the repository's own Release.key counts, if it has the fingerprint of the one that signs pkgs.k8s.io.
	KubernetesKey string `json:"kubernetesKey,omitzero" example:"mirror.asc"`
	// Where the images of a registry come from instead. Over https, unless the place begins with http://.
	Images map[string]string `json:"images,omitzero" example:"{registry.k8s.io: registry.lan}"`

	// Key is what KubernetesKey holds.
	Key string `json:"-"`
}

// Storage is replicated storage on the nodes' own disks. It needs Kubernetes.
type Storage struct {
	// none: no shared storage.
	Backend string `json:"backend" oneof:"glusterfs|none" default:"glusterfs with Kubernetes, else none"`
	// What each node gives, unless it has a device of its own.
	Device Device `json:"device,omitzero"`
	// How many nodes hold each piece of data. 2 means two copies and a witness on the control plane.
	Replicas int `json:"replicas,omitzero" default:"3, or the number of nodes with storage if that is less"`
	// How a volume's part of a device is kept to its size. xfs: by a quota of the device's file system. loopfile: as a file with a file system of its own, for kernels without such quotas. lvmthin: as a thin logical volume, as Heketi makes them.
	Bricks string `json:"bricks,omitzero" oneof:"xfs|loopfile|lvmthin" default:"xfs"`
	// A Heketi that is there already makes the volumes, on nodes of its own. The cluster's nodes give nothing then.
	Heketi Heketi `json:"heketi,omitzero"`
}

// OnNodes reports whether the cluster's own nodes hold the data.
func (s *Storage) OnNodes() bool { return s.Backend != "none" && s.Heketi == (Heketi{}) }

// Heketi is a Heketi that is not the product's.
type Heketi struct {
	// Where its REST API is, as pods reach it.
	URL string `json:"url" example:"http://192.168.1.5:8080"`
	// A file with the key of its user admin.
	KeyFile string `json:"keyFile" example:"heketi.key"`

	// Key is what KeyFile holds.
	Key secret.Text `json:"-"`
}

// Addons are deployed by `clusterctl deploy`. They need Kubernetes.
type Addons struct {
	// A container registry inside the cluster.
	Registry bool `json:"registry" default:"true with Kubernetes, else false"`
	// A web page that shows the cluster.
	Dashboard string `json:"dashboard" oneof:"headlamp|kubernetes-dashboard|none" default:"headlamp with Kubernetes, else none"`
}
