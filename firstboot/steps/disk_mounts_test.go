package steps_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// inOwnMounts starts the tests again in a mount namespace of their own, if they
// may have one, and returns their exit status. Elsewhere a process that makes a
// namespace while a test has something mounted, a container for example, would get
// a copy of the mount and keep its device in use.
func inOwnMounts() (status int, done bool) {
	const mark = "PICLUSTER_OWN_MOUNTS"
	if os.Getenv(mark) != "" {
		if err := forgetMounts(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1, true
		}
		return 0, false
	}
	if os.Geteuid() != 0 {
		return 0, false
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is about the thread
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), true
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start tests in a mount namespace:", err)
		return 1, true
	}
	return 0, true
}

// forgetMounts gives up our copies of what others' tests have mounted.
func forgetMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(table)) {
		point := strings.Fields(line)[4]
		for _, dir := range []string{os.TempDir(), memory()} {
			if dir != "" && strings.HasPrefix(point, filepath.Clean(dir)+"/") {
				_ = unix.Unmount(point, unix.MNT_DETACH) // one below another is gone already
			}
		}
	}
	return nil
}
