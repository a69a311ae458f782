// Package slackd is a stand-in for Slack that speaks Slack's own protocols, so
// that a bot can be tried and tested with its real client library and without
// any account.
//
// It serves the part of the Web API that a chat-ops bot needs, Socket Mode,
// and signed HTTP delivery of events, clicks and slash commands. It keeps state
// (channels, threads, every revision of a message, modals, files, who saw which
// ephemeral message), enforces the limits, rate limits and errors that Slack
// documents or is known to have, and does to a bot what Slack does on a bad
// day: deliver twice, disconnect in mid-click, answer 429 or 500, take effect
// and never answer.
//
// A test starts one with [Start], points the client at [Server.APIURL], acts
// as people through [Server.User] and looks at what came of it with
// [Server.WaitMessage] and the like. [Server.Inject] makes things go wrong. The
// command in slackd/slackd serves the same thing with a page on which one
// person plays several users in a browser.
//
// Where Slack's behaviour is not documented, the stand-in is the stricter of
// the two: a bot that gets along with it gets along with Slack.
package slackd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Team is a Slack workspace.
type Team struct {
	ID     string // T…
	Name   string
	Domain string
}

// Person is an account: a human, a guest, a bot of somebody else's, or a
// member of another workspace met in a shared channel.
type Person struct {
	ID       string // U…
	Name     string // the short name, unique in the workspace
	RealName string
	Email    string
	Locale   string // such as "en-US", which is also the default
	TZ       string // such as "Europe/Berlin", default "Etc/UTC"

	Team          string // the workspace's id; empty is Config.Team
	Guest         bool   // a multi-channel guest ("is_restricted")
	SingleChannel bool   // a single-channel guest ("is_ultra_restricted")
	Admin         bool
	Bot           bool // another app's bot user
	Deactivated   bool
}

// Channel is a channel or, with IM set, the direct messages between the bot
// and a user.
type Channel struct {
	ID       string // C… or D…
	Name     string
	Topic    string
	Private  bool
	Archived bool
	Members  []string // user ids; the bot is a member only if it is listed
	Shared   []string // ids of other workspaces that the channel is shared with
	IM       string   // the user's id in a direct message
}

// Usergroup is what is mentioned as @handle.
type Usergroup struct {
	ID      string // S…
	Handle  string
	Name    string
	Members []string
}

// Shortcut is an entry in the menu of every message.
type Shortcut struct{ CallbackID, Name string }

// Config describes a workspace with one app installed in it. [Default] is a
// small complete one.
type Config struct {
	Team       Team
	OtherTeams []Team
	Users      []Person
	Channels   []Channel
	Usergroups []Usergroup

	// The app.
	AppID     string // A…
	AppName   string
	BotUser   string // the bot's user id; it is not among Users
	BotID     string // B…
	Commands  []string
	Shortcuts []Shortcut
	// Events the app subscribed to, as in a manifest: "app_mention",
	// "message.channels", "message.groups", "message.im",
	// "app_home_opened", "reaction_added", "file_shared" and so on.
	Events []string

	BotToken      string // xoxb-…
	AppToken      string // xapp-…
	SigningSecret string
	// RequestURL receives events, interactions and slash commands by signed
	// HTTP; empty means Socket Mode.
	RequestURL string

	Now func() time.Time // default time.Now

	// NoRateLimits lifts the limits on the rate of calls. RateScale multiplies
	// what is allowed; 0 is 1.
	NoRateLimits bool
	RateScale    float64

	AckTimeout      time.Duration   // default 3 s
	TriggerLife     time.Duration   // how long a trigger opens a view; default 3 s
	Retries         []time.Duration // waits before events are delivered again; default 0, 1 min, 5 min
	PingInterval    time.Duration   // between WebSocket pings; default 5 s
	DisconnectGrace time.Duration   // between the warning and the end of a socket; default 10 s
	Seed            uint64          // of the random routing; 0 takes a new one each time

	// Page serves, at the server's root, a page on which one person plays
	// several users. Whoever reaches it acts as anybody: it is for loopback.
	Page bool
}

// Default is a workspace with alice, bob and carol (in the user group
// @approvers: bob and carol), dave (guest), mallory (another workspace's, in
// the shared channel), the foreign bot "deploybot", the channels #incidents,
// #random and the shared #with-vendor, and an app named kgent.
func Default() Config {
	const bot = "U0KGENTBOT"
	return Config{
		Team:       Team{ID: "T0HOME", Name: "Home", Domain: "home"},
		OtherTeams: []Team{{ID: "T0VENDOR", Name: "Vendor", Domain: "vendor"}},
		Users: []Person{
			{ID: "U0ALICE", Name: "alice", RealName: "Alice Adler", Email: "alice@example.com", Admin: true},
			{ID: "U0BOB", Name: "bob", RealName: "Bob Baker", Email: "bob@example.com"},
			{ID: "U0CAROL", Name: "carol", RealName: "Carol Chen", Email: "carol@example.com"},
			{ID: "U0DAVE", Name: "dave", RealName: "Dave Guest", Email: "dave@example.org", Guest: true},
			{ID: "U0MALLORY", Name: "mallory", RealName: "Mallory Vendor", Team: "T0VENDOR"},
			{ID: "U0DEPLOY", Name: "deploybot", RealName: "Deploy Bot", Bot: true},
		},
		Channels: []Channel{
			{ID: "C0INCIDENTS", Name: "incidents", Topic: "what is on fire", Members: []string{"U0ALICE", "U0BOB", "U0CAROL", "U0DAVE", "U0DEPLOY", bot}},
			{ID: "C0RANDOM", Name: "random", Members: []string{"U0ALICE", "U0BOB", "U0CAROL"}},
			{ID: "C0VENDOR", Name: "with-vendor", Members: []string{"U0ALICE", "U0BOB", "U0MALLORY", bot}, Shared: []string{"T0VENDOR"}},
		},
		Usergroups: []Usergroup{{ID: "S0APPROVERS", Handle: "approvers", Name: "Approvers", Members: []string{"U0BOB", "U0CAROL"}}},
		AppID:      "A0KGENT", AppName: "kgent", BotUser: bot, BotID: "B0KGENT",
		Commands:  []string{"/kgent"},
		Shortcuts: []Shortcut{{CallbackID: "kgent_trace", Name: "Trace this"}},
		Events: []string{"app_mention", "message.channels", "message.groups", "message.im", "app_home_opened",
			"reaction_added", "reaction_removed", "file_shared", "member_joined_channel"},
		BotToken: "xoxb-stand-in-bot", AppToken: "xapp-1-A0KGENT-stand-in-app", SigningSecret: "stand-in signing secret",
	}
}

// Server is a running stand-in. Its methods may be called by several
// goroutines at once.
type Server struct {
	cfg  Config
	http *http.Server
	addr string

	stop context.CancelFunc
	ctx  context.Context // ends with the server
	wg   sync.WaitGroup  // deliveries, sockets and the listener

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	rand    *rand.Rand
	lastTS  int64 // microseconds
	serial  int   // for identifiers
	skew    time.Duration

	users      map[string]*Person
	channels   map[string]*Channel
	usergroups map[string]*Usergroup
	messages   map[string][]*Message // by channel, oldest first; ephemeral and deleted ones too
	log        []Message             // all versions of all messages as they came about
	views      map[string]*View
	modals     map[string][]string // by user: ids of the open modals, the uppermost last
	homes      map[string]string   // by user: id of the App Home's view
	files      map[string]*storedFile
	triggers   map[string]*trigger
	hooks      map[string]*hook // response URLs
	notices    []Notice

	buckets map[string]*bucket
	faults  []*Fault
	calls   []Call

	tickets  map[string]bool     // for one WebSocket each
	conns    []*conn             // never changed in place
	opened   int                 // sockets so far
	pending  map[string]*pending // by envelope id
	events   []Delivery
	underway int // deliveries
}

// Start serves a workspace on addr, such as "127.0.0.1:0".
func Start(addr string, cfg Config) (*Server, error) {
	if cfg.Team.ID == "" || cfg.BotUser == "" || cfg.BotToken == "" {
		return nil, errors.New("starting slackd: a team, a bot user and a bot token are needed; see slackd.Default")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.RateScale = cmp.Or(cfg.RateScale, 1)
	cfg.AckTimeout = cmp.Or(cfg.AckTimeout, 3*time.Second)
	cfg.TriggerLife = cmp.Or(cfg.TriggerLife, 3*time.Second)
	cfg.PingInterval = cmp.Or(cfg.PingInterval, 5*time.Second)
	cfg.DisconnectGrace = cmp.Or(cfg.DisconnectGrace, 10*time.Second)
	if cfg.Retries == nil {
		cfg.Retries = []time.Duration{0, time.Minute, 5 * time.Minute}
	}
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64()
	}
	s := &Server{
		cfg: cfg, changed: make(chan struct{}), rand: rand.New(rand.NewPCG(cfg.Seed, 1)),
		users: map[string]*Person{}, channels: map[string]*Channel{}, usergroups: map[string]*Usergroup{},
		messages: map[string][]*Message{}, views: map[string]*View{}, modals: map[string][]string{}, homes: map[string]string{},
		files: map[string]*storedFile{}, triggers: map[string]*trigger{}, hooks: map[string]*hook{},
		buckets: map[string]*bucket{}, tickets: map[string]bool{}, pending: map[string]*pending{},
	}
	for _, u := range cfg.Users {
		u.Team = cmp.Or(u.Team, cfg.Team.ID)
		s.users[u.ID] = &u
	}
	s.users[cfg.BotUser] = &Person{ID: cfg.BotUser, Name: cfg.AppName, RealName: cfg.AppName, Team: cfg.Team.ID, Bot: true}
	for _, c := range cfg.Channels {
		c.Members = slices.Clone(c.Members)
		s.channels[c.ID] = &c
	}
	for _, g := range cfg.Usergroups {
		g.Members = slices.Clone(g.Members)
		s.usergroups[g.ID] = &g
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("starting slackd: %w", err)
	}
	s.addr = ln.Addr().String()
	s.ctx, s.stop = context.WithCancel(context.Background())
	handler := s.handler()
	if cfg.Page {
		handler = s.withPage(handler)
	}
	s.http = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return s.ctx }}
	s.wg.Go(func() { s.http.Serve(ln) })
	return s, nil
}

// Close ends the server, its sockets and all deliveries under way.
func (s *Server) Close() {
	s.stop()
	s.mu.Lock()
	conns := slices.Clone(s.conns)
	s.mu.Unlock()
	for _, c := range conns {
		c.ws.Close()
	}
	s.http.Close()
	s.wg.Wait()
}

// APIURL is what SLACK_API_URL is set to.
func (s *Server) APIURL() string { return s.URL() + "/api/" }

// URL is the server's root, where its page is.
func (s *Server) URL() string { return "http://" + s.addr }

// Config is the configuration in use, defaults filled in.
func (s *Server) Config() Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

// SetRequestURL delivers by signed HTTP from now on, or by Socket Mode if url
// is empty. As in Slack's app settings the address must first answer the
// url_verification challenge.
func (s *Server) SetRequestURL(ctx context.Context, url string) error {
	if url != "" {
		if err := s.verifyURL(ctx, url); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg.RequestURL = url
	return nil
}

// SkewClock moves the server's clock, from which message times, expiries,
// signatures and rate limits follow, against Config.Now.
func (s *Server) SkewClock(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skew += d
}

func (s *Server) now() time.Time { return s.cfg.Now().Add(s.skew) }

// touch wakes all who wait for a change. s.mu is held, as for everything
// below that has no capital letter and touches state.
func (s *Server) touch() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// nextTS is a message's identity: the time, made unique.
func (s *Server) nextTS() string {
	s.lastTS = max(s.lastTS+1, s.now().UnixMicro())
	return fmt.Sprintf("%d.%06d", s.lastTS/1e6, s.lastTS%1e6)
}

// id makes an identifier such as Ev0000000A.
func (s *Server) id(prefix string) string {
	s.serial++
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	text := make([]byte, 8)
	for i, n := len(text)-1, s.serial; i >= 0; i, n = i-1, n/len(digits) {
		text[i] = digits[n%len(digits)]
	}
	return prefix + string(text)
}

// secret makes an identifier that nobody can guess from another one.
func (s *Server) secret() string { return fmt.Sprintf("%016x%016x", s.rand.Uint64(), s.rand.Uint64()) }

// wait calls look, with the state locked, now and after every change until it
// returns true.
func (s *Server) wait(ctx context.Context, look func() bool) error {
	for {
		s.mu.Lock()
		found := look()
		changed := s.changed
		s.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return errors.New("slackd is closed")
		}
	}
}
