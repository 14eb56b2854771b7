package web

import (
	"fmt"
	"net/http"
)

// Error says that a server was not reached or did not give what it should.
type Error struct {
	URL    string // without credentials and query
	Status int    // HTTP status, 0 if there was no answer or the answer broke off
	Err    error  // nil if Status says it all
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("download %s: %v", e.URL, e.Err)
	}
	return fmt.Sprintf("download %s: server answers %d %s", e.URL, e.Status, http.StatusText(e.Status))
}

func (e *Error) Unwrap() error { return e.Err }
