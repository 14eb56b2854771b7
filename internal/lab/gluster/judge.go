package gluster

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"picluster/internal/lab"
	"picluster/internal/lab/tool"
)

// judges are programs of others, each in a module of its own, which keeps what they
// need out of the product's.
var judges = map[string]string{
	"heketi":     ".", // Heketi's published client, and a main that uses all of it
	"csi-sanity": "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity",
}

// modules are the directories of those whose name is another.
var modules = map[string]string{"csi-sanity": "csi"}

// Judge returns the path of a program that judges ours: "heketi" or "csi-sanity". It
// is built if it is not in the lab's cache.
func Judge(t testing.TB, name string) string {
	t.Helper()
	path, err := build(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func build(name string) (string, error) {
	module := name
	if modules[name] != "" {
		module = modules[name]
	}
	root, err := tool.Output(context.Background(), "go", "list", "-m", "-f", "{{.Dir}}", "picluster")
	if err != nil {
		return "", fmt.Errorf("find module %s: %w", module, err)
	}
	dir := filepath.Join(strings.TrimSpace(string(root)), "internal/lab/gluster/modules", module)
	// What is built goes by the versions in go.mod and by the sources.
	sum := sha256.New()
	sources, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return "", err
	}
	for _, file := range sources {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		sum.Write(data)
	}
	return lab.Cached(fmt.Sprintf("judge-%s-%.12x-%s", name, sum.Sum(nil), runtime.GOARCH), func(ctx context.Context, path string) error {
		_, err := tool.Cmd{Dir: dir, Env: []string{"CGO_ENABLED=0"},
			Args: []string{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, judges[name]}}.Output(ctx)
		return err
	})
}
