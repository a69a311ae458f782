// Package discord is Discord as a chat service of the conversation: what people
// say and press there becomes [thread.Event], and [thread.Message] becomes
// messages, edits, threads and files there. It draws [card.Card] with Discord's
// components and speaks through discordgo.
//
// # What has to be set up
//
//  1. https://discord.com/developers/applications, "New Application"; its
//     picture and name are the bot's.
//  2. "Bot", "Reset Token": the token is [Config].Token (DISCORD_TOKEN). It is
//     a password.
//  3. "Bot", "Privileged Gateway Intents": MESSAGE CONTENT on, if answers in a
//     thread shall count without a mention ([Config].MessageContent). Without
//     it the bot reads mentions, direct messages, buttons and commands only.
//     Nothing else there is needed.
//  4. "Installation": guild install only, no user install.
//  5. The invitation is [InviteURL] with the application's id: scopes bot and
//     applications.commands, and the permissions [Permissions] (view channels,
//     send messages, send in threads, create public threads, attach files,
//     embed links, read message history, manage threads). Somebody who may
//     manage the server opens it.
//  6. Give the bot's role access to the private channels where it is to answer.
//  7. For HTTP instead of, or beside, the gateway: "General Information" has the
//     public key ([Config].PublicKey); "Interactions Endpoint URL" is where
//     [Adapter.Handler] is reached. Discord then delivers commands and buttons
//     there only; mentions and replies still need the gateway.
//
// Several replicas may send at once; one of them at a time runs the gateway
// ([Adapter.Run]), because each connection receives everything.
//
// # How it stays correct
//
// An event is handed to the conversation, which stores it, before Discord is
// told that it arrived. Discord does not deliver again what it was not told of:
// who pressed a button sees that it failed, and a message is tried again here
// for half a minute and then refused with words.
//
// A message is posted under a nonce made from its key, which Discord enforces
// for some minutes, and carries the key's hash in its components' ids, by which
// it is found after that. So a lost answer does not double it.
package discord

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bwmarrin/discordgo"

	"kgent/bot/thread"
)

// Surface is Discord's name in accounts and places.
const Surface = "discord"

// Permissions are what the bot needs in a server, as Discord counts them: view
// channels, send messages, embed links, attach files, read history, create
// public threads, send in threads, manage threads (to open archived ones).
const Permissions = discordgo.PermissionViewChannel | discordgo.PermissionSendMessages | discordgo.PermissionEmbedLinks |
	discordgo.PermissionAttachFiles | discordgo.PermissionReadMessageHistory | discordgo.PermissionCreatePublicThreads |
	discordgo.PermissionSendMessagesInThreads | discordgo.PermissionManageThreads

// InviteURL is what the manager of a server opens to let the bot in.
func InviteURL(applicationID string) string {
	q := url.Values{"client_id": {applicationID}, "scope": {"bot applications.commands"}, "permissions": {strconv.FormatInt(Permissions, 10)}}
	return "https://discord.com/oauth2/authorize?" + q.Encode()
}

// Config is how to reach Discord, and what of it.
type Config struct {
	Token string // the bot's, without "Bot "
	// APIURL stands in for https://discord.com/api.
	APIURL string
	// ApplicationID is asked for when empty.
	ApplicationID string
	// PublicKey verifies what comes over HTTP, 64 hexadecimal digits. Without
	// it [Adapter.Handler] refuses everything.
	PublicKey string
	// Guilds, if any, are the only servers that are served; commands then take
	// effect at once. Otherwise all that the bot was let into.
	Guilds []string
	// MessageContent says that the application has the MESSAGE CONTENT intent.
	MessageContent bool
	// PerSecond is how many requests this process sends in a second at most; 0
	// is 45. Discord takes 50 from all replicas together.
	PerSecond int

	Log *slog.Logger     // nil is silent
	Now func() time.Time // nil is time.Now
}

// Adapter is a connection to Discord. It implements [thread.Platform]; all its
// methods may be called at once.
type Adapter struct {
	cfg    Config
	key    ed25519.PublicKey
	log    *slog.Logger
	now    func() time.Time
	guilds map[string]bool // nil is all

	api    string // without a slash at its end
	base   *http.Transport
	client *http.Client
	rest   *discordgo.Session
	limits *limiter
	// patience is how long a sent frame may go unanswered, and how long
	// connecting takes at most.
	patience, connecting time.Duration
	// retry is how long a message is tried to be stored.
	retry time.Duration

	channels *cache[channel]
	members  *cache[member]
	dms      *cache[string]
	files    *cache[[]fileRef]
	joined   *cache[[]string]

	gate gate

	mu     sync.Mutex
	me, id string // the bot's user and application
}

var _ thread.Platform = (*Adapter)(nil)

// New returns an adapter. It talks to nobody yet.
func New(cfg Config) (*Adapter, error) {
	a := &Adapter{
		cfg: cfg, log: cfg.Log, now: cfg.Now, id: cfg.ApplicationID,
		patience: 10 * time.Second, connecting: 30 * time.Second, retry: 30 * time.Second,
		channels: newCache[channel](10_000), members: newCache[member](10_000), dms: newCache[string](10_000),
		files: newCache[[]fileRef](10_000), joined: newCache[[]string](1),
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	token := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(cfg.Token), "Bot "))
	if token == "" || strings.ContainsAny(token, " \r\n\t") {
		return nil, errors.New("the Discord token is empty or no token: copy it from the application's page, under Bot")
	}
	if cfg.PublicKey != "" {
		key, err := hex.DecodeString(strings.TrimSpace(cfg.PublicKey))
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, errors.New("the Discord public key is not 64 hexadecimal digits: copy it from the application's page, under General Information")
		}
		a.key = key
	}
	for _, id := range append(slices.Clone(cfg.Guilds), cfg.ApplicationID) {
		if id != "" && !snowflake(id) {
			return nil, fmt.Errorf("%q is not an id of Discord: switch on developer mode, then \"Copy ID\"", id)
		}
	}
	if len(cfg.Guilds) > 0 {
		a.guilds = map[string]bool{}
		for _, g := range cfg.Guilds {
			a.guilds[g] = true
		}
	}
	api, err := apiBase(cfg.APIURL)
	if err != nil {
		return nil, err
	}
	a.api = api
	rate := cfg.PerSecond
	if rate <= 0 {
		rate = 45
	}
	a.limits = newLimiter(rate, a.now)
	a.base = http.DefaultTransport.(*http.Transport).Clone()
	a.base.MaxIdleConnsPerHost = 16
	a.client = &http.Client{Transport: &transport{api: a.api, next: a.base, limits: a.limits}, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	if a.rest, err = a.session("Bot " + token); err != nil {
		return nil, err
	}
	return a, nil
}

// session returns a client of discordgo that decides nothing by itself: it does
// not repeat, wait or reconnect, and it writes no log.
func (a *Adapter) session(token string) (*discordgo.Session, error) {
	s, err := discordgo.New(token)
	if err != nil {
		return nil, fmt.Errorf("making a Discord client: %w", err)
	}
	s.Client = a.client
	s.MaxRestRetries = 0
	s.ShouldRetryOnRateLimit = false
	s.ShouldReconnectOnError = false
	s.ShouldReconnectVoiceOnSessionError = false
	s.StateEnabled = false
	s.SyncEvents = true
	s.LogLevel = -1
	return s, nil
}

// Close lets go of idle connections. Run must have returned.
func (a *Adapter) Close() { a.base.CloseIdleConnections() }

func apiBase(s string) (string, error) {
	if s == "" {
		return "https://discord.com/api", nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return "", fmt.Errorf("the Discord API URL %q is not like https://discord.com/api", s)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	if at := strings.LastIndex(u.Path, "/v"); at >= 0 && snowflake(u.Path[at+2:]) {
		u.Path = u.Path[:at] // the client has its own version of the API
	}
	return u.String(), nil
}

// snowflake reports whether s looks like an id.
func snowflake(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}

// epoch is where Discord's ids start to count milliseconds.
const epoch = 1420070400000

// since is the smallest id that something made at t can have.
func since(t time.Time) string {
	return strconv.FormatInt(max(t.UnixMilli()-epoch, 0)<<22, 10)
}

// Surface implements [thread.Platform].
func (a *Adapter) Surface() string { return Surface }

// Link implements [thread.Platform].
func (a *Adapter) Link(_ context.Context, p thread.Place, h thread.Handle) string {
	ch := h.Channel
	if ch == "" {
		ch = p.Channel
	}
	if !snowflake(ch) || !snowflake(h.ID) {
		return ""
	}
	guild := p.Tenant
	if guild == "" {
		guild = "@me"
	}
	return "https://discord.com/channels/" + guild + "/" + ch + "/" + h.ID
}

// self returns the bot's own user id.
func (a *Adapter) self(ctx context.Context) (string, error) {
	a.mu.Lock()
	me := a.me
	a.mu.Unlock()
	if me != "" {
		return me, nil
	}
	var u user
	if err := a.get(ctx, "/users/@me", "/users/@me", &u); err != nil {
		return "", fmt.Errorf("asking Discord who the bot is: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.me = u.ID
	return u.ID, nil
}

// application returns the application's id.
func (a *Adapter) application(ctx context.Context) (string, error) {
	a.mu.Lock()
	id := a.id
	a.mu.Unlock()
	if id != "" {
		return id, nil
	}
	var app struct {
		ID string `json:"id"`
	}
	if err := a.get(ctx, "/applications/@me", "/applications/@me", &app); err != nil {
		return "", fmt.Errorf("asking Discord for the application's id: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.id = app.ID
	return app.ID, nil
}

// serves reports whether a guild is one of ours. Direct messages are: whether
// the person belongs to us is asked later.
func (a *Adapter) serves(guild string) bool {
	return guild == "" || a.guilds == nil || a.guilds[guild]
}

func (a *Adapter) get(ctx context.Context, path, route string, into any) error {
	raw, err := a.call(ctx, request{method: http.MethodGet, path: path, route: route, urgent: true})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("reading Discord's answer: %w", err)
	}
	return nil
}

// cache remembers up to a number of things by key, each with the time it was
// learned at.
type cache[T any] struct {
	mu    sync.Mutex
	limit int
	m     map[string]remembered[T]
}

type remembered[T any] struct {
	value T
	at    time.Time
}

func newCache[T any](limit int) *cache[T] {
	return &cache[T]{limit: limit, m: map[string]remembered[T]{}}
}

// get returns what was put at or after a time; the zero time is ever.
func (c *cache[T]) get(key string, after time.Time) (T, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.m[key]
	if !ok || r.at.Before(after) {
		var none T
		return none, false
	}
	return r.value, true
}

func (c *cache[T]) put(key string, value T, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.m[key]; !ok && len(c.m) >= c.limit {
		for k := range c.m { // any one: what is asked for again is learned again
			delete(c.m, k)
			break
		}
	}
	c.m[key] = remembered[T]{value, at}
}

func (c *cache[T]) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, key)
}
