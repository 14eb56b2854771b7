package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"picluster/clusterctl/kube"
	"picluster/clusterctl/steps"
	"picluster/internal/cli"
)

// dashboardTime is how long a dashboard's token opens the cluster.
const dashboardTime = time.Hour

func dashboardCommand() cli.Command {
	var f projectFlags
	var port int
	var output string
	return cli.Command{
		Name:    "dashboard",
		Summary: "open a tunnel to the dashboard, and print a token for it",
		Details: "The tunnel ends on this machine's loopback and lasts until Ctrl-C; nothing is opened to\n" +
			"the network. The token is an administrator's and ends after one hour by itself.",
		Examples: []string{"clusterctl dashboard", "clusterctl dashboard --port 8080"},
		Flags: func(flags *pflag.FlagSet) {
			f.register(flags)
			flags.IntVar(&port, "port", 0, "`port` on loopback; 0: any that is free")
			cli.RegisterOutput(flags, &output)
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if err := cli.CheckOutput(output); err != nil {
				return err
			}
			p, err := f.load()
			if err != nil {
				return err
			}
			d, ok := steps.DashboardOf(p.cluster)
			if !ok {
				return cli.Exit(cli.Usage, fmt.Errorf("open dashboard: cluster.yaml has addons.dashboard: %s", p.cluster.Addons.Dashboard))
			}
			client, err := p.connect(ctx)
			if err != nil {
				return err
			}
			return apiError(openDashboard(ctx, env, client, d, port, output))
		},
	}
}

func openDashboard(ctx context.Context, env cli.Env, client *kube.Client, d steps.Dashboard, port int, output string) error {
	token, err := client.Token(ctx, d.Name, steps.AdminUser, dashboardTime)
	if apierrors.IsNotFound(err) {
		return cli.Hint(fmt.Errorf("open dashboard: %s is not in the cluster", d.Name), "clusterctl deploy dashboard brings it there")
	}
	if err != nil {
		return err
	}
	tunnel, err := client.Forward(ctx, d.Name, d.Name, d.Port, port)
	if err != nil {
		return cli.Hint(err, "clusterctl deploy dashboard waits until it runs")
	}
	url := fmt.Sprintf("%s://%s/", d.Scheme, tunnel.Address)
	if output == "json" {
		err = cli.WriteJSON(env.Stdout, struct {
			Version int       `json:"version"`
			URL     string    `json:"url"`
			Token   string    `json:"token"`
			Expires time.Time `json:"expires"`
		}{outputVersion, url, token.Value.Reveal(), token.Expires})
	} else {
		_, err = fmt.Fprintf(env.Stdout, "%s\n%s\n", url, token.Value.Reveal())
		fmt.Fprintf(env.Stderr, "The token opens it until %s. Ctrl-C closes the tunnel.\n", token.Expires.Local().Format("15:04"))
		if d.Scheme == "https" {
			fmt.Fprintln(env.Stderr, "The page's certificate is one that it has made for itself: the browser will ask.")
		}
	}
	if err != nil {
		return err
	}
	return tunnel.Wait()
}
