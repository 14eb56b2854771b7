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

// The agent travels on each card, stretch's FAT has 20 MB to spare, and a Pi Zero
// reads it at 10 MB/s.
func TestAgent_isSmall(t *testing.T) {
	if size := agentSize(t, "arm64"); size > 12e6 {
		t.Errorf("the agent has %.1f MB", float64(size)/1e6)
	}
}

func BenchmarkAgent_size(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(float64(agentSize(b, "arm64"))/1e6, "MB-arm64")
		b.ReportMetric(float64(agentSize(b, "arm"))/1e6, "MB-armv6")
	}
}
