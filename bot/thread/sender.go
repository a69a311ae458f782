package thread

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// How messages are sent.
const (
	sendTTL    = 6 * time.Second // of the right to send for a platform
	sendEvery  = 100 * time.Millisecond
	sendAtOnce = 4                // messages of one platform
	sendLimit  = 20 * time.Second // for one
	sendBatch  = 50
	maxSends   = 8 // tries, before a message is given up
	backoff    = 2 * time.Second
	maxBackoff = time.Minute
)

// sender sends a platform's messages. One process does at a time, so that the
// platform's limits are kept and nothing is posted twice.
type sender struct {
	c        *Conversation
	platform Platform

	mu     sync.Mutex
	busy   map[string]bool // keys of messages under way
	places map[string]int  // how many are under way in each
	wg     sync.WaitGroup
}

func (s *sender) run(ctx context.Context) {
	s.busy, s.places = map[string]bool{}, map[string]int{}
	name := "send:" + s.platform.Surface()
	defer s.wg.Wait()
	var held time.Time // until when nobody else sends
	for pause(ctx, sendEvery) {
		now := s.c.Now()
		if held.Sub(now) < sendTTL/2 {
			limit, cancel := context.WithTimeout(ctx, time.Second)
			ok, err := s.c.Store.Lock(limit, name, s.c.Name, sendTTL)
			cancel()
			switch {
			case err != nil && ctx.Err() == nil:
				s.c.Log.Warn("taking the right to send", "platform", s.platform.Surface(), "err", err)
			case ok:
				held = now.Add(sendTTL)
			default:
				held = time.Time{}
			}
		}
		// A message that was begun may take sendLimit: only what can be begun
		// while nobody else may is begun.
		if !held.After(s.c.Now().Add(time.Second)) {
			continue
		}
		s.round(ctx)
	}
	s.wg.Wait()
	free, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := s.c.Store.Unlock(free, name, s.c.Name); err != nil {
		s.c.Log.Warn("giving back the right to send", "platform", s.platform.Surface(), "err", err)
	}
}

// round begins to send what is due, the most urgent first, one message of a
// thread at a time so that they keep their order. One place is kept free for
// what is urgent.
func (s *sender) round(ctx context.Context) {
	due, err := s.c.Store.Due(ctx, s.platform.Surface(), s.c.Now(), sendBatch)
	if err != nil && ctx.Err() == nil {
		s.c.Log.Warn("looking for messages", "platform", s.platform.Surface(), "err", err)
	}
	for _, m := range due {
		if m.Under != "" {
			root, err := s.c.Store.Message(ctx, m.Under)
			if err != nil || root.Handle.ID == "" {
				continue // it waits for the message it hangs from
			}
			m.Place.Thread = root.Handle.ID
			if root.Handle.Channel != "" && m.Place.Channel == "" {
				m.Place.Channel = root.Handle.Channel
			}
		}
		if !s.begin(m) {
			continue
		}
		s.wg.Go(func() {
			defer s.end(m)
			limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendLimit)
			defer cancel()
			if err := s.send(limit, m); err != nil {
				s.c.Log.Warn("sending", "message", m.Key, "place", m.Place.String(), "try", m.Tries+1, "err", err)
			}
		})
	}
}

func (s *sender) begin(m Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := m.Place.String()
	room := sendAtOnce
	if m.Class != Urgent {
		room--
	}
	if s.busy[m.Key] || len(s.busy) >= room || s.places[place] > 0 && m.Class != Urgent {
		return false
	}
	s.busy[m.Key] = true
	s.places[place]++
	return true
}

func (s *sender) end(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, m.Key)
	place := m.Place.String()
	if s.places[place]--; s.places[place] == 0 {
		delete(s.places, place)
	}
}

// send posts or edits one message, and notes what became of it.
func (s *sender) send(ctx context.Context, m Message) error {
	posting := m.Handle == (Handle{}) || m.Anew
	var h Handle
	var err error
	if posting {
		if err := s.c.Store.Trying(ctx, m.Key); err != nil {
			return err
		}
		h, err = s.platform.Post(ctx, m)
	} else {
		h = m.Handle
		err = s.platform.Edit(ctx, m.Handle, m)
	}
	note, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err == nil {
		if posting && m.Key == rootKey(m) {
			at := m.Place
			at.Thread = h.ID
			if err := s.c.Store.Hang(note, m.Key, at); err != nil {
				return err
			}
		}
		return s.c.Store.Sent(note, m.Key, m.Version, h)
	}
	return s.failed(note, m, posting, err)
}

// rootKey returns the message's key if a thread hangs from it.
func rootKey(m Message) string {
	if len(m.Key) > 5 && m.Key[:5] == "root:" {
		return m.Key
	}
	return ""
}

func (s *sender) failed(ctx context.Context, m Message, posting bool, err error) error {
	var limited *RateLimitedError
	var gone *GoneError
	var old *TooOldError
	var unknown *UnknownError
	now := s.c.Now()
	wait := min(maxBackoff, backoff<<min(m.Tries, 10))
	switch {
	case errors.As(err, &limited):
		return s.c.Store.Defer(ctx, m.Key, Again{At: now.Add(max(limited.After, sendEvery)), Tried: m.Tried && posting, Free: true})
	case errors.As(err, &old):
		return s.c.Store.Defer(ctx, m.Key, Again{At: now, Lost: true})
	case errors.As(err, &gone), m.Tries+1 >= maxSends:
		if drop := s.c.Store.Drop(ctx, m.Key, m.Version); drop != nil {
			return errors.Join(err, drop)
		}
		_, tell := s.c.Store.Receive(ctx, Event{
			Key: fmt.Sprintf("failed:%s:%d", m.Key, m.Version), Kind: Failed, Place: m.Place, ID: m.Key, Text: err.Error(), At: now,
		})
		return errors.Join(err, tell)
	case errors.As(err, &unknown):
		return errors.Join(err, s.c.Store.Defer(ctx, m.Key, Again{At: now.Add(wait), Tried: posting}))
	}
	return errors.Join(err, s.c.Store.Defer(ctx, m.Key, Again{At: now.Add(wait), Tried: m.Tried && posting}))
}
