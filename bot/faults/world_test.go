package faults

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"kgent/approvals/audit"
	"kgent/bot/discord/discordd"
	"kgent/bot/slack/slackd"
	"kgent/bot/teamtest"
	"kgent/bot/thread"
	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb/rdbtest"
	"kgent/executor/output"
)

// atOnce is how many tests run at once unless -parallel says otherwise: they
// wait for leases and time limits, most of the time, but a team that starts or
// prepares a program keeps a processor busy for seconds.
const atOnce = "5"

func TestMain(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if !set {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// soaking says whether everything is to be tested, at length.
func soaking() bool { return os.Getenv("KGENT_SOAK") != "" }

// soak skips a test that takes long, or varies another, unless it is asked for.
func soak(t *testing.T) {
	t.Helper()
	if !soaking() {
		t.Skip("one of many variations: run make soak, or set KGENT_SOAK=1")
	}
}

// policy lets one approver decide, on either platform.
var policy = strings.Replace(teamtest.Policy, "quorum: 2", "quorum: 1", 1)

// world is a team in which something breaks.
type world struct {
	*teamtest.Team
	t *testing.T
}

type option func(*teamtest.Config)

// keeps makes Redis keep its data over a crash.
func keeps(c *teamtest.Config) { c.Redis = append(c.Redis, rdbtest.AppendOnly()) }

// unlimited lifts Slack's rate limits, where they are not what is tested.
func unlimited(c *teamtest.Config) {
	c.Slack = func(s *slackd.Config) { s.NoRateLimits = true }
	c.Discord = func(d *discordd.Config) { d.RateScale = 0 }
}

// begin starts a team with executors on db-1 and db-2, and no bot.
func begin(t *testing.T, options ...option) *world {
	t.Helper()
	t.Parallel()
	cfg := teamtest.Config{Policy: policy, Parallel: true}
	unlimited(&cfg)
	for _, o := range options {
		o(&cfg)
	}
	return &world{teamtest.Start(t, cfg), t}
}

// in is the same world for a part of the test.
func (w *world) in(t *testing.T) *world { return &world{w.Team, t} }

// nodes starts the executors db-1 and db-2.
func (w *world) nodes() (one, two *teamtest.Process) {
	w.t.Helper()
	one = w.LaunchExecutor("db-1", "role=db")
	two = w.StartExecutor("db-2", "role=db")
	w.announced("db-1")
	return one, two
}

func (w *world) announced(names ...string) {
	w.t.Helper()
	control := w.Bus()
	w.Until(fmt.Sprintf("%v are announced", names), func() bool {
		list, _ := control.Nodes(w.t.Context())
		for _, n := range names {
			if !slices.ContainsFunc(list, func(i bus.NodeInfo) bool { return i.Name == n }) {
				return false
			}
		}
		return true
	})
}

// StartBot starts a bot, and waits until some bot holds Discord's gateway, too:
// what happens before is lost there.
func (w *world) StartBot() *teamtest.Process {
	w.t.Helper()
	p := w.Team.StartBot()
	if err := w.Discord.WaitGateway(w.Context(), 1); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// everything starts both executors and a bot.
func (w *world) everything() (bot *teamtest.Process) {
	w.t.Helper()
	w.nodes()
	return w.StartBot()
}

// talk is one request's thread.
type talk struct {
	w    *world
	chat teamtest.Chat
	at   teamtest.Thread
}

// what is asked for unless a test needs something else: it costs little, the policy allows it
// unproved as well (on a busy host the time for the proof may run out), and it goes on for longer
// than any test waits, so that what ends it is not its deadline.
const what = "which processes exit on db-1 and db-2, for 9 minutes"

// lasting is what, for another time.
func lasting(time string) string { return strings.Replace(what, "9 minutes", time, 1) }

func (w *world) chats() []teamtest.Chat { return []teamtest.Chat{w.Slack, w.Discord} }

// ask asks as alice.
func (w *world) ask(c teamtest.Chat, words string) *talk {
	w.t.Helper()
	at, err := c.Ask(w.Context(), "alice", words)
	if err != nil {
		w.t.Fatal(err)
	}
	return &talk{w, c, at}
}

// wait waits for a message of the thread.
func (k *talk) wait(what string, match ...func(teamtest.Message) bool) teamtest.Message {
	k.w.t.Helper()
	m, err := k.chat.Wait(k.w.Context(), teamtest.In(k.at, teamtest.All(match...)))
	if err != nil {
		k.w.t.Fatalf("%s: %v", what, err)
	}
	return m
}

func (k *talk) card() teamtest.Message {
	k.w.t.Helper()
	return k.wait("the card", teamtest.Having("approve"))
}

// says waits until the thread says something.
func (k *talk) says(words ...string) teamtest.Message {
	k.w.t.Helper()
	return k.wait(fmt.Sprintf("the thread says %q", words), teamtest.Saying(words...))
}

// press presses a button of a message, again while the service says that the
// app is not there or did not respond, as people do: on a busy host it may not,
// within three seconds. It is done when the button is gone, too.
func (k *talk) press(who string, m teamtest.Message, verb string) {
	k.w.t.Helper()
	tries := 0
	k.w.Until(fmt.Sprintf("%s presses %s", who, verb), func() bool {
		tries++
		if tries > 1 && !slices.ContainsFunc(k.chat.Messages(), func(now teamtest.Message) bool { return now.ID == m.ID && now.Has(verb) }) {
			return true
		}
		err := k.chat.Click(k.w.Context(), who, m, verb)
		switch {
		case err == nil:
			return true
		case errors.Is(err, slackd.ErrNotConnected), errors.Is(err, slackd.ErrNotAcknowledged), errors.Is(err, discordd.ErrNoAnswer):
			if tries == 1 {
				k.w.t.Logf("%s presses %s: %v", who, verb, err)
			}
		case tries > 1: // it may go between the look and the click
		default:
			k.w.t.Fatalf("%s presses %s: %v", who, verb, err)
		}
		return false
	})
}

// start asks, has it approved, and waits until it is attached on the nodes.
func (w *world) start(c teamtest.Chat, words string, nodes ...string) *talk {
	w.t.Helper()
	before := map[string]int{}
	for _, n := range []string{"db-1", "db-2"} {
		before[n] = len(w.entries(n, "attached"))
	}
	k := w.ask(c, words)
	k.press("bob", k.card(), "approve")
	if len(nodes) == 0 {
		nodes = []string{"db-1", "db-2"}
	}
	for _, n := range nodes {
		w.attached(n, before[n]+1)
	}
	k.running()
	return k
}

// running waits for the live output, and returns it.
func (k *talk) running() teamtest.Message {
	k.w.t.Helper()
	return k.wait("the run's message", teamtest.Having("stop"))
}

// stop presses Stop and waits for the result.
func (k *talk) stop() teamtest.Message {
	k.w.t.Helper()
	k.press("carol", k.running(), "stop")
	return k.result()
}

// result waits for the result.
func (k *talk) result() teamtest.Message {
	k.w.t.Helper()
	return k.wait("the result", teamtest.Having("again"))
}

// here are all messages of the thread.
func (k *talk) here() []teamtest.Message {
	return slices.DeleteFunc(k.chat.Messages(), func(m teamtest.Message) bool { return m.Thread != k.at })
}

// keysOf are the keys of kgent's messages on Slack, each as often as there is
// such a message; the files of messages count apart.
func (w *world) keysOf() map[string]int {
	out := map[string]int{}
	for _, c := range w.Slack.Config().Channels {
		for _, m := range w.Slack.Server.Messages(c.ID) {
			var meta struct {
				Payload struct {
					Key string `json:"key"`
				} `json:"event_payload"`
			}
			if m.Deleted || len(m.Metadata) == 0 || json.Unmarshal(m.Metadata, &meta) != nil || meta.Payload.Key == "" {
				continue
			}
			out[meta.Payload.Key]++
		}
	}
	return out
}

// once fails the test when anything was posted twice: the same message by its
// key (Slack), or what a request has one of, or the same file.
func (w *world) once(talks ...*talk) {
	w.t.Helper()
	for key, n := range w.keysOf() {
		if n > 1 {
			w.t.Errorf("Slack has the message %s %d times", key, n)
		}
	}
	for _, k := range talks {
		seen := map[string]int{}
		for _, m := range k.here() {
			if m.Only != "" {
				continue
			}
			for _, part := range []string{"approve", "stop", "again"} {
				if m.Has(part) {
					seen["a message with the button "+part]++
				}
			}
			for _, prefix := range []string{"Looking for", "Prepared", "Over:"} {
				if strings.Contains(m.Title, prefix) {
					seen["a message titled "+prefix]++
				}
			}
			for _, f := range m.Files {
				seen["the file "+f.Name]++
			}
		}
		for what, n := range seen {
			if n > 1 {
				w.t.Errorf("%s: the thread has %s %d times", k.chat.Name(), what, n)
			}
		}
	}
}

// records are a node's audit log, which must hold together.
func (w *world) records(node string) []executor.Entry {
	w.t.Helper()
	file, err := os.Open(w.Path("state-"+node, "audit.log"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	defer file.Close()
	var out []executor.Entry
	_, err = audit.Read(file, func(e audit.Entry) error {
		var x executor.Entry
		if err := json.Unmarshal(e.Data, &x); err != nil {
			return err
		}
		out = append(out, x)
		return nil
	})
	if err != nil {
		w.t.Fatalf("the audit log of %s: %v", node, err)
	}
	return out
}

// entries are those of a node's audit log of one kind.
func (w *world) entries(node, what string) []executor.Entry {
	w.t.Helper()
	return slices.DeleteFunc(w.records(node), func(e executor.Entry) bool { return e.What != what })
}

// attached waits until a node has attached n runs since its beginning, and
// returns the programs of the last.
func (w *world) attached(node string, n int) []uint32 {
	w.t.Helper()
	var all []executor.Entry
	w.Until(fmt.Sprintf("%s has attached %d runs", node, n), func() bool {
		all = w.entries(node, "attached")
		return len(all) >= n
	})
	return all[len(all)-1].ProgramIDs
}

// loaded are those of all programs that a node ever attached that are in the
// kernel now.
func (w *world) loaded(node string) []uint32 {
	w.t.Helper()
	var out []uint32
	for _, e := range w.entries(node, "attached") {
		for _, id := range e.ProgramIDs {
			p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
			if err == nil {
				out = append(out, id)
				p.Close()
			}
		}
	}
	return out
}

// gone waits until nothing of the nodes' is in the kernel, and says how long that took.
// Runs that are to end before their time must be longer than [teamtest.Patience].
func (w *world) gone(nodes ...string) time.Duration {
	w.t.Helper()
	begun := time.Now()
	for {
		var left []uint32
		for _, n := range nodes {
			left = append(left, w.loaded(n)...)
		}
		took := time.Since(begun)
		if len(left) == 0 {
			return took
		}
		if took > teamtest.Patience {
			w.t.Errorf("after %v the programs %v of %v are still in the kernel", took, left, nodes)
			return took
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// ran fails the test unless each of the nodes attached exactly n runs, no run
// twice, and nothing of them is in the kernel.
func (w *world) ran(n int, nodes ...string) {
	w.t.Helper()
	w.gone(nodes...)
	for _, node := range nodes {
		if n > 0 {
			w.attached(node, n) // the log may be behind what people see
		}
		runs := map[string]int{}
		for _, e := range w.entries(node, "attached") {
			runs[e.Run]++
		}
		for run, times := range runs {
			if times > 1 {
				w.t.Errorf("%s ran %s %d times", node, run, times)
			}
		}
		if len(runs) != n {
			w.t.Errorf("%s attached %d runs, want %d", node, len(runs), n)
		}
	}
}

// ended waits until a node's n-th run has ended, and returns why.
func (w *world) ended(node string, n int) (output.Reason, string) {
	w.t.Helper()
	var all []executor.Entry
	w.Until(fmt.Sprintf("run %d of %s has ended", n, node), func() bool {
		all = w.entries(node, "ended")
		return len(all) >= n
	})
	return all[n-1].Summary.Reason, all[n-1].Summary.Detail
}

// log are the entries of the bots' audit log, which must hold together.
func (w *world) log() []audit.Entry {
	w.t.Helper()
	r, err := audit.NewRedis(w.Redis.Client(), time.Now).Reader(w.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var out []audit.Entry
	if _, err := audit.Read(r, func(e audit.Entry) error { out = append(out, e); return nil }); err != nil {
		w.t.Fatalf("the audit log: %v", err)
	}
	return out
}

// count says how many entries of a kind the bots' audit log has.
func (w *world) count(kind audit.Kind) int {
	w.t.Helper()
	n := 0
	for _, e := range w.log() {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// request is the newest request.
func (w *world) request() (thread.Request, error) {
	s := w.Threads()
	ids, err := s.Recent(w.t.Context(), 1)
	if err != nil || len(ids) == 0 {
		return thread.Request{}, fmt.Errorf("looking for the newest request: %v", err)
	}
	return s.Load(w.t.Context(), ids[0])
}

// within is a context that ends with the test or after d.
func (w *world) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), d)
	w.t.Cleanup(cancel)
	return ctx
}

// address is where Redis listens.
func (w *world) address() string {
	w.t.Helper()
	u, err := url.Parse(w.Redis.URL())
	if err != nil {
		w.t.Fatal(err)
	}
	return u.Host
}
