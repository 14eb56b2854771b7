package join

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"picluster/internal/host"
)

// store keeps the records, a file for each: what one card does costs the SD card
// one small file, however many cards there are.
type store struct {
	dir  string // absolute
	host host.Host
}

func openStore(dir string, fault func(op, path string)) (*store, []*record, error) {
	s := &store{path.Join(dir, "cards"), host.Local{Fault: fault}}
	if err := s.host.Write(context.Background(), s.dir, owned(host.File{Mode: fs.ModeDir | 0o700})); err != nil {
		return nil, nil, fmt.Errorf("open state: %w", err)
	}
	all, err := s.loadAll()
	if err != nil {
		return nil, nil, fmt.Errorf("open state: %w", err)
	}
	return s, all, nil
}

// loadAll passes by what a power cut has left.
func (s *store) loadAll() ([]*record, error) {
	names, err := s.host.ReadDir(context.Background(), s.dir)
	if err != nil {
		return nil, err
	}
	var all []*record
	for _, name := range names {
		id, ok := strings.CutSuffix(name, ".json")
		if !ok || !cardIDForm.MatchString(id) {
			continue
		}
		r, err := s.load(id)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", s.file(id), err)
		}
		all = append(all, r)
	}
	return all, nil
}

func (s *store) file(id string) string { return path.Join(s.dir, id+".json") }

// owned gives a file to who this program runs as.
func owned(f host.File) host.File {
	f.UID, f.GID = os.Geteuid(), os.Getegid()
	return f
}

func (s *store) load(id string) (*record, error) {
	data, err := s.host.ReadFile(context.Background(), s.file(id))
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	switch {
	case r.Version != recordVersion:
		return nil, fmt.Errorf("it has version %d, this program reads version %d", r.Version, recordVersion)
	case r.CardID != id || r.State == "":
		return nil, errors.New("it is not the record of that card")
	}
	return &r, nil
}

// save has the record on the disk when it returns. The caller's context does not
// end it half way.
func (s *store) save(r *record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write state of card %s: %w", r.CardID, err)
	}
	return s.host.Write(context.Background(), s.file(r.CardID), owned(host.File{Mode: 0o600, Data: append(data, '\n')}))
}
