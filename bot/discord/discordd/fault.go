package discordd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Fault makes matching REST requests go wrong. Exactly one of Status, Hang and
// RetryAfter says how; with none of them the request is only slow.
type Fault struct {
	// Method and Route choose requests; empty matches all. Route is the
	// documented pattern, such as /channels/{channel}/messages.
	Method, Route string
	// Times is how many requests are hit; 0 means one, -1 all.
	Times int

	// Commit carries the request out before its answer is spoilt.
	Commit bool
	// Delay passes before anything happens.
	Delay time.Duration
	// Status answers with this status; a 5xx without Code has an HTML body,
	// as from Discord's edge.
	Status int
	// Code and Message make the answer Discord's JSON error.
	Code    int
	Message string
	// Hang gives no answer until the client goes away.
	Hang bool
	// RetryAfter answers 429; Global says for which scope.
	RetryAfter time.Duration
	Global     bool
}

func (f *Fault) answers() bool { return f.Status != 0 || f.Hang || f.RetryAfter > 0 }

func (f *Fault) status() int {
	switch {
	case f.Hang:
		return 0
	case f.RetryAfter > 0:
		return http.StatusTooManyRequests
	}
	return f.Status
}

// Inject adds a fault. The function it returns takes the fault away.
func (s *Server) Inject(f Fault) (remove func()) {
	if f.Times == 0 {
		f.Times = 1
	}
	p := &f
	s.mu.Lock()
	s.faults = append(s.faults, p)
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.faults = slices.DeleteFunc(s.faults, func(o *Fault) bool { return o == p })
		s.mu.Unlock()
	}
}

// fault finds and uses up the first fault for a request.
func (s *Server) fault(method, route string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if (f.Method != "" && f.Method != method) || (f.Route != "" && f.Route != route) {
			continue
		}
		if f.Times > 0 {
			f.Times--
			if f.Times == 0 {
				s.faults = slices.Delete(s.faults, i, i+1)
			}
		}
		return f
	}
	return nil
}

// faulty answers as the fault says.
func (s *Server) faulty(w http.ResponseWriter, r *http.Request, rt route, f *Fault) {
	switch {
	case f.Hang:
		select {
		case <-r.Context().Done():
		case <-s.ctx.Done():
		}
		panic(http.ErrAbortHandler) // closes the connection without an answer
	case f.RetryAfter > 0:
		scope := "user"
		if f.Global {
			scope = "global"
		}
		write(w, nil, 0, nil, limited(f.RetryAfter, scope))
	case f.Code != 0:
		write(w, nil, 0, nil, fail(f.Status, f.Code, f.Message))
	case f.Status >= 500:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(f.Status)
		fmt.Fprintf(w, "<html><head><title>%d</title></head><body>%s</body></html>", f.Status, http.StatusText(f.Status))
	default:
		write(w, nil, 0, nil, fail(f.Status, 0, fmt.Sprintf("%d: %s", f.Status, http.StatusText(f.Status))))
	}
}

// Reconnect asks every connection to reconnect and resume (opcode 7).
func (s *Server) Reconnect() {
	s.each(func(c *conn) { c.op(7, nil) })
}

// InvalidateSessions sends opcode 9. With resumable false the sessions are
// gone and clients have to identify again, missing what happened meanwhile.
func (s *Server) InvalidateSessions(resumable bool) {
	s.each(func(c *conn) {
		if c.session == nil {
			return
		}
		if !resumable {
			c.session.dead = true
			c.session = nil // the client may identify on the same connection
		}
		c.op(9, resumable)
	})
}

// CloseGateway closes every connection with a close code.
func (s *Server) CloseGateway(code int) {
	s.each(func(c *conn) { c.shut(code) })
}

// DropConnections cuts every connection without a close frame. The sessions
// can be resumed.
func (s *Server) DropConnections() {
	s.each(func(c *conn) { c.ws.NetConn().Close() })
}

// HalfOpen makes every present connection dead without closing it: nothing
// more arrives, heartbeats are not acknowledged, writes seem to succeed.
func (s *Server) HalfOpen() {
	s.each(func(c *conn) { c.silent = true })
}

// ExpireSessions makes sessions impossible to resume (opcode 9, false).
func (s *Server) ExpireSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.sessions {
		x.dead = true
	}
}

// ReplayOnResume makes the next RESUME replay n events that the client has
// already seen, with their old sequence numbers.
func (s *Server) ReplayOnResume(n int) {
	s.mu.Lock()
	s.rewind = n
	s.mu.Unlock()
}

// Redeliver sends the last event about a message or an interaction again to
// every session, as a new event.
func (s *Server) Redeliver(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, x := range s.sessions {
		for _, e := range slices.Backward(x.events) {
			var ev struct {
				T string
				D json.RawMessage
			}
			var d struct{ ID string }
			if json.Unmarshal([]byte(e), &ev) == nil && json.Unmarshal(ev.D, &d) == nil && d.ID == id && ev.T != "GUILD_CREATE" {
				s.enqueue(x, ev.T, ev.D)
				n++
				break
			}
		}
	}
	if n == 0 {
		return fmt.Errorf("redelivering %s: no session has had an event about it", id)
	}
	return nil
}

// RevokeToken makes the bot's token invalid, and closes its connections with
// 4004, as a reset in the developer portal does.
func (s *Server) RevokeToken() {
	s.mu.Lock()
	s.token = "revoked " + randomHex(8)
	for _, x := range s.sessions {
		x.dead = true
	}
	s.mu.Unlock()
	s.CloseGateway(CloseAuthentication)
}

// each runs f under the lock for every connection.
func (s *Server) each(f func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		f(c)
		c.wakeUp()
	}
}

// Gateway describes the present connections, for tests and waiting.
type Gateway struct {
	Session string
	Shard   [2]int
	Version int
	// ViaResumeURL is set when the client dialled resume_gateway_url.
	ViaResumeURL bool
	// Sent is the sequence number of the last event that was written.
	Sent int
	// Beats is how many heartbeats have come.
	Beats int
}

// Gateways lists the connections that have identified or resumed.
func (s *Server) Gateways() []Gateway {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gateways()
}

func (s *Server) gateways() []Gateway {
	var out []Gateway
	for c := range s.conns {
		if c.session != nil && c.session.conn == c {
			out = append(out, Gateway{Session: c.session.id, Shard: c.session.shard, Version: c.version, ViaResumeURL: c.resumed, Sent: c.cursor, Beats: c.beats})
		}
	}
	return out
}

// serveFile serves an attachment, as the content network does.
func (s *Server) serveFile(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	var found *Attachment
	for _, st := range s.messages {
		for _, m := range append([]Message{st.Message}, st.revisions...) {
			for _, a := range m.Attachments {
				if a.ID == r.PathValue("attachment") && a.Filename == r.PathValue("name") && m.ChannelID == r.PathValue("channel") {
					found = &a
				}
			}
		}
	}
	s.mu.Unlock()
	if found == nil {
		http.NotFound(w, r)
		return
	}
	// What a bot uploads must not run as a page of this origin.
	w.Header().Set("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Type", found.ContentType)
	_, _ = w.Write(found.Data) // a reader that went away is its own affair
}
