package steps_test

import (
	"testing"
	"time"

	"picluster/firstboot/steps"
	"picluster/internal/host/hosttest"
)

// What apt has said in releases that cannot be run here, and what becomes of it.
func TestPackages_readsOlderApt(t *testing.T) {
	for name, tc := range map[string]struct {
		update  string // what apt-get update prints; it exits with 0
		install string // what apt-get install prints to standard error; it exits with 100
		want    string
	}{
		"the lock, apt 1.4": {"", "E: Could not get lock /var/lib/dpkg/lock - open (11: Resource temporarily unavailable)\n" +
			"E: Unable to lock the administration directory (/var/lib/dpkg/), is another process using it?", "another program is installing packages"},
		"the lock, apt 1.8": {"", "E: Could not get lock /var/lib/dpkg/lock-frontend - open (11: Resource temporarily unavailable)\n" +
			"E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?", "another program is installing packages"},
		"the lock, apt 2.2": {"", "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)", "another program is installing packages: process 812 (unattended-upgr)"},
		"no DNS, apt 1.4": {"Err:1 http://raspbian.raspberrypi.org/raspbian stretch InRelease\n  Temporary failure resolving 'raspbian.raspberrypi.org'\nReading package lists...\n",
			"E: Failed to fetch http://raspbian.raspberrypi.org/raspbian/pool/main/v/vim/vim_8.0_armhf.deb  Temporary failure resolving 'raspbian.raspberrypi.org'",
			"raspbian.raspberrypi.org is not reached: Temporary failure resolving 'raspbian.raspberrypi.org'"},
		"a version that is gone": {"Hit:1 http://raspbian.raspberrypi.org/raspbian stretch InRelease\n",
			"E: Failed to fetch http://raspbian.raspberrypi.org/raspbian/pool/main/v/vim/vim_8.0_armhf.deb  404  Not Found [IP: 93.93.128.193 80]\n" +
				"E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?", "raspbian.raspberrypi.org: 404  Not Found [IP: 93.93.128.193 80]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := hosttest.NewMachine(t)
			m.Fake("dpkg-query", "echo 'dpkg-query: no packages found matching vim' >&2; exit 1")
			m.Fake("dpkg", `test "$*" = "--configure -a --force-confdef --force-confold" || unexpected "$@"`)
			m.Fake("apt-cache", `test "$*" = "policy vim" || unexpected "$@"; printf 'vim:\n  Installed: (none)\n  Candidate: 2:8.0\n  Version table:\n'`)
			m.Put("/said/update", tc.update)
			m.Put("/said/install", tc.install)
			m.Fake("apt-get", `case "$1" in update) cat "$ROOT/said/update" ;; install) cat "$ROOT/said/install" >&2; exit 100 ;; *) unexpected "$@" ;; esac`)
			text, _ := firstNote(t, m, steps.Packages{Names: []string{"vim"}, Limit: time.Minute})
			if text != "packages: "+tc.want {
				t.Errorf("it says %q\nwant %q", text, "packages: "+tc.want)
			}
		})
	}
}
