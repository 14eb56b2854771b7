package secrets

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"
)

// Ledger is the record of all cards that were written: cards.json.
type Ledger struct {
	Version int     `json:"version"`
	Written []Entry `json:"written"` // oldest first
}

// Entry is one written card.
type Entry struct {
	Node        string    `json:"node"` // of a spare "spare-1"
	CardID      string    `json:"cardID"`
	Generation  int       `json:"generation"`
	Time        time.Time `json:"time"`
	Device      Device    `json:"device"`
	ImageSHA256 string    `json:"imageSHA256"` // of what was written, hex
	Size        int64     `json:"size"`        // bytes written from the start of the device
}

// Device is where a card was written to.
type Device struct {
	Path   string `json:"path"`
	Model  string `json:"model,omitempty"`
	Serial string `json:"serial,omitempty"`
	Size   int64  `json:"size,omitempty"` // bytes
}

// Ledger reads the record as it is on disk now.
func (b *Bundle) Ledger() (*Ledger, error) {
	l := &Ledger{Version: bundleVersion}
	if err := b.store.readJSON(ledgerFile, l); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if l.Version != bundleVersion {
		return nil, fmt.Errorf("read %s: it has version %d, this program reads version %d", ledgerFile, l.Version, bundleVersion)
	}
	return l, nil
}

// Last returns the newest entry of a node or spare.
func (l *Ledger) Last(name string) (Entry, bool) {
	for i := len(l.Written) - 1; i >= 0; i-- {
		if l.Written[i].Node == name {
			return l.Written[i], true
		}
	}
	return Entry{}, false
}

// Unwritten returns those of the named cards whose newest generation has not
// been written to any device yet, in the given order.
func (b *Bundle) Unwritten(names []string) ([]string, error) {
	l, err := b.Ledger()
	if err != nil {
		return nil, err
	}
	written := map[string]bool{}
	for _, e := range l.Written {
		written[e.CardID] = true
	}
	var left []string
	for _, name := range names {
		c, err := b.Card(name)
		if err != nil {
			return nil, err
		}
		if !written[c.ID()] {
			left = append(left, name)
		}
	}
	return left, nil
}

// Next returns the first of the named cards that is Unwritten, false where all
// are written.
func (b *Bundle) Next(names []string) (string, bool, error) {
	left, err := b.Unwritten(names)
	if err != nil || len(left) == 0 {
		return "", false, err
	}
	return left[0], true, nil
}

// Record adds an entry to the ledger and keeps the sums that a later
// verification of the card compares with; their form is the caller's. The sums
// replace those of an earlier writing of the same generation. Several processes
// may record at the same time.
func (b *Bundle) Record(e Entry, sums []byte) error {
	if err := b.record(e, sums); err != nil {
		return fmt.Errorf("record card %s: %w", e.Node, err)
	}
	return nil
}

func (b *Bundle) record(e Entry, sums []byte) error {
	if !label.MatchString(e.Node) || e.CardID == "" || e.Generation < 1 {
		return errors.New("the entry does not name a card")
	}
	unlock, err := b.store.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := b.store.mkdir(sumsDir); err != nil {
		return err
	}
	// The sums first: what the ledger speaks of is there.
	if err := b.store.write(sumsName(e), sums, privateFile); err != nil {
		return err
	}
	l, err := b.Ledger()
	if err != nil {
		return err
	}
	e.Time = e.Time.UTC().Truncate(time.Second)
	l.Written = append(l.Written, e)
	data, err := marshal(l)
	if err != nil {
		return err
	}
	return b.store.write(ledgerFile, data, privateFile)
}

// Sums returns what Record kept for an entry.
func (b *Bundle) Sums(e Entry) ([]byte, error) {
	if !label.MatchString(e.Node) {
		return nil, fmt.Errorf("read sums of card %q: it is no RFC 1123 label", e.Node)
	}
	return b.store.read(sumsName(e))
}

func sumsName(e Entry) string {
	return path.Join(sumsDir, fmt.Sprintf("%s-g%d.sums", e.Node, e.Generation))
}
