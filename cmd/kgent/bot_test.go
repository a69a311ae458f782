package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/approvals"
	"kgent/bot/card"
	"kgent/bot/discord/discordd"
	"kgent/bot/logtest"
	"kgent/bot/slack/slackd"
	"kgent/bot/terminal"
	"kgent/bot/thread"
	"kgent/executor/bus/rdb"
	"kgent/executor/bus/rdb/rdbtest"
)

// aPolicy allows nothing that a test needs; it can be read.
const aPolicy = `version: 1
tenants: [slack:T0EXAMPLE, discord:900000000000000001]
rules:
  - name: looking
    tiers: [observe]
    requesters: {anyone: true}
    approvers: {people: [slack:T0EXAMPLE/U0ADA]}
    quorum: 1
    max_duration: 1m
    max_events: 1000
    expiry: 30m
`

// botHere is kgent bot in this process, over a Redis of its own.
type botHere struct {
	t     *testing.T
	redis *rdbtest.Server
	dir   string
	env   map[string]string
}

func newBotHere(t *testing.T) *botHere {
	t.Helper()
	rdb.Quiet()
	b := &botHere{t: t, redis: rdbtest.Start(t), dir: t.TempDir()}
	b.env = map[string]string{"REDIS_URL": b.redis.URL(), "PATH": os.Getenv("PATH")}
	if err := os.WriteFile(b.path("policy.yaml"), []byte(aPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	b.kgent("keys", "new", "--dir", b.path("keys"))
	return b
}

func (b *botHere) path(name string) string { return filepath.Join(b.dir, name) }

// kgent runs a command that must succeed.
func (b *botHere) kgent(args ...string) {
	b.t.Helper()
	var out logtest.Log
	if code := run(b.t.Context(), args, system{in: strings.NewReader(""), out: &out, err: &out, getenv: b.getenv}); code != exitOK {
		b.t.Fatalf("kgent %s: exit %d\n%s", strings.Join(args, " "), code, out.String())
	}
}

func (b *botHere) getenv(name string) string { return b.env[name] }

// run runs the bot until it has logged words, then tells it to end. It returns
// how it ended, which is by itself when it never logs them, and what it logged.
func (b *botHere) run(until string, args ...string) (code int, log string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	var out logtest.Log
	done := make(chan int, 1)
	go func() {
		args := append([]string{"bot", "--policy", b.path("policy.yaml"), "--keys", b.path("keys")}, args...)
		done <- run(ctx, args, system{in: strings.NewReader(""), out: &out, err: &out, getenv: b.getenv})
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case code := <-done:
			if ctx.Err() != nil && !strings.Contains(out.String(), until) {
				b.t.Errorf("the bot never said %q:\n%s", until, out.String())
			}
			return code, out.String()
		case <-tick.C:
			if until != "" && strings.Contains(out.String(), until) {
				cancel()
			}
		}
	}
}

// secret is what follows from the present signing key.
func (b *botHere) secret(purpose string) []byte {
	b.t.Helper()
	key, err := approvals.LoadKey(b.path("keys/" + signingFile))
	if err != nil {
		b.t.Fatal(err)
	}
	s, err := key.Secret(purpose)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// While the key is replaced the bot goes on with what it sealed with the one
// before; a key that is not trusted any more vouches for nothing, and what it
// sealed, or somebody else put there, keeps no bot from its work.
func TestBotRotation(t *testing.T) {
	b := newBotHere(t)
	ctx, db := t.Context(), b.redis.Client()
	threads, err := thread.NewRedis(db, b.secret(thread.StoreSecret), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	board, err := terminal.NewRedis(db, host, b.secret(terminal.BoardSecret))
	if err != nil {
		t.Fatal(err)
	}
	at := thread.Place{Surface: terminal.Surface, Tenant: host, Channel: terminal.Console}
	for _, id := range []string{"one", "two"} {
		if _, err := threads.Update(ctx, thread.Request{ID: id, State: thread.Pending, Place: at, Opened: time.Now()}); err != nil {
			t.Fatal(err)
		}
		post := terminal.Post{ID: "post-" + id, Place: at, Card: card.Card{Title: "a question", Tone: card.Asking}, At: time.Now()}
		if err := board.Put(ctx, post); err != nil {
			t.Fatal(err)
		}
	}
	counts := func() (int64, int64) {
		return db.ZCard(ctx, "kgent:open").Val(), db.ZCard(ctx, "kgent:board:"+host).Val()
	}
	old, err := filepath.Glob(b.path("keys/trusted/*.pub"))
	if err != nil || len(old) != 1 {
		t.Fatal(old, err)
	}
	b.kgent("keys", "rotate", "prepare", "--dir", b.path("keys"))
	b.kgent("keys", "rotate", "switch", "--dir", b.path("keys"))

	socket := []string{"--socket", b.path("s")}
	code, log := b.run("terminals are served", socket...)
	if code != exitOK || strings.Contains(log, "not written by this bot") {
		t.Errorf("after switch: exit %d\n%s", code, log)
	}
	if requests, posts := counts(); requests != 2 || posts != 2 {
		t.Errorf("%d requests and %d posts are left", requests, posts)
	}

	if err := db.Set(ctx, "kgent:board:"+host+":post:post-one", "junk", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if code, log := b.run("terminals are served", socket...); code != exitOK || !strings.Contains(log, "post-one") || strings.Contains(log, "post-two") {
		t.Errorf("with junk on the board: exit %d\n%s", code, log)
	}

	if err := os.Remove(old[0]); err != nil {
		t.Fatal(err)
	}
	code, log = b.run("terminals are served", socket...)
	if code != exitOK || !strings.Contains(log, `requests="one two"`) || !strings.Contains(log, "one_of_them=post-two") {
		t.Errorf("when the old key is not trusted any more: exit %d\n%s", code, log)
	}
	if requests, posts := counts(); requests != 0 || posts != 0 {
		t.Errorf("%d requests and %d posts are left", requests, posts)
	}
	if code, log := b.run("terminals are served", socket...); code != exitOK || strings.Contains(log, "be read and") {
		t.Errorf("it is not said once: exit %d\n%s", code, log)
	}
}

// What would leave the bot deaf or refused for ever is said at its start, with
// the variable that it is about.
func TestBotSetup(t *testing.T) {
	slack, err := slackd.Start("127.0.0.1:0", slackd.Default())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slack.Close() })
	discord, err := discordd.Start("127.0.0.1:0", discordd.Example())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { discord.Close() })
	bot, app := slackd.Default().BotToken, slackd.Default().AppToken
	b := newBotHere(t)
	b.env["SLACK_API_URL"], b.env["DISCORD_API_URL"] = slack.APIURL(), discord.APIURL()
	for _, c := range []struct {
		env  string
		args []string
		want string
	}{
		{"SLACK_APP_TOKEN=" + app, nil, "SLACK_BOT_TOKEN is not set"},
		{"SLACK_BOT_TOKEN=" + app + " SLACK_APP_TOKEN=" + bot, nil, "SLACK_BOT_TOKEN is no bot token"},
		{"SLACK_BOT_TOKEN=" + bot + " SLACK_APP_TOKEN=" + bot, nil, "SLACK_APP_TOKEN is no app-level token"},
		{"SLACK_BOT_TOKEN=" + bot, nil, "set SLACK_APP_TOKEN"},
		{"SLACK_BOT_TOKEN=" + bot + " SLACK_SIGNING_SECRET=x", nil, "add --listen"},
		{"SLACK_BOT_TOKEN=xoxb-wrong SLACK_APP_TOKEN=" + app, nil, "Slack does not accept kgent's token"},
		{"DISCORD_TOKEN=wrong", nil, "set it as DISCORD_TOKEN"},
		{"", []string{"--socket", b.path("s"), "--nodes", "bogus="}, "--nodes"},
	} {
		old := b.env
		b.env = map[string]string{}
		for k, v := range old {
			b.env[k] = v
		}
		for _, v := range strings.Fields(c.env) {
			name, value, _ := strings.Cut(v, "=")
			b.env[name] = value
		}
		code, log := b.run("bot runs", c.args...)
		if code != exitUsage || !strings.Contains(log, c.want) || !strings.Contains(log, "kgent bot --help") {
			t.Errorf("%s %v: exit %d, want %q\n%s", c.env, c.args, code, c.want, log)
		}
		b.env = old
	}

	b.env["SLACK_BOT_TOKEN"], b.env["SLACK_APP_TOKEN"] = bot, app
	good := []byte(aPolicy)
	if err := os.WriteFile(b.path("policy.yaml"), []byte("version: 2"+aPolicy[len("version: 1"):]), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, log := b.run("bot runs"); code != exitInternal || strings.Count(log, "version must be 1") != 1 || strings.Contains(log, "until it is mended") {
		t.Errorf("a broken policy: exit %d\n%s", code, log)
	}
	if err := os.WriteFile(b.path("policy.yaml"), good, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, log := b.run("bot runs"); code != exitOK || !strings.Contains(log, "connected_to=slack:T0HOME") || !strings.Contains(log, "slack:T0EXAMPLE") {
		t.Errorf("a workspace that the policy does not have: exit %d\n%s", code, log)
	}
}

// A bot that ended in order keeps none from speaking other chat services; one
// that is there does, and the message says who speaks what.
func TestBotServices(t *testing.T) {
	rdb.Quiet()
	db := rdbtest.Start(t).Client()
	a, b := roster{db, "bot-a", "slack"}, roster{db, "bot-b", "discord+slack"}
	same := roster{db, "bot-c", "slack"}
	if err := errors.Join(a.begin(t.Context()), same.begin(t.Context()), a.begin(t.Context())); err != nil {
		t.Fatal(err)
	}
	err := b.begin(t.Context())
	var usage usageError
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "would speak discord+slack") || !strings.Contains(err.Error(), "bot-a speaks slack") {
		t.Errorf("error %v", err)
	}
	if err := a.leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.begin(t.Context()); err == nil || strings.Contains(err.Error(), "bot-a") {
		t.Errorf("another one is there: %v", err)
	}
	// One that was killed is forgotten.
	if err := db.ZAdd(t.Context(), rosterKey, redis.Z{Score: float64(time.Now().UnixMilli() - 1), Member: "bot-c slack"}).Err(); err != nil {
		t.Fatal(err)
	}
	if err := b.begin(t.Context()); err != nil {
		t.Error(err)
	}
}

// Doctor says what a bot here would serve.
func TestExamineChat(t *testing.T) {
	for _, c := range []struct {
		env                  map[string]string
		slack, discord, want string
	}{
		{nil, stateOptional, stateOptional, "not set"},
		{map[string]string{"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1", "DISCORD_TOKEN": "x"}, stateOK, stateOK, "Socket Mode"},
		{map[string]string{"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_SIGNING_SECRET": "s"}, stateOK, stateOptional, "--listen"},
		{map[string]string{"SLACK_BOT_TOKEN": "xapp-1", "SLACK_APP_TOKEN": "xoxb-1"}, stateMissing, stateOptional, "no bot token"},
	} {
		f := examineChat(func(name string) string { return c.env[name] })
		if f[0].State != c.slack || f[1].State != c.discord || !strings.Contains(f[0].Detail, c.want) {
			t.Errorf("%v: %+v", c.env, f)
		}
	}
}
