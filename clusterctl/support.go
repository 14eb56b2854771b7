package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"picluster/clusterctl/doctor"
	"picluster/clusterctl/kube"
	"picluster/clusterctl/support"
	"picluster/internal/cli"
	"picluster/internal/host"
)

func supportCommand() cli.Command {
	var flags siteFlags
	var output string
	var lines int
	return cli.Command{
		Name: "support", Summary: "gather what others need to help, without secrets, into one file",
		Details: "Status, doctor's findings, cluster.yaml, the cards, the audit log, logs of every node that\n" +
			"can be reached, and Kubernetes' nodes, workloads and events. Passphrases, keys, tokens and\n" +
			"the names of Wi-Fi networks are taken out; still, look into it before it goes to others.",
		Examples: []string{"clusterctl support", "clusterctl support --output /tmp/home.tar.gz"},
		Flags: func(f *pflag.FlagSet) {
			flags.register(f)
			f.StringVar(&output, "output", "", "`file` to write (default: support-NAME-TIME.tar.gz)")
			f.IntVar(&lines, "lines", 1000, "lines of each log")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			d, err := flags.open(env.Log)
			if err != nil {
				return err
			}
			now := time.Now().UTC()
			name := "support-" + d.cluster.Name + "-" + now.Format("20060102-150405")
			if output == "" {
				output = name + ".tar.gz"
			}
			file, err := os.OpenFile(output, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			a := support.NewArchive(file, name, support.NewRedactor(d.cluster), now)
			err = d.gather(ctx, env, a, lines)
			if err = errors.Join(err, a.Close(), file.Close()); err != nil {
				os.Remove(output)
				return err
			}
			fmt.Fprintln(env.Stdout, output)
			return nil
		},
	}
}

// gather asks everything; what does not answer is noted.
func (d *site) gather(ctx context.Context, env cli.Env, a *support.Archive, lines int) error {
	progress := func(what string) { fmt.Fprintf(env.Stderr, "%s ...\n", what) }
	progress("status")
	s := d.sources(sourceTime).Look(ctx)
	groups := append([]doctor.Group{doctor.Desk(d.cluster, d.keys, time.Now())}, doctor.Cluster(s)...)
	var findings bytes.Buffer
	doctor.Print(&findings, groups)
	err := errors.Join(addJSON(a, "status.json", s), a.Add("doctor.txt", findings.Bytes()), addJSON(a, "cluster.json", d.cluster))
	if d.join != nil {
		progress("join service")
		if cards, cardsErr := d.join.Cards(ctx); cardsErr != nil {
			a.Missing("cards.json", cardsErr)
		} else {
			err = errors.Join(err, addJSON(a, "cards.json", cards))
		}
		var log bytes.Buffer
		if auditErr := d.join.Audit(ctx, &log); auditErr != nil {
			a.Missing("audit.jsonl", auditErr)
		} else {
			err = errors.Join(err, a.Add("audit.jsonl", log.Bytes()))
		}
	}
	progress("Kubernetes")
	err = errors.Join(err, d.gatherKubernetes(ctx, a))
	if d.login == nil {
		a.Missing("nodes", errors.New("there are no secrets beside cluster.yaml"))
		return errors.Join(err, context.Cause(ctx))
	}
	progress("nodes")
	var names []string
	for _, n := range s.Nodes {
		names = append(names, n.Name)
	}
	return errors.Join(err, d.gatherNodes(ctx, a, names, lines), context.Cause(ctx))
}

func addJSON(a *support.Archive, name string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return a.Add(name, append(data, '\n'))
}

// supportKinds are what Kubernetes is asked for. Secrets and ConfigMaps are not among
// them.
var supportKinds = []kube.Ref{
	{APIVersion: "v1", Kind: "Node"}, {APIVersion: "v1", Kind: "Pod"}, {APIVersion: "v1", Kind: "Event"}, {APIVersion: "v1", Kind: "PersistentVolumeClaim"},
	{APIVersion: "apps/v1", Kind: "DaemonSet"}, {APIVersion: "apps/v1", Kind: "Deployment"}, {APIVersion: "apps/v1", Kind: "StatefulSet"},
	{APIVersion: "storage.k8s.io/v1", Kind: "StorageClass"}, {APIVersion: "storage.k8s.io/v1", Kind: "CSINode"},
}

func (d *site) gatherKubernetes(ctx context.Context, a *support.Archive) error {
	if !d.cluster.Kubernetes.Enabled {
		return nil
	}
	client, err := d.api(ctx)
	if err != nil {
		a.Missing("kubernetes", err)
		return nil
	}
	for _, kind := range supportKinds {
		objects, err := client.List(ctx, kind, "")
		if err != nil {
			a.Missing("kubernetes/"+kind.Kind, err)
			continue
		}
		if err := addJSON(a, "kubernetes/"+kind.Kind+".json", objects); err != nil {
			return err
		}
	}
	return nil
}

// nodeLogs are the commands whose output is taken from each node.
func nodeLogs(lines int) map[string][]string {
	n := "--lines=" + strconv.Itoa(lines)
	return map[string][]string{
		"firstboot.log": {"firstboot", "logs"},
		"status.json":   {"firstboot", "status", "-o", "json"},
		"journal.log":   {"journalctl", "--boot", "--no-pager", "--quiet", n},
		"kernel.log":    {"journalctl", "--dmesg", "--boot", "--no-pager", "--quiet", n},
		"addresses.txt": {"ip", "-brief", "address"},
		"mounts.txt":    {"findmnt", "--real"},
		"services.txt":  {"systemctl", "--failed", "--no-pager"},
	}
}

// gatherNodes asks all nodes at the same time; one that is off costs seconds.
func (d *site) gatherNodes(ctx context.Context, a *support.Archive, names []string, lines int) error {
	var mu sync.Mutex // of the archive
	var failed error
	var asked sync.WaitGroup
	for _, name := range names {
		asked.Go(func() {
			remote, err := d.openNode(ctx, name)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				a.Missing("nodes/"+name, err)
				return
			}
			defer remote.Close()
			for file, args := range nodeLogs(lines) {
				out, err := remote.Run(ctx, host.Cmd{Args: args})
				mu.Lock()
				if err != nil {
					a.Missing("nodes/"+name+"/"+file, err)
				}
				if len(out) > 0 {
					failed = errors.Join(failed, a.Add("nodes/"+name+"/"+file, out))
				}
				mu.Unlock()
			}
		})
	}
	asked.Wait()
	return failed
}
