package discord

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/bwmarrin/discordgo"
	"github.com/gorilla/websocket"

	"kgent/bot/thread"
)

// gate is the state of the gateway connection, for Health and for the next
// Run.
type gate struct {
	running sync.Mutex // held by Run

	mu    sync.Mutex
	on    bool      // Run runs
	up    bool      // READY or RESUMED came
	since time.Time // when up last changed
	heard time.Time // the last bytes from Discord
	why   string    // why it is not up
	fatal error

	// session outlives a Run, so that this process can RESUME when it leads
	// again. nil starts a new one.
	session *gatewaySession
}

// gatewaySession is discordgo's session and what happens to its present
// connection.
type gatewaySession struct {
	*discordgo.Session
	mu   sync.Mutex
	conn *liveConn
	up   chan struct{} // closed at READY or RESUMED
	lost chan struct{} // closed when the connection is over
	take func(*discordgo.Event)
}

// closeForResume tells Discord to keep the session: 1000 and 1001 would end it.
const closeForResume = 4000

// stable is how long a connection has to last for the next failure to count as
// the first.
const stable = time.Minute

// Run receives events over the gateway and hands them to front, until ctx ends;
// then it returns nil. The caller sees to it that one process at a time runs
// it. Lost and silent connections are replaced. It returns an error when that
// cannot help: the token or the intents are refused.
func (a *Adapter) Run(ctx context.Context, front thread.Front) error {
	if !a.gate.running.TryLock() {
		return errors.New("the Discord gateway runs already in this process")
	}
	defer a.gate.running.Unlock()
	a.gate.set(func(g *gate) { g.on, g.up, g.since, g.why, g.fatal = true, false, a.now(), "is connecting", nil })
	defer a.gate.set(func(g *gate) { g.on, g.up = false, false })

	in := a.newIntake(ctx, front)
	defer in.drain()

	registered := false
	for attempt := 0; ; attempt++ {
		if attempt > 0 {
			// The number of new sessions a day is limited.
			wait := min(time.Second<<min(attempt-1, 6), time.Minute)
			wait = wait/2 + rand.N(wait/2+1)
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return nil
			}
		}
		began := a.now()
		err := a.prepareRun(ctx, &registered)
		if err == nil {
			err = a.connection(ctx, in)
		}
		if ctx.Err() != nil {
			return nil
		}
		var fatal *fatalError
		if errors.As(err, &fatal) {
			a.gate.set(func(g *gate) { g.fatal = err; g.session = nil })
			return err
		}
		a.log.Warn("the connection to Discord is over", "why", err)
		a.gate.set(func(g *gate) { g.up, g.since, g.why = false, a.now(), "is connecting again: "+err.Error() })
		if a.now().Sub(began) > stable {
			attempt = 0
		}
	}
}

func (g *gate) set(f func(*gate)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(g)
}

// fatalError is one that trying again does not mend.
type fatalError struct{ what string }

func (e *fatalError) Error() string { return e.what }

// fatal explains close codes after which Discord does not want to see us again
// as we are.
func fatal(err error) error {
	var c *websocket.CloseError
	if !errors.As(err, &c) {
		return nil
	}
	what := map[int]string{
		4004: "Discord does not accept the token: reset it on the application's page, under Bot, and set it as DISCORD_TOKEN",
		4010: "Discord refuses the shard",
		4011: "the bot is in so many servers that Discord wants several shards, which kgent does not have: limit where it is invited",
		4012: "Discord no longer speaks this version of its gateway: a newer kgent is needed",
		4013: "Discord does not know the intents asked for: a newer kgent is needed",
		4014: "Discord refuses the MESSAGE CONTENT intent: switch it on, on the application's page, under Bot, or run without it",
	}[c.Code]
	if what == "" {
		return nil
	}
	return &fatalError{fmt.Sprintf("%s (close code %d)", what, c.Code)}
}

// prepareRun does what comes before connecting: who we are, whether a new
// session may be started, and, once, the commands.
func (a *Adapter) prepareRun(ctx context.Context, registered *bool) error {
	_, err := a.self(ctx)
	if err == nil && !*registered {
		if err = a.Register(ctx); err == nil {
			*registered = true
		}
	}
	if err == nil && a.gate.session == nil {
		var g struct {
			Limit struct {
				Remaining  int `json:"remaining"`
				ResetAfter int `json:"reset_after"` // ms
			} `json:"session_start_limit"`
		}
		err = a.get(ctx, "/gateway/bot", "/gateway/bot", &g)
		if err == nil && g.Limit.Remaining < 5 && g.Limit.ResetAfter > 0 {
			// At none left Discord resets the token.
			return fmt.Errorf("nearly all connections of the day are used up: the next in %s", time.Duration(g.Limit.ResetAfter)*time.Millisecond)
		}
	}
	var said *apiError
	if errors.As(err, &said) && said.Status == http.StatusUnauthorized {
		return fatal(&websocket.CloseError{Code: 4004})
	}
	return notSent(err)
}

// connection opens one connection and stays until it is over. It returns why it
// is.
func (a *Adapter) connection(ctx context.Context, in *intake) error {
	s := a.gate.session
	if s == nil {
		var err error
		if s, err = a.newSession(); err != nil {
			return err
		}
		a.gate.set(func(g *gate) { g.session = s })
	}
	forget := func() { a.gate.set(func(g *gate) { g.session = nil }) }
	up, lost := s.begin(in.event)
	defer s.begin(nil)

	opened := make(chan error, 1)
	go func() { opened <- s.Open() }()
	patience := time.NewTimer(a.connecting)
	defer patience.Stop()
	select {
	case err := <-opened:
		if err != nil {
			return s.failed(err, forget)
		}
	case <-ctx.Done():
		s.cut()
		select {
		case <-opened:
		case <-time.After(a.patience):
			forget()
		}
		return ctx.Err()
	case <-patience.C:
		// discordgo locks itself up when Discord asks for a reconnect in place
		// of READY. Such a session is left behind with its goroutine.
		s.cut()
		forget()
		return errors.New("Discord did not complete the connection")
	}

	// With RESUME refused, READY comes later than Open returns.
	select {
	case <-up:
	case <-lost:
		forget()
		return errors.New("Discord closed the connection before it was complete")
	case <-patience.C:
		s.cut()
		forget()
		return errors.New("Discord did not complete the connection")
	case <-ctx.Done():
		s.leave()
		return ctx.Err()
	}
	a.gate.set(func(g *gate) { g.up, g.since, g.why = true, a.now(), "" })
	a.log.Info("connected to Discord")
	select {
	case <-lost:
		s.cut() // discordgo may say so twice, the second time of the next one
		return errors.New("the connection was lost")
	case <-ctx.Done():
		s.leave()
		return ctx.Err()
	}
}

// failed judges why a connection could not be opened.
func (s *gatewaySession) failed(err error, forget func()) error {
	if f := fatal(err); f != nil {
		return f
	}
	var c *websocket.CloseError
	if errors.As(err, &c) && c.Code >= 4000 {
		forget() // most of them end the session, and a new one is always right
	}
	return fmt.Errorf("connecting to Discord: %w", err)
}

func (a *Adapter) newSession() (*gatewaySession, error) {
	inner, err := a.session(a.rest.Token)
	if err != nil {
		return nil, err
	}
	inner.Identify.Intents = discordgo.IntentGuilds | discordgo.IntentGuildMessages | discordgo.IntentDirectMessages
	if a.cfg.MessageContent {
		inner.Identify.Intents |= discordgo.IntentMessageContent
	}
	s := &gatewaySession{Session: inner}
	inner.Dialer = a.dialer(s)
	inner.AddHandler(func(_ *discordgo.Session, e *discordgo.Event) { s.event(e) })
	inner.AddHandler(func(*discordgo.Session, *discordgo.Disconnect) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lost != nil {
			shut(s.lost)
		}
	})
	return s, nil
}

// dialer makes connections of s that are watched. Where no proxy stands in
// between, TLS happens below the watching, so that frames can be told apart.
func (a *Adapter) dialer(s *gatewaySession) *websocket.Dialer {
	watched := func(raw net.Conn) net.Conn {
		c := &liveConn{Conn: raw, patience: a.patience, heard: func() {
			a.gate.set(func(g *gate) { g.heard = a.now() })
		}}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.conn = c
		return c
	}
	plain := func(ctx context.Context, network, addr string) (net.Conn, error) {
		raw, err := (&net.Dialer{Timeout: a.connecting}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return watched(raw), nil
	}
	d := &websocket.Dialer{Proxy: http.ProxyFromEnvironment, HandshakeTimeout: a.connecting, NetDialContext: plain}
	through, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: "gateway.discord.gg"}})
	if err == nil && through == nil {
		d.Proxy = nil
		d.NetDialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			raw, err := (&tls.Dialer{NetDialer: &net.Dialer{Timeout: a.connecting}}).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return watched(raw), nil
		}
	}
	return d
}

// leave closes the connection so that Discord keeps the session.
func (s *gatewaySession) leave() {
	s.mu.Lock()
	if s.conn != nil {
		s.conn.allowClose()
	}
	s.mu.Unlock()
	_ = s.CloseWithCode(closeForResume)
}

// begin prepares for the next connection, whose events go to take; nil takes
// none.
func (s *gatewaySession) begin(take func(*discordgo.Event)) (up, lost chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up, s.lost, s.take = make(chan struct{}), make(chan struct{}), take
	return s.up, s.lost
}

// event is called in the order in which Discord sends. It must not wait: what
// comes next is read when it returns.
func (s *gatewaySession) event(e *discordgo.Event) {
	s.mu.Lock()
	take := s.take
	if e.Type == "READY" || e.Type == "RESUMED" {
		shut(s.up)
	}
	s.mu.Unlock()
	if take != nil {
		take(e)
	}
}

func shut(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// cut ends the connection without a word.
func (s *gatewaySession) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.die()
	}
}

// liveConn notices that the other side is gone: everything that a gateway's
// client sends (who it is, heartbeats) is answered at once, so when nothing at
// all comes for a while after something was sent, the connection is dead.
// Without that, a half-open one stays until discordgo has missed five
// heartbeats, more than three minutes.
//
// It lets no close frame through but our own: the one that discordgo sends when
// it gives up on a connection says 1000, which would end the session.
type liveConn struct {
	net.Conn
	patience time.Duration
	heard    func()

	mu      sync.Mutex
	waiting bool // something was sent and nothing has come since
	dead    bool
	closing bool // we close it ourselves
}

// closeFrame is the first byte of a WebSocket close frame. Each write of a
// client begins a frame, or is the request before all frames.
const closeFrame = 0x88

func (c *liveConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.dead || len(p) > 0 && p[0] == closeFrame && !c.closing {
		c.mu.Unlock()
		return 0, net.ErrClosed
	}
	if !c.waiting {
		c.waiting = true
		_ = c.Conn.SetReadDeadline(time.Now().Add(c.patience))
	}
	c.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *liveConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	if n > 0 && c.waiting {
		c.waiting = false
		_ = c.Conn.SetReadDeadline(time.Time{})
	}
	if err != nil {
		c.dead = true
	}
	c.mu.Unlock()
	if n > 0 {
		c.heard()
	}
	return n, err
}

// SetDeadline and SetReadDeadline do nothing: the deadline is this type's own,
// and the whole of connecting is bounded elsewhere.
func (c *liveConn) SetDeadline(time.Time) error     { return nil }
func (c *liveConn) SetReadDeadline(time.Time) error { return nil }

func (c *liveConn) allowClose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closing = true
}

func (c *liveConn) die() {
	c.mu.Lock()
	c.dead = true
	c.mu.Unlock()
	_ = c.Conn.Close()
}

// What Health allows: Discord asks for a heartbeat every 41 seconds.
const (
	maxSilence = time.Minute
	maxDown    = 30 * time.Second
)

// Health says why the adapter cannot do its work now, or nil. Where the gateway
// is another process's business only sending counts.
func (a *Adapter) Health(now time.Time) error {
	g := &a.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.fatal != nil:
		return g.fatal
	case !g.on:
		return a.limits.health()
	case !g.up && now.Sub(g.since) > maxDown:
		return errors.New("the connection to Discord " + g.why)
	case g.up && now.Sub(g.heard) > maxSilence:
		return fmt.Errorf("nothing was heard from Discord for %s", now.Sub(g.heard).Round(time.Second))
	}
	return a.limits.health()
}

// intake hands events to the conversation: interactions at once, since people
// wait; messages in the order of their channel.
type intake struct {
	a     *Adapter
	front thread.Front
	ctx   context.Context // outlives Run's by a moment, for what was received

	interactions sync.WaitGroup
	lanes        [8]chan func()
	messages     sync.WaitGroup
	cancel       context.CancelFunc
}

// lane is how many messages of one lane wait at most.
const lane = 512

func (a *Adapter) newIntake(ctx context.Context, front thread.Front) *intake {
	in := &intake{a: a, front: front}
	in.ctx, in.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for i := range in.lanes {
		in.lanes[i] = make(chan func(), lane)
		in.messages.Go(func() {
			for f := range in.lanes[i] {
				f()
			}
		})
	}
	return in
}

// drain waits for what was received to be stored, for a moment.
func (in *intake) drain() {
	stop := time.AfterFunc(5*time.Second, in.cancel)
	defer stop.Stop()
	for _, l := range in.lanes {
		close(l)
	}
	in.messages.Wait()
	in.interactions.Wait()
	in.cancel()
}

// event takes one event from the gateway. The connection is over before drain
// is called.
func (in *intake) event(e *discordgo.Event) {
	arrived := in.a.now()
	switch e.Type {
	case "READY":
		var ready struct {
			User        user `json:"user"`
			Application struct {
				ID string `json:"id"`
			} `json:"application"`
		}
		if json.Unmarshal(e.RawData, &ready) == nil {
			in.a.mu.Lock()
			in.a.me, in.a.id = ready.User.ID, ready.Application.ID
			in.a.mu.Unlock()
		}
	case "INTERACTION_CREATE":
		raw := e.RawData
		in.interactions.Go(func() { in.a.answerGateway(in.ctx, in.front, raw, arrived) })
	case "MESSAGE_CREATE":
		var m message
		if err := json.Unmarshal(e.RawData, &m); err != nil {
			in.a.log.Error("a message from Discord cannot be read", "err", err)
			return
		}
		if !in.a.concerns(m) {
			return
		}
		var h uint32
		for _, b := range []byte(m.ChannelID) {
			h = h*31 + uint32(b)
		}
		select {
		case in.lanes[h%uint32(len(in.lanes))] <- func() { in.a.said(in.ctx, in.front, m, arrived) }:
		default:
			in.a.log.Error("a message from Discord was dropped: too many wait to be stored", "message", m.ID)
		}
	case "CHANNEL_UPDATE", "CHANNEL_DELETE", "THREAD_UPDATE", "THREAD_DELETE":
		var ch channel
		if json.Unmarshal(e.RawData, &ch) == nil {
			in.a.channels.forget(ch.ID)
		}
	}
}
