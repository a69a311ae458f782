// Package discordd is a stand-in for Discord on a loopback address, so that a
// bot can be tried and tested with its real client and without any account.
//
// It speaks what Discord documents: the gateway (versions 9 and 10) with
// sessions that can be resumed, the REST API with its limits, rate limits and
// errors, and interactions over the gateway or over signed HTTP. It keeps
// state: guilds, channels, threads, members, every revision of every message,
// and who alone can see an ephemeral one.
//
// A test starts a [Server], points the bot at [Server.APIURL], acts as users
// through [Server.As], waits with [Server.WaitMessage], and breaks things with
// [Server.Inject] and the gateway's faults. What a bot gets wrong against
// Discord it should get wrong here too: a message over its limits is refused,
// a late answer to an interaction is unknown, an edit in an archived thread
// fails. Where Discord publishes no number (the sizes of its rate-limit
// buckets, the number of edits of an old message) the number here is a guess
// in the strict direction, and the comment beside it says so.
package discordd

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Config is the world a server starts with. The zero value of every field but
// Guilds and Users is usable.
type Config struct {
	// ApplicationID is also the id of the bot's user.
	ApplicationID string
	// BotName is the bot's user name.
	BotName string
	// Token is the bot's token, without the word Bot before it.
	Token string

	Users  []User
	Guilds []Guild

	// Privileged are the privileged intents that are switched on for the
	// application; IDENTIFY with another one is closed with 4014. Nil means
	// all of them.
	Privileged *int
	// Key signs HTTP interactions; a fresh one is made when nil.
	Key ed25519.PrivateKey
	// InteractionsURL sends interactions there instead of over the gateway.
	// Start does not probe it; [Server.SetInteractionsURL] does.
	InteractionsURL string

	// Now is the clock of timestamps, deadlines and rate-limit windows.
	// [Server.Advance] shifts it. Nil means time.Now.
	Now func() time.Time
	// RateScale multiplies the length of every rate-limit window: 1 is like
	// Discord, 0.1 is ten times as patient, and 0, the default, switches rate
	// limits off.
	RateScale float64
	// Heartbeat is the interval the gateway asks for; 41.25 s when zero. A
	// connection silent for one and a half intervals is closed.
	Heartbeat time.Duration
	// AnswerTime is how long an interaction waits for its first answer; 3 s when zero.
	AnswerTime time.Duration
	// SessionLife is how long a session without a connection can be resumed;
	// 3 minutes when zero.
	SessionLife time.Duration
	// FileLimit is the most bytes of one file; 10 MiB when zero.
	FileLimit int
	// OldEdits is how often an hour messages older than an hour may be
	// edited in one channel before 30046. Discord publishes no number;
	// 3 when zero.
	OldEdits int
	// Logf gets one line for each thing a person at the console may want to
	// know; nil drops them.
	Logf func(format string, args ...any)
}

// Guild is a server of Discord's, as configured.
type Guild struct {
	ID       string
	Name     string
	Owner    string
	Roles    []Role
	Channels []Channel
	// Members maps a user's id to the ids of the member's roles. The bot is
	// a member of every guild, by itself with no role but @everyone.
	Members map[string][]string
}

type guild struct {
	ID, Name, Owner string
	roles           []*Role
	channels        []*Channel // without threads
	members         map[string]*Member
	joined          time.Time
}

func (g *guild) role(id string) *Role {
	for _, r := range g.roles {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// Server is a running stand-in. Its methods may be called from any goroutine.
type Server struct {
	cfg   Config
	addr  string
	http  *http.Server
	bot   User
	done  chan struct{}
	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup

	mu       sync.Mutex
	token    string // the one that is valid now
	shift    time.Duration
	lastID   uint64
	users    map[string]*User
	guilds   map[string]*guild
	order    []string // guild ids
	channels map[string]*Channel
	messages map[string]*stored
	timeline map[string][]string // channel id -> message ids in order
	commands []*Command
	inter    map[string]*interaction // by id
	byToken  map[string]*interaction
	nonces   map[string]nonceEntry
	oldEdits map[string][]time.Time
	creates  map[string]int // commands created today, by guild

	changes []Change
	wake    chan struct{} // closed and replaced on every change

	sessions   map[string]*session
	conns      map[*conn]bool
	identified int
	identifyAt time.Time // the last IDENTIFY; max_concurrency is 1
	rewind     int

	limits   limiter
	faults   []*Fault
	requests []Request
	interURL string
}

type stored struct {
	Message
	revisions []Message
	inter     *interaction
}

type nonceEntry struct {
	message string
	at      time.Time
}

// Start listens on addr (host:port; port 0 picks a free one) and serves until
// Close.
func Start(addr string, cfg Config) (*Server, error) {
	if cfg.ApplicationID == "" {
		cfg.ApplicationID = "1100000000000000001"
	}
	if cfg.BotName == "" {
		cfg.BotName = "kgent"
	}
	if cfg.Token == "" {
		cfg.Token = "loopback.only.token"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 41250 * time.Millisecond
	}
	if cfg.AnswerTime == 0 {
		cfg.AnswerTime = 3 * time.Second
	}
	if cfg.SessionLife == 0 {
		cfg.SessionLife = 3 * time.Minute
	}
	if cfg.FileLimit == 0 {
		cfg.FileLimit = 10 << 20
	}
	if cfg.OldEdits == 0 {
		cfg.OldEdits = 3
	}
	if cfg.Logf == nil {
		cfg.Logf = func(string, ...any) {}
	}
	if cfg.Key == nil {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("making the interactions key: %w", err)
		}
		cfg.Key = key
	}
	s := &Server{
		cfg:      cfg,
		bot:      User{ID: cfg.ApplicationID, Username: cfg.BotName, Bot: true},
		done:     make(chan struct{}),
		users:    map[string]*User{},
		guilds:   map[string]*guild{},
		channels: map[string]*Channel{},
		messages: map[string]*stored{},
		timeline: map[string][]string{},
		inter:    map[string]*interaction{},
		byToken:  map[string]*interaction{},
		nonces:   map[string]nonceEntry{},
		oldEdits: map[string][]time.Time{},
		creates:  map[string]int{},
		wake:     make(chan struct{}),
		sessions: map[string]*session{},
		conns:    map[*conn]bool{},
		interURL: cfg.InteractionsURL,
		token:    cfg.Token,
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	if err := s.populate(); err != nil {
		s.stop()
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("listening for Discord's clients: %w", err)
	}
	s.addr = l.Addr().String()
	s.http = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Logf("serving: %v", err)
		}
	}()
	return s, nil
}

// Close ends every connection and waits for the server's goroutines.
func (s *Server) Close() error {
	s.stop()
	err := s.http.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.ws.Close()
	}
	s.mu.Unlock()
	<-s.done
	s.tasks.Wait()
	return err
}

// populate builds the world of the configuration.
func (s *Server) populate() error {
	seen := map[string]bool{}
	claim := func(id, what string) error {
		if _, err := strconv.ParseUint(id, 10, 63); err != nil {
			return fmt.Errorf("id %q of %s is not a snowflake: use a decimal number", id, what)
		}
		if seen[id] {
			return fmt.Errorf("id %s of %s is used twice", id, what)
		}
		seen[id] = true
		return nil
	}
	if err := claim(s.bot.ID, "the application"); err != nil {
		return err
	}
	s.users[s.bot.ID] = &s.bot
	for _, u := range s.cfg.Users {
		if err := claim(u.ID, "user "+u.Username); err != nil {
			return err
		}
		s.users[u.ID] = &u
	}
	for _, g := range s.cfg.Guilds {
		if err := claim(g.ID, "guild "+g.Name); err != nil {
			return err
		}
		w := &guild{ID: g.ID, Name: g.Name, Owner: g.Owner, members: map[string]*Member{}, joined: s.cfg.Now()}
		for _, r := range g.Roles {
			if r.ID != g.ID {
				if err := claim(r.ID, "role "+r.Name); err != nil {
					return err
				}
			}
			w.roles = append(w.roles, &r)
		}
		if w.role(g.ID) == nil {
			w.roles = append([]*Role{{ID: g.ID, Name: "@everyone", Permissions: PermDefault}}, w.roles...)
		}
		for id, roles := range g.Members {
			u := s.users[id]
			if u == nil {
				return fmt.Errorf("guild %s has the member %s, who is not among the users", g.Name, id)
			}
			w.members[id] = &Member{User: u, Roles: append([]string{}, roles...), JoinedAt: s.cfg.Now()}
		}
		if w.members[s.bot.ID] == nil {
			w.members[s.bot.ID] = &Member{User: &s.bot, Roles: []string{}, JoinedAt: s.cfg.Now()}
		}
		for i, c := range g.Channels {
			if err := claim(c.ID, "channel "+c.Name); err != nil {
				return err
			}
			c.GuildID, c.Position = g.ID, i
			w.channels = append(w.channels, &c)
			s.channels[c.ID] = &c
		}
		s.guilds[g.ID] = w
		s.order = append(s.order, g.ID)
	}
	return nil
}

// APIURL is what stands in place of https://discord.com/api: the real client's
// paths (/v9/…, /v10/…) follow it. It is the value of DISCORD_API_URL.
func (s *Server) APIURL() string { return "http://" + s.addr + "/api" }

// URL is the address of the page on which a person plays the users.
func (s *Server) URL() string { return "http://" + s.addr + "/" }

// Token is the bot's token as configured, without the word Bot.
func (s *Server) Token() string { return s.cfg.Token }

// ApplicationID is the application's id, which is also the bot's user id.
func (s *Server) ApplicationID() string { return s.cfg.ApplicationID }

// PublicKey verifies HTTP interactions.
func (s *Server) PublicKey() ed25519.PublicKey { return s.cfg.Key.Public().(ed25519.PublicKey) }

// Now is the server's time.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

// Advance moves the server's clock: deadlines of interactions, ages of
// messages and rate-limit windows pass without waiting, and threads without
// activity are archived. Negative values go back.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shift += d
	for _, c := range s.channels {
		if !c.IsThread() || c.Deleted || c.Thread.Archived {
			continue
		}
		last := c.Thread.ArchivedAt // when it was opened
		if m := s.messages[c.LastMessageID]; m != nil && m.Timestamp.After(last) {
			last = m.Timestamp
		}
		if s.now().Sub(last) >= time.Duration(c.Thread.AutoArchive)*time.Minute {
			c.Thread.Archived, c.Thread.ArchivedAt = true, s.now()
			s.threadChanged(c)
		}
	}
	s.notify()
}

func (s *Server) now() time.Time { return s.cfg.Now().Add(s.shift).UTC().Truncate(time.Microsecond) }

// discordEpoch is the first millisecond of 2015, from which snowflakes count.
const discordEpoch = 1420070400000

// newID makes a snowflake of the server's time that is greater than every
// other. The caller holds mu.
func (s *Server) newID() string {
	id := uint64(max(s.now().UnixMilli()-discordEpoch, 1)) << 22
	if id <= s.lastID {
		id = s.lastID + 1
	}
	s.lastID = id
	return strconv.FormatUint(id, 10)
}
