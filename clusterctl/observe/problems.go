package observe

import "strings"

// Severity is what a warning does to the cluster's health.
type Severity string

const (
	Note    Severity = "note"    // nothing: it is worth knowing
	Warn    Severity = "warning" // the cluster has less than it should have
	Serious Severity = "error"   // something does not work
)

// Problem is a kind of warning. Its ID never gets another meaning: people write it
// into notes and scripts.
type Problem struct {
	ID       string
	Severity Severity
	Title    string
	Cause    string // what is behind it, in sentences
	Itself   string // what happens without anybody
	Do       []string
}

// Problems are all there are. The letter is what it is about: K the control plane,
// N a node, C cards and certificates, S storage, A add-ons.
var Problems = []Problem{
	{"K101", Serious, "the API server does not answer",
		"node0 is off, is restarting, or has another address than the kubeconfig. Running pods go on; nothing new is started or moved.",
		"After a restart of node0 the API server is back within minutes. A new address is not found by itself.",
		[]string{"clusterctl doctor --node NODE0", "clusterctl kubeconfig   (finds the present address)"}},
	{"K102", Warn, "the join service does not answer",
		"It runs on node0 (unit picluster-join.service) and admits new nodes. Nodes that have joined do not need it.",
		"systemd starts it again and again.",
		[]string{"clusterctl doctor --node NODE0"}},
	{"K103", Warn, "there is no kubeconfig",
		"Without one nothing can be asked of Kubernetes. It is on node0 once the control plane is up and is fetched over ssh.",
		"clusterctl wait and clusterctl status fetch it as soon as it is there.",
		[]string{"clusterctl wait", "clusterctl kubeconfig"}},
	{"K104", Serious, "the kubeconfig opens another cluster",
		"Its server is not the one of cluster.yaml: the cluster was built anew, or KUBECONFIG names another one.",
		"Nothing: no command works on a cluster that is not cluster.yaml's.",
		[]string{"clusterctl kubeconfig", "unset KUBECONFIG"}},
	{"K105", Serious, "the kubeconfig is not accepted",
		"Its certificate has run out, or it was made for a cluster that was built anew.",
		"Nothing.", []string{"clusterctl kubeconfig"}},

	{"N201", Warn, "a node is not ready",
		"Its kubelet has stopped to report, or reports a fault. After five minutes its pods are started elsewhere, where that is possible.",
		"It becomes Ready when its kubelet reports again.",
		[]string{"clusterctl doctor --node NODE", "clusterctl node reboot NODE"}},
	{"N202", Warn, "nothing was heard of a node",
		"It is not switched on, its card is not in or does not start, or it has not reached the network yet. A Pi needs about two minutes until it can be heard.",
		"It appears as soon as it is in the network.",
		[]string{"look at its lamps", "put its card into this computer and read STATUS.txt"}},
	{"N203", Warn, "a card waits for approval",
		"It is not in the list of cards that node0 was made with, or a working node has its name.",
		"Nothing: that is a decision.",
		[]string{"clusterctl node list", "clusterctl node approve NODE"}},
	{"N204", Serious, "a card was seen in two places",
		"A second board, or a second key, has shown this card: it was copied, or was put into another Pi after it had joined.",
		"The first one goes on to work; the second one is refused.",
		[]string{"clusterctl audit join", "clusterctl node approve --rebind NODE   (if you have moved the card)", "clusterctl node revoke NODE   (if you have not)"}},
	{"N205", Warn, "a node is not set up",
		"A step of its first boot has failed, as its status page and STATUS.txt on its card say.",
		"It tries again after 15 seconds at first and every five minutes at last.",
		[]string{"open http://NODE.local:7390/", "clusterctl doctor --node NODE"}},
	{"N206", Note, "a node is cordoned",
		"Somebody has taken it out of service: it gets no new pods.",
		"Nothing: it stays like this until it is undone.",
		[]string{"clusterctl node uncordon NODE"}},
	{"N207", Warn, "a node runs short of something",
		"Memory, disk space or process ids are nearly used up. The kubelet ends pods to get some back.",
		"The kubelet removes unused images and ends pods.",
		[]string{"clusterctl doctor --node NODE"}},
	{"N208", Note, "a node's version is not cluster.yaml's",
		"It was set up with another version of Kubernetes than kubernetes.version names now.",
		"Nothing.", []string{"set kubernetes.version in cluster.yaml to what runs"}},
	{"N209", Note, "a node is not in cluster.yaml",
		"It was a spare, or was added to Kubernetes by other means.",
		"Nothing.", []string{"add it to nodes in cluster.yaml, so that it is waited for and checked"}},
	{"N210", Note, "a node left something out",
		"An optional step has failed: a package that no repository has, for example. The node works without it.",
		"It is tried again until the node is sealed.",
		[]string{"open http://NODE.local:7390/"}},
	{"N211", Serious, "a revoked card's node is still in the cluster",
		"The card was revoked, and the node is still there with the certificate that it got before.",
		"The certificate runs out and is not renewed.",
		[]string{"clusterctl node revoke NODE   (takes the node out, too)"}},
	{"N212", Warn, "a node has no card here",
		"The control plane has seen a card that is not one of those made on this computer.",
		"Nothing.", []string{"clusterctl audit join", "clusterctl node revoke NODE"}},

	{"N213", Warn, "a node is being set up",
		"It has been switched on and is on its way into the cluster.",
		"It goes on by itself.",
		[]string{"clusterctl wait NODE"}},
	{"N214", Serious, "a node's name is locked",
		"Its card was revoked, so Kubernetes takes nothing from a node of that name. A new card has it now.",
		"Nothing: that is a decision.",
		[]string{"clusterctl node approve NODE"}},

	{"C301", Warn, "the operator's certificate ends soon",
		"It opens the join service and is valid for a year.",
		"Nothing: without it cards can neither be listed nor approved or revoked.",
		[]string{"rm secrets/operator/operator.crt secrets/operator/operator.key && imagebuilder init"}},
	{"C302", Warn, "the join service has raised an alarm",
		"It has refused something that does not happen by mistake: a forged card, a copied card, a foreign key. Or its log was damaged.",
		"It was refused.", []string{"clusterctl audit join --alarms"}},

	{"S401", Warn, "storage is not deployed", "cluster.yaml wants it and the cluster does not have it yet.",
		"Nothing.", []string{"clusterctl deploy"}},
	{"S402", Warn, "storage does not run on all nodes",
		"Pods of the storage are missing or not ready, most likely because their node is not. Data with more than one copy can still be read and written.",
		"They start when their node is ready again, and the copies are made equal.",
		[]string{"clusterctl storage status"}},
	{"S403", Serious, "a claim has lost its volume",
		"The PersistentVolume that it was bound to is gone.",
		"Nothing.", []string{"kubectl get pvc --all-namespaces"}},
	{"S404", Warn, "a claim waits for its volume",
		"Storage is not ready, is full, or the claim names a class that does not exist.",
		"It gets its volume when that is possible.",
		[]string{"kubectl get events --all-namespaces", "clusterctl storage status"}},

	{"A501", Warn, "an add-on is not deployed", "cluster.yaml wants it and the cluster does not have it yet.",
		"Nothing.", []string{"clusterctl deploy"}},
	{"A502", Warn, "an add-on is not ready",
		"Its pods are missing or not ready.",
		"Kubernetes starts them again and again.",
		[]string{"clusterctl deploy --plan", "kubectl get pods --all-namespaces"}},
}

// Explain returns a kind of warning by its id, in any case; ok is false if there is
// none.
func Explain(id string) (p Problem, ok bool) {
	for _, p := range Problems {
		if strings.EqualFold(p.ID, id) {
			return p, true
		}
	}
	return Problem{}, false
}

// warning makes one of a kind. What to do about it is the kind's first way, with the
// name put in.
func warning(id, about, text string) Warning {
	p, ok := Explain(id)
	if !ok {
		panic("observe: no problem has the id " + id)
	}
	w := Warning{ID: p.ID, Severity: p.Severity, About: about, Text: text}
	if len(p.Do) > 0 {
		w.Do = strings.ReplaceAll(p.Do[0], "NODE0", about)
		w.Do = strings.ReplaceAll(w.Do, "NODE", about)
	}
	return w
}
