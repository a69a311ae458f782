package discordd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Change is one thing that happened, in order.
type Change struct {
	Kind        string   `json:"kind"` // message_create, thread_update, interaction, response, …
	Channel     string   `json:"channel,omitempty"`
	Message     *Message `json:"-"`
	User        string   `json:"user,omitempty"`
	Interaction string   `json:"interaction,omitempty"`
	Reply       int      `json:"reply,omitempty"`
	Modal       *Modal   `json:"-"`
}

// changed notes a change and wakes everybody who waits. The caller holds mu.
func (s *Server) changed(c Change) {
	s.changes = append(s.changes, c)
	s.notify()
}

// notify wakes everybody who waits. The caller holds mu.
func (s *Server) notify() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// Await waits until ok, called under the server's lock after every change,
// says yes.
func (s *Server) await(ctx context.Context, ok func() bool) error {
	for {
		s.mu.Lock()
		done, wake := ok(), s.wake
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return fmt.Errorf("waiting: the server was closed")
		}
	}
}

// WaitMessage waits for a message whose current revision matches, ephemeral
// ones included, and returns the oldest that does. When ctx ends, the error
// shows the messages there are.
func (s *Server) WaitMessage(ctx context.Context, match func(Message) bool) (Message, error) {
	var got Message
	err := s.await(ctx, func() bool {
		var ids []string
		for id := range s.messages {
			ids = append(ids, id)
		}
		slices.SortFunc(ids, order)
		for _, id := range ids {
			if st := s.messages[id]; !st.Deleted && match(st.Message) {
				got = st.Message
				return true
			}
		}
		return false
	})
	if err != nil {
		return Message{}, fmt.Errorf("waiting for a message: %w; there are:\n%s", err, s.Transcript())
	}
	return got, nil
}

// WaitRevision waits until a message's current revision matches.
func (s *Server) WaitRevision(ctx context.Context, messageID string, match func(Message) bool) (Message, error) {
	return s.WaitMessage(ctx, func(m Message) bool { return m.ID == messageID && match(m) })
}

// WaitGateway waits until n connections are ready.
func (s *Server) WaitGateway(ctx context.Context, n int) error {
	if err := s.await(ctx, func() bool { return len(s.gateways()) >= n }); err != nil {
		return fmt.Errorf("waiting for %d gateway connections, there are %d: %w", n, len(s.Gateways()), err)
	}
	return nil
}

// WaitRequest waits for the n-th request (from 1) to a route.
func (s *Server) WaitRequest(ctx context.Context, method, route string, n int) (Request, error) {
	var got Request
	err := s.await(ctx, func() bool {
		seen := 0
		for _, r := range s.requests {
			if r.Method == method && r.Route == route {
				if seen++; seen == n {
					got = r
					return true
				}
			}
		}
		return false
	})
	if err != nil {
		return Request{}, fmt.Errorf("waiting for request %d of %s %s: %w", n, method, route, err)
	}
	return got, nil
}

// WaitCommands waits until the bot has registered a command by that name.
func (s *Server) WaitCommands(ctx context.Context, name string) error {
	err := s.await(ctx, func() bool {
		return slices.ContainsFunc(s.commands, func(c *Command) bool { return c.Name == name })
	})
	if err != nil {
		return fmt.Errorf("waiting for the command %s: %w", name, err)
	}
	return nil
}

// Changes is a subscription from now on.
type Changes struct {
	s  *Server
	at int
}

// Subscribe follows everything that happens after the call.
func (s *Server) Subscribe() *Changes {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Changes{s: s, at: len(s.changes)}
}

// Next waits for the next change.
func (c *Changes) Next(ctx context.Context) (Change, error) {
	var got Change
	err := c.s.await(ctx, func() bool {
		if c.at >= len(c.s.changes) {
			return false
		}
		got = c.s.changes[c.at]
		return true
	})
	if err != nil {
		return Change{}, err
	}
	c.at++
	return got, nil
}

// Message returns the current revision of a message. A deleted message is
// found too, with Deleted set.
func (s *Server) Message(id string) (Message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.messages[id]
	if st == nil {
		return Message{}, false
	}
	return st.Message, true
}

// Messages lists a channel's messages, oldest first, ephemeral ones included.
func (s *Server) Messages(channel string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Message
	for _, id := range s.timeline[channel] {
		out = append(out, s.messages[id].Message)
	}
	return out
}

// Revisions lists every revision of a message, the current one last.
func (s *Server) Revisions(id string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.messages[id]
	if st == nil {
		return nil
	}
	return append(slices.Clone(st.revisions), st.Message)
}

// Channel returns a channel, thread or direct message channel.
func (s *Server) Channel(id string) (Channel, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[id]
	if c == nil {
		return Channel{}, false
	}
	return s.snapshot(c), true
}

func (s *Server) snapshot(c *Channel) Channel {
	out := *c
	if c.Thread != nil {
		t := *c.Thread
		out.Thread = &t
	}
	return out
}

// Threads lists the threads of a channel, oldest first.
func (s *Server) Threads(channel string) []Channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Channel
	for _, c := range s.channels {
		if c.IsThread() && c.ParentID == channel && !c.Deleted {
			out = append(out, s.snapshot(c))
		}
	}
	slices.SortFunc(out, func(a, b Channel) int { return order(a.ID, b.ID) })
	return out
}

// Transcript is every message in a short form, for failing tests.
func (s *Server) Transcript() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	var ids []string
	for id := range s.messages {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, order)
	for _, id := range ids {
		m := s.messages[id].Message
		name := s.channels[m.ChannelID].Name
		if name == "" {
			name = "DM"
		}
		fmt.Fprintf(&b, "  %s #%s %s", id, name, m.Author.Username)
		if m.VisibleTo != "" {
			fmt.Fprintf(&b, " (only to %s)", s.users[m.VisibleTo].Username)
		}
		if m.Revision > 0 {
			fmt.Fprintf(&b, " (revision %d)", m.Revision)
		}
		if m.Deleted {
			b.WriteString(" (deleted)")
		}
		fmt.Fprintf(&b, ": %q", cut(m.Text(), 200))
		walk(m.Components, func(c *Component) {
			if c.CustomID != "" {
				fmt.Fprintf(&b, " [%s=%s]", c.Label, c.CustomID)
			}
		})
		for _, a := range m.Attachments {
			fmt.Fprintf(&b, " <%s %d bytes>", a.Filename, a.Size)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// answerTimer wakes waiters when an interaction's time for an answer has passed.
func (s *Server) answerTimer(in *interaction) (stop func()) {
	s.mu.Lock()
	left := s.cfg.AnswerTime - s.now().Sub(in.created)
	s.mu.Unlock()
	t := time.AfterFunc(max(left, 0)+10*time.Millisecond, func() {
		s.mu.Lock()
		s.notify()
		s.mu.Unlock()
	})
	return func() { t.Stop() }
}
