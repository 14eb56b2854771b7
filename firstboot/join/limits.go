package join

import (
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"picluster/internal/joinapi"
)

// Limits of what one card may ask. A client that goes by the book asks at most six
// times in its first minute and once a minute later; events come on top.
const (
	callsPerMinute  = 20
	eventsPerMinute = 30
	newsEvery       = time.Hour
)

// limits save a small computer's time, its disk and its operator's patience. There
// is no secret to guess here: who has no certificate gets no answer at all. The
// maps grow with the cards that the desk has made, not with what a client sends.
type limits struct {
	now func() time.Time

	mu    sync.Mutex
	calls map[string]*rate.Limiter
	told  map[[3]string]time.Time
}

func newLimits(now func() time.Time) *limits {
	return &limits{now: now, calls: map[string]*rate.Limiter{}, told: map[[3]string]time.Time{}}
}

// call counts one call and says after how many seconds to come back, 0 to go on.
func (l *limits) call(p *peer, isEvent bool) int {
	if p.kind == operatorKind {
		return 0
	}
	name, perMinute := string(p.kind)+p.cardID, callsPerMinute
	if isEvent {
		name, perMinute = "event"+p.cardID, eventsPerMinute
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter := l.calls[name]
	if limiter == nil {
		limiter = rate.NewLimiter(rate.Limit(float64(perMinute)/60), perMinute)
		l.calls[name] = limiter
	}
	if limiter.AllowN(l.now(), 1) {
		return 0
	}
	return 10 + rand.IntN(20) // not all at once
}

// news reports whether a refusal is one that the audit log does not have yet, or
// not for an hour: a client repeats its question for ever.
func (l *limits) news(e joinapi.Entry) bool {
	key := [3]string{e.CardID, e.Action, string(e.Reason)}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if at, ok := l.told[key]; ok && now.Sub(at) < newsEvery {
		return false
	}
	l.told[key] = now
	return true
}
