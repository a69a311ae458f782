package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"kgent/agent/codegen"
	"kgent/agent/lessons"
	"kgent/agent/program/bpftrace"
	"kgent/agent/program/compile"
	"kgent/agent/quota"
	"kgent/agent/recipes"
	"kgent/agent/team"
	"kgent/approvals"
	"kgent/approvals/audit"
	"kgent/approvals/policy"
	"kgent/bot/discord"
	"kgent/bot/maker"
	"kgent/bot/slack"
	"kgent/bot/terminal"
	"kgent/bot/thread"
	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb"
	"kgent/executor/job"
	"kgent/executor/output"
)

// botFlags are the flags of kgent bot.
type botFlags struct {
	policy, keys, nodes, listen, temp string
	socket, socketGroup               string
	insecure                          bool
}

func botCommand(sys system) *cobra.Command {
	var f botFlags
	cmd := &cobra.Command{
		Use:   "bot",
		Short: "answer in Slack, Discord and terminals, for nodes that run kgent executor",
		Long: `bot listens in Slack, in Discord and at a socket for kgent chat, makes programs
for what people ask, puts them to those who may approve them, sends what was
approved to the nodes, and shows what comes back, all in the thread of the
request.

It needs Redis, a policy file, a signing key and clang, and no privileges. Any
number of bots with the same services may share one Redis: each event is handled
once, and when one dies another goes on.

Environment:
  REDIS_URL              redis://…, rediss://… (TLS) or unix://…; also
                         REDIS_PASSWORD_FILE, REDIS_CA, REDIS_CERT, REDIS_KEY
  SLACK_BOT_TOKEN        xoxb-…, with
  SLACK_APP_TOKEN        xapp-… for Socket Mode, or
  SLACK_SIGNING_SECRET   for events over HTTP at /slack (needs --listen)
  SLACK_SHARED_CHANNELS=1  also work in channels that are shared with other
                         workspaces, whose people then read what traces show
  DISCORD_TOKEN          the bot's token
  DISCORD_PUBLIC_KEY     for interactions over HTTP at /discord (needs --listen)
  DISCORD_GUILDS         comma-separated ids of the only servers that are served
  DISCORD_MESSAGE_CONTENT=1  the application has the MESSAGE CONTENT intent, so
                         that replies in a thread count without a mention
  OPENAI_API_KEY, OPENAI_BASE_URL, KGENT_MODEL   a model, if there is one
  SLACK_API_URL, DISCORD_API_URL   stand-ins for the services, for trying it out

With --socket, users of this host take part with kgent chat. The policy knows
them as terminal:<host>/<user>, their groups as terminal:<host>/<unix group>, and
what all of them see as terminal:<host>/console. Of the bots that share one Redis,
all those with a socket run on the same host, each with its own socket; then
every one of them needs one.

With --listen it also answers /healthz (it runs) and /readyz (Redis and each
chat service are connected).

Exit codes: 0 it was told to end, 1 a fault of this host or of a set-up, 2 the
command line or the environment cannot be used.`,
		Args: func(cmd *cobra.Command, args []string) error { return asUsage(cobra.NoArgs(cmd, args)) },
		RunE: func(cmd *cobra.Command, _ []string) error { return serveBot(cmd.Context(), sys, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.policy, "policy", "/etc/kgent/policy.yaml", "policy `file`; kgent policy check reads it")
	flags.StringVar(&f.keys, "keys", "/etc/kgent/keys", "key `directory`, as kgent keys new makes it")
	flags.StringVar(&f.nodes, "nodes", "", "`selector` of the nodes for requests that name none; without it people are asked to name them")
	flags.StringVar(&f.listen, "listen", "", "`address` for events over HTTP and for health checks, as 127.0.0.1:8080")
	flags.StringVar(&f.socket, "socket", "", "`path` of a socket for kgent chat, as "+defaultSocket)
	flags.StringVar(&f.socketGroup, "socket-group", "", "`group` whose users may open the socket (default the bot's own)")
	flags.StringVar(&f.temp, "temp", "", "`directory` for long output while it is gathered (default the system's)")
	flags.BoolVar(&f.insecure, "insecure-redis", false, "use a Redis on another host without TLS")
	return cmd
}

// serveBot runs the bot until ctx ends.
func serveBot(ctx context.Context, sys system, f botFlags) (err error) {
	config, ok, err := rdb.FromEnv(sys.getenv)
	switch {
	case err != nil:
		return usageError{err}
	case !ok:
		return usageError{errors.New("REDIS_URL is not set: the bot keeps everything in Redis, so that nothing is lost when it ends; for this host alone there is kgent ask")}
	case config.Exposed() && !f.insecure:
		return usageError{fmt.Errorf("REDIS_URL: %s is on another host and not encrypted: write rediss://, or allow it with --insecure-redis", config)}
	}
	if user := config.User(); strings.HasPrefix(user, bus.NodeUser("")) {
		return usageError{fmt.Errorf("REDIS_URL logs in as %s, which is a node's user: the bot's is %s (kgent keys acl --bot …)", user, bus.BotUser)}
	}
	if err := checkSelector(f.nodes); err != nil {
		return usageError{fmt.Errorf("--nodes: %w", err)}
	}
	log := slog.New(newCalm(slog.NewTextHandler(sys.err, nil), time.Now))
	key, _, err := keyDir(f.keys).load()
	if err != nil {
		return err
	}
	secrets := map[string]seals{}
	for _, purpose := range []string{approvals.StoreSecret, thread.StoreSecret, terminal.BoardSecret, team.StoreSecret} {
		if secrets[purpose], err = keyDir(f.keys).seals(purpose); err != nil {
			return err
		}
	}
	library, err := recipes.Default()
	if err != nil {
		return err
	}
	model, err := modelFromEnv(sys.getenv)
	if err != nil {
		return usageError{err}
	}
	budget, effort, err := budgetFromEnv(sys.getenv)
	if err != nil {
		return err
	}
	language, err := languageFromEnv(sys.getenv)
	if err != nil {
		return usageError{err}
	}
	tool, err := findBpftrace(ctx, sys.getenv)
	if err != nil && !errors.Is(err, bpftrace.ErrNone) {
		return err
	}
	compiler, err := compile.Find(ctx, sys.getenv)
	if err != nil {
		return err
	}
	client, err := rdb.New(config)
	if err != nil {
		return usageError{err}
	}
	defer client.Close()
	if err := rdb.Check(ctx, client); err != nil {
		return fmt.Errorf("connecting to %s: %w", config, err)
	}
	finder, err := modelsFinder(ctx, sys, model, client, func(line string) { log.Warn(line) })
	if err != nil {
		return err
	}
	platforms, err := chatPlatforms(sys.getenv, f.listen != "", log)
	if err != nil {
		return usageError{err}
	}
	if f.socket != "" {
		if platforms.host, err = os.Hostname(); err != nil {
			return fmt.Errorf("asking for this host's name: %w", err)
		}
		if platforms.terminal, err = terminals(f, platforms.host, client, secrets[terminal.BoardSecret], log); err != nil {
			return usageError{err}
		}
	}
	if len(platforms.list()) == 0 {
		return usageError{errors.New("no chat service is configured: set SLACK_BOT_TOKEN or DISCORD_TOKEN, or serve terminals with --socket; see kgent bot --help")}
	}
	line := bus.NewRedis(client)
	rules, err := policy.Open(f.policy, policy.Options{
		Groups: platforms, Labels: labelsOf(line), Quotas: policy.NewRedisQuotas(client), Now: time.Now, Log: log,
	})
	if err != nil {
		return err
	}
	cases, err := approvals.NewRedis(client, secrets[approvals.StoreSecret].current, secrets[approvals.StoreSecret].others...)
	if err != nil {
		return err
	}
	threads, err := thread.NewRedis(client, secrets[thread.StoreSecret].current, time.Now, secrets[thread.StoreSecret].others...)
	if err != nil {
		return err
	}
	own, err := team.NewRedis(client, secrets[team.StoreSecret].current, secrets[team.StoreSecret].others...)
	if err != nil {
		return err
	}
	own.Warn = func(name string, err error) { log.Warn("a team recipe is left out", "recipe", name, "err", err) }
	if err := own.Reseal(ctx); err != nil {
		return err
	}
	if lost, err := threads.SetAside(ctx); err != nil {
		return fmt.Errorf("looking for open requests: %w", err)
	} else if len(lost) > 0 {
		log.Warn("open requests cannot be read and are left alone: who still waits for an answer has to ask again. "+
			"They were sealed with a key that is not trusted any more, or somebody else writes to Redis", "requests", strings.Join(lost, " "))
	}
	desk := &approvals.Desk{
		Store: cases, Policy: rules, Signer: key, Audit: audit.NewRedis(client, time.Now), Now: time.Now, Random: rand.Reader,
	}
	limits, err := quota.Limits{}.Set(sys.getenv("KGENT_MODEL_QUOTA"))
	if err != nil {
		return usageError{fmt.Errorf("KGENT_MODEL_QUOTA: %w", err)}
	}
	spent := &quota.Ledger{Store: quota.NewRedis(client), Limits: limits, Now: time.Now}
	prover := newProver()
	defer prover.Close()
	talk := &thread.Conversation{
		Name:  "bot-" + rand.Text(),
		Store: threads,
		Maker: &maker.Maker{
			Recipes: library, Model: model, Compiler: compiler,
			Bpftrace: tool, Language: language,
			Budget: budget, Effort: effort,
			Generate: codegen.C,
			Quota:    spent,
			Prover:   prover,
			Comparer: prover,
			Finder:   finder,
			Team:     own.List,
			Lessons:  lessons.NewRedis(client, time.Now),
			Warn:     func(what string, err error) { log.Warn(what, "err", err) },
			Bus:      line, Signer: desk, Now: time.Now,
		},
		Desk: desk, Policy: rules, Runner: fleetRunner{runner{line}}, Platforms: platforms.list(), Nodes: f.nodes, Recipes: recipeList(library),
		Team: own, Builtin: library,
		Results: func(r thread.Request) thread.Output { return thread.Gather(r, f.temp, time.Now) },
		Now:     time.Now, Log: log,
	}
	if err := talk.Prepare(); err != nil {
		return err
	}
	if err := platforms.greet(ctx, rules, log); err != nil {
		return err
	}
	present := roster{db: client, name: talk.Name, services: services(talk.Platforms)}
	if err := present.begin(ctx); err != nil {
		return err
	}
	b := &botServer{talk: talk, platforms: platforms, redis: client, roster: present, log: log, began: time.Now()}
	err = b.serve(ctx, f.listen, rules)
	if gone := present.leave(ctx); gone != nil {
		log.Warn("saying that this bot has ended", "err", gone)
	}
	return err
}

var anyOf = regexp.MustCompile(`^(?i:any\s+)?[1-9][0-9]*\s+(?i:of)\s+`)

// checkSelector says when a selector cannot select any node, whichever there
// are. What it selects is found for each request.
func checkSelector(s string) error {
	if s == "" {
		return nil
	}
	for _, part := range strings.Split(s, ",") {
		part = strings.TrimSpace(part)
		what := part[len(anyOf.FindString(part)):]
		key, value, isLabel := strings.Cut(what, "=")
		if bus.CheckName(key) != nil || isLabel && value == "" {
			return fmt.Errorf("%q selects no nodes: want NAME, KEY=VALUE, all, or any N of these, separated by commas", part)
		}
	}
	return nil
}

// chats are the chat services that are configured.
type chats struct {
	slack    *slack.Adapter
	discord  *discord.Adapter
	terminal *terminal.Adapter
	host     string // of the terminals
}

// terminals are those of this host.
func terminals(f botFlags, host string, db redis.UniversalClient, secret seals, log *slog.Logger) (*terminal.Adapter, error) {
	board, err := terminal.NewRedis(db, host, secret.current, secret.others...)
	if err != nil {
		return nil, err
	}
	return terminal.New(terminal.Config{Host: host, Socket: f.socket, Group: f.socketGroup, Board: board, Log: log})
}

func chatPlatforms(getenv func(string) string, listening bool, log *slog.Logger) (*chats, error) {
	var c chats
	if err := checkSlack(getenv, listening); err != nil {
		return nil, err
	}
	var err error
	if token := getenv("SLACK_BOT_TOKEN"); token != "" {
		c.slack, err = slack.New(slack.Config{
			BotToken: token, AppToken: getenv("SLACK_APP_TOKEN"), SigningSecret: getenv("SLACK_SIGNING_SECRET"), APIURL: getenv("SLACK_API_URL"),
			SharedChannels: getenv("SLACK_SHARED_CHANNELS") == "1", Log: log,
		})
		if err != nil {
			return nil, err
		}
	}
	if token := getenv("DISCORD_TOKEN"); token != "" {
		var guilds []string
		for _, g := range strings.Split(getenv("DISCORD_GUILDS"), ",") {
			if g = strings.TrimSpace(g); g != "" {
				guilds = append(guilds, g)
			}
		}
		c.discord, err = discord.New(discord.Config{
			Token: token, APIURL: getenv("DISCORD_API_URL"), PublicKey: getenv("DISCORD_PUBLIC_KEY"), Guilds: guilds,
			MessageContent: getenv("DISCORD_MESSAGE_CONTENT") == "1", Log: log,
		})
		if err != nil {
			return nil, err
		}
	}
	return &c, nil
}

// checkSlack finds what would leave the bot deaf: tokens in each other's place,
// and events that nobody listens for.
func checkSlack(getenv func(string) string, listening bool) error {
	bot, app, secret := getenv("SLACK_BOT_TOKEN"), getenv("SLACK_APP_TOKEN"), getenv("SLACK_SIGNING_SECRET")
	switch {
	case bot == "" && app == "" && secret == "":
		return nil
	case bot == "":
		return errors.New("SLACK_BOT_TOKEN is not set: it is the xoxb-… of the app's page \"OAuth & Permissions\"")
	case !strings.HasPrefix(bot, "xoxb-"):
		return errors.New("SLACK_BOT_TOKEN is no bot token: it begins with xoxb- and is on the app's page \"OAuth & Permissions\"")
	case app != "" && !strings.HasPrefix(app, "xapp-"):
		return errors.New("SLACK_APP_TOKEN is no app-level token: it begins with xapp- and is on the app's page \"Basic Information\"")
	case app == "" && secret == "":
		return errors.New("Slack's events have no way to arrive: set SLACK_APP_TOKEN (xapp-…) for Socket Mode, or SLACK_SIGNING_SECRET and --listen for HTTP")
	case app == "" && !listening:
		return errors.New("SLACK_SIGNING_SECRET is for events over HTTP, and nothing listens for them: add --listen ADDRESS, or set SLACK_APP_TOKEN (xapp-…) for Socket Mode")
	}
	return nil
}

func (c *chats) list() []thread.Platform {
	var out []thread.Platform
	if c.slack != nil {
		out = append(out, c.slack)
	}
	if c.discord != nil {
		out = append(out, c.discord)
	}
	if c.terminal != nil {
		out = append(out, c.terminal)
	}
	return out
}

// Member implements policy.Groups: whoever has the group is asked.
func (c *chats) Member(ctx context.Context, account, group string) (bool, error) {
	surface, rest, _ := strings.Cut(account, ":")
	tenant, user, ok := strings.Cut(rest, "/")
	if !ok {
		return false, fmt.Errorf("asking for groups: %q is no account", account)
	}
	for _, p := range c.list() {
		if p.Surface() == surface {
			return p.Member(ctx, thread.Account{Surface: surface, Tenant: tenant, User: user}, group)
		}
	}
	return false, fmt.Errorf("asking for groups: this bot does not speak %s", surface)
}

// labelsOf returns the labels that nodes announce, of all of them at once.
func labelsOf(b bus.Control) policy.Labels {
	return func(ctx context.Context, _ []string) (map[string]map[string]string, error) {
		announced, err := b.Nodes(ctx)
		if err != nil {
			return nil, err
		}
		labels := map[string]map[string]string{}
		for _, n := range announced {
			labels[n.Name] = n.Labels
		}
		return labels, nil
	}
}

func recipeList(l *recipes.Library) []thread.Recipe {
	var out []thread.Recipe
	for _, r := range l.Recipes() {
		e := r.Title
		if len(r.Phrasings) > 0 {
			e = r.Phrasings[0]
		}
		out = append(out, thread.Recipe{Name: r.Name, Title: r.Title, Example: e})
	}
	return out
}

// fleetRunner runs grants on nodes that other processes may follow, too.
type fleetRunner struct{ runner }

func (r fleetRunner) Dispatch(ctx context.Context, g *job.Grant, envelope []byte, mine func(context.Context) error) error {
	return executor.Dispatch(ctx, executor.Shared{Control: r.bus, Mine: mine}, g, envelope)
}

func (r fleetRunner) Follow(ctx context.Context, g *job.Grant, line func([]byte), mine func(context.Context) error) (output.Summary, error) {
	return executor.Follow(ctx, executor.Shared{Control: r.bus, Mine: mine}, g, line)
}

func (r fleetRunner) Stop(ctx context.Context, run string) error {
	return executor.Stop(ctx, r.bus, run)
}

// botServer runs the parts of a bot.
type botServer struct {
	talk      *thread.Conversation
	platforms *chats
	redis     redis.UniversalClient
	roster    roster
	log       *slog.Logger
	began     time.Time
}

func (b *botServer) serve(ctx context.Context, listen string, rules *policy.File) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	// What takes events ends before what handles them.
	inbound, stopInbound := context.WithCancel(ctx)
	defer stopInbound()
	var web *http.Server
	if listen != "" {
		l, err := net.Listen("tcp", listen)
		if err != nil {
			return fmt.Errorf("listening on %s: %w", listen, err)
		}
		web = &http.Server{Handler: b.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute}
		wg.Go(func() {
			if err := web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("serving %s: %w", listen, err))
			}
		})
		b.log.Info("listening", "address", l.Addr().String())
	}
	if b.platforms.slack != nil {
		wg.Go(func() {
			if err := b.platforms.slack.Run(inbound, b.talk); err != nil {
				cancel(fmt.Errorf("slack: %w", err))
			}
		})
	}
	if b.platforms.discord != nil {
		wg.Go(func() { b.gateway(inbound, cancel) })
	}
	if b.platforms.terminal != nil {
		wg.Go(func() {
			if err := b.platforms.terminal.Run(inbound, b.talk); err != nil {
				cancel(fmt.Errorf("terminals: %w", err))
			}
		})
	}
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	wg.Go(func() { rules.Watch(ctx, tick.C) })
	wg.Go(func() { b.roster.keep(ctx, b.log) })
	wg.Go(func() {
		b.talk.Run(ctx)
	})
	b.log.Info("bot runs", "name", b.talk.Name, "slack", b.platforms.slack != nil, "discord", b.platforms.discord != nil, "terminal", b.platforms.terminal != nil)
	<-ctx.Done()
	stopInbound()
	if web != nil {
		down, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer done()
		if err := web.Shutdown(down); err != nil {
			b.log.Warn("closing connections", "err", err)
		}
	}
	wg.Wait()
	if b.platforms.discord != nil {
		b.platforms.discord.Close()
	}
	b.log.Info("bot has ended; what was under way goes on where another bot runs")
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// gatewayTTL is how long a bot that is gone keeps others from Discord's
// gateway.
const gatewayTTL = 10 * time.Second

const (
	// atStart is how long after its start a bot ends when a chat service refuses
	// it: its set-up is wrong, and whoever made it is there. What is lost later
	// /readyz says.
	atStart = time.Minute
	// refusedWait is how long it waits then before it tries again.
	refusedWait = time.Minute
)

// gateway holds Discord's gateway connection whenever no other bot does: every
// connection gets every event.
func (b *botServer) gateway(ctx context.Context, fail context.CancelCauseFunc) {
	const name = "gateway:discord"
	for ctx.Err() == nil {
		ok, err := b.talk.Store.Lock(ctx, name, b.talk.Name, gatewayTTL)
		if err != nil && ctx.Err() == nil {
			b.log.Warn("asking for the gateway", "err", err)
		}
		if err != nil || !ok {
			select {
			case <-ctx.Done():
			case <-time.After(gatewayTTL / 5):
			}
			continue
		}
		holding, lose := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() {
			defer lose()
			for held := time.Now(); ; {
				select {
				case <-holding.Done():
					return
				case <-time.After(gatewayTTL / 5):
				}
				ok, err := b.talk.Store.Lock(holding, name, b.talk.Name, gatewayTTL)
				switch {
				case err == nil && ok:
					held = time.Now()
				case err == nil, time.Since(held) > gatewayTTL*4/5:
					b.log.Warn("the gateway is another bot's now", "err", err)
					return
				}
			}
		})
		err = b.platforms.discord.Run(holding, b.talk)
		lose()
		wg.Wait()
		free, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		if err := b.talk.Store.Unlock(free, name, b.talk.Name); err != nil {
			b.log.Warn("giving back the gateway", "err", err)
		}
		cancel()
		if err != nil && time.Since(b.began) < atStart {
			fail(fmt.Errorf("discord: %w", err))
			return
		}
		if err != nil {
			// What it took at the start may be given back: the other services go on.
			b.log.Error("Discord refuses the bot, and is asked again", "err", err, "again", refusedWait)
			select {
			case <-ctx.Done():
			case <-time.After(refusedWait):
			}
		}
	}
}

// handler serves events over HTTP, and health.
func (b *botServer) handler() http.Handler {
	mux := http.NewServeMux()
	if b.platforms.slack != nil {
		mux.Handle("POST /slack", b.platforms.slack.Handler(b.talk))
	}
	if b.platforms.discord != nil {
		mux.Handle("POST /discord", b.platforms.discord.Handler(b.talk))
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		wrong := b.ready(r.Context())
		w.Header().Set("Content-Type", "application/json")
		if len(wrong) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if err := json.NewEncoder(w).Encode(map[string]any{"ready": len(wrong) == 0, "wrong": wrong}); err != nil {
			b.log.Debug("answering /readyz", "err", err)
		}
	})
	return mux
}

// ready says what keeps the bot from its work, by part.
func (b *botServer) ready(ctx context.Context) map[string]string {
	wrong := map[string]string{}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := b.redis.Ping(ctx).Err(); err != nil {
		wrong["redis"] = harmless(err)
	}
	if s := b.platforms.slack; s != nil {
		if err := s.Health(time.Now()); err != nil {
			wrong["slack"] = harmless(err)
		}
	}
	if d := b.platforms.discord; d != nil {
		if err := d.Health(time.Now()); err != nil {
			wrong["discord"] = harmless(err)
		}
	}
	if t := b.platforms.terminal; t != nil {
		if err := t.Health(time.Now()); err != nil {
			wrong["terminal"] = harmless(err)
		}
	}
	return wrong
}
