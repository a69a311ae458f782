// Package teamtest runs kgent as a team has it, each part a process of its own:
// Redis with a user for every role, the bot, and executors that load programs
// into this host's kernel under several names. The chat services are stand-ins
// in the test's own process, so that a test can act as people and look at what
// they see.
//
//	team := teamtest.Start(t, teamtest.Config{Policy: policy})
//	team.StartExecutor("db-1", "role=db,env=dev")
//	bot := team.StartBot()
//	th, err := team.Slack.Ask(ctx, "alice", "which programs are executed on db-1, for 20 s")
//	card, err := team.Slack.Wait(ctx, teamtest.In(th, teamtest.Titled("programs")))
//	bot.Kill()
//
// When the test ends everything ends in order, and the test fails if a process,
// a program, a map, a link or a goroutine is left.
package teamtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kgent/agent/recipes/recipetest"
	"kgent/approvals"
	"kgent/bot/discord/discordd"
	"kgent/bot/logtest"
	"kgent/bot/slack/slackd"
	"kgent/bot/thread"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb"
	"kgent/executor/bus/rdb/rdbtest"
	"kgent/executor/probe/residue"
)

// Patience bounds every wait for something that must happen: far longer than it
// takes on a busy host.
const Patience = 3 * time.Minute

// Config is how a team is set up. The zero value is usable but for Policy.
type Config struct {
	// Policy is the policy file's text. [Policy] is one that works.
	Policy string
	// Nodes are the names for which Redis has users; db-1 and db-2 when empty.
	Nodes []string
	// Redis adds options to those of a server with users.
	Redis []rdbtest.Option
	// Slack and Discord change the stand-ins before they start.
	Slack   func(*slackd.Config)
	Discord func(*discordd.Config)
	// Parallel says that other tests of this process run at the same time, so
	// that what is left at the end cannot be told from what is theirs. The test
	// looks for itself.
	Parallel bool
	// Env is added to the environment of bots.
	Env []string
}

// Policy is a policy under which anybody may ask, and two people of the
// approvers, on whichever platform, must agree to what reads only kernel state.
// Cards of what is asked on one platform are shown on the other, too. Bob and
// carol are one person each on both; alice's accounts are, too.
const Policy = `
version: 1
tenants: [slack:T0HOME, "discord:1200000000000000001"]
people:
  alice: [slack:T0HOME/U0ALICE, "discord:1200000000000000001/1300000000000000001"]
  bob: [slack:T0HOME/U0BOB, "discord:1200000000000000001/1300000000000000002"]
  carol: [slack:T0HOME/U0CAROL, "discord:1200000000000000001/1300000000000000003"]
groups:
  approvers: [slack:T0HOME/S0APPROVERS, "discord:1200000000000000001/1200000000000000021"]
quotas:
  requests_per_person_and_hour: 1000
  requests_per_place_and_hour: 1000
  runs_per_person: 20
rules:
  - name: databases
    tiers: [observe, observe-sensitive]
    requesters: {anyone: true}
    approvers: {groups: [approvers]}
    quorum: 2
    max_duration: 10m
    max_events: 20000
    expiry: 30m
    ask: [slack:T0HOME/C0RANDOM, "discord:1200000000000000001/1200000000000000012"]
`

// Team is everything that runs.
type Team struct {
	t testing.TB

	// Dir holds the files of this team: keys, policy, passwords and the state of
	// nodes.
	Dir     string
	Redis   *rdbtest.Server
	Slack   *Slack
	Discord *Discord
	// Through makes processes that are started as a user of Redis connect to
	// another address (host:port) instead of the server's: a proxy's.
	Through map[string]string

	bin string
	env []string // of bots, besides the usual

	mu        sync.Mutex
	processes []*Process
}

// Start starts Redis and the chat services, and makes keys, users and the
// policy with the commands that an operator uses. It needs root, since what
// runs on it loads eBPF programs.
func Start(t testing.TB, cfg Config) *Team {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	if !cfg.Parallel {
		residue.Check(t)
	}
	rdb.Quiet()
	team := &Team{t: t, Dir: t.TempDir(), bin: recipetest.Binary(t), env: cfg.Env}
	team.WritePolicy(cfg.Policy)
	team.Command("keys", "new", "--dir", team.Path("keys"))
	nodes := cfg.Nodes
	if nodes == nil {
		nodes = []string{"db-1", "db-2"}
	}
	users := []string{team.Command("keys", "acl", "--bot", "--password-file", team.Path("bot.password"))}
	for _, n := range nodes {
		users = append(users, team.Command("keys", "acl", "--node", n, "--password-file", team.Path(n+".password")))
	}
	team.Redis = rdbtest.Start(t, append([]rdbtest.Option{rdbtest.ACL(users...)}, cfg.Redis...)...)
	team.Slack, team.Discord = startSlack(t, cfg.Slack), startDiscord(t, cfg.Discord)
	t.Cleanup(team.end)
	return team
}

// end ends all processes, bots first so that they see the end of nothing else,
// and says what they said if the test failed.
func (team *Team) end() {
	team.mu.Lock()
	all := slices.Clone(team.processes)
	team.mu.Unlock()
	var wg sync.WaitGroup
	for _, bots := range []bool{true, false} {
		for _, p := range all {
			if (p.kind == "bot") == bots {
				wg.Go(func() { p.end() })
			}
		}
		wg.Wait()
	}
	if team.t.Failed() {
		for _, p := range all {
			team.t.Logf("%s said:\n%s", p.Name, p.Log())
		}
	}
}

// Path is a file of this team.
func (team *Team) Path(names ...string) string {
	return filepath.Join(append([]string{team.Dir}, names...)...)
}

// WritePolicy replaces the policy file, as an editor does.
func (team *Team) WritePolicy(text string) {
	team.t.Helper()
	next := team.Path("policy.yaml.new")
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		team.t.Fatal(err)
	}
	if err := os.Rename(next, team.Path("policy.yaml")); err != nil {
		team.t.Fatal(err)
	}
}

// Command runs a kgent command that must succeed, and returns what it prints.
func (team *Team) Command(args ...string) string {
	team.t.Helper()
	return team.command(environment(), args...)
}

// AsBot is Command with the bots' access to Redis, and their keys.
func (team *Team) AsBot(args ...string) string {
	team.t.Helper()
	return team.command(environment(team.redisEnv(bus.BotUser, "bot.password")...), args...)
}

func (team *Team) command(env []string, args ...string) string {
	team.t.Helper()
	cmd := exec.Command(team.bin, args...)
	cmd.Env = env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		team.t.Fatalf("kgent %s: %v\n%s", args, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// environment is this process's without what configures kgent, and with more.
func environment(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		for _, prefix := range []string{"OPENAI_", "KGENT_", "SLACK_", "DISCORD_", "REDIS_"} {
			if strings.HasPrefix(kv, prefix) {
				return true
			}
		}
		return false
	})
	return append(env, more...)
}

// Key is the bots' signing key: with it a test can forge what only a bot that
// was broken into could.
func (team *Team) Key() *approvals.Key {
	team.t.Helper()
	key, err := approvals.LoadKey(team.Path("keys", "signing.key"))
	if err != nil {
		team.t.Fatal(err)
	}
	return key
}

// Bus is the bus as the bot sees it.
func (team *Team) Bus() *bus.Redis {
	team.t.Helper()
	return bus.NewRedis(team.Redis.ClientOf(bus.BotUser, team.read("bot.password")))
}

// Threads is the bots' store of conversations.
func (team *Team) Threads() *thread.Redis {
	team.t.Helper()
	secret, err := team.Key().Secret(thread.StoreSecret)
	if err != nil {
		team.t.Fatal(err)
	}
	s, err := thread.NewRedis(team.Redis.ClientOf(bus.BotUser, team.read("bot.password")), secret, time.Now)
	if err != nil {
		team.t.Fatal(err)
	}
	return s
}

func (team *Team) read(name string) string {
	team.t.Helper()
	b, err := os.ReadFile(team.Path(name))
	if err != nil {
		team.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// redisEnv is how a user of Redis is told to a process.
func (team *Team) redisEnv(user, passwordFile string) []string {
	team.t.Helper()
	address, err := url.Parse(team.Redis.URL())
	if err != nil {
		team.t.Fatal(err)
	}
	address.User = url.User(user)
	if through := team.Through[user]; through != "" {
		address.Host = through
	}
	return []string{"REDIS_URL=" + address.String(), "REDIS_PASSWORD_FILE=" + team.Path(passwordFile)}
}

// StartExecutor starts an executor and waits until it is announced. Started
// again under the same name it has the same state.
func (team *Team) StartExecutor(name, labels string, args ...string) *Process {
	team.t.Helper()
	from := time.Now()
	p := team.LaunchExecutor(name, labels, args...)
	control := team.Bus()
	team.Until(name+" is announced", func() bool {
		p.mustRun()
		nodes, _ := control.Nodes(team.t.Context())
		// By this one: what a killed one said of itself is still there for a while.
		return slices.ContainsFunc(nodes, func(n bus.NodeInfo) bool { return n.Name == name && n.At.After(from) })
	})
	return p
}

// LaunchExecutor starts an executor and waits for nothing.
func (team *Team) LaunchExecutor(name, labels string, args ...string) *Process {
	team.t.Helper()
	// What a program costs on a machine that is busy with other tests says nothing.
	policy := team.Path("node-policy.yaml")
	if err := os.WriteFile(policy, []byte("cpu: {per_run: 0%, all_runs: 0%}\n"), 0o600); err != nil {
		team.t.Fatal(err)
	}
	args = append([]string{"executor", "--node-name", name, "--labels", labels, "--keys", team.Path("keys", "trusted"), "--state", team.Path("state-" + name), "--policy", policy}, args...)
	return team.launch("executor", name, environment(team.redisEnv(bus.NodeUser(name), name+".password")...), args...)
}

// StartBot starts a bot and waits until it is connected to Redis and Slack, and
// to Discord's gateway unless another bot holds it.
func (team *Team) StartBot(args ...string) *Process {
	team.t.Helper()
	p := team.LaunchBot(args...)
	team.Until(p.Name+" is ready", func() bool {
		p.mustRun()
		wrong, err := p.Wrong(team.t.Context())
		if err != nil {
			return false
		}
		if len(team.Discord.Gateways()) > 0 {
			delete(wrong, "discord")
		}
		return len(wrong) == 0
	})
	return p
}

// LaunchBot starts a bot and waits for nothing.
func (team *Team) LaunchBot(args ...string) *Process {
	team.t.Helper()
	env := append(team.redisEnv(bus.BotUser, "bot.password"), team.Slack.environment()...)
	env = append(env, team.Discord.environment()...)
	env = append(env, team.env...)
	team.mu.Lock()
	n := 1
	for _, p := range team.processes {
		if p.kind == "bot" {
			n++
		}
	}
	team.mu.Unlock()
	args = append([]string{"bot", "--policy", team.Path("policy.yaml"), "--keys", team.Path("keys"), "--listen", "127.0.0.1:0", "--temp", team.t.TempDir()}, args...)
	return team.launch("bot", fmt.Sprintf("bot %d", n), environment(env...), args...)
}

// Until waits for something that nothing announces.
func (team *Team) Until(what string, ok func() bool) {
	team.t.Helper()
	limit := time.After(Patience)
	for !ok() {
		select {
		case <-limit:
			team.t.Fatalf("waited %v in vain: %s", Patience, what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Context ends with the test, or when Patience does.
func (team *Team) Context() context.Context {
	ctx, cancel := context.WithTimeout(team.t.Context(), Patience)
	team.t.Cleanup(cancel)
	return ctx
}

// Process is a bot or an executor.
type Process struct {
	Name string

	team *Team
	kind string
	cmd  *exec.Cmd
	log  *logtest.Log
	done chan struct{} // closed when it has ended
	err  error         // with what, once done is closed
}

func (team *Team) launch(kind, name string, env []string, args ...string) *Process {
	team.t.Helper()
	p := &Process{Name: name, team: team, kind: kind, cmd: exec.Command(team.bin, args...), log: &logtest.Log{}, done: make(chan struct{})}
	p.cmd.Env, p.cmd.Stderr = env, p.log
	// What it started may hold its standard error open.
	p.cmd.WaitDelay = 5 * time.Second
	// It does not outlive a test binary that is killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The signal above is sent when the thread that started the child ends:
		// this one stays until the child is gone.
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		team.t.Fatal(err)
	}
	team.mu.Lock()
	team.processes = append(team.processes, p)
	team.mu.Unlock()
	return p
}

// Log is what the process wrote to its standard error so far.
func (p *Process) Log() string { return p.log.String() }

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended says whether the process has ended, and with which error.
func (p *Process) Ended() (bool, error) {
	select {
	case <-p.done:
		return true, p.err
	default:
		return false, nil
	}
}

func (p *Process) mustRun() {
	p.team.t.Helper()
	if ended, err := p.Ended(); ended {
		p.team.t.Fatalf("%s has ended: %v\n%s", p.Name, err, p.Log())
	}
}

// Kill ends the process as kill -9 does, and waits until it is gone.
func (p *Process) Kill() {
	p.team.t.Helper()
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Signal sends a signal: SIGSTOP and SIGCONT make a process hang for a while.
func (p *Process) Signal(s syscall.Signal) {
	p.team.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.team.t.Errorf("sending %v to %s: %v", s, p.Name, err)
	}
}

// Terminate ends the process as an operator does, and waits until it is gone.
// It must end well.
func (p *Process) Terminate() {
	p.team.t.Helper()
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if p.err != nil {
			p.team.t.Errorf("%s ended with %v\n%s", p.Name, p.err, p.Log())
		}
	case <-time.After(Patience):
		p.team.t.Errorf("%s does not end", p.Name)
		p.Kill()
	}
}

func (p *Process) end() {
	if ended, _ := p.Ended(); ended {
		return
	}
	p.Signal(syscall.SIGCONT)
	p.Terminate()
}

var listening = regexp.MustCompile(`msg=listening address=(\S+)`)

// Address is where a bot listens for HTTP, or empty before it does.
func (p *Process) Address() string {
	m := listening.FindStringSubmatch(p.Log())
	if m == nil {
		return ""
	}
	return m[1]
}

// Wrong is what a bot says in /readyz that keeps it from its work, by part.
func (p *Process) Wrong(ctx context.Context) (map[string]string, error) {
	address := p.Address()
	if address == "" {
		return nil, errors.New(p.Name + " does not listen yet")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var state struct {
		Wrong map[string]string `json:"wrong"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&state); err != nil {
		return nil, fmt.Errorf("reading /readyz: %w", err)
	}
	return state.Wrong, nil
}
