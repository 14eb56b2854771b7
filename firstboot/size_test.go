package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// agentSize builds the agent as `make build` does and returns its size in bytes.
func agentSize(t testing.TB, arch string) int64 {
	t.Helper()
	path := filepath.Join(t.TempDir(), "firstboot")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARM=6", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// The agent travels on each card. The 32-bit one has stretch's FAT with 20 MB to
// spare, and a Pi Zero that reads it at 10 MB/s; the other one the 512 MB of
// bookworm and later, and the join service with a client of Kubernetes in it.
func TestAgent_isSmall(t *testing.T) {
	for arch, limit := range map[string]int64{"arm": 12e6, "arm64": 16e6} {
		if size := agentSize(t, arch); size > limit {
			t.Errorf("the agent for %s has %.1f MB", arch, float64(size)/1e6)
		}
	}
}

func BenchmarkAgent_size(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(float64(agentSize(b, "arm64"))/1e6, "MB-arm64")
		b.ReportMetric(float64(agentSize(b, "arm"))/1e6, "MB-armv6")
	}
}
