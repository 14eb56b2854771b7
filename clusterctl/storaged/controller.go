package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"k8s.io/client-go/rest"

	"picluster/clusterctl/csi"
	"picluster/clusterctl/gluster/daemon"
	"picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/heketi"
	"picluster/clusterctl/kube"
	"picluster/internal/cli"
	"picluster/internal/secret"
	"picluster/internal/version"
)

// settings are the controller's flags.
type settings struct {
	socket, listen, keys, bricks, allow string
	heketi                              string
}

func controller() cli.Command {
	var s settings
	return cli.Command{
		Name:    "controller",
		Summary: "make volumes: the CSI controller, and Heketi's API",
		Flags: func(f *pflag.FlagSet) {
			f.StringVar(&s.socket, "csi", "/csi/csi.sock", "socket of the CSI controller")
			f.StringVar(&s.listen, "listen", ":8080", "address of Heketi's API")
			f.StringVar(&s.keys, "keys", "/etc/picluster/heketi", "directory with the API's keys: admin, user")
			f.StringVar(&s.bricks, "bricks", "xfs", "how bricks are made: xfs, loopfile, lvmthin")
			f.StringVar(&s.allow, "allow", "", "who may mount volumes (auth.allow)")
			f.StringVar(&s.heketi, "heketi-url", "", "make volumes by an original Heketi there, and not here")
		},
		Run: func(ctx context.Context, env cli.Env, _ []string) error { return s.run(ctx, logOf(env)) },
	}
}

func (s settings) run(ctx context.Context, log *slog.Logger) error {
	keys, err := readKeys(s.keys)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if s.heketi != "" {
		to, err := url.Parse(s.heketi)
		if err != nil {
			return cli.Exit(cli.Usage, fmt.Errorf("read flag --heketi-url: %w", err))
		}
		return s.serve(ctx, stop, relay(to), heketi.Backend{Client: &heketi.Client{URL: s.heketi, User: "admin", Key: keys.Admin}})
	}
	e, cluster, err := s.engine(ctx, log)
	if err != nil {
		return err
	}
	api, err := heketi.New(ctx, e, keys)
	if err != nil {
		return err
	}
	defer api.Close()
	go func() { stop(converger{Kube: cluster, Engine: e, Log: log}.run(ctx)) }()
	return s.serve(ctx, stop, api, e)
}

// relay passes requests on to a Heketi elsewhere: what asks for the storage's Service
// need not know which of the two there is. Tokens are for a method and a path, which
// stay as they are.
func relay(to *url.URL) http.Handler {
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
}

// serve serves both ways in until the context ends or one of them fails.
func (s settings) serve(ctx context.Context, stop context.CancelCauseFunc, api http.Handler, volumes csi.Volumes) error {
	web := &http.Server{Addr: s.listen, Handler: api, ReadHeaderTimeout: time.Minute}
	go func() { stop(web.ListenAndServe()) }()
	defer web.Close()
	return serve(ctx, server{s.socket, func(g *grpc.Server) {
		csi.Register(g, version.String(), &csi.Controller{Volumes: volumes}, nil)
	}})
}

// engine takes the storage's state over, from a controller that may still run
// somewhere, and finishes what that one has begun.
func (s settings) engine(ctx context.Context, log *slog.Logger) (*engine.Engine, *kube.Client, error) {
	kind, _, err := bricks(s.bricks)
	if err != nil {
		return nil, nil, err
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, nil, fmt.Errorf("find the API server: %w", err)
	}
	cluster, err := kube.New(config)
	if err != nil {
		return nil, nil, err
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, nil, err
	}
	store := pods.Store{Kube: cluster, Holder: name}
	if err := store.Take(ctx); err != nil {
		return nil, nil, err
	}
	e := &engine.Engine{Store: store, Bricks: kind, Log: log, Reach: pods.Nodes{Kube: cluster, Log: log}.Reach, Identify: daemon.SetUUID}
	if s.allow != "" {
		e.Options = map[string]string{"auth.allow": s.allow}
	}
	if err := e.Recover(ctx); err != nil {
		log.Warn("what was begun before waits", "error", err)
	}
	return e, cluster, nil
}

// readKeys reads a mounted Secret.
func readKeys(dir string) (heketi.Keys, error) {
	var keys heketi.Keys
	for name, key := range map[string]*secret.Text{"admin": &keys.Admin, "user": &keys.User} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return keys, fmt.Errorf("read keys: %w", err)
		}
		*key = secret.New(strings.TrimSpace(string(data)))
	}
	return keys, nil
}
