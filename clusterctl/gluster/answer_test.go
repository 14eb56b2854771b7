package gluster_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	. "picluster/clusterctl/gluster"
	"picluster/internal/host/hosttest"
)

const head = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n<cliOutput>\n"

// answering is a gluster that says the same to everything.
func answering(t *testing.T, text string, code int) CLI {
	t.Helper()
	m := hosttest.NewMachine(t)
	m.Fake("gluster", fmt.Sprintf("printf '%%s' '%s'\nexit %d", text, code))
	return CLI{Host: m}
}

// What no gluster should answer, or another version may, is never taken for less
// than it says.
func TestCLI_believesOnlyWholeAnswers(t *testing.T) {
	ok := "<opRet>0</opRet><opErrno>0</opErrno><opErrstr/>"
	volume := func(more string) string {
		return head + ok + "<volInfo><volumes><volume><name>data</name>" + more + "</volume><count>1</count></volumes></volInfo></cliOutput>"
	}
	for text, want := range map[string]string{
		"":                                      "look at volume data: read gluster's answer: EOF",
		"all is well":                           "look at volume data: read gluster's answer: EOF",
		head + ok:                               "look at volume data: read gluster's answer: XML syntax error on line 3: unexpected EOF",
		head + "</cliOutput>":                   "look at volume data: read gluster's answer: it has no opRet",
		head + ok + "</cliOutput>x":             "look at volume data: read gluster's answer: something follows its end",
		head + ok + "</cliOutput><again/>":      "look at volume data: read gluster's answer: something follows its end",
		"<other>" + ok + "</other>":             "look at volume data: read gluster's answer: expected element type <cliOutput> but have <other>",
		head + ok + "</cliOutput>":              "look at volume data: read gluster's answer: it counts other volumes than it lists",
		head + "<opRet>yes</opRet></cliOutput>": `look at volume data: read gluster's answer: strconv.ParseInt: parsing "yes": invalid syntax`,
		head + ok + "<volInfo><volumes><count>0</count></volumes></volInfo></cliOutput>":                                    "look at volume data: read gluster's answer: it is about 0 other volumes",
		head + ok + "<volInfo><volumes><count>2</count></volumes></volInfo></cliOutput>":                                    "look at volume data: read gluster's answer: it counts other volumes than it lists",
		volume("<brickCount>1</brickCount><replicaCount>1</replicaCount>"):                                                  `look at volume data: read gluster's answer: volume "data" has 1 bricks, lists 0, and has 1 in a set`,
		volume("<brickCount>0</brickCount>"):                                                                                `look at volume data: read gluster's answer: volume "data" has 0 bricks, lists 0, and has 0 in a set`,
		volume("<brickCount>1</brickCount><replicaCount>1</replicaCount><bricks><brick><name>/srv</name></brick></bricks>"): `look at volume data: read gluster's answer: volume data has a brick "/srv", want HOST:PATH`,
		head + "<opRet>-1</opRet><opErrno>0</opErrno><opErrstr/></cliOutput>":                                               "look at volume data: gluster gives no reason (error 0)",
		head + "<opRet>-1</opRet><opErrno>30806</opErrno><opErrstr>Gone.\n  Sorry.</opErrstr></cliOutput>":                  "look at volume data: Gone. Sorry",
	} {
		v, err := answering(t, text, 0).Volume(t.Context(), "data")
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %+v, %v\nwant %s", text, v, err, want)
		}
		if errors.Is(err, ErrNoVolume) != strings.Contains(text, "30806") {
			t.Errorf("%v: is it about a missing volume? %v", err, errors.Is(err, ErrNoVolume))
		}
	}
}

func TestCLI_explainsWhatIsNoAnswer(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "list peers: run gluster '--mode=script' --xml '--timeout=600' pool list: exit status 1",
		"unrecognized word: pool. ":   "list peers: unrecognized word: pool: run gluster '--mode=script' --xml '--timeout=600' pool list: exit status 1",
		"Connection failed. Please\n": "list peers: glusterd does not answer on ",
	} {
		if _, err := answering(t, text, 1).Peers(t.Context()); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v\nwant %s", text, err, want)
		}
	}
}

// Gluster 10 and 11 write the numbers of a brick that is away into its status.
func TestCLI_healOfAnAbsentBrickIsNoNumber(t *testing.T) {
	text := head + `<healInfo><bricks>
		<brick><name>a:/b</name><status>Connected</status><totalNumberOfEntries>2</totalNumberOfEntries><numberOfEntriesInSplitBrain>1</numberOfEntriesInSplitBrain></brick>
		<brick><name>c:/d</name><status>Failed to process entries completely. (Transport endpoint is not connected)totalNumberOfEntries0</status></brick>
		</bricks></healInfo><opRet>0</opRet></cliOutput>`
	got, err := answering(t, text, 0).Heal(t.Context(), "data")
	want := []BrickHeal{{Name: "a:/b", Connected: true, Pending: 2, SplitBrain: 1}, {Name: "c:/d"}}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if why := Healed(got[:1]); why != "1 files are in split-brain" {
		t.Errorf("it is not whole because %q", why)
	}
	text = strings.Replace(text, ">2<", ">-<", 1)
	if _, err := answering(t, text, 0).Heal(t.Context(), "data"); err == nil || !strings.HasSuffix(err.Error(), `totalNumberOfEntries is "-", want a number`) {
		t.Errorf("a number that is none: %v", err)
	}
}
