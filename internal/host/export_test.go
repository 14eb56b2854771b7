package host

import "time"

// SetGrace makes tests of deaf programs shorter.
func SetGrace(d time.Duration) { grace = d }
