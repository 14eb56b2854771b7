package spec

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

var (
	kubernetesForm  = regexp.MustCompile(`^v1\.([0-9]{1,3})\.([0-9]{1,3})$`)
	kubernetesParts = regexp.MustCompile(`^v?1\.([0-9]{1,3})\.([0-9]{1,3})$`)
)

func (c *Cluster) checkKubernetes(r *report) {
	k := &c.Kubernetes
	switch m := kubernetesForm.FindStringSubmatch(k.Version); {
	case m == nil:
		p := r.problem("kubernetes.version", "%s is not a version such as %s", quoted(k.Version), defaultKubernetes)
		if kubernetesParts.MatchString(k.Version) {
			p.Hint = didYouMean("v" + k.Version)
		}
	default:
		if minor, _ := strconv.Atoi(m[1]); minor < oldestKubernetes || minor > newestKubernetes {
			r.problem("kubernetes.version", "%s is out of range: v1.%d to v1.%d work on these nodes", k.Version, oldestKubernetes, newestKubernetes)
		}
	}
	k.checkSettings(r)
	if k.Enabled {
		return
	}
	const needs = "needs Kubernetes, and kubernetes.enabled is false"
	if c.Storage.Backend != "none" {
		r.problem("storage.backend", needs)
	}
	if c.Addons.Registry {
		r.problem("addons.registry", needs)
	}
	if c.Addons.Dashboard != "none" {
		r.problem("addons.dashboard", needs)
	}
}

// preflightCheck is the name of a check of kubeadm, as its messages have it:
// Mem, Port-10250, FileContent--proc-sys-net-ipv4-ip_forward.
var preflightCheck = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]*$`)

// checkSettings leaves to Kubernetes what its own documents may hold, but for what
// says which document it is.
func (k *Kubernetes) checkSettings(r *report) {
	for field, settings := range map[string]Settings{"kubernetes.kubelet": k.Kubelet, "kubernetes.kubeProxy": k.KubeProxy} {
		for _, key := range []string{"apiVersion", "kind"} {
			if _, ok := settings[key]; ok {
				r.problem(field+"."+key, "is written by picluster")
			}
		}
	}
	for i, name := range k.IgnorePreflight {
		field := fmt.Sprintf("kubernetes.ignorePreflight[%d]", i)
		switch {
		case strings.EqualFold(name, "all"):
			r.problem(field, "ignores what is not known yet").Hint = "name the checks, as kubeadm's message does: [NumCPU]"
		case !preflightCheck.MatchString(name):
			r.problem(field, "%s is not the name of a check of kubeadm, such as NumCPU", quoted(name))
		}
	}
}

func (c *Cluster) checkStorage(r *report) {
	c.Storage.Device.check(r, "storage.device")
	c.checkHeketi(r)
	holders := 0
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if !n.Storage.Enabled {
			continue
		}
		holders++
		switch {
		case c.Storage.Backend == "none":
			r.problem(nodeField(i, "storage.enabled"), "there is no storage: storage.backend is none")
		case !c.Storage.OnNodes():
			r.problem(nodeField(i, "storage.enabled"), "the data is on the nodes of storage.heketi")
		}
		if field := nodeField(i, "storage.device"); r.given(field) {
			n.Storage.Device.check(r, field)
		}
	}
	c.checkReplicas(r, holders)
}

func (c *Cluster) checkReplicas(r *report, holders int) {
	if c.Storage.Backend == "none" || len(c.Nodes) == 0 {
		return
	}
	switch n, onNodes := c.Storage.Replicas, c.Storage.OnNodes(); {
	case onNodes && holders == 0:
		r.problem("storage.backend", "no node holds data")
	case n < 1 || n > 3:
		r.problem("storage.replicas", "%d copies, want 1 to 3", n)
	case onNodes && n > holders:
		p := r.problem("storage.replicas", "%d copies need %d nodes with storage, there are %d", n, n, holders)
		if holders == 2 {
			p.Hint = "replicas: 2 keeps two copies and a witness on the control plane"
		}
	}
}

// checkHeketi looks at the Heketi, if there is one, and at what it leaves no room for.
func (c *Cluster) checkHeketi(r *report) {
	const field = "storage.heketi"
	if !r.given(field) {
		return
	}
	u, err := url.Parse(c.Storage.Heketi.URL)
	switch {
	case c.Storage.Heketi.URL == "":
		r.problem(field+".url", "is missing, want its address")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		r.problem(field+".url", "%s is not an http or https address", quoted(c.Storage.Heketi.URL))
	case u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		r.problem(field+".url", "%s has more than a host and a port", quoted(u.Redacted()))
	}
	if c.Storage.Heketi.KeyFile == "" {
		r.problem(field+".keyFile", "is missing, want a file with the key of its user admin")
	}
	if c.Storage.Backend == "none" {
		r.problem(field, "there is no storage: storage.backend is none")
	}
	for _, other := range []string{"storage.device", "storage.bricks"} {
		if r.given(other) {
			r.problem(other, "the data is on the nodes of storage.heketi")
		}
	}
}

// Sizes of the file that serves as a disk: XFS, which comes on it, wants 300 MB
// at least, and leaves little room for data then; ext4, where it lies, holds
// files of up to 16 TiB.
const (
	minLoop = Size(1 << 30)
	maxLoop = Size(16<<40) - 1
)

var (
	diskPath  = regexp.MustCompile(`^/dev/[A-Za-z0-9/_.:@+-]+$`)
	partition = regexp.MustCompile(`^/dev/((sd|vd)[a-z]+[0-9]+|nvme[0-9]+n[0-9]+p[0-9]+|.*-part[0-9]+)$`)
)

func (d *Device) check(r *report, field string) {
	if d.Disk == "" {
		d.checkLoop(r, field)
		return
	}
	at := field + ".disk"
	switch {
	case r.given(field + ".loop"):
		r.problem(at, "give this or loop, not both")
	case strings.HasPrefix(d.Disk, "/dev/mmcblk0"):
		r.problem(at, "%s is the card that the node runs from", quoted(d.Disk))
	case !diskPath.MatchString(d.Disk) || path.Clean(d.Disk) != d.Disk:
		r.problem(at, "%s is not a disk such as /dev/sda", quoted(d.Disk))
	case partition.MatchString(d.Disk):
		r.problem(at, "%s is a partition, want a whole disk", quoted(d.Disk))
	}
}

func (d *Device) checkLoop(r *report, field string) {
	if d.Wipe {
		r.problem(field+".wipe", "is for a disk, and there is none")
	}
	if *d == (Device{}) {
		return // no storage
	}
	checkPath(r, field+".loop.path", d.Loop.Path)
	if s := d.Loop.Size; s < minLoop || s > maxLoop {
		r.problem(field+".loop.size", "%s is out of range, want 1Gi to 16Ti", s)
	}
}
