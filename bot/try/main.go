// Command try runs kgent as a team would have it, on this host alone and without
// any account: Redis, stand-ins for Slack and Discord with a page each on which
// one person plays several, a bot, and two executors that load programs into
// this host's kernel. Keys and everything else are made for the occasion, and
// when it ends nothing is left.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"kgent/bot/discord/discordd"
	"kgent/bot/slack/slackd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "try:", err)
		os.Exit(1)
	}
}

//go:embed policy.yaml
var policy []byte

// ready is how long everything may take to start.
const ready = time.Minute

func run(ctx context.Context, args []string, out, log io.Writer) (err error) {
	flags := flag.NewFlagSet("try", flag.ContinueOnError)
	kgent := flags.String("kgent", "bin/kgent", "the kgent `binary` to run")
	slackAt := flags.String("slack", "127.0.0.1:8065", "loopback `address` of Slack's page")
	discordAt := flags.String("discord", "127.0.0.1:8090", "loopback `address` of Discord's page")
	verbose := flags.Bool("verbose", false, "show what every process logs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	for _, at := range []string{*slackAt, *discordAt} {
		host, _, err := net.SplitHostPort(at)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			return fmt.Errorf("%s is no loopback address such as 127.0.0.1:8065: whoever reaches a page acts as anybody", at)
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("the executors load eBPF programs: run it as root")
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		return errors.New("redis-server is not there: apt-get install redis-server")
	}
	if *kgent, err = filepath.Abs(*kgent); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "kgent-try-")
	if err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	team := &team{dir: dir, log: log, verbose: *verbose, fail: fail}
	defer team.end()

	slack, discord, err := services(*slackAt, *discordAt)
	if err != nil {
		return err
	}
	defer slack.Close()
	defer func() { err = errors.Join(err, discord.Close()) }()

	if err := os.WriteFile(team.path("policy.yaml"), policy, 0o644); err != nil {
		return fmt.Errorf("writing the policy: %w", err)
	}
	if out, err := exec.CommandContext(ctx, *kgent, "keys", "new", "--dir", team.path("keys")).CombinedOutput(); err != nil {
		return fmt.Errorf("making keys: %w\n%s", err, out)
	}
	socket := team.path("redis.sock")
	redis := []string{"REDIS_URL=unix://" + socket}
	if err := team.start("redis", nil, "redis-server", "--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--dir", dir, "--daemonize", "no"); err != nil {
		return err
	}
	if err := wait(ctx, "Redis", func() bool { _, err := os.Stat(socket); return err == nil }); err != nil {
		return err
	}
	for _, n := range []struct{ name, labels string }{{"db-1", "role=db,env=dev"}, {"db-2", "role=db,env=prod"}} {
		if err := team.start(n.name, redis, *kgent, "executor", "--node-name", n.name, "--labels", n.labels, "--keys", team.path("keys", "trusted"), "--state", team.path(n.name)); err != nil {
			return err
		}
	}
	chats := append(slices.Clone(redis), "SLACK_API_URL="+slack.APIURL(), "SLACK_BOT_TOKEN="+slack.Config().BotToken, "SLACK_APP_TOKEN="+slack.Config().AppToken,
		"DISCORD_API_URL="+discord.APIURL(), "DISCORD_TOKEN="+discord.Token(), "DISCORD_MESSAGE_CONTENT=1")
	for _, name := range []string{"OPENAI_API_KEY", "OPENAI_BASE_URL", "KGENT_MODEL"} { // a model, if there is one
		if v, ok := os.LookupEnv(name); ok {
			chats = append(chats, name+"="+v)
		}
	}
	if err := team.start("bot", chats, *kgent, "bot", "--policy", team.path("policy.yaml"), "--keys", team.path("keys"), "--temp", dir); err != nil {
		return err
	}
	starting, started := context.WithTimeout(ctx, ready)
	defer started()
	err = errors.Join(slack.WaitSockets(starting, 1), discord.WaitGateway(starting, 1), team.said(starting, "executor runs", "db-1", "db-2"))
	if ctx.Err() != nil {
		return cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("waiting until everything runs: %w\n%s", err, team.logs())
	}
	fmt.Fprintf(out, welcome, slack.URL(), strings.TrimSuffix(discord.URL(), "/"))
	<-ctx.Done()
	fmt.Fprintln(out, "\nEnding all of it …")
	return cause(ctx)
}

const welcome = `
kgent runs, with the nodes db-1 (env=dev) and db-2 (env=prod), both this host.

  Slack:    %s/
  Discord:  %s/

Choose on a page who you are, and then for example:

  alice, in #incidents:   @kgent trace new TCP connections on db-1 for 1 minute
  bob, in its thread:     press Approve (alice cannot: nobody approves their own)
  alice, in the thread:   only port 443
  anybody:                press Stop, or say stop

For db-2 two must agree: bob, and carol, on either service; the card is in
#random of Slack and in #general of Discord, too. /kgent help says what else.

Ctrl-C ends all of it and leaves nothing.
`

// services starts the stand-ins.
func services(slackAt, discordAt string) (*slackd.Server, *discordd.Server, error) {
	sc := slackd.Default()
	sc.Page = true
	for i := range sc.Channels {
		if sc.Channels[i].Name == "random" {
			sc.Channels[i].Members = append(sc.Channels[i].Members, sc.BotUser)
		}
	}
	slack, err := slackd.Start(slackAt, sc)
	if err != nil {
		return nil, nil, fmt.Errorf("starting Slack's stand-in: %w; at another address: SLACK=127.0.0.1:8066 make try", err)
	}
	dc := discordd.Example()
	dc.RateScale = 1
	discord, err := discordd.Start(discordAt, dc)
	if err != nil {
		slack.Close()
		return nil, nil, fmt.Errorf("starting Discord's stand-in: %w; at another address: DISCORD=127.0.0.1:8092 make try", err)
	}
	return slack, discord, nil
}

// cause is why ctx ended, nil for a signal.
func cause(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// wait waits for what nothing announces.
func wait(ctx context.Context, what string, ok func() bool) error {
	limit := time.After(ready)
	for !ok() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-limit:
			return fmt.Errorf("waited %v for %s in vain", ready, what)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// team are the processes that run.
type team struct {
	dir     string
	log     io.Writer
	verbose bool
	fail    context.CancelCauseFunc

	mu        sync.Mutex
	processes []*process
}

type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
	team  *team
	text  bytes.Buffer // what it logged
}

func (t *team) path(names ...string) string {
	return filepath.Join(append([]string{t.dir}, names...)...)
}

// start starts a process that ends with this one, whatever ends this one. When
// it ends by itself all of it is over.
func (t *team) start(name string, env []string, args ...string) error {
	p := &process{name: name, cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{}), team: t}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.dir, "TMPDIR=" + t.dir}, env...)
	if v, ok := os.LookupEnv("KGENT_CLANG"); ok {
		p.cmd.Env = append(p.cmd.Env, "KGENT_CLANG="+v)
	}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = t.dir, p, p
	// A group of its own: Ctrl-C is this process's to hear, so that the bot ends
	// before what it works with.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The child hears of the end of the thread that started it.
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = p.cmd.Wait()
		close(p.ended)
		t.fail(fmt.Errorf("%s has ended: %w\n%s", name, orNil(err), p.logged()))
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.processes = append(t.processes, p)
	return nil
}

func orNil(err error) error {
	if err == nil {
		return errors.New("by itself")
	}
	return err
}

// end ends the processes, the last one started first, each in order.
func (t *team) end() {
	for _, p := range slices.Backward(t.processes) {
		p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(15 * time.Second):
			fmt.Fprintf(t.log, "%s does not end; it is killed\n", p.name)
			p.cmd.Process.Kill()
			<-p.ended
		}
	}
}

// Write takes what the process logs.
func (p *process) Write(b []byte) (int, error) {
	p.team.mu.Lock()
	defer p.team.mu.Unlock()
	p.text.Write(b)
	if p.team.verbose {
		for line := range bytes.Lines(b) {
			fmt.Fprintf(p.team.log, "%-5s | %s\n", p.name, bytes.TrimRight(line, "\n"))
		}
	}
	return len(b), nil
}

// logged is the end of what the process logged.
func (p *process) logged() string {
	p.team.mu.Lock()
	defer p.team.mu.Unlock()
	const most = 4000
	b := p.text.Bytes()
	return string(b[max(0, len(b)-most):])
}

// said waits until processes have logged words.
func (t *team) said(ctx context.Context, words string, names ...string) error {
	return wait(ctx, strings.Join(names, " and "), func() bool {
		return !slices.ContainsFunc(t.processes, func(p *process) bool {
			return slices.Contains(names, p.name) && !strings.Contains(p.logged(), words)
		})
	})
}

func (t *team) logs() string {
	var b strings.Builder
	for _, p := range t.processes {
		fmt.Fprintf(&b, "%s said:\n%s\n", p.name, p.logged())
	}
	return b.String()
}
