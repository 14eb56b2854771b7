package join

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"picluster/internal/durable"
	"picluster/internal/joinapi"
)

// Sizes of the log: a file of 1 MiB holds about 3500 entries, and 1 MiB is not
// much to read again at each start. Older files than the last eight go.
const (
	auditSize = 1 << 20
	auditKeep = 8
	auditName = "audit.jsonl"
)

// auditLog is an append-only chain of entries in a directory.
type auditLog struct {
	dir   string
	fault func(op, path string) // for tests of power cuts; see host.Local

	mu   sync.Mutex
	file *os.File
	size int64
	last joinapi.Anchor

	opened joinapi.Chain // what was there when it was opened
	broken error         // why an older log was put aside
}

// openAudit opens the log and takes off a line that a power cut has left torn. A log
// whose chain is broken is kept under other names, and another one begun, after the
// entry that is known to have been the last: a bad block on an SD card is no reason
// to let no card in.
func openAudit(dir string, last int64, fault func(op, path string)) (*auditLog, error) {
	l := &auditLog{dir: dir, fault: fault}
	names, err := auditFiles(dir)
	if err == nil {
		err = l.read(names)
	}
	if broken := new(joinapi.ChainError); errors.As(err, &broken) {
		l.broken = broken
		l.last = joinapi.Anchor{Seq: max(last, l.opened.Last.Seq)}
		err = l.putAside(names)
	}
	if err == nil {
		err = l.create()
	}
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	return l, nil
}

func (l *auditLog) read(names []string) error {
	l.opened = joinapi.Chain{Seen: map[int64]string{}}
	for _, name := range names {
		path := filepath.Join(l.dir, name)
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		whole := data[:bytes.LastIndexByte(data, '\n')+1]
		if name == auditName && len(whole) < len(data) {
			if err := os.Truncate(path, int64(len(whole))); err != nil {
				return err
			}
		}
		if err := l.opened.Add(bytes.NewReader(whole)); err != nil {
			return err
		}
	}
	l.last = l.opened.Last
	return nil
}

func (l *auditLog) putAside(names []string) error {
	for _, name := range names {
		if err := os.Rename(filepath.Join(l.dir, name), filepath.Join(l.dir, fmt.Sprintf("broken-%d-%s", l.last.Seq, name))); err != nil {
			return err
		}
	}
	return nil
}

// create opens the current file for appending.
func (l *auditLog) create() error {
	file, err := os.OpenFile(filepath.Join(l.dir, auditName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	l.file, l.size = file, info.Size()
	return durable.SyncDir(l.dir)
}

// add puts one entry on the disk and returns where it stands.
func (l *auditLog) add(e joinapi.Entry) (joinapi.Anchor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, err := l.append(e)
	if err != nil {
		return joinapi.Anchor{}, fmt.Errorf("write audit log: %w", err)
	}
	return at, nil
}

func (l *auditLog) append(e joinapi.Entry) (joinapi.Anchor, error) {
	if l.size >= auditSize {
		if err := l.rotate(); err != nil {
			return joinapi.Anchor{}, err
		}
	}
	e.Seq, e.Prev = l.last.Seq+1, l.last.Hash
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return joinapi.Anchor{}, err
	}
	l.hurt("append")
	if n, err := l.file.Write(line.Bytes()); err != nil {
		if n > 0 { // a full disk: half a line must not join the next one
			err = errors.Join(err, l.file.Truncate(l.size))
		}
		return joinapi.Anchor{}, err
	}
	l.size += int64(line.Len())
	l.last = joinapi.Anchor{Seq: e.Seq, Hash: joinapi.HashLine(line.Bytes())}
	l.hurt("sync")
	return l.last, l.file.Sync()
}

// rotate gives the full file a name by its last entry and begins another one, whose
// first entry goes on with the chain.
func (l *auditLog) rotate() error {
	l.hurt("rename")
	err := os.Rename(filepath.Join(l.dir, auditName), filepath.Join(l.dir, fmt.Sprintf("audit-%012d.jsonl", l.last.Seq)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // gone: an earlier try came as far as here
		return err
	}
	l.file.Close() // all of it is on the disk already
	if err := l.create(); err != nil {
		return err
	}
	names, err := auditFiles(l.dir)
	if err != nil {
		return err
	}
	for _, name := range names[:max(0, len(names)-auditKeep-1)] {
		if err := os.Remove(filepath.Join(l.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func (l *auditLog) hurt(op string) {
	if l.fault != nil {
		l.fault(op, filepath.Join(l.dir, auditName))
	}
}

func (l *auditLog) close() error { return l.file.Close() }

// copyTo writes the whole log, oldest entry first. Nothing has been written when it could
// not be opened.
func (l *auditLog) copyTo(w io.Writer) error {
	files, err := l.open()
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, f := range files {
		if err == nil {
			_, err = io.Copy(w, f)
		}
	}
	return err
}

// open opens all files between two entries, before one of them gets another name. The
// caller closes them, also after an error.
func (l *auditLog) open() (files []*os.File, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	names, err := auditFiles(l.dir)
	for _, name := range names {
		f, openErr := os.Open(filepath.Join(l.dir, name))
		if openErr != nil {
			return files, openErr
		}
		files = append(files, f)
	}
	return files, err
}

// auditFiles lists the log's files, the oldest first.
func auditFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	current := false
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "audit-") {
			names = append(names, e.Name())
		}
		current = current || e.Name() == auditName
	}
	slices.Sort(names)
	if current {
		names = append(names, auditName)
	}
	return names, nil
}
