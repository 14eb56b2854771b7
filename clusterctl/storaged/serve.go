package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"

	"picluster/clusterctl/csi"
	"picluster/internal/cli"
)

// server answers on a socket.
type server struct {
	socket   string
	register func(*grpc.Server)
}

// serve serves until the context ends or one of the servers fails. Calls that are under
// way are ended in order.
func serve(ctx context.Context, servers ...server) error {
	failed := make(chan error, len(servers))
	var all []*grpc.Server
	for _, is := range servers {
		l, err := listen(is.socket)
		if err != nil {
			return err
		}
		s := grpc.NewServer(grpc.UnaryInterceptor(csi.Log(cli.NewLog(os.Stderr, 0))))
		is.register(s)
		all = append(all, s)
		go func() { failed <- s.Serve(l) }()
	}
	var err error
	select {
	case <-ctx.Done():
		err = context.Cause(ctx)
	case err = <-failed:
	}
	for _, s := range all {
		s.GracefulStop()
	}
	return err
}

// listen takes the place of a socket that a container before this one has left.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return net.Listen("unix", path)
}
