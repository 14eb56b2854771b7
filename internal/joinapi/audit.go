package joinapi

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Entry is one line of the audit log. The log is written before what it speaks of
// is done: nothing happens without a trace.
type Entry struct {
	Seq      int64     `json:"seq"`
	Time     time.Time `json:"time"`
	Peer     string    `json:"peer,omitempty"` // address
	Who      string    `json:"who"`            // card, device, operator, kubelet, service
	CardID   string    `json:"cardID,omitempty"`
	Node     string    `json:"node,omitempty"`
	Hardware string    `json:"hardware,omitempty"` // serial and machine, shortened
	Action   string    `json:"action"`
	Result   string    `json:"result"` // Allowed, Refused or Alarm
	Reason   Reason    `json:"reason,omitempty"`
	Text     string    `json:"text,omitempty"`
	Prev     string    `json:"prev"` // SHA-256 of the line before, hex; "" in the very first
}

// Results of entries.
const (
	Allowed = "allowed"
	Refused = "refused"
	Alarm   = "alarm" // refused, and a person should look
)

// Anchor names an entry. The join service keeps one with each card, so that entries
// taken off the log's end are missed.
type Anchor struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// Chain checks entries one after the other. The zero value begins a log.
type Chain struct {
	First int64 // the number of the oldest entry; older ones have been rotated away
	Last  Anchor
	Seen  map[int64]string // hashes by number; nil: not wanted
}

// ChainError says where a chain is broken.
type ChainError struct{ text string }

func (e *ChainError) Error() string { return e.text }

func brokenChain(format string, args ...any) error { return &ChainError{fmt.Sprintf(format, args...)} }

// VerifyAudit checks that no entry of a log was changed, taken out, put in or put
// elsewhere, and returns how many there are. That entries are missing at the end
// only node0 can tell, whose records name the newest ones.
func VerifyAudit(r io.Reader) (int64, error) {
	var c Chain
	if err := c.Add(r); err != nil {
		return 0, fmt.Errorf("verify audit log: %w", err)
	}
	return c.Last.Seq - max(c.First, 1) + 1, nil
}

// Add checks more of the log. A *ChainError says what is wrong with it, any other
// error comes from r.
func (c *Chain) Add(r io.Reader) error {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			if problem := c.next(line); problem != nil {
				return problem
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *Chain) next(line []byte) error {
	var e Entry
	if err := json.Unmarshal(line, &e); err != nil {
		return brokenChain("the entry after number %d is not readable", c.Last.Seq)
	}
	if c.Last.Seq == 0 && c.Last.Hash == "" {
		c.First = e.Seq
		if e.Seq == 1 && e.Prev != "" {
			return brokenChain("entry 1 names one before it")
		}
	} else if e.Seq != c.Last.Seq+1 || e.Prev != c.Last.Hash {
		return brokenChain("entry %d does not follow the entry before it", e.Seq)
	}
	c.Last = Anchor{e.Seq, HashLine(line)}
	if c.Seen != nil {
		c.Seen[e.Seq] = c.Last.Hash
	}
	return nil
}

// Lacks reports whether an entry that was on the disk once is not there now.
func (c *Chain) Lacks(a Anchor) bool {
	return a.Seq > c.Last.Seq || a.Seq >= c.First && c.Seen[a.Seq] != a.Hash
}

// HashLine is what the next entry has as Prev.
func HashLine(line []byte) string {
	sum := sha256.Sum256(bytes.TrimSuffix(line, []byte("\n")))
	return hex.EncodeToString(sum[:])
}
