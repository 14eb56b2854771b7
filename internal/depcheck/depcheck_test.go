// Package depcheck holds the import arrows of docs/architecture.md as a test.
package depcheck

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rule forbids packages under from to reach, directly or through others, any
// package under one of the prefixes, except through the packages in but.
type rule struct {
	from    string
	prefix  []string
	because string
	but     []string
}

const module = "picluster/"

var rules = []rule{
	{from: "imagebuilder", prefix: []string{module + "firstboot", module + "clusterctl", "k8s.io/"},
		because: "programs never import each other, and the laptop tool links no Kubernetes client"},
	{from: "firstboot", prefix: []string{module + "imagebuilder", module + "clusterctl"},
		because: "programs never import each other"},
	// The client of Kubernetes brings yaml/v2 along.
	{from: "firstboot", prefix: []string{"go.yaml.in/yaml/v3", "github.com/diskfs/", module + "internal/spec"},
		because: "a Pi reads node.json, not cluster.yaml, and edits its disk with its own kernel"},
	{from: "clusterctl", prefix: []string{module + "imagebuilder", module + "firstboot", "github.com/diskfs/"},
		because: "programs never import each other, and a cluster is no disk image"},
	{from: "clusterctl/gluster/allocator", prefix: []string{module}, but: []string{module + "clusterctl/gluster/allocator"},
		because: "where bricks go is arithmetic"},
	{from: "clusterctl/kube", prefix: []string{module}, but: []string{module + "clusterctl/kube", module + "internal/host", module + "internal/durable", module + "internal/secret", module + "internal/step"},
		because: "reaching a cluster is no policy"},
	{from: "clusterctl/manifests", prefix: []string{module}, but: []string{module + "clusterctl/manifests"},
		because: "manifests are bytes"},
	{from: "clusterctl/registry", prefix: []string{module}, but: []string{module + "clusterctl/registry"},
		because: "copying images needs no cluster"},
	{from: "clusterctl/steps", prefix: []string{"google.golang.org/grpc"},
		because: "gRPC is a third of a program that needs none"},
	{from: "firstboot/kubeadm", prefix: []string{module}, but: []string{module + "firstboot/kubeadm", module + "internal/node", module + "internal/secret"},
		because: "documents are made from node.json and nothing else"},
	{from: "internal/cni", prefix: []string{module}, but: []string{module + "internal/cni"},
		because: "manifests are bytes"},
	{from: "internal/localregistry", prefix: []string{module}, but: []string{module + "internal/localregistry"},
		because: "two programs agree on it, so it is neither's"},
	{from: "internal/spec", prefix: []string{module}, but: []string{module + "internal/spec", module + "internal/secret"},
		because: "the person's document knows no other part; imagebuilder/plan is where it meets node.json"},
	{from: "internal/node", prefix: []string{module}, but: []string{module + "internal/node", module + "internal/secret"},
		because: "the Pi's document knows no other part"},
	{from: "clusterctl/keys", prefix: []string{module, "k8s.io/"}, but: []string{module + "clusterctl/keys", module + "internal/secret"},
		because: "reading keys needs no cluster"},
	{from: "clusterctl/reach", prefix: []string{module, "k8s.io/"}, but: []string{module + "clusterctl/reach", module + "clusterctl/keys", module + "internal/host", module + "internal/durable", module + "internal/secret"},
		because: "finding a machine needs no Kubernetes"},
	{from: "internal/joinapi", prefix: []string{module}, but: []string{module + "internal/joinapi", module + "internal/node", module + "internal/secret"},
		because: "what two programs say to each other is neither's"},
	{from: "internal/status", prefix: []string{module}, but: []string{module + "internal/status", module + "internal/node", module + "internal/secret"},
		because: "what two programs say to each other is neither's"},
	{from: "internal/host", prefix: []string{module}, but: []string{module + "internal/host", module + "internal/durable", module + "internal/secret"},
		because: "a machine knows none of our nouns"},
	{from: "internal/step", prefix: []string{module}, but: []string{module + "internal/step", module + "internal/durable"},
		because: "the engine knows none of our nouns, not even a machine"},
	{from: "internal/cli", prefix: []string{module}, but: []string{module + "internal/cli"},
		because: "the frame knows none of our nouns"},
	{from: "internal/doccheck", prefix: []string{module}, but: []string{module + "internal/doccheck", module + "internal/cli"},
		because: "what is said of a program is compared with its own table of commands"},
	{from: "internal/release", prefix: []string{module}, but: []string{module + "internal/release"},
		because: "an archive is made of what others have built"},
	{from: "internal/lab/netns", prefix: []string{module}, but: []string{module + "internal/lab/netns", module + "internal/lab/tool", module + "internal/host", module + "internal/durable", module + "internal/secret"},
		because: "a machine of namespaces is what its user makes of it"},
	{from: "overlays", prefix: []string{module}, but: []string{module + "overlays"},
		because: "overlays are bytes"},
	{from: "internal/web", prefix: []string{module}, but: []string{module + "internal/web"},
		because: "a client of web servers knows none of our nouns"},
	{from: "internal/blob", prefix: []string{module}, but: []string{module + "internal/blob", module + "internal/web"},
		because: "files by their digest are only files"},
	{from: "internal/debian", prefix: []string{module}, but: []string{module + "internal/debian", module + "internal/blob", module + "internal/web"},
		because: "Debian's archive is of use to any program"},
	{from: "internal/payload", prefix: []string{module}, but: []string{module + "internal/payload", module + "internal/blob", module + "internal/web"},
		because: "what a card brings along is agreed on by desk and Pi, and belongs to neither"},
	{from: "firstboot", prefix: []string{module + "internal/debian", "github.com/google/go-containerregistry", "github.com/ProtonMail/"},
		because: "a Pi installs with apt and containerd; gathering is the desk's"},
	{from: "imagebuilder/fat", prefix: []string{module}, but: []string{module + "imagebuilder/fat"},
		because: "a FAT volume is only a FAT volume"},
	{from: "internal/bootfiles", prefix: []string{module}, but: []string{module + "internal/bootfiles", module + "internal/secret"},
		because: "text editors know only text"},
	{from: "imagebuilder/ext4", prefix: []string{module}, but: []string{module + "imagebuilder/ext4"},
		because: "an ext4 file system is only that"},
	{from: "imagebuilder/image", prefix: []string{module}, but: []string{module + "imagebuilder/image", module + "imagebuilder/fat", module + "imagebuilder/ext4"},
		because: "looking at an image needs no plan"},
	{from: "imagebuilder/card", prefix: []string{module}, but: []string{module + "imagebuilder/card", module + "imagebuilder/image", module + "imagebuilder/fat", module + "imagebuilder/ext4"},
		because: "writing a card knows nothing of clusters"},
}

// TestArrows_pointDownwards lists each package's dependencies as the compiler
// sees them (tests excluded) and looks for forbidden ones.
func TestArrows_pointDownwards(t *testing.T) {
	packages := dependencies(t)
	for _, r := range rules {
		for pkg, deps := range packages {
			if pkg != module+r.from && !strings.HasPrefix(pkg, module+r.from+"/") {
				continue
			}
			for _, dep := range deps {
				if under(dep, r.prefix) && !under(dep, r.but) {
					t.Errorf("%s reaches %s: %s", pkg, dep, r.because)
				}
			}
		}
	}
}

// The client of Kubernetes is a third of the agent. One package knows it, and only
// the command that serves joins needs that one.
func TestArrows_agentKnowsKubernetesInOnePlace(t *testing.T) {
	for pkg, deps := range dependencies(t) {
		if pkg == module+"firstboot" || pkg == module+"firstboot/join/kube" || !under(pkg, []string{module + "firstboot"}) {
			continue
		}
		for _, dep := range deps {
			if under(dep, []string{"k8s.io/", "sigs.k8s.io/", "go.yaml.in/"}) {
				t.Errorf("%s reaches %s", pkg, dep)
			}
		}
	}
}

// Test machinery in a program's binary would be a mistake that nobody notices.
func TestArrows_programsLinkNoTestMachinery(t *testing.T) {
	for pkg, deps := range dependencies(t) {
		if strings.Count(pkg, "/") != 1 || strings.HasPrefix(pkg, module+"internal") {
			continue
		}
		for _, dep := range deps {
			if under(dep, []string{"testing", module + "internal/golden", module + "internal/lab", module + "internal/host/hosttest"}) {
				t.Errorf("%s links %s", pkg, dep)
			}
		}
	}
}

func TestRules_nameExistingPackages(t *testing.T) {
	packages := dependencies(t)
	for _, r := range rules {
		found := false
		for pkg := range packages {
			found = found || under(pkg, []string{module + r.from})
		}
		if !found {
			t.Errorf("a rule is about %s, which does not exist", r.from)
		}
	}
}

func under(pkg string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool {
		return pkg == p || strings.HasPrefix(pkg, strings.TrimSuffix(p, "/")+"/")
	})
}

func dependencies(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Deps \" \"}}", module+"...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	packages := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		packages[words[0]] = words[1:]
	}
	return packages
}
