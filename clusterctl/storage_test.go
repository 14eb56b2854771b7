package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"picluster/internal/cli"
)

// Of a storage that is elsewhere nothing can be seen here, and nothing is not well.
func TestStorage_isNotWellElsewhere(t *testing.T) {
	for more, says := range map[string]string{
		"storage: {backend: none}\n": "there is none: cluster.yaml has storage.backend: none",
		"storage: {heketi: {url: \"http://192.0.2.1:8080\", keyFile: heketi.key}}\n": "it is that of the Heketi at http://192.0.2.1:8080",
	} {
		w := newWorld(t, 1, 0, more)
		w.write("heketi.key", "key\n")
		for _, command := range []string{"status", "check", "heal"} {
			var stdout, stderr bytes.Buffer
			code := cli.Run(t.Context(), program(), cli.Env{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr},
				[]string{"storage", command, "--file", filepath.Join(w.dir, "cluster.yaml")})
			if code != cli.Usage || !strings.Contains(stderr.String(), says) || stdout.Len() > 0 {
				t.Errorf("storage %s: exit %d, %s%s", command, code, stdout.String(), stderr.String())
			}
		}
	}
}
