package executor

import "time"

// bucket is a token bucket that holds one second's worth. It is not safe for
// concurrent use.
type bucket struct {
	rate   float64 // tokens a second; 0 is no bound
	tokens float64
	last   time.Time
}

// newBucket returns a full bucket.
func newBucket(perSecond int, now time.Time) bucket {
	return bucket{rate: float64(perSecond), tokens: float64(perSecond), last: now}
}

// take takes one token if there is one.
func (b *bucket) take(now time.Time) bool { return b.takeN(1, now) }

// takeN takes n tokens if there is one at all: what is larger than the bucket
// passes once it is full, and is paid off by what follows.
func (b *bucket) takeN(n int, now time.Time) bool {
	if b.rate == 0 {
		return true
	}
	if d := now.Sub(b.last); d > 0 {
		b.tokens = min(b.rate, b.tokens+b.rate*d.Seconds())
		b.last = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens -= float64(n)
	return true
}
