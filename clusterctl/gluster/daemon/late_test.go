package daemon

import (
	"context"
	"errors"
	"strings"
	"testing"

	"picluster/clusterctl/gluster/brick"
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
)

// disks are those that are there, by their ids.
type disks map[string]bool

func (k disks) Find(_ context.Context, _ host.Host, id string) (brick.Device, error) {
	if !k[id] {
		return brick.Device{}, errors.New("it does not spin")
	}
	return brick.Device{ID: id, Name: "/dev/" + id[:1]}, nil
}

func (disks) Attach(context.Context, host.Host, brick.Device) error { return nil }
func (disks) Erase(context.Context, host.Host, string) error        { return nil }

// A disk comes late, when glusterd does not answer yet: its bricks are started as soon as
// glusterd does, and once.
func TestLateBricks_startWhenGlusterdAnswers(t *testing.T) {
	m := hosttest.NewMachine(t)
	m.Fake("gluster", `[ -e "$ROOT/up" ] || { echo "Connection failed. Please check if gluster daemon is operational."; exit 1; }
	case "$*" in
		*"volume info all") echo '<?xml version="1.0"?><cliOutput><opRet>0</opRet><volInfo><volumes>'
			for name in one two; do
				echo "<volume><name>$name</name><statusStr>Started</statusStr><brickCount>1</brickCount><replicaCount>1</replicaCount><bricks><brick><name>a:/b</name></brick></bricks></volume>"
			done
			echo '<count>2</count></volumes></volInfo></cliOutput>' ;;
		*"volume start "*)
			echo "$*" | sed 's/.* start //' >>"$ROOT/started"
			if [ -e "$ROOT/refuses" ]; then echo '<?xml version="1.0"?><cliOutput><opRet>-1</opRet><opErrno>1</opErrno><opErrstr>no</opErrstr></cliOutput>'; exit; fi
			echo '<?xml version="1.0"?><cliOutput><opRet>0</opRet></cliOutput>' ;;
		*) unexpected "$@" ;;
	esac`)
	here, away := strings.Repeat("a", 32), strings.Repeat("b", 32)
	for _, id := range []string{here, away} {
		m.Put(brick.Root+"/"+id+"/mounted", "")
	}
	kind := disks{}
	d := Daemon{Host: m, Bricks: kind}
	late := lateBricks{attached: map[string]bool{}}
	wants := func(when string, fails []string, started string) {
		t.Helper()
		err := late.bring(t.Context(), d)
		for _, part := range fails {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want %s in it", when, err, part)
			}
		}
		if err != nil && fails == nil {
			t.Errorf("%s: %v", when, err)
		}
		text, _ := m.ReadFile(t.Context(), "/started")
		if string(text) != started {
			t.Errorf("%s: started is %q, want %q", when, text, started)
		}
	}
	wants("no disk", []string{here, away}, "")
	kind[here] = true
	wants("glusterd does not answer", []string{away, "glusterd does not answer"}, "")
	m.Put("/up", "")
	m.Put("/refuses", "")
	wants("glusterd refuses", []string{away, "start volume one", "start volume two"}, "one force\ntwo force\n")
	if err := m.Remove(t.Context(), "/refuses"); err != nil {
		t.Fatal(err)
	}
	wants("glusterd answers", []string{away}, "one force\ntwo force\none force\ntwo force\n")
	kind[away] = true
	wants("the other disk", nil, strings.Repeat("one force\ntwo force\n", 3))
	wants("all is there", nil, strings.Repeat("one force\ntwo force\n", 3))
}
