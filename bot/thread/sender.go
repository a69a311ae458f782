package thread

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	maxSends   = 60 // tries, before a message is given up: the better part of an hour
	maxTails   = 8  // the same, for what is out of date by then
	waitUnder  = 500 * time.Millisecond
	backoff    = 2 * time.Second
	lately     = 10 * time.Minute // no store forgets what is older
	maxPosted  = 1000             // from then on what is older is forgotten here
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
	// posted are the keys of what this process has posted lately, and when: a store that
	// crashes may forget what it was told last.
	posted map[string]time.Time
	wg     sync.WaitGroup
}

func (s *sender) run(ctx context.Context) {
	s.busy, s.places, s.posted = map[string]bool{}, map[string]int{}, map[string]time.Time{}
	name := "send:" + s.platform.Surface()
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
	// What is under way is finished before anybody else may send.
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	over := context.WithoutCancel(ctx)
	for finished := false; !finished; {
		select {
		case <-done:
			finished = true
		case <-time.After(sendTTL / 3):
			limit, cancel := context.WithTimeout(over, time.Second)
			if _, err := s.c.Store.Lock(limit, name, s.c.Name, sendTTL); err != nil {
				s.c.Log.Warn("keeping the right to send", "platform", s.platform.Surface(), "err", err)
			}
			cancel()
		}
	}
	free, cancel := context.WithTimeout(over, time.Second)
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
			switch {
			case errors.Is(err, ErrNotFound), errors.Is(err, ErrSeal), err == nil && root.Gone:
				s.noted(m, s.c.Store.Drop(ctx, m.Key, m.Version))
				continue
			case err != nil, root.Handle.ID == "":
				// It waits for the message it hangs from, in nobody's way.
				s.noted(m, s.c.Store.Defer(ctx, m.Key, Again{At: s.c.Now().Add(waitUnder), Tried: m.Tried, Free: true}))
				continue
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

// noted logs that something about a message could not be noted. It is done
// again the next time.
func (s *sender) noted(m Message, err error) {
	if err != nil {
		s.c.Log.Warn("noting what became of a message", "message", m.Key, "err", err)
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
	if posting && !m.Anew {
		m.Tried = m.Tried || s.postedLately(m.Key)
	}
	var h Handle
	var err error
	if posting && m.Late && !m.Tried && !m.Anew {
		return s.c.Store.Drop(ctx, m.Key, m.Version)
	}
	if posting {
		if err := s.c.Store.Trying(ctx, m.Key); err != nil {
			return err
		}
		s.posts(m.Key)
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

// postedLately tells whether this process tried to post a message before.
func (s *sender) postedLately(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.posted[key]
	return ok
}

// posts remembers that a message is posted.
func (s *sender) posts(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.c.Now()
	if len(s.posted) >= maxPosted {
		maps.DeleteFunc(s.posted, func(_ string, at time.Time) bool { return now.Sub(at) > lately })
	}
	s.posted[key] = now
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
	errors.As(err, &gone)
	now := s.c.Now()
	wait := min(maxBackoff, backoff<<min(m.Tries, 10))
	tries := maxSends
	if m.Class > Result {
		tries = maxTails
	}
	switch {
	case errors.As(err, &limited):
		return s.c.Store.Defer(ctx, m.Key, Again{At: now.Add(max(limited.After, sendEvery)), Tried: m.Tried && posting, Free: true})
	case errors.As(err, &old):
		return s.c.Store.Defer(ctx, m.Key, Again{At: now, Lost: true})
	case gone != nil, m.Tries+1 >= tries:
		// Told first: a message that is given up twice does no harm, one that
		// nobody hears of does. An edit that did not get through is no loss: what
		// it would have changed is still there.
		if posting || gone != nil {
			_, tell := s.c.Store.Receive(ctx, Event{
				Key: fmt.Sprintf("failed:%s:%d", m.Key, m.Version), Kind: Failed, Place: m.Place, ID: m.Key, Text: err.Error(), At: now,
			})
			if tell != nil {
				return errors.Join(err, tell)
			}
		}
		return errors.Join(err, s.c.Store.Drop(ctx, m.Key, m.Version))
	case errors.As(err, &unknown):
		return errors.Join(err, s.c.Store.Defer(ctx, m.Key, Again{At: now.Add(wait), Tried: posting}))
	}
	return errors.Join(err, s.c.Store.Defer(ctx, m.Key, Again{At: now.Add(wait), Tried: m.Tried && posting}))
}
