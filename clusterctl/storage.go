package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/gluster/report"
	"picluster/clusterctl/heketi"
	"picluster/clusterctl/kube"
	"picluster/clusterctl/steps"
	"picluster/internal/cli"
	"picluster/internal/secret"
	"picluster/internal/step"
)

func storageCommand() cli.Command {
	return cli.Command{
		Name:     "storage",
		Summary:  "look after the storage that the nodes share",
		Commands: []cli.Command{storageStatusCommand(), storageHealCommand(), storageCheckCommand(), storageRenewCommand(), storageResetCommand()},
	}
}

func storageStatusCommand() cli.Command {
	var f projectFlags
	var output string
	return cli.Command{
		Name:    "status",
		Summary: "show nodes, volumes, and what they lack",
		Flags: func(flags *pflag.FlagSet) {
			f.register(flags)
			cli.RegisterOutput(flags, &output)
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			r, err := f.report(ctx, output)
			if err != nil {
				return err
			}
			if output == "json" {
				return cli.WriteJSON(env.Stdout, r)
			}
			return showStorage(env.Stdout, r)
		},
	}
}

// storageCheckCommand is status for scripts: it says by its exit code whether all is
// well.
func storageCheckCommand() cli.Command {
	var f projectFlags
	return cli.Command{
		Name:    "check",
		Summary: "exit 0 when all volumes are whole, 1 when not",
		Flags:   f.register,
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			r, err := f.report(ctx, "text")
			if err != nil || len(r.Problems) == 0 {
				return err
			}
			return fmt.Errorf("check storage: %s", strings.Join(r.Problems, "; "))
		},
	}
}

func storageHealCommand() cli.Command {
	var f projectFlags
	return cli.Command{
		Name:    "heal",
		Args:    "[VOLUME...]",
		Summary: "look through volumes for what a copy lacks, and wait until none does",
		Flags:   f.register,
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			client, err := f.connectedToOwn(ctx)
			if err != nil {
				return err
			}
			return withWaits(ctx, env, func(ctx context.Context) error {
				if err := steps.Heal(ctx, client, args); err != nil {
					return err
				}
				return steps.WaitWhole(ctx, client)
			})
		},
	}
}

func (f *projectFlags) connected(ctx context.Context) (*kube.Client, error) {
	p, err := f.load()
	if err != nil {
		return nil, err
	}
	return p.connect(ctx)
}

// connectedToOwn is connected for what asks the nodes of a storage that is the cluster's
// own: of another one nothing would be seen, and all would seem well.
func (f *projectFlags) connectedToOwn(ctx context.Context) (*kube.Client, error) {
	p, err := f.load()
	if err != nil {
		return nil, err
	}
	if s := p.cluster.Storage; !s.OnNodes() {
		where := "there is none: cluster.yaml has storage.backend: none"
		if s.Heketi.URL != "" {
			where = "it is that of the Heketi at " + s.Heketi.URL + ", and is looked at there"
		}
		return nil, cli.Exit(cli.Usage, errors.New("look at storage: "+where))
	}
	return p.connect(ctx)
}

func (f *projectFlags) report(ctx context.Context, output string) (report.Report, error) {
	if err := cli.CheckOutput(output); err != nil {
		return report.Report{}, err
	}
	client, err := f.connectedToOwn(ctx)
	if err != nil {
		return report.Report{}, err
	}
	r, err := report.Make(ctx, client)
	return r, apiError(err)
}

func showStorage(w io.Writer, r report.Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tADDRESS\tSTATE\tDEVICES")
	for _, n := range r.Nodes {
		state := "connected"
		if !n.Connected {
			state = "away"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", n.Name, n.Address, state, strings.Join(n.Devices, " "))
	}
	fmt.Fprintln(t, "\nVOLUME\tCLAIM\tSIZE\tUSED\tBRICKS\tTO HEAL")
	for _, v := range r.Volumes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d/%d\t%d\n", v.Name, v.Claim, cli.Bytes(v.Bytes), cli.Bytes(v.Used), v.Online, v.Bricks, v.Pending)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(r.Problems) == 0 {
		fmt.Fprintln(w, "\nAll is well.")
		return nil
	}
	fmt.Fprintln(w)
	for _, p := range r.Problems {
		fmt.Fprintln(w, p)
	}
	return nil
}

// controller opens a tunnel to the storage's controller, which lasts as long as ctx.
func controller(ctx context.Context, client *kube.Client) (*heketi.Client, error) {
	o, err := client.Get(ctx, kube.Ref{APIVersion: "v1", Kind: "Secret", Namespace: pods.Namespace, Name: steps.StorageKeys})
	if err != nil {
		return nil, err
	}
	if o == nil {
		return nil, cli.Hint(errors.New("reach the storage: there is none"), "clusterctl deploy storage makes it")
	}
	text, _, _ := unstructured.NestedString(o.Object, "data", "admin")
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("read the storage's key: %w", err)
	}
	t, err := client.Forward(ctx, pods.Namespace, steps.StorageService, steps.StoragePort, 0)
	if err != nil {
		return nil, err
	}
	return &heketi.Client{URL: "http://" + t.Address, User: "admin", Key: secret.New(string(key)), HTTP: &http.Client{}}, nil
}

// withWaits runs something that may wait, and shows what it waits for.
func withWaits(ctx context.Context, env cli.Env, do func(context.Context) error) error {
	show := func(e step.Event) {
		if e.Kind == step.Waiting {
			fmt.Fprintf(env.Stderr, "waiting for %s\n", e.Text)
		}
	}
	stages := []step.Stage[struct{}]{{Name: "storage", Steps: []step.Step[struct{}]{&task{do: do}}}}
	return stepError(step.Run(ctx, struct{}{}, stages, &step.Recorder{Log: env.Log, Observers: []step.Observer{show}}))
}

// task is something to do once.
type task struct {
	do   func(context.Context) error
	done bool
}

func (t *task) Name() string { return "task" }

func (t *task) Check(context.Context, struct{}) (string, error) {
	if t.done {
		return "", nil
	}
	return "is to be done", nil
}

func (t *task) Apply(ctx context.Context, _ struct{}) error {
	err := t.do(ctx)
	t.done = err == nil
	return err
}
