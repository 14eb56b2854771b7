package steps_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"picluster/firstboot/steps"
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
	"picluster/internal/step"
)

func TestClock_isNotBeforeTheCard(t *testing.T) {
	made := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	s := steps.Clock{NotBefore: made}
	m := hosttest.NewMachine(t)
	m.Put("/now", "40\n") // 1970
	m.Fake("date", `case "$1" in +%s) cat "$ROOT/now" ;; -s) echo "${2#@}" > "$ROOT/now" ;; *) unexpected "$@" ;; esac`)
	var drift string
	r := &step.Recorder{Observers: []step.Observer{func(e step.Event) {
		if e.Kind == step.Applying {
			drift = e.Text
		}
	}}}
	stages := []steps.Stage{{Name: "time", Steps: []steps.Step{s}}}
	if err := step.Run[host.Host](t.Context(), m, stages, r); err != nil {
		t.Fatal(err)
	}
	if drift != "it is 1970-01-01 00:00 by the clock, before the card was made" {
		t.Errorf("drift %q", drift)
	}
	m.WantCalls("date +%s", "date -s @1793534400", "date +%s")
	m.Put("/now", "1800000000\n")
	if err := step.Run[host.Host](t.Context(), m, stages, nil); err != nil {
		t.Fatal(err)
	}
	m.WantCalls("date +%s") // a clock that is later is left alone
}

// timedatectl of the releases: stretch's systemd 232, and 257 of trixie, which
// looks as all have since buster.
const (
	timedatectl232 = "      Local time: Sun 2026-11-01 13:00:05 CET\n  Universal time: Sun 2026-11-01 12:00:05 UTC\n        RTC time: n/a\n" +
		"       Time zone: Europe/Zurich (CET, +0100)\n Network time on: yes\nNTP synchronized: no\n RTC in local TZ: no\n"
	timedatectl257 = "               Local time: Wed 2026-11-25 14:05:31 UTC\n           Universal time: Wed 2026-11-25 14:05:31 UTC\n                 RTC time: Wed 2026-11-25 14:05:31\n" +
		"                Time zone: Etc/UTC (UTC, +0000)\nSystem clock synchronized: no\n              NTP service: active\n          RTC in local TZ: no\n"

	timesyncdIdle = "Starting systemd-timesyncd.service - Network Time Synchronization...\nStarted systemd-timesyncd.service - Network Time Synchronization.\n" +
		"Network configuration changed, trying to establish connection.\n"
	timesyncdTimeout = timesyncdIdle + "Timed out waiting for reply from 162.159.200.123:123 (0.debian.pool.ntp.org).\n"

	chronySources = "MS Name/IP address         Stratum Poll Reach LastRx Last sample               \n" +
		"===============================================================================\n" +
		"^? 192.168.1.1                   0   6     0     -     +0ns[   +0ns] +/-    0ns\n^? 2001:db8::7                   0   6     0     -     +0ns[   +0ns] +/-    0ns\n"
	ntpqPeers = "     remote           refid      st t when poll reach   delay   offset  jitter\n" +
		"==============================================================================\n 192.168.1.1     .INIT.          16 u    -   64    0    0.000    0.000   0.000\n"
)

// clockOf is a machine whose timedatectl says that, with that unit active.
func clockOf(t *testing.T, timedatectl, unit string, files map[string]string) *hosttest.Machine {
	t.Helper()
	m := hosttest.NewMachine(t)
	m.Put("/said/timedatectl", timedatectl)
	m.Put("/said/unit", unit+"\n")
	for name, text := range files {
		m.Put("/said/"+name, text)
	}
	m.Fake("timedatectl", `test "$*" = status || unexpected "$@"; cat "$ROOT/said/timedatectl"`)
	m.Fake("systemctl", `test "$1" = is-active || unexpected "$@"; grep -qx "$2" "$ROOT/said/unit" || { echo inactive; exit 3; }; echo active`)
	m.Fake("journalctl", `test "$*" = "-b -u systemd-timesyncd -o cat -n 20 --no-pager" || unexpected "$@"; cat "$ROOT/said/journal"`)
	m.Fake("chronyc", `case "$*" in "-n tracking") cat "$ROOT/said/tracking" ;; "-n sources") cat "$ROOT/said/sources" ;; *) unexpected "$@" ;; esac`)
	m.Fake("ntpq", `test "$*" = -pn || unexpected "$@"; cat "$ROOT/said/peers"`)
	return m
}

func TestSynchronised_saysWhoAsksWhom(t *testing.T) {
	const unsynchronised = "Reference ID    : 00000000 ()\nStratum         : 0\nLeap status     : Not synchronised\n"
	for name, tc := range map[string]struct {
		said, unit string
		files      map[string]string
		servers    []string
		want       string
	}{
		"timesyncd begins": {timedatectl257, "systemd-timesyncd.service", map[string]string{"journal": timesyncdIdle}, nil,
			"timesyncd asks the servers of Debian's pool: no answer yet"},
		"timesyncd has no answer": {timedatectl232, "systemd-timesyncd.service", map[string]string{"journal": timesyncdTimeout}, []string{"192.168.1.1", "ntp.example.org"},
			"timesyncd asks 192.168.1.1, ntp.example.org: Timed out waiting for reply from 162.159.200.123:123 (0.debian.pool.ntp.org)"},
		"chronyd has no answer": {timedatectl257, "chrony.service", map[string]string{"tracking": unsynchronised, "sources": chronySources}, nil,
			"chronyd has no answer from 192.168.1.1, 2001:db8::7"},
		"ntpd has no answer": {timedatectl232, "ntp.service", map[string]string{"peers": ntpqPeers}, nil, "ntpd has no answer from 192.168.1.1"},
		"nobody asks":        {timedatectl257, "ssh.service", nil, nil, "no time service is running (timesyncd, chronyd, ntpd)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := clockOf(t, tc.said, tc.unit, tc.files)
			s := steps.Synchronised{Servers: tc.servers, Limit: time.Minute}
			if drift, err := s.Check(t.Context(), m); drift != "the clock follows no time server yet" || err != nil {
				t.Errorf("check: %q, %v", drift, err)
			}
			if text, _ := firstNote(t, m, s); text != "the time: "+tc.want {
				t.Errorf("it waits for %q", text)
			}
		})
	}
}

// Who tries all steps again does not wait for the time again.
func TestSynchronised_waitsOncePerBoot(t *testing.T) {
	t.Parallel()
	m := clockOf(t, timedatectl257, "ssh.service", nil)
	s := steps.Synchronised{Limit: time.Millisecond}
	if err := s.Apply(t.Context(), m); err == nil || !strings.Contains(err.Error(), "gave up") {
		t.Errorf("at first: %v", err)
	}
	s.Limit = time.Hour
	if err := s.Apply(t.Context(), m); err == nil || err.Error() != "no time service is running (timesyncd, chronyd, ntpd)" {
		t.Errorf("again: %v", err)
	}
}

func TestSynchronised_isSo(t *testing.T) {
	yes := func(s string) string { return strings.Replace(s, "synchronized: no", "synchronized: yes", 1) }
	for name, m := range map[string]*hosttest.Machine{
		"systemd 232":            clockOf(t, yes(timedatectl232), "", nil),
		"systemd 257":            clockOf(t, yes(timedatectl257), "", nil),
		"chrony without rtcsync": clockOf(t, timedatectl257, "chrony.service", map[string]string{"tracking": "Stratum         : 3\nLeap status     : Normal\n"}),
	} {
		if drift, err := (steps.Synchronised{Limit: time.Minute}).Check(t.Context(), m); drift != "" || err != nil {
			t.Errorf("%s: check: %q, %v", name, drift, err)
		}
	}
}

// No node is lost for want of the right time.
// A timesyncd that has lost the question for its server's address asks nobody until
// it is started anew.
func TestSynchronised_wakesTimesyncd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := clockOf(t, timedatectl257, "systemd-timesyncd.service", map[string]string{"journal": timesyncdIdle})
		m.Fake("systemctl", `case "$*" in
			"is-active systemd-timesyncd.service") echo active ;;
			"is-active chrony.service") echo inactive; exit 3 ;;
			"try-restart systemd-timesyncd.service") sed -i s/synchronized:.no/synchronized:\ yes/ "$ROOT/said/timedatectl" ;;
			*) unexpected "$@" ;;
		esac`)
		s := steps.Synchronised{Limit: time.Minute}
		if err := step.Run[host.Host](t.Context(), m, []steps.Stage{{Name: "time", Steps: []steps.Step{s}}}, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestSynchronised_isOptional(t *testing.T) {
	m := clockOf(t, timedatectl257, "ssh.service", nil)
	s := step.Optional[host.Host](steps.Synchronised{Limit: time.Millisecond})
	var warning string
	r := &step.Recorder{Observers: []step.Observer{func(e step.Event) {
		if e.Kind == step.Warned {
			warning = e.Text
		}
	}}}
	if err := step.Run[host.Host](t.Context(), m, []steps.Stage{{Name: "time", Steps: []steps.Step{s}}}, r); err != nil && !errors.Is(err, t.Context().Err()) {
		t.Fatal(err)
	}
	if !strings.HasPrefix(warning, "wait for the time: gave up after 1ms: ") {
		t.Errorf("warning %q", warning)
	}
}
