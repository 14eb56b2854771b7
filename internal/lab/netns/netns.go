// Package netns has what machines without virtual machines are made of: a switch
// with cables, and a way to run programs and look at files among the namespaces of a
// first process. What that process is, is its callers' business.
//
// It needs root and the Debian packages iproute2 and util-linux.
package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// AwaitTime is generous: the machine may be busy.
const AwaitTime = 3 * time.Minute

// Await waits for what comes in a moment, and fails the test with what is still
// wrong when it does not.
func Await(t testing.TB, what string, ready func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), AwaitTime)
	defer cancel()
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("wait for %s: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Child is the process id of the first child of a process.
func Child(pid int) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	words := strings.Fields(string(data))
	if len(words) == 0 {
		return 0, errors.New("it has not started yet")
	}
	return strconv.Atoi(words[0])
}

// OwnNetwork reports whether a process is in another network than the test.
func OwnNetwork(pid int) bool {
	its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	ours, ourErr := os.Readlink("/proc/self/ns/net")
	return err == nil && ourErr == nil && its != ours
}
