package thread

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// Memory is a store in memory, for one process and for tests.
type Memory struct {
	now        func() time.Time
	visibility time.Duration

	mu       sync.Mutex
	seen     map[string]time.Time
	inbox    []*taken
	buried   []Delivery
	next     int
	wake     chan struct{}
	requests map[string]Request
	order    []string // of requests, as they were stored first
	hung     map[string]Place
	messages map[string]*outgoing
	locks    map[string]lock
}

type taken struct {
	Delivery
	until time.Time
}

type outgoing struct {
	Message
	content []byte // what was asked for last
	sent    uint64
	after   time.Time
}

type lock struct {
	owner string
	until time.Time
}

// NewMemory returns an empty store; now is its clock.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{
		now: now, visibility: Visibility, seen: map[string]time.Time{}, wake: make(chan struct{}), requests: map[string]Request{},
		hung: map[string]Place{}, messages: map[string]*outgoing{}, locks: map[string]lock{},
	}
}

// Receive implements [Store].
func (m *Memory) Receive(ctx context.Context, e Event) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for k, at := range m.seen {
		if now.Sub(at) > SeenKept {
			delete(m.seen, k)
		}
	}
	if _, ok := m.seen[e.Key]; ok {
		return false, nil
	}
	m.seen[e.Key] = now
	m.next++
	m.inbox = append(m.inbox, &taken{Delivery: Delivery{ID: e.Key, Event: clone(e)}})
	close(m.wake)
	m.wake = make(chan struct{})
	return true, nil
}

// Take implements [Store].
func (m *Memory) Take(ctx context.Context, _ string) (Delivery, bool, error) {
	timer := time.NewTimer(TakeBlock)
	defer timer.Stop()
	for {
		m.mu.Lock()
		now := m.now()
		for _, t := range m.inbox {
			if !now.Before(t.until) {
				t.until = now.Add(m.visibility)
				t.Tries++
				d := t.Delivery
				d.Event = clone(d.Event)
				m.mu.Unlock()
				return d, true, nil
			}
		}
		wake := m.wake
		m.mu.Unlock()
		select {
		case <-ctx.Done():
			return Delivery{}, false, ctx.Err()
		case <-timer.C:
			return Delivery{}, false, nil
		case <-wake:
		}
	}
}

// Settle implements [Store].
func (m *Memory) Settle(_ context.Context, d Delivery) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inbox = slices.DeleteFunc(m.inbox, func(t *taken) bool { return t.ID == d.ID })
	return nil
}

// Bury implements [Store].
func (m *Memory) Bury(ctx context.Context, d Delivery, _ string) error {
	m.mu.Lock()
	m.buried = append(m.buried, d)
	m.mu.Unlock()
	return m.Settle(ctx, d)
}

// Load implements [Store].
func (m *Memory) Load(_ context.Context, id string) (Request, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.requests[id]
	if !ok {
		return Request{}, ErrNotFound
	}
	return clone(r), nil
}

// Update implements [Store].
func (m *Memory) Update(ctx context.Context, r Request, messages ...Message) (Request, error) {
	if err := ctx.Err(); err != nil {
		return Request{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.requests[r.ID]
	switch {
	case !ok && r.Version != 0:
		return Request{}, ErrNotFound
	case old.Version != r.Version:
		return Request{}, ErrConflict
	}
	r = clone(r)
	r.Version++
	if !ok {
		m.order = append(m.order, r.ID)
	}
	m.requests[r.ID] = r
	m.put(messages)
	return clone(r), nil
}

// Open implements [Store].
func (m *Memory) Open(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, id := range m.order {
		if m.requests[id].State != Ended {
			out = append(out, id)
		}
	}
	return out, nil
}

// Recent implements [Store].
func (m *Memory) Recent(_ context.Context, n int) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Clone(m.order)
	slices.Reverse(out)
	return out[:min(n, len(out))], nil
}

// In implements [Store].
func (m *Memory) In(_ context.Context, p Place) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, id := range m.order {
		r := m.requests[id]
		at := r.Place
		if r.Root != "" {
			at = m.hung[r.Root]
		}
		if at.String() == p.String() {
			out = append(out, id)
		}
	}
	return out, nil
}

// Hang implements [Store].
func (m *Memory) Hang(_ context.Context, root string, p Place) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hung[root] = p
	return nil
}

// Put implements [Store].
func (m *Memory) Put(ctx context.Context, messages ...Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(messages)
	return nil
}

func (m *Memory) put(messages []Message) {
	for _, msg := range messages {
		content := contentOf(msg)
		o := m.messages[msg.Key]
		if o == nil {
			o = &outgoing{}
			o.At = m.now()
			m.messages[msg.Key] = o
		} else if bytes.Equal(o.content, content) {
			continue
		}
		fresh := clone(msg)
		fresh.Version, fresh.Handle, fresh.Tried, fresh.Anew, fresh.Tries, fresh.At = o.Version+1, o.Handle, o.Tried, o.Anew, 0, o.At
		if fresh.Handle != (Handle{}) {
			fresh.Files = nil // they went with the first post
		}
		o.Message, o.content = fresh, content
	}
}

// bare takes away what is the store's.
func (m *Message) bare() {
	m.Version, m.Handle, m.Tried, m.Anew, m.Gone, m.Tries, m.At = 0, Handle{}, false, false, false, 0, time.Time{}
}

// contentOf is what makes a message worth sending again.
func contentOf(m Message) []byte {
	m.bare()
	raw, err := json.Marshal(m)
	if err != nil {
		panic(err) // a message is plain data
	}
	return raw
}

// Due implements [Store].
func (m *Memory) Due(_ context.Context, surface string, now time.Time, n int) ([]Message, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Message
	for _, o := range m.messages {
		if o.Place.Surface == surface && o.sent < o.Version && !now.Before(o.after) {
			out = append(out, clone(o.Message))
		}
	}
	slices.SortFunc(out, func(a, b Message) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), a.At.Compare(b.At), cmp.Compare(a.Key, b.Key))
	})
	return out[:min(n, len(out))], nil
}

// Message implements [Store].
func (m *Memory) Message(_ context.Context, key string) (Message, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.messages[key]
	if o == nil {
		return Message{}, ErrNotFound
	}
	return clone(o.Message), nil
}

func (m *Memory) change(key string, do func(*outgoing)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.messages[key]
	if o == nil {
		return ErrNotFound
	}
	do(o)
	return nil
}

// Trying implements [Store].
func (m *Memory) Trying(_ context.Context, key string) error {
	return m.change(key, func(o *outgoing) { o.Tried = true })
}

// Sent implements [Store].
func (m *Memory) Sent(_ context.Context, key string, version uint64, h Handle) error {
	return m.change(key, func(o *outgoing) {
		o.sent, o.Handle, o.Tried, o.Anew, o.Tries = version, h, false, false, 0
		if o.Version != version {
			return // there is something newer to say
		}
		if o.Files = nil; o.Only != "" {
			delete(m.messages, key)
		}
	})
}

// Defer implements [Store].
func (m *Memory) Defer(_ context.Context, key string, again Again) error {
	return m.change(key, func(o *outgoing) {
		o.after, o.Tried = again.At, again.Tried
		if !again.Free {
			o.Tries++
		}
		if again.Lost {
			o.Anew = true
		}
	})
}

// Drop implements [Store].
func (m *Memory) Drop(_ context.Context, key string, version uint64) error {
	return m.change(key, func(o *outgoing) {
		o.sent = max(o.sent, version)
		if o.Version == version {
			o.Gone = o.Handle == Handle{}
		}
	})
}

// Lock implements [Store].
func (m *Memory) Lock(_ context.Context, name, owner string, ttl time.Duration) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if l, ok := m.locks[name]; ok && l.owner != owner && now.Before(l.until) {
		return false, nil
	}
	m.locks[name] = lock{owner, now.Add(ttl)}
	return true, nil
}

// Unlock implements [Store].
func (m *Memory) Unlock(_ context.Context, name, owner string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name].owner == owner {
		delete(m.locks, name)
	}
	return nil
}

// clone copies a value that is plain data, so that nobody shares it.
func clone[T any](v T) T {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain data
	}
	var out T
	if err := json.Unmarshal(raw, &out); err != nil {
		panic(err)
	}
	return out
}
