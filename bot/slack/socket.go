package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	slackgo "github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"kgent/bot/thread"
)

const (
	// drainTime is how long a stop waits for events that were taken.
	drainTime = 3 * time.Second
	// ackTime bounds the hand-over of an acknowledgement: without a
	// connection the client would wait for ever.
	ackTime = 2 * time.Second
	// maxBackoff is the longest pause between attempts to connect. The client's
	// own grows to five minutes, which is long during an incident.
	maxBackoff = 15 * time.Second
	// maxFrame bounds what Slack may send at once.
	maxFrame  = 4 << 20
	laneCount = 32
	laneDepth = 32
)

// socket is one Socket Mode connection, and its next one.
type socket struct {
	a     *Adapter
	n     int
	heard atomic.Int64 // unix nanoseconds of the last byte

	mu        sync.Mutex
	connected bool
	err       error // why Slack refuses the app token
}

func (s *socket) alive(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connected && now.Sub(time.Unix(0, s.heard.Load())) < silence
}

// refusal is why Slack refuses the app token, or nil.
func (s *socket) refusal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *socket) set(connected bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected = connected
	if connected {
		s.err = nil
	}
}

// serveSockets holds the sockets until ctx ends, and a little longer: until
// what they took is handled and acknowledged. What is not, Slack delivers to
// the next replica.
func (a *Adapter) serveSockets(ctx context.Context, front thread.Front) {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	lanes := newLanes(work)
	var wg sync.WaitGroup
	a.mu.Lock()
	for n := range a.cfg.Sockets {
		s := &socket{a: a, n: n}
		a.sockets = append(a.sockets, s)
		wg.Go(func() { s.supervise(work, front, lanes) })
	}
	a.mu.Unlock()
	<-ctx.Done()
	lanes.drain(drainTime)
	stop()
	wg.Wait()
}

// supervise connects again whenever the client gives up.
func (s *socket) supervise(ctx context.Context, front thread.Front, lanes *lanes) {
	for wait := time.Second; ; wait = min(2*wait, maxBackoff) {
		began := time.Now()
		err := s.run(ctx, front, lanes)
		s.set(false)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			wait = time.Second
		}
		pause := wait
		if r, ok := errors.AsType[slackgo.SlackErrorResponse](err); ok && fatal[r.Err] {
			pause = time.Minute
			err = fmt.Errorf("slack: the app token is not accepted (%s): make a new one with connections:write on the app's page \"Basic Information\"", r.Err)
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
		}
		s.a.log.Error("a socket of Slack ended", "socket", s.n, "err", bare(err), "again", pause)
		if !sleep(ctx, pause) {
			return
		}
	}
}

// run holds the connection, through any number of its renewals, until the
// client gives up.
func (s *socket) run(ctx context.Context, front thread.Front, lanes *lanes) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client := socketmode.New(s.a.api,
		socketmode.OptionDialer(s.dialer()),
		socketmode.OptionReadLimit(maxFrame))
	done := make(chan error, 1)
	go func() { done <- client.RunContext(ctx) }()
	for {
		select {
		case e := <-client.Events:
			if c, failed := e.Data.(*slackgo.ConnectionErrorEvent); failed && e.Type == socketmode.EventTypeConnectionError {
				s.a.log.Warn("Slack does not take a socket", "socket", s.n, "err", bare(c.ErrorObj), "again", c.Backoff)
				_, limited := errors.AsType[*slackgo.RateLimitedError](c.ErrorObj)
				if c.Backoff > maxBackoff && !limited {
					cancel()
				}
			}
			s.on(ctx, client, e, front, lanes)
		case err := <-done:
			for { // what was read and not yet looked at
				select {
				case e := <-client.Events:
					s.on(ctx, client, e, front, lanes)
				default:
					return err
				}
			}
		}
	}
}

// dialer dials as the client would, and notes when something was heard: the
// client keeps pings to itself.
func (s *socket) dialer() *websocket.Dialer {
	return &websocket.Dialer{
		Proxy:            http.ProxyFromEnvironment,
		HandshakeTimeout: 10 * time.Second,
		// One frame for each acknowledgement: Slack drops those in several.
		WriteBufferSize: 32 << 10,
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &listened{conn, s}, nil
		},
	}
}

type listened struct {
	net.Conn
	s *socket
}

func (l *listened) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.s.heard.Store(l.s.a.now().UnixNano())
	}
	return n, err
}

// on looks at one event of the client. It never waits: an event that finds its
// lane full is left for Slack to deliver again.
func (s *socket) on(ctx context.Context, client *socketmode.Client, e socketmode.Event, front thread.Front, lanes *lanes) {
	switch e.Type {
	case socketmode.EventTypeHello:
		s.set(true)
		s.a.log.Info("a socket of Slack is connected", "socket", s.n)
	case socketmode.EventTypeConnecting:
		s.set(false)
	case socketmode.EventTypeErrorWriteFailed:
		s.a.log.Warn("an acknowledgement was not written; Slack delivers again", "socket", s.n)
	case socketmode.EventTypeErrorBadMessage:
		// The client's own decoding is stricter than need be.
		bad, ok := e.Data.(*socketmode.ErrorBadMessage)
		var req socketmode.Request
		if !ok || json.Unmarshal(bad.Message, &req) != nil {
			s.a.log.Error("Slack sent what cannot be read", "socket", s.n)
			return
		}
		s.hand(ctx, client, &req, front, lanes)
	case socketmode.EventTypeEventsAPI, socketmode.EventTypeInteractive, socketmode.EventTypeSlashCommand:
		s.hand(ctx, client, e.Request, front, lanes)
	}
}

// hand puts a delivery on the lane of its thread.
func (s *socket) hand(ctx context.Context, client *socketmode.Client, req *socketmode.Request, front thread.Front, lanes *lanes) {
	if req == nil || req.EnvelopeID == "" {
		return
	}
	taken := lanes.add(laneOf(req), func(work context.Context) {
		answer, err := s.a.handle(work, front, req.Type, req.Payload)
		if err != nil {
			s.a.log.Warn("an event of Slack was not stored; Slack delivers again", "kind", req.Type, "attempt", req.RetryAttempt, "err", err)
			return
		}
		ack, cancel := context.WithTimeout(ctx, ackTime)
		defer cancel()
		if err := client.AckCtx(ack, req.EnvelopeID, answer); err != nil && work.Err() == nil {
			s.a.log.Warn("an event was not acknowledged; Slack delivers again", "err", err)
		}
	})
	if !taken {
		s.a.log.Warn("an event of Slack is left to be delivered again", "kind", req.Type)
	}
}

// laneOf is what deliveries that must stay in order have in common: their
// thread, or else their person.
func laneOf(req *socketmode.Request) string {
	var p struct {
		Event   message `json:"event"`
		UserID  string  `json:"user_id"`
		Message message `json:"message"`
		User    struct {
			ID string `json:"id"`
		} `json:"user"`
	}
	if json.Unmarshal(req.Payload, &p) != nil {
		return req.EnvelopeID
	}
	for _, m := range []message{p.Event, p.Message} {
		if ts := or(m.ThreadTS, m.TS); ts != "" {
			return ts
		}
	}
	return or(p.Event.User, or(p.User.ID, or(p.UserID, req.EnvelopeID)))
}

// lanes are queues that are worked at once, each in its order.
type lanes struct {
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.RWMutex
	closed bool
	queues []chan func(context.Context)
}

func newLanes(ctx context.Context) *lanes {
	ctx, cancel := context.WithCancel(ctx)
	l := &lanes{stop: cancel}
	for range laneCount {
		q := make(chan func(context.Context), laneDepth)
		l.queues = append(l.queues, q)
		l.wg.Go(func() {
			for f := range q {
				f(ctx)
			}
		})
	}
	return l
}

// add reports whether f will be run.
func (l *lanes) add(key string, f func(context.Context)) bool {
	h := fnv.New32a()
	h.Write([]byte(key))
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return false
	}
	select {
	case l.queues[h.Sum32()%laneCount] <- f:
		return true
	default:
		return false
	}
}

// drain takes nothing more, and returns when all is done; what takes longer
// than d is cancelled.
func (l *lanes) drain(d time.Duration) {
	l.mu.Lock()
	l.closed = true
	for _, q := range l.queues {
		close(q)
	}
	l.mu.Unlock()
	t := time.AfterFunc(d, l.stop)
	defer t.Stop()
	l.wg.Wait()
	l.stop()
}
