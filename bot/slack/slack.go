// Package slack is a Slack workspace as a chat service of a conversation: it
// turns what Slack delivers into events of package thread, and that package's
// messages into what Slack shows.
//
// Inbound, an event is given to the conversation first and acknowledged only
// once that has stored it; what is not acknowledged Slack delivers again. It
// comes over Socket Mode ([Adapter.Run]: two sockets, because a socket that
// Slack is about to close loses what is sent to it), or over HTTP
// ([Adapter.Handler]), or both.
//
// Outbound, nothing is retried in here: every method makes its calls once and
// says by the type of its error what is known (see thread.Platform). Whoever
// sends decides what goes first; so that the decision is worth something, the
// adapter keeps count of Slack's rate limits and refuses before Slack would,
// keeping a reserve for what is urgent.
//
// Text from outside (requests, trace output, names, a model's words) goes out
// only as plain_text objects and rich_text elements, in which Slack looks for
// neither mentions nor links nor formatting; see render.go.
package slack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	slackgo "github.com/slack-go/slack"

	"kgent/bot/thread"
)

// surface is the adapter's name in accounts and places.
const surface = "slack"

// Config says how to reach a workspace.
type Config struct {
	BotToken string // xoxb-…, needed always
	// AppToken (xapp-…) is for Socket Mode, SigningSecret for HTTP. At least
	// one is needed.
	AppToken      string
	SigningSecret string
	// APIURL is where the Web API is; empty is Slack itself.
	APIURL string
	// Sockets is how many Socket Mode connections are held; 0 is 2, Slack
	// allows 10 over all replicas.
	Sockets int
	// SharedChannels lets kgent work in channels that are shared with other
	// workspaces (Slack Connect), where their people read what traces show.
	SharedChannels bool
	Log            *slog.Logger     // default discards
	Now            func() time.Time // default time.Now
}

// Adapter is one workspace. It implements thread.Platform.
type Adapter struct {
	cfg   Config
	log   *slog.Logger
	now   func() time.Time
	api   *slackgo.Client
	hooks *http.Client // for response URLs, which get no token

	budget *budget
	users  *cache[*slackgo.User]
	groups *cache[[]string]
	names  *cache[string]
	shown  *cache[[32]byte] // by message: hash of what it shows
	shared *cache[struct{}] // channels with people of other workspaces
	// active are threads that have replies, by channel and thread.
	active *cache[struct{}]
	opened *cache[struct{}] // trigger ids that opened a form

	mu      sync.Mutex
	me      self
	fatal   error // why Slack refuses the tokens
	running bool
	sockets []*socket
}

// self is who the bot is, as Slack sees it.
type self struct {
	Team, Enterprise string
	User, Name       string
	URL              string // of the workspace, with a slash at its end
}

const (
	// callTimeout bounds one call of the Web API.
	callTimeout = 15 * time.Second
	// liveness is how old what is known of a person or group may be.
	liveness = time.Minute
	// silence is how long a socket may be silent: Slack pings within 30 s.
	silence = time.Minute
	// nameLife is how long a display name is remembered.
	nameLife = time.Hour
	// maxRemembered bounds each of the adapter's memories.
	maxRemembered = 4096
)

// New returns an adapter. It makes no call.
func New(cfg Config) (*Adapter, error) {
	switch {
	case cfg.BotToken == "":
		return nil, errors.New("setting up Slack: the bot token is missing: set SLACK_BOT_TOKEN to the xoxb-… of the app's page \"OAuth & Permissions\"")
	case cfg.AppToken == "" && cfg.SigningSecret == "":
		return nil, errors.New("setting up Slack: set SLACK_APP_TOKEN (xapp-…) for Socket Mode, or SLACK_SIGNING_SECRET for HTTP")
	case cfg.AppToken != "" && !strings.HasPrefix(cfg.AppToken, "xapp-"):
		return nil, errors.New("setting up Slack: SLACK_APP_TOKEN is not an app-level token (xapp-…)")
	case cfg.Sockets < 0 || cfg.Sockets > 10:
		return nil, errors.New("setting up Slack: Slack allows at most 10 sockets")
	}
	if cfg.Sockets == 0 {
		cfg.Sockets = 2
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.APIURL == "" {
		cfg.APIURL = slackgo.APIURL
	}
	if u, err := url.Parse(cfg.APIURL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("setting up Slack: %q is not the address of a Web API", cfg.APIURL)
	}
	if !strings.HasSuffix(cfg.APIURL, "/") {
		cfg.APIURL += "/"
	}
	a := &Adapter{
		cfg: cfg, log: cfg.Log, now: cfg.Now,
		hooks:  &http.Client{Timeout: callTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		budget: newBudget(cfg.Now),
		users:  newCache[*slackgo.User](cfg.Now, liveness),
		groups: newCache[[]string](cfg.Now, liveness),
		names:  newCache[string](cfg.Now, nameLife),
		shown:  newCache[[32]byte](cfg.Now, nameLife),
		opened: newCache[struct{}](cfg.Now, liveness),
		shared: newCache[struct{}](cfg.Now, sharedTime),
		active: newCache[struct{}](cfg.Now, nameLife),
	}
	// No retries in the client: a post repeated after a 500 is a double post.
	a.api = slackgo.New(cfg.BotToken,
		slackgo.OptionAppLevelToken(cfg.AppToken),
		slackgo.OptionAPIURL(cfg.APIURL),
		slackgo.OptionHTTPClient(&http.Client{Timeout: callTimeout}))
	return a, nil
}

// Surface is "slack".
func (a *Adapter) Surface() string { return surface }

// self returns who the bot is, and asks Slack the first time.
func (a *Adapter) self(ctx context.Context) (self, error) {
	a.mu.Lock()
	me := a.me
	a.mu.Unlock()
	if me.Team != "" {
		return me, nil
	}
	r, err := a.api.AuthTestContext(ctx)
	if err != nil {
		return self{}, fmt.Errorf("asking Slack who kgent is: %w", a.failed(err))
	}
	me = self{Team: r.TeamID, Enterprise: r.EnterpriseID, User: r.UserID, Name: r.User, URL: r.URL}
	if me.Team == "" || me.User == "" {
		return self{}, errors.New("asking Slack who kgent is: the answer names no workspace or user")
	}
	a.mu.Lock()
	a.me, a.fatal = me, nil
	a.mu.Unlock()
	return me, nil
}

// Run serves until ctx ends: it holds the sockets if there is an app token,
// and otherwise only makes sure that Slack takes the bot's token. Tokens that
// Slack refuses are tried again, rarely; [Adapter.Health] reports them. It
// returns nil once ctx has ended and every event that was taken has been
// handled.
func (a *Adapter) Run(ctx context.Context, front thread.Front) error {
	a.mu.Lock()
	if a.running {
		a.mu.Unlock()
		return errors.New("running Slack: it runs already")
	}
	a.running = true
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.running, a.sockets = false, nil
		a.mu.Unlock()
	}()

	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		_, err := a.self(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		a.log.Error("Slack is not reached", "err", err, "again", wait)
		if !sleep(ctx, wait) {
			return nil
		}
	}
	if a.cfg.AppToken == "" {
		<-ctx.Done()
		return nil
	}
	a.serveSockets(ctx, front)
	return nil
}

// Health returns nil when Slack's events reach kgent: its tokens are accepted
// and, in Socket Mode, at least one socket is alive, that is, heard something
// (Slack pings twice a minute) within the last minute.
func (a *Adapter) Health(now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.fatal != nil:
		return a.fatal
	case !a.running && a.cfg.AppToken != "":
		return errors.New("slack: not started")
	case a.me.Team == "":
		return errors.New("slack: not connected yet")
	case a.cfg.AppToken == "":
		return nil
	}
	var why error
	for _, s := range a.sockets {
		if s.alive(now) {
			return nil
		}
		if err := s.refusal(); err != nil {
			why = err
		}
	}
	if why != nil {
		return why
	}
	return errors.New("slack: no socket is connected: no event can arrive")
}

// sleep waits and reports whether ctx lasted.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
