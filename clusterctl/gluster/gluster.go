// Package gluster drives GlusterFS by its own program, on one node of the trusted
// pool: any of them can speak for all.
//
// Everything that changes the pool takes a lock of the whole pool, so one change
// runs at a time; whoever comes second is told so at once, and tries again here.
package gluster

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"picluster/internal/host"
	"picluster/internal/step"
)

// CLI is the gluster program on a node.
type CLI struct {
	Host host.Host
}

// String names the node.
func (c CLI) String() string { return c.Host.String() }

// Error is gluster's refusal. Its numbers say little: most are 30800, some 0.
type Error struct {
	Op    string // "create volume data"
	Errno int
	Text  string
}

func (e *Error) Error() string {
	text := strings.TrimSuffix(strings.Join(strings.Fields(e.Text), " "), ".")
	if text == "" {
		text = fmt.Sprintf("gluster gives no reason (error %d)", e.Errno)
	}
	return e.Op + ": " + text
}

// Is finds ErrNoVolume.
func (e *Error) Is(target error) bool {
	return target == ErrNoVolume && (e.Errno == errnoNoVolume || strings.HasSuffix(e.Text, " does not exist") && strings.HasPrefix(e.Text, "Volume "))
}

// ErrNoVolume is in errors about a volume that does not exist.
var ErrNoVolume = errors.New("no such volume")

// errnoNoVolume is EG_NOVOL of glusterfs/glusterd-errno.h.
const errnoNoVolume = 30806

// lockTime is how long another change of the pool is waited for. A rebalance that
// starts has been seen to hold the lock for ten seconds.
const lockTime = 2 * time.Minute

// commandTime is gluster's own limit for one command, in seconds. Its default of 120
// is short for a Pi whose card is busy. A command that has not ended a little later has
// lost its node.
const (
	commandTime = "600"
	commandLost = 610 * time.Second
)

// isLocked reports whether it was refused only because another change is under way:
// "Another transaction is in progress for data. Please try again after some time."
func isLocked(err error) bool {
	var e *Error
	return errors.As(err, &e) && saysLocked(e.Text)
}

func saysLocked(text string) bool {
	return strings.Contains(text, "nother transaction") || strings.HasPrefix(text, "Locking failed")
}

// output is what every answer in XML has. Errors are in there too: the program
// exits with 0 all the same.
type output struct {
	XMLName  xml.Name `xml:"cliOutput"`
	OpRet    *int     `xml:"opRet"`
	OpErrno  int      `xml:"opErrno"`
	OpErrstr string   `xml:"opErrstr"`

	Peers   []peer       `xml:"peerStatus>peer"`
	Info    *volumeInfo  `xml:"volInfo"`
	Status  []nodeStatus `xml:"volStatus>volumes>volume>node"`
	Heal    []brickHeal  `xml:"healInfo>bricks>brick"`
	Balance *rebalance   `xml:"volRebalance"`
	Options []poolOption `xml:"volGetopts>Opt"`
}

// do runs a command, again while another one has the pool's lock. The op is what
// errors begin with.
func (c CLI) do(ctx context.Context, op string, args ...string) (output, error) {
	var out output
	var refused error
	// The limit is for the wait alone. It must not cut off a command: glusterd goes on
	// with what it has begun, and nobody would be there for what comes of it.
	err := step.Wait{For: "the storage's lock", Limit: lockTime}.Until(ctx, func(context.Context) error {
		out, refused = c.once(ctx, op, args)
		if isLocked(refused) {
			return refused
		}
		return nil
	})
	if err == nil {
		err = refused
	}
	return out, err
}

func (c CLI) once(ctx context.Context, op string, args []string) (output, error) {
	text, err := c.run(ctx, append([]string{"--xml", "--timeout=" + commandTime}, args...))
	if err != nil && !bytes.HasPrefix(text, []byte("<?xml")) { // "heal info" exits with its error's number
		return output{}, fmt.Errorf("%s: %w", op, c.explain(err, text))
	}
	out, err := parse(text)
	if err != nil {
		return output{}, fmt.Errorf("%s: read gluster's answer: %w", op, err)
	}
	if *out.OpRet != 0 {
		return out, &Error{Op: op, Errno: out.OpErrno, Text: out.OpErrstr}
	}
	return out, nil
}

// run runs gluster, for as long as one command may take.
func (c CLI) run(ctx context.Context, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLost)
	defer cancel()
	return c.Host.Run(ctx, host.Cmd{Args: append([]string{"gluster", "--mode=script"}, args...)})
}

// Idle waits until no change of a volume is under way, whether there is the volume or
// not. One that whoever began it has been cut off from goes on in glusterd, which
// shows nothing of it before its end.
func (c CLI) Idle(ctx context.Context, name string) error {
	// It changes nothing, and takes the volume's lock before it looks whether there is
	// the volume (glusterd-syncop.c, gd_sync_task_begin).
	_, err := c.do(ctx, "wait for changes of volume "+name, "volume", "status", name)
	var e *Error
	if errors.As(err, &e) && !isLocked(err) {
		return nil // there is no such volume, or it is stopped
	}
	return err
}

// explain adds what the program has said about its failure to standard output.
func (c CLI) explain(err error, stdout []byte) error {
	var exit *host.ExitError
	text := strings.TrimSuffix(strings.Join(strings.Fields(string(stdout)), " "), ".")
	switch {
	case !errors.As(err, &exit) || text == "":
		return err
	case strings.HasPrefix(text, "Connection failed"):
		return fmt.Errorf("glusterd does not answer on %s: %w", c, err)
	}
	return fmt.Errorf("%s: %w", text, err)
}

// parse reads one whole document, and nothing after it.
func parse(text []byte) (output, error) {
	var out output
	in := xml.NewDecoder(bytes.NewReader(text))
	if err := in.Decode(&out); err != nil {
		return out, err
	}
	if out.OpRet == nil {
		return out, errors.New("it has no opRet")
	}
	for {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		if data, ok := token.(xml.CharData); !ok || len(bytes.TrimSpace(data)) > 0 {
			return out, errors.New("something follows its end")
		}
	}
}

// count reads a number of things.
func count(field, text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s is %.40q, want a number", field, text)
	}
	return n, nil
}
