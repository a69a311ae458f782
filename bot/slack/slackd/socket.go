package slackd

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// maxSockets is how many sockets an app may have open.
const maxSockets = 10

const writeTimeout = 5 * time.Second

// conn is one WebSocket of the app.
type conn struct {
	number int
	ws     *websocket.Conn
	write  sync.Mutex
	silent bool // half-open: takes all and says nothing
}

func (c *conn) send(v any) error {
	c.write.Lock()
	defer c.write.Unlock()
	c.ws.SetWriteDeadline(time.Now().Add(writeTimeout))
	return c.ws.WriteJSON(v)
}

// pending is an envelope that waits for its acknowledgement.
type pending struct {
	conn *conn
	ack  chan response
}

func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	ticket := r.URL.Query().Get("ticket")
	s.mu.Lock()
	known := s.tickets[ticket]
	delete(s.tickets, ticket)
	s.mu.Unlock()
	if !known {
		http.Error(w, "invalid ticket", http.StatusForbidden)
		return
	}
	// The client's Origin is Slack's own, not this server's.
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	ws.SetReadLimit(1 << 20)
	c := &conn{ws: ws}
	ws.SetPingHandler(func(text string) error {
		if s.muted(c) {
			return nil
		}
		return ws.WriteControl(websocket.PongMessage, []byte(text), time.Now().Add(writeTimeout))
	})

	s.mu.Lock()
	full := len(s.conns) >= maxSockets
	if s.ctx.Err() != nil {
		s.mu.Unlock()
		return
	}
	if !full {
		s.wg.Add(1)
		s.opened++
		c.number = s.opened
		s.conns = append(slices.Clone(s.conns), c)
	}
	open := len(s.conns)
	s.mu.Unlock()
	if full {
		c.send(map[string]any{"type": "disconnect", "reason": "too_many_websockets", "debug_info": map[string]any{"host": "applink-stand-in"}})
		return
	}
	defer s.wg.Done()
	err = c.send(map[string]any{"type": "hello", "num_connections": open, "connection_info": map[string]any{"app_id": s.cfg.AppID},
		"debug_info": map[string]any{"host": "applink-stand-in", "build_number": 1, "approximate_connection_time": 18060}})
	s.mu.Lock()
	s.touch()
	s.mu.Unlock()

	done := make(chan struct{})
	var pings sync.WaitGroup
	pings.Go(func() { s.ping(c, done) })
	for err == nil {
		var raw []byte
		if _, raw, err = ws.ReadMessage(); err == nil {
			s.acknowledge(c, raw)
		}
	}
	close(done)
	pings.Wait()
	s.mu.Lock()
	s.conns = slices.DeleteFunc(slices.Clone(s.conns), func(o *conn) bool { return o == c })
	s.touch()
	s.mu.Unlock()
}

func (s *Server) muted(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.silent
}

func (s *Server) ping(c *conn, done <-chan struct{}) {
	tick := time.NewTicker(s.cfg.PingInterval)
	defer tick.Stop()
	for n := 0; ; n++ {
		if !s.muted(c) && n > 0 {
			text := fmt.Sprintf("Ping from applink-stand-in %d", n)
			if err := c.ws.WriteControl(websocket.PingMessage, []byte(text), time.Now().Add(writeTimeout)); err != nil {
				c.ws.Close()
				return
			}
		}
		select {
		case <-tick.C:
		case <-done:
			return
		case <-s.ctx.Done():
			c.ws.Close()
			return
		}
	}
}

// acknowledge takes what the app sent over a socket. Whether Slack takes an
// acknowledgement over another socket than the envelope's is not known; this
// does not.
func (s *Server) acknowledge(c *conn, raw []byte) {
	var ack struct {
		EnvelopeID string          `json:"envelope_id"`
		Payload    json.RawMessage `json:"payload"`
	}
	if json.Unmarshal(raw, &ack) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending[ack.EnvelopeID]
	if p == nil || p.conn != c || c.silent {
		return
	}
	delete(s.pending, ack.EnvelopeID)
	r := response{payload: ack.Payload}
	if len(ack.Payload) >= maxAck {
		r = response{err: fmt.Errorf("%w: its answer has %d bytes, and %d are too many", ErrNotAcknowledged, len(ack.Payload), maxAck)}
	}
	if s := string(ack.Payload); s == "null" || s == "{}" {
		r.payload = nil
	}
	p.ack <- r
}

// envelope delivers over one of the open sockets, whichever.
func (s *Server) envelope(d *delivery, raw []byte, n int, reason string, f Fault, index int) (response, string) {
	s.mu.Lock()
	if len(s.conns) == 0 {
		s.mu.Unlock()
		return response{err: ErrNotConnected}, "connection_failed"
	}
	c := s.conns[s.rand.IntN(len(s.conns))]
	id := fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", uint32(s.rand.Uint64()), uint16(s.rand.Uint64()), s.rand.Uint64()&0xfff, s.rand.Uint64()&0xfff,
		s.rand.Uint64()&0xffffffffffff)
	p := &pending{conn: c, ack: make(chan response, 1)}
	s.pending[id] = p
	s.events[index].EnvelopeID, s.events[index].Conn = id, c.number
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.pending, id)
		s.mu.Unlock()
	}()
	e := map[string]any{"envelope_id": id, "type": d.kind, "accepts_response_payload": d.accepts, "payload": json.RawMessage(raw)}
	if d.kind == "events_api" || n > 0 {
		e["retry_attempt"], e["retry_reason"] = n, ""
		if n > 0 {
			e["retry_reason"] = cmp.Or(reason, "timeout")
		}
	}
	if f.Disconnect != "" {
		s.warn(c, f.Disconnect)
	}
	var err error
	if !s.muted(c) {
		err = c.send(e)
	}
	if f.Kill {
		c.ws.UnderlyingConn().Close()
	}
	if err != nil {
		return response{err: ErrNotConnected}, "connection_failed"
	}
	timer := time.NewTimer(s.cfg.AckTimeout)
	defer timer.Stop()
	select {
	case r := <-p.ack:
		return r, ""
	case <-timer.C:
		return response{err: ErrNotAcknowledged}, "timeout"
	case <-s.ctx.Done():
		return response{err: ErrNotConnected}, "connection_failed"
	}
}

// warn asks the client behind a socket to go elsewhere and closes the socket
// some seconds later, if the client has not. "link_disabled" closes it at once.
func (s *Server) warn(c *conn, reason string) {
	c.send(map[string]any{"type": "disconnect", "reason": reason, "debug_info": map[string]any{"host": "applink-stand-in"}})
	grace := s.cfg.DisconnectGrace
	if reason == "link_disabled" {
		grace = 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil { // Close already waits
		return
	}
	s.wg.Go(func() {
		s.sleep(grace)
		c.ws.Close()
	})
}

// Sockets is the number of sockets the app has open.
func (s *Server) Sockets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// WaitSockets waits until the app has at least n sockets open.
func (s *Server) WaitSockets(ctx context.Context, n int) error {
	if err := s.wait(ctx, func() bool { return len(s.conns) >= n }); err != nil {
		return fmt.Errorf("waiting for %d sockets: %w", n, err)
	}
	return nil
}

// Disconnect sends a disconnect with a reason ("warning",
// "refresh_requested", "link_disabled") over all open sockets.
func (s *Server) Disconnect(reason string) {
	s.mu.Lock()
	conns := s.conns
	s.mu.Unlock()
	for _, c := range conns {
		s.warn(c, reason)
	}
}

// Kill breaks all open sockets without a word.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.ws.UnderlyingConn().Close()
	}
}

// Mute leaves all open sockets half open: no pings, no answers, and what the
// client sends is not heard, until the client gives up.
func (s *Server) Mute() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.silent = true
	}
}
