package steps

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"picluster/internal/host"
	"picluster/internal/step"
)

// runKubeadm runs kubeadm, says every now and then that it is still at it, and what
// keeps the kubelet from running: kubeadm waits minutes for that and does not know.
func runKubeadm(ctx context.Context, h host.Host, what string, args ...string) error {
	began, done := time.Now(), make(chan struct{})
	var notes sync.WaitGroup
	notes.Go(func() {
		tick := time.NewTicker(30 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				note := fmt.Sprintf("%s (%s so far)", what, time.Since(began).Round(30*time.Second))
				if trouble := kubeletTrouble(ctx, h); trouble != "" {
					note += "; " + trouble
				}
				step.Note(ctx, note)
			case <-done:
				return
			}
		}
	})
	_, err := h.Run(ctx, host.Cmd{Args: append([]string{"kubeadm"}, args...)})
	close(done)
	notes.Wait()
	if err = kubeadmError(err); err == nil {
		return nil
	}
	if trouble := kubeletTrouble(ctx, h); trouble != "" {
		return fmt.Errorf("%w; %s", err, trouble)
	}
	return err
}

// kubeletTrouble is what a kubelet says that ends as often as it is started; "" of
// any other. One that kubeadm has not configured yet cannot but end.
func kubeletTrouble(ctx context.Context, h host.Host) string {
	if there, err := exists(ctx, h, "/var/lib/kubelet/config.yaml"); err != nil || !there {
		return ""
	}
	out, err := h.Run(ctx, host.Cmd{Args: []string{"systemctl", "show", "--property=SubState", "--value", "kubelet.service"}})
	if err != nil || strings.TrimSpace(string(out)) != "auto-restart" {
		return ""
	}
	const trouble = "the kubelet does not stay up: "
	out, err = h.Run(ctx, host.Cmd{Args: []string{"journalctl", "--unit=kubelet.service", "--lines=100", "--output=cat", "--no-pager"}})
	if err != nil {
		return trouble + "journalctl -u kubelet says why"
	}
	var said string
	for line := range strings.Lines(string(out)) {
		// The last words of all of Kubernetes' programs: k8s.io/component-base/cli.
		if _, quoted, found := strings.Cut(line, `"command failed" err=`); found {
			said = strings.TrimSpace(quoted)
		}
	}
	if plain, err := strconv.Unquote(said); err == nil {
		said = plain
	}
	if said == "" {
		said = "journalctl -u kubelet says why"
	}
	return trouble + said
}

// kubeadmError is what kubeadm says is wrong. Its last line is always the same advice.
func kubeadmError(err error) error {
	var exit *host.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	var said []string
	for line := range strings.Lines(string(exit.Stderr)) {
		line = strings.TrimSpace(line)
		if check, ok := strings.CutPrefix(line, "[ERROR "); ok {
			said = append(said, strings.Replace(check, "]: ", ": ", 1))
		}
		if rest, ok := strings.CutPrefix(line, "error execution phase "); ok && !strings.Contains(rest, "Some fatal errors occurred") {
			said = append(said, rest)
		}
		if rest, ok := strings.CutPrefix(line, "error: "); ok {
			said = append(said, rest)
		}
	}
	if said == nil {
		return err
	}
	return fmt.Errorf("run kubeadm %s: %s", exit.Args[1], strings.Join(said, "; "))
}
