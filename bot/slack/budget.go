package slack

import (
	"sync"
	"time"

	"kgent/bot/thread"
)

// rate is a token bucket's shape.
type rate struct {
	every   time.Duration // one more call each
	burst   float64       // calls at once
	reserve float64       // of burst, for what is urgent
}

// Slack's limits, and a little less. A message a second and channel is
// documented with "short bursts" above it; chat.update is of tier 3 (50 a
// minute and workspace), the others of tier 4 (100).
var (
	postRate      = rate{every: time.Second, burst: 4, reserve: 2}
	updateRate    = rate{every: time.Minute / 45, burst: 5, reserve: 2}
	ephemeralRate = rate{every: time.Minute / 90, burst: 10, reserve: 2}
	publishRate   = rate{every: time.Minute / 90, burst: 10, reserve: 2}
	fileRate      = rate{every: time.Minute / 90, burst: 10, reserve: 2}
	lookRate      = rate{every: time.Minute / 45, burst: 5, reserve: 2}
)

// budget keeps count of calls, so that none is made that Slack would refuse,
// and what is left goes to what is urgent.
type budget struct {
	now func() time.Time

	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time // when tokens was right
	closed time.Time // no call before
}

func newBudget(now func() time.Time) *budget {
	return &budget{now: now, buckets: map[string]*bucket{}}
}

// take takes a call out of a bucket. If none is left for this class it
// returns a [*thread.RateLimitedError].
func (b *budget) take(key string, r rate, class thread.Class) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	k := b.buckets[key]
	if k == nil {
		b.shed(now)
		k = &bucket{tokens: r.burst, at: now}
		b.buckets[key] = k
	}
	if wait := k.closed.Sub(now); wait > 0 {
		return &thread.RateLimitedError{After: wait}
	}
	if passed := now.Sub(k.at); passed > 0 {
		k.tokens = min(r.burst, k.tokens+float64(passed)/float64(r.every))
		k.at = now
	}
	need := 1.0
	if class != thread.Urgent {
		need += r.reserve
	}
	if k.tokens < need {
		wait := time.Duration((need - k.tokens) * float64(r.every))
		// Rounded up: whoever waits that long finds a token.
		return &thread.RateLimitedError{After: wait.Truncate(time.Millisecond) + time.Millisecond}
	}
	k.tokens--
	return nil
}

// close lets nothing through for a while, because Slack said so.
func (b *budget) close(key string, d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	k := b.buckets[key]
	if k == nil {
		k = &bucket{at: now}
		b.buckets[key] = k
	}
	k.closed = now.Add(d)
}

// shed forgets buckets that are full again, once there are many.
func (b *budget) shed(now time.Time) {
	if len(b.buckets) < maxRemembered {
		return
	}
	for key, k := range b.buckets {
		if now.Sub(k.at) > time.Minute && now.After(k.closed) {
			delete(b.buckets, key)
		}
	}
}
