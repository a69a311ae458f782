package slack

import (
	"context"
	"sync"
	"time"
)

// cache remembers values for a while, at most maxRemembered of them.
type cache[V any] struct {
	now  func() time.Time
	life time.Duration

	mu    sync.Mutex
	m     map[string]cached[V]
	asked map[string]chan struct{} // closed when the answer is there
}

type cached[V any] struct {
	v  V
	at time.Time
}

func newCache[V any](now func() time.Time, life time.Duration) *cache[V] {
	return &cache[V]{now: now, life: life, m: map[string]cached[V]{}, asked: map[string]chan struct{}{}}
}

// get returns what is remembered and not too old.
func (c *cache[V]) get(key string) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.m[key]
	if !ok || c.now().Sub(e.at) >= c.life {
		var none V
		return none, false
	}
	return e.v, true
}

// load returns what is remembered, or else what ask says; of several who want
// to know at once only one asks. An error is its asker's alone.
func (c *cache[V]) load(ctx context.Context, key string, ask func(context.Context) (V, error)) (V, error) {
	var none V
	for {
		if v, ok := c.get(key); ok {
			return v, nil
		}
		c.mu.Lock()
		answer, asked := c.asked[key]
		if !asked {
			answer = make(chan struct{})
			c.asked[key] = answer
		}
		c.mu.Unlock()
		if asked {
			select {
			case <-answer:
				continue
			case <-ctx.Done():
				return none, ctx.Err()
			}
		}
		at := c.now()
		v, err := ask(ctx)
		if err == nil {
			c.since(key, v, at)
		}
		c.mu.Lock()
		delete(c.asked, key)
		c.mu.Unlock()
		close(answer)
		return v, err
	}
}

func (c *cache[V]) put(key string, v V) { c.since(key, v, c.now()) }

// since remembers what was asked for at a time: its age counts from the
// question, not from the answer.
func (c *cache[V]) since(key string, v V, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.m[key]; !there && len(c.m) >= maxRemembered {
		c.shed()
	}
	c.m[key] = cached[V]{v, at}
}

// shed makes room, enough for a while: whatever is too old goes, and if that
// is too little, any.
func (c *cache[V]) shed() {
	for k, e := range c.m {
		if c.now().Sub(e.at) >= c.life {
			delete(c.m, k)
		}
	}
	for k := range c.m {
		if len(c.m) < maxRemembered*3/4 {
			return
		}
		delete(c.m, k)
	}
}

func (c *cache[V]) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, key)
}
