// Package node is the one document that crosses from the desk to a Pi:
// node.json. imagebuilder writes it, firstboot reads it, and nobody else.
//
// It holds what one Pi must know and nothing more: a worker's document carries
// no certificate authority's key and no other node's keys. People never write
// it; they write cluster.yaml (package spec), and imagebuilder/plan translates.
package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"picluster/internal/secret"
)

// Version is the form of the document that this program writes and reads. A
// card with another one was written by another release; firstboot refuses it
// rather than guess.
const Version = 1

// Role says what a card becomes.
type Role string

const (
	ControlPlane Role = "control-plane" // runs kubeadm init and the join service
	Worker       Role = "worker"
	Spare        Role = "spare" // becomes the next free worker when it is switched on
)

// Config is node.json.
type Config struct {
	Version    int         `json:"version"`
	Name       string      `json:"name"` // the host name; of a spare "spare-1" until it is given one
	Role       Role        `json:"role"`
	Cluster    Cluster     `json:"cluster"`
	Build      Build       `json:"build"`
	System     System      `json:"system"`
	Network    Network     `json:"network"`
	SSH        SSH         `json:"ssh"`
	Boot       Boot        `json:"boot"`
	Peers      []Peer      `json:"peers"`                // every named node of the cluster, this one included
	Kubernetes *Kubernetes `json:"kubernetes,omitempty"` // nil: a plain configured Pi
	Storage    *Storage    `json:"storage,omitempty"`
	Join       *Join       `json:"join,omitempty"`
}

// Cluster names the cluster that the card belongs to.
type Cluster struct {
	Name string `json:"name"`
	ID   string `json:"id"` // made by `imagebuilder init`, never changes
}

// Build says where the card came from.
type Build struct {
	// Time is a lower bound for the clock of a board that has none: the moment
	// the secrets of this card were made, whole seconds, UTC.
	Time    time.Time `json:"time"`
	Tool    string    `json:"tool"`    // version of imagebuilder
	Image   string    `json:"image"`   // SHA-256 of the decompressed base image
	Release string    `json:"release"` // Debian code name: "trixie"
	Arch    string    `json:"arch"`    // Debian architecture of the userland: "arm64", "armhf"
}

// System is what makes a machine one's own.
type System struct {
	Timezone string   `json:"timezone"` // IANA: "Europe/Zurich"
	Locale   string   `json:"locale"`   // "en_US.UTF-8"
	Keymap   string   `json:"keymap"`   // XKB layout: "us"
	User     User     `json:"user"`
	Swap     string   `json:"swap"` // zram, file, keep, off
	Packages []string `json:"packages,omitempty"`
	Files    []File   `json:"files,omitempty"`
}

// User is the one account that people log in to. It replaces uid 1000.
type User struct {
	Name           string      `json:"name"`
	AuthorizedKeys []string    `json:"authorizedKeys"` // lines of authorized_keys
	PasswordHash   secret.Wire `json:"passwordHash,omitzero"`
	Sudo           string      `json:"sudo"` // password, nopasswd
}

// File is an extra file that the person wants on the root file system.
type File struct {
	Path    string      `json:"path"`
	Mode    uint32      `json:"mode"`  // permission bits
	Owner   string      `json:"owner"` // user or user:group
	Content secret.Wire `json:"content"`
}

// Network is how the Pi reaches the others.
type Network struct {
	Interface string   `json:"interface"` // auto, eth0, wlan0
	Country   string   `json:"country,omitempty"`
	WiFi      []WiFi   `json:"wifi,omitempty"` // best first
	Static    *Static  `json:"static,omitempty"`
	NTP       []string `json:"ntp,omitempty"`
	// ClusterAddress is the fixed second address on the same link, with the
	// prefix length of the cluster's subnet. Kubernetes and storage use only
	// this one, because addresses from DHCP change. Zero for a spare, which is
	// told its own by the join service.
	ClusterAddress netip.Prefix `json:"clusterAddress"`
	// ClusterSubnet is on a spare's card only: from an address in there that nobody
	// has it asks node0 for one of its own.
	ClusterSubnet netip.Prefix `json:"clusterSubnet,omitzero"`
}

// WiFi is one network to try.
type WiFi struct {
	SSID     []byte      `json:"ssid"`         // 1 to 32 octets, any
	Security string      `json:"security"`     // wpa2, wpa3, wpa2-wpa3, open
	Key      secret.Wire `json:"key,omitzero"` // passphrase, or 64 hex digits of a PMK
	Hidden   bool        `json:"hidden,omitempty"`
}

// Static replaces DHCP on the chosen interface.
type Static struct {
	Address netip.Prefix `json:"address"`
	Gateway netip.Addr   `json:"gateway"`
	DNS     []netip.Addr `json:"dns,omitempty"`
}

// SSH carries the host key made on the desk, so that the very first connection
// can be checked.
type SSH struct {
	HostKey       secret.Wire `json:"hostKey"` // OpenSSH private key file
	HostPublicKey string      `json:"hostPublicKey"`
}

// Boot is what the agent changes about booting.
type Boot struct {
	USBBoot bool `json:"usbBoot,omitempty"` // set the Pi 3's OTP bit, after checking the board
}

// Peer is a named node of the cluster.
type Peer struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"` // its cluster address
}

// Kubernetes is what a node installs before it initialises or joins.
type Kubernetes struct {
	Version       string            `json:"version"` // "v1.37.2"
	CNI           string            `json:"cni"`
	PodSubnet     netip.Prefix      `json:"podSubnet"`
	ServiceSubnet netip.Prefix      `json:"serviceSubnet"`
	Labels        map[string]string `json:"labels,omitempty"`
	Taints        []string          `json:"taints,omitempty"` // key=value:effect
	Schedulable   bool              `json:"schedulable"`      // workloads may run here; false on a control plane of its own

	Packages        []string       `json:"packages,omitempty"`        // of Debian, that add-ons need on the host of each pod
	Kubelet         map[string]any `json:"kubelet,omitempty"`         // goes over our KubeletConfiguration, key by key
	KubeProxy       map[string]any `json:"kubeProxy,omitempty"`       // and over KubeProxyConfiguration
	IgnorePreflight []string       `json:"ignorePreflight,omitempty"` // checks of kubeadm, besides those that the board is known to fail

	Repository Repository        `json:"repository"`
	Mirrors    map[string]string `json:"mirrors,omitempty"` // where images of a registry come from instead: registry → host, http://host
	// Payload is the SHA-256 of the list of what the card brings along, so that no
	// network is needed; "" brings nothing. See package payload.
	Payload string `json:"payload,omitempty"`
}

// Repository is the apt repository that kubelet, kubeadm and kubectl come from.
type Repository struct {
	URL string `json:"url"` // of a flat repository, with a slash at its end
	// Key is its public key, armoured. Without it the Pi fetches URL's Release.key and
	// wants it to be the key with Fingerprint.
	Key         string `json:"key,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"` // of the primary key: hexadecimal, capitals
}

// Storage is the device that this node gives to the cluster's storage.
type Storage struct {
	LoopPath string `json:"loopPath,omitempty"` // a file, used through a loop device
	LoopSize int64  `json:"loopSize,omitempty"` // bytes
	Disk     string `json:"disk,omitempty"`     // or a whole disk
	Wipe     bool   `json:"wipe,omitempty"`     // the disk may be cleared first
}

// Join is how the card proves itself to node0, and node0 to the card.
type Join struct {
	CardID      string      `json:"cardID"`
	Generation  int         `json:"generation"` // counts the cards written for this name
	CA          string      `json:"ca"`         // PEM of the enrolment CA; pinned
	Certificate string      `json:"certificate"`
	Key         secret.Wire `json:"key"`
	ServerName  string      `json:"serverName"` // the join service's only name
	Server      netip.Addr  `json:"server"`     // node0's cluster address
	// Service is on node0's card only.
	Service *JoinService `json:"service,omitempty"`
}

// JoinService is what node0 needs to serve the others.
type JoinService struct {
	Certificate  string      `json:"certificate"`
	Key          secret.Wire `json:"key"`
	DeviceCA     string      `json:"deviceCA"` // signs the keys that Pis make for themselves
	DeviceCAKey  secret.Wire `json:"deviceCAKey"`
	Inventory    []byte      `json:"inventory"` // the signed list of cards
	InventorySig []byte      `json:"inventorySignature"`
}

// VersionError says that the document has a form this program does not know.
type VersionError struct{ Have int }

func (e VersionError) Error() string {
	return fmt.Sprintf("read node.json: it has version %d, this program reads version %d", e.Have, Version)
}

// Parse reads a document strictly: an unknown field, another version or a value
// that no imagebuilder writes is an error. It never returns half a Config.
func Parse(data []byte) (*Config, error) {
	var v struct{ Version *int }
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, fmt.Errorf("read node.json: %w", err)
	}
	if v.Version == nil {
		return nil, errors.New("read node.json: it has no version")
	}
	if *v.Version != Version {
		return nil, VersionError{*v.Version}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var c Config
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("read node.json: %w", err)
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("read node.json: %w", err)
	}
	return &c, nil
}

// Marshal writes the document with its secrets, the same bytes for the same
// Config. The result belongs on a card and nowhere else.
func (c *Config) Marshal() ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("write node.json: %w", err)
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write node.json: %w", err)
	}
	return append(data, '\n'), nil
}
