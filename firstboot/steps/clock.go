package steps

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/step"
)

// timeSteps make the clock good enough for certificates first, and right if
// somebody in the network knows the time.
//
// The control plane waits longer: what it signs is not valid yet by the others' clocks
// if its own runs ahead, and etcd does not like one that jumps. Without any time
// server it goes on all the same, and the others take the time from it.
func timeSteps(c *node.Config) []Step {
	limit := 2 * time.Minute
	if c.Kubernetes != nil && c.Role == node.ControlPlane {
		limit = 10 * time.Minute
	}
	return []Step{
		Clock{NotBefore: c.Build.Time},
		step.Optional[host.Host](Synchronised{Servers: c.Network.NTP, Limit: limit}),
	}
}

// Clock wants the time to be no earlier than when the card was made. No Pi before
// the 5 has a clock that runs without power.
type Clock struct{ NotBefore time.Time }

func (s Clock) Name() string { return "clock" }

func (s Clock) String() string { return "{not before " + s.NotBefore.UTC().Format(time.RFC3339) + "}" }

// Check implements Step.
func (s Clock) Check(ctx context.Context, h host.Host) (string, error) {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"date", "+%s"}})
	if err != nil {
		return "", err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return "", fmt.Errorf("read clock: %w", err)
	}
	if now := time.Unix(seconds, 0).UTC(); now.Before(s.NotBefore.Truncate(time.Second)) {
		return fmt.Sprintf("it is %s by the clock, before the card was made", now.Format("2006-01-02 15:04")), nil
	}
	return "", nil
}

// Apply implements Step.
func (s Clock) Apply(ctx context.Context, h host.Host) error {
	_, err := h.Run(ctx, host.Cmd{Args: []string{"date", "-s", fmt.Sprintf("@%d", s.NotBefore.Unix())}})
	return err
}

// Synchronised wants the clock to follow a time server, whoever asks it:
// timesyncd, chrony or ntpd.
type Synchronised struct {
	Servers []string // of timesyncd; none: Debian's pool
	Limit   time.Duration
}

func (s Synchronised) Name() string { return "time synchronisation" }

const notSynchronised = "the clock follows no time server yet"

// Check implements Step.
func (s Synchronised) Check(ctx context.Context, h host.Host) (string, error) {
	yes, err := isSynchronised(ctx, h)
	if err != nil || yes {
		return "", err
	}
	return notSynchronised, nil
}

// synchronised is a line of timedatectl: "NTP synchronized: yes" in systemd 232,
// "System clock synchronized: yes" since 239. It is the kernel's flag, which ntpd
// and (with Debian's rtcsync) chronyd set as timesyncd does.
var synchronised = regexp.MustCompile(`(?m)^\s*(?:NTP|System clock) synchronized: (yes|no)$`)

func isSynchronised(ctx context.Context, h host.Host) (bool, error) {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"timedatectl", "status"}})
	if err != nil {
		return false, err
	}
	m := synchronised.FindSubmatch(out)
	if m == nil {
		return false, errors.New("read timedatectl: it does not say whether the clock is synchronised")
	}
	if string(m[1]) == "yes" {
		return true, nil
	}
	// chronyd without rtcsync never sets the flag; "Normal" is its word for a
	// clock that follows a source (chronyc(1), tracking).
	if active, err := activeUnit(ctx, h, "chrony.service"); err != nil || !active {
		return false, err
	}
	out, err = h.Run(ctx, host.Cmd{Args: []string{"chronyc", "-n", "tracking"}})
	return err == nil && leapNormal.Match(out), nil // no chronyd to ask: not synchronised
}

var leapNormal = regexp.MustCompile(`(?m)^Leap status\s*: Normal$`)

// activeUnit reports whether systemd runs the unit. is-active exits with 3 if not.
func activeUnit(ctx context.Context, h host.Host, unit string) (bool, error) {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"systemctl", "is-active", unit}})
	var exit *host.ExitError
	if err != nil && !errors.As(err, &exit) {
		return false, err
	}
	return strings.TrimSpace(string(out)) == "active", nil
}

// Apply implements Step. There is nothing to do but to wait, and to start timesyncd
// anew now and then, for the reason that askForTime tells.
//
// Who has waited in vain once does not wait again in this boot: what is tried again
// after a failure is tried from the first step on.
func (s Synchronised) Apply(ctx context.Context, h host.Host) error {
	waited, err := exists(ctx, h, timeWaited)
	if err != nil {
		return err
	}
	if waited {
		return s.reason(ctx, h)
	}
	err = s.wait(ctx, h)
	if err != nil && ctx.Err() == nil {
		err = errors.Join(err, h.Write(ctx, timeWaited, host.File{}))
	}
	return err
}

// timeWaited is gone after a reboot.
const timeWaited = "/run/picluster-time-waited"

func (s Synchronised) wait(ctx context.Context, h host.Host) error {
	turn := 0
	return step.Wait{For: "the time", Limit: s.Limit, Every: 5 * time.Second}.Until(ctx, func(ctx context.Context) error {
		yes, err := isSynchronised(ctx, h)
		if err != nil || yes {
			return err
		}
		if turn++; turn%4 == 0 {
			if _, err := h.Run(ctx, host.Cmd{Args: []string{"systemctl", "try-restart", "systemd-timesyncd.service"}}); err != nil {
				return err
			}
		}
		return s.reason(ctx, h)
	})
}

// timeServices are the programs that keep time on Debian, and how to ask each what
// it is doing: the last line that it says is shown.
var timeServices = []struct {
	unit, name string
	ask        []string
}{
	{"systemd-timesyncd.service", "timesyncd", []string{"journalctl", "-b", "-u", "systemd-timesyncd", "-o", "cat", "-n", "20", "--no-pager"}},
	{"chrony.service", "chronyd", []string{"chronyc", "-n", "sources"}},
	{"ntp.service", "ntpd", []string{"ntpq", "-pn"}},
	{"ntpsec.service", "ntpd", []string{"ntpq", "-pn"}},
}

// reason says who asks which servers, and what came of it.
func (s Synchronised) reason(ctx context.Context, h host.Host) error {
	for _, service := range timeServices {
		active, err := activeUnit(ctx, h, service.unit)
		if err != nil {
			return err
		}
		if !active {
			continue
		}
		out, err := h.Run(ctx, host.Cmd{Args: service.ask})
		if err != nil {
			return err
		}
		if service.name == "timesyncd" {
			return errors.New(s.timesyncd(string(out)))
		}
		return fmt.Errorf("%s has no answer from %s", service.name, listed(ntpServers(string(out)), "any server"))
	}
	return errors.New("no time service is running (timesyncd, chronyd, ntpd)")
}

// timesyncd is its story in a sentence, out of its journal, where each server that
// does not answer has a line.
func (s Synchronised) timesyncd(journal string) string {
	asked := "the servers of Debian's pool"
	if len(s.Servers) > 0 {
		asked = strings.Join(s.Servers, ", ")
	}
	why := "no answer yet"
	for line := range strings.Lines(journal) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "Timed out waiting for reply from") || strings.Contains(line, "resolve") || strings.HasPrefix(line, "Server has") {
			why = strings.TrimSuffix(line, ".")
		}
	}
	return fmt.Sprintf("timesyncd asks %s: %s", asked, why)
}

// ntpAddress is a server in the tables of chronyc and ntpq, behind one or two
// signs that say how it stands.
var ntpAddress = regexp.MustCompile(`(?m)^[\^=#*+ox. ~?-]{0,3}([0-9]+\.[0-9]+\.[0-9]+\.[0-9]+|[0-9a-f]*:[0-9a-f:]+)\s`)

func ntpServers(table string) []string {
	var servers []string
	for _, m := range ntpAddress.FindAllStringSubmatch(table, -1) {
		servers = append(servers, m[1])
	}
	return servers
}

// listed joins names, or says what stands for none.
func listed(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return strings.Join(names, ", ")
}
