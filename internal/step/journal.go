package step

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"picluster/internal/durable"
)

// Sizes in bytes: a journal larger than maxJournal is cut back to its last
// keepJournal, when it is opened and before it grows further: a run that keeps failing
// tries again for weeks. A run of 50 steps writes about 10 kB.
const (
	maxJournal  = 1 << 20
	keepJournal = 1 << 18
)

// ErrBusy is OpenJournal's when another run has the journal open: two runs on one
// machine would undo each other's work.
var ErrBusy = errors.New("another run is under way")

// Journal is an append-only file of events, a JSON object per line, each on the
// disk before the run goes on. It belongs to one run at a time; the Recorder sees
// to its order. A nil *Journal is one that keeps nothing.
type Journal struct {
	// Fault is for tests of power cuts: it is called before each part of a write
	// ("append", "sync") with the file's path and may panic.
	Fault func(op, path string)

	path  string
	file  *os.File
	size  int64
	lasts map[[2]string]Event // of each step, notes aside
}

// OpenJournal opens the journal at path for appending, creates it if it is not
// there, and takes off a last line that a power cut has left torn. The directory
// must exist. The caller closes it.
func OpenJournal(path string) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{path: path, file: file, lasts: map[[2]string]Event{}}
	if err := j.load(); err != nil {
		file.Close()
		return nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	return j, nil
}

func (j *Journal) load() error {
	if err := syscall.Flock(int(j.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return ErrBusy
		}
		return err
	}
	data, err := io.ReadAll(j.file)
	if err != nil {
		return err
	}
	for _, e := range decode(data) {
		j.remember(e)
	}
	kept := tail(data[:bytes.LastIndexByte(data, '\n')+1])
	if len(kept) != len(data) {
		if err := j.rewrite(kept, len(data)); err != nil {
			return err
		}
	}
	j.size = int64(len(kept))
	return durable.SyncDir(filepath.Dir(j.path))
}

// tail is what is kept of a journal: all, or of a long one the last whole lines.
func tail(lines []byte) []byte {
	if len(lines) <= maxJournal {
		return lines
	}
	lines = lines[len(lines)-keepJournal:]
	return lines[bytes.IndexByte(lines, '\n')+1:]
}

// rewrite leaves only kept in a file of n bytes. Where kept is not just the file's
// beginning it is written anew, in place because the lock is on this file; a power
// cut meanwhile costs old evidence and nothing else.
func (j *Journal) rewrite(kept []byte, n int) error {
	if n <= maxJournal {
		return j.file.Truncate(int64(len(kept)))
	}
	if err := j.file.Truncate(0); err != nil {
		return err
	}
	if _, err := j.file.Write(kept); err != nil {
		return err
	}
	return j.file.Sync()
}

// trim cuts an open journal that has grown too large back to its end.
func (j *Journal) trim() error {
	if j.size <= maxJournal {
		return nil
	}
	data := make([]byte, j.size)
	if _, err := j.file.ReadAt(data, 0); err != nil {
		return err
	}
	kept := tail(data)
	if err := j.rewrite(kept, len(data)); err != nil {
		j.size = 0
		return errors.Join(err, j.file.Truncate(0))
	}
	j.size = int64(len(kept))
	return nil
}

// Close lets another run have the journal.
func (j *Journal) Close() error { return j.file.Close() }

// append writes one event and waits until it is on the disk.
func (j *Journal) append(e Event) error {
	if j == nil {
		return nil
	}
	j.remember(e)
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return err
	}
	if err := j.trim(); err != nil {
		return err
	}
	j.fault("append")
	n, err := j.file.Write(line.Bytes())
	if err != nil {
		if n > 0 { // a full disk: half a line must not join the next one
			err = errors.Join(err, j.file.Truncate(j.size))
		}
		return err
	}
	j.size += int64(n)
	j.fault("sync")
	return j.file.Sync()
}

func (j *Journal) fault(op string) {
	if j.Fault != nil {
		j.Fault(op, j.path)
	}
}

func (j *Journal) remember(e Event) {
	if e.Kind != Waiting {
		j.lasts[[2]string{e.Stage, e.Step}] = e
	}
}

// last is the latest event of a step, notes aside; the zero Event if there is none.
func (j *Journal) last(stage, step string) Event {
	if j == nil {
		return Event{}
	}
	return j.lasts[[2]string{stage, step}]
}

// ReadJournal reads the events of a journal, also while a run is writing it. Lines
// that are not whole are left out, wherever they are.
func ReadJournal(r io.Reader) ([]Event, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return decode(data), nil
}

func decode(data []byte) []Event {
	var events []Event
	for line := range bytes.Lines(data) {
		var e Event
		if !bytes.HasSuffix(line, []byte("\n")) || json.Unmarshal(line, &e) != nil || e.Kind == "" {
			continue
		}
		events = append(events, e)
	}
	return events
}
