package report

import (
	"testing"

	"picluster/clusterctl/gluster"
	"picluster/internal/host/hosttest"
)

// Gluster answers "Volume one is not of type replicate/disperse" to whoever asks what there
// is to heal in a volume with one copy.
func TestVolume_withOneCopyIsNotAskedWhatToHeal(t *testing.T) {
	for status, want := range map[string]string{"1": "", "0": "0 of 1 bricks are online"} {
		m := hosttest.NewMachine(t)
		m.Fake("gluster", `case "$*" in
			*"volume status one detail") echo '<?xml version="1.0"?><cliOutput><opRet>0</opRet><volStatus><volumes><volume><node>
				<hostname>10.0.0.1</hostname><path>/b</path><status>`+status+`</status><sizeTotal>100</sizeTotal><sizeFree>60</sizeFree></node></volume></volumes></volStatus></cliOutput>' ;;
			*) unexpected "$@" ;;
		esac`)
		one := gluster.Volume{Name: "one", Started: true, Replicas: 1, Bricks: []gluster.Brick{{Host: "10.0.0.1", Path: "/b"}}}
		is, why, err := volume(t.Context(), gluster.CLI{Host: m}, one)
		if err != nil || why != want || is.Used != 40 || is.Pending != 0 {
			t.Errorf("with a brick of status %s it is %+v, %q: %v", status, is, why, err)
		}
	}
}
