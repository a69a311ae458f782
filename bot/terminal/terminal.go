// Package terminal is the terminals of a host as a chat service of the
// conversation, beside Slack and Discord: people of the host connect to the
// bot's socket with kgent chat, ask, and agree or not, and the same rules
// decide as everywhere else.
//
// # Who is who
//
// The kernel says which user is behind a connection (SO_PEERCRED): that is the
// account "terminal:<host>/<user>". Nothing that a client sends says who it
// is. Groups are the host's own, "terminal:<host>/<unix group>", looked up when
// they matter. Whoever can become another user of the host (root can become
// all) can speak as that account; the policy's table of people says which
// accounts are one person.
//
// # Who sees what
//
// What somebody asks begins a thread of their own: only they see it. What the
// policy shows to others (ask: terminal:<host>/console) everybody sees who may
// open the socket, and can vote there if the policy lets them. An answer to
// one person reaches that person's clients.
//
// # Several bots
//
// What is shown hangs on a [Board] that all bots of the host share, so it does
// not matter which of them a client is connected to, nor which of them sends.
// The users of a host are known on that host only: of the bots that share one
// Redis, all that serve terminals run on the same host, each with a socket of
// its own. An account of another host's terminal is refused.
package terminal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"kgent/bot/thread"
)

// Surface is the terminal's name in accounts and places.
const Surface = "terminal"

// Console is the channel that every client sees.
const Console = "console"

// own begins the name of a user's own channel.
const own = "~"

// Config is what a host's terminals need.
type Config struct {
	// Host is the tenant in accounts and places, mostly the host's name.
	Host string
	// Socket is the path of the socket. Whoever can open it may speak.
	Socket string
	// Group, if set, is the group of users who may open the socket; otherwise
	// it is the bot's own.
	Group string
	Board Board
	// Users is nil for the users of this host.
	Users Users
	Log   *slog.Logger // nil is silent
	// Poll is how often the board is looked at; 0 is 150 ms.
	Poll time.Duration
	Now  func() time.Time // nil is time.Now
}

// Adapter is the terminals of one host. It implements [thread.Platform]; all
// its methods may be called at once.
type Adapter struct {
	cfg  Config
	log  *slog.Logger
	now  func() time.Time
	peer func(*net.UnixConn) (uid uint32, err error)
	// writing is writeTime except in tests.
	writing time.Duration

	mu    sync.Mutex
	posts map[string]Post // as they hang on the board
	seq   uint64          // of the newest
	conns map[*conn]bool
	wrong error // why the board cannot be read
}

var _ thread.Platform = (*Adapter)(nil)

// New returns an adapter. It listens in [Adapter.Run].
func New(cfg Config) (*Adapter, error) {
	if !name(cfg.Host) {
		return nil, fmt.Errorf("%q is no name for a host in the policy: no spaces, /, : or comma", cfg.Host)
	}
	if !filepath.IsAbs(cfg.Socket) {
		return nil, fmt.Errorf("the socket %q must be an absolute path", cfg.Socket)
	}
	// The kernel's limit is 107 bytes.
	if dir := filepath.Dir(cfg.Socket); len(cfg.Socket) > 107 || len(dir)+longer > 107 {
		return nil, fmt.Errorf("the path of the socket, %s, is too long", cfg.Socket)
	}
	if cfg.Board == nil {
		return nil, errors.New("terminals need a board")
	}
	if cfg.Users == nil {
		cfg.Users = hostUsers{}
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 150 * time.Millisecond
	}
	a := &Adapter{cfg: cfg, log: cfg.Log, now: cfg.Now, peer: peerOf, writing: writeTime, posts: map[string]Post{}, conns: map[*conn]bool{}}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	return a, nil
}

// name reports whether s can stand in an account of the policy.
func name(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '/' || r == ':' || r == ',' || r == unicode.ReplacementChar || unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
}

// Surface implements [thread.Platform].
func (a *Adapter) Surface() string { return Surface }

// Link implements [thread.Platform]: there are no links to terminals.
func (a *Adapter) Link(context.Context, thread.Place, thread.Handle) string { return "" }

// Post implements [thread.Platform]. A message's id follows from its key, so
// sending it twice leaves one.
func (a *Adapter) Post(ctx context.Context, m thread.Message) (thread.Handle, error) {
	if err := a.check(m.Place); err != nil {
		return thread.Handle{}, err
	}
	p := Post{ID: postID(a.cfg.Host, m.Key), Place: m.Place, Card: m.Card, Only: m.Only, At: a.now().UTC()}
	if m.Only != "" {
		p.Ref = m.Reply
	}
	for _, f := range m.Files {
		p.Files = append(p.Files, File{Name: f.Name, Title: f.Title, Size: len(f.Data), Picture: f.Picture, Data: f.Data})
	}
	if err := a.cfg.Board.Put(ctx, p); err != nil {
		return thread.Handle{}, &thread.UnknownError{Err: fmt.Errorf("putting a message on the board: %w", err)}
	}
	if m.Only != "" {
		return thread.Handle{}, nil
	}
	return thread.Handle{Channel: m.Place.Channel, ID: p.ID}, nil
}

// Edit implements [thread.Platform].
func (a *Adapter) Edit(ctx context.Context, h thread.Handle, m thread.Message) error {
	if err := a.check(m.Place); err != nil {
		return err
	}
	if h.ID != postID(a.cfg.Host, m.Key) {
		return &thread.GoneError{Why: "there is no such message on the terminals of " + a.cfg.Host}
	}
	old, err := a.cfg.Board.Get(ctx, h.ID)
	if errors.Is(err, ErrNotFound) || errors.Is(err, thread.ErrSeal) {
		return &thread.TooOldError{Why: "the board has forgotten the message"}
	}
	if err != nil {
		return fmt.Errorf("looking for a message on the board: %w", err)
	}
	old.Place, old.Card = m.Place, m.Card
	if err := a.cfg.Board.Put(ctx, old); err != nil {
		return fmt.Errorf("changing a message on the board: %w", err)
	}
	return nil
}

// check says when nobody could ever see a message.
func (a *Adapter) check(p thread.Place) error {
	user, private := strings.CutPrefix(p.Channel, own)
	switch {
	case p.Surface != Surface || p.Tenant != a.cfg.Host:
		return &thread.GoneError{Why: "this bot serves the terminals of " + a.cfg.Host + " only"}
	case p.Home != "", p.Channel != Console && !private, private && !name(user):
		return &thread.GoneError{Why: "terminals have one channel for all, " + Console + ", and one for each user"}
	}
	return nil
}

// Human implements [thread.Platform]: every user of the host is one.
func (a *Adapter) Human(_ context.Context, acc thread.Account) error {
	if acc.Surface != Surface || acc.Tenant != a.cfg.Host || !name(acc.User) {
		return &thread.NotHumanError{Why: "this bot knows the users of " + a.cfg.Host + " only"}
	}
	err := a.cfg.Users.Known(acc.User)
	if errors.Is(err, ErrNoUser) {
		return &thread.NotHumanError{Why: "there is no such user on " + a.cfg.Host + " any more"}
	}
	return err
}

// Member implements [thread.Platform]: groups are "terminal:<host>/<group>".
func (a *Adapter) Member(ctx context.Context, acc thread.Account, group string) (bool, error) {
	return Groups{a.cfg.Host, a.cfg.Users}.Member(ctx, acc.Surface+":"+acc.Tenant+"/"+acc.User, group)
}

// Health returns nil as long as the board can be read.
func (a *Adapter) Health(time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.wrong
}

// visible reports whether a user sees a post.
func visible(user string, p Post) bool {
	if p.Only != "" {
		return p.Only == user
	}
	return p.Place.Channel == Console || p.Place.Channel == own+user
}

// postID is a message's id: it follows from its key.
func postID(host, key string) string { return digest("post", host, key) }

func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
