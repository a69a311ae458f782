package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"kgent/agent/program"
	"kgent/agent/recipes/recipetest"
	"kgent/approvals"
	"kgent/approvals/audit"
	"kgent/bot/logtest"
	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb"
	"kgent/executor/bus/rdb/rdbtest"
	"kgent/executor/job"
	"kgent/executor/output"
	"kgent/executor/probe/residue"
	"kgent/retrieval/kernel"
)

// fleet are executors of this host under several names, a Redis in which each
// has its own user, and the keys and the connection of a bot.
type fleet struct {
	t     *testing.T
	bin   string // kgent
	dir   string
	redis *rdbtest.Server
	bus   *bus.Redis
	key   *approvals.Key
	prog  job.Program
}

// patience bounds every wait for something that must happen: far longer than it
// takes on a busy host. What must happen before the end of a run is waited for in one that is long.
const (
	patience = 2 * time.Minute
	long     = 10 * time.Minute
)

// newFleet prepares for executors of these names. Everything is made with the
// commands that an operator uses.
func newFleet(t *testing.T, nodes ...string) *fleet {
	t.Helper()
	rdb.Quiet()
	f := &fleet{t: t, bin: recipetest.Binary(t), dir: t.TempDir()}
	f.kgent("keys", "new", "--dir", f.path("keys"))
	users := []string{f.kgent("keys", "acl", "--bot", "--password-file", f.path("bot.password"))}
	for _, n := range nodes {
		users = append(users, f.kgent("keys", "acl", "--node", n, "--password-file", f.path(n+".password")))
	}
	f.redis = rdbtest.Start(t, rdbtest.ACL(users...))
	f.bus = bus.NewRedis(f.redis.ClientOf(bus.BotUser, f.read("bot.password")))
	f.key = f.load("signing.key")
	f.prog = testProgram(t)
	return f
}

func (f *fleet) path(names ...string) string {
	return filepath.Join(append([]string{f.dir}, names...)...)
}

func (f *fleet) read(name string) string {
	f.t.Helper()
	b, err := os.ReadFile(f.path(name))
	if err != nil {
		f.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func (f *fleet) load(name string) *approvals.Key {
	f.t.Helper()
	key, err := approvals.LoadKey(f.path("keys", name))
	if err != nil {
		f.t.Fatal(err)
	}
	return key
}

// kgent runs a command that must succeed, and returns what it prints.
func (f *fleet) kgent(args ...string) string {
	f.t.Helper()
	cmd := exec.Command(f.bin, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		f.t.Fatalf("kgent %s: %v\n%s", args, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// testProgram is a recipe's program, which reports every program that is
// executed: compiled once.
var testProgram = func() func(t *testing.T) job.Program {
	var mu sync.Mutex
	var made job.Program
	return func(t *testing.T) job.Program {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if made.ELF != nil {
			return made
		}
		f := &fleet{t: t, bin: recipetest.Binary(t), dir: t.TempDir()}
		f.kgent("ask", "--show", "--save", f.path("program"), "which programs are executed")
		var err error
		if made.ELF, err = os.ReadFile(f.path("program", "program.o")); err != nil {
			t.Fatal(err)
		}
		m, err := program.DecodeManifest([]byte(f.read("program/manifest.json")))
		if err != nil {
			t.Fatal(err)
		}
		if made.Manifest, err = m.Encode(); err != nil {
			t.Fatal(err)
		}
		return made
	}
}()

// node is a running executor.
type node struct {
	f    *fleet
	name string
	from time.Time // when it was started
	cmd  *exec.Cmd
	log  *logtest.Log
	done chan error
}

// start starts an executor, and waits until it is announced. Started again
// under the same name it has the same state.
func (f *fleet) start(name string, args ...string) *node {
	f.t.Helper()
	n := f.launch(name, args...)
	n.announced()
	return n
}

// launch starts an executor.
func (f *fleet) launch(name string, args ...string) *node {
	f.t.Helper()
	n := &node{f: f, name: name, from: time.Now(), log: &logtest.Log{}, done: make(chan error, 1)}
	if !slices.Contains(args, "--policy") { // what a program costs beside other tests says nothing
		args = append(args, "--policy", f.write("unbounded.yaml", "cpu: {per_run: 0%, all_runs: 0%}"))
	}
	n.cmd = exec.Command(f.bin, append([]string{
		"executor", "--node-name", name, "--keys", f.path("keys", "trusted"), "--state", f.path("state-" + name),
	}, args...)...)
	address, err := url.Parse(f.redis.URL())
	if err != nil {
		f.t.Fatal(err)
	}
	address.User = url.User(bus.NodeUser(name))
	n.cmd.Env = append(os.Environ(), "REDIS_URL="+address.String(), "REDIS_PASSWORD_FILE="+f.path(name+".password"))
	n.cmd.Stderr = n.log
	if err := n.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	go func() { n.done <- n.cmd.Wait() }()
	f.t.Cleanup(func() {
		n.kill()
		if f.t.Failed() {
			f.t.Logf("executor %s said:\n%s", name, n.log)
		}
	})
	return n
}

// announced waits until the node is listed, by this executor and not by one of the same
// name that was killed, and returns what it says.
func (n *node) announced() (info bus.NodeInfo) {
	n.f.t.Helper()
	n.f.until(n.name+" is announced", func() bool {
		list, _ := n.f.bus.Nodes(n.f.t.Context())
		i := slices.IndexFunc(list, func(l bus.NodeInfo) bool { return l.Name == n.name && l.At.After(n.from) })
		if i >= 0 {
			info = list[i]
		}
		select {
		case err := <-n.done:
			n.done <- err
			n.f.t.Fatalf("executor %s has ended: %v\n%s", n.name, err, n.log)
		default:
		}
		return i >= 0
	})
	return info
}

func (n *node) kill() {
	n.cmd.Process.Kill()
	err := <-n.done
	n.done <- err
}

// until waits for something.
func (f *fleet) until(what string, ok func() bool) {
	f.t.Helper()
	limit := time.After(patience)
	for !ok() {
		select {
		case <-limit:
			f.t.Fatalf("waited %v in vain: %s", patience, what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// records of a node's audit log, which must hold together.
func (f *fleet) records(name string) []executor.Entry {
	f.t.Helper()
	file, err := os.Open(f.path("state-"+name, auditFile))
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	var out []executor.Entry
	_, err = audit.Read(file, func(e audit.Entry) error {
		var x executor.Entry
		out = append(out, x)
		return json.Unmarshal(e.Data, &out[len(out)-1])
	})
	if err != nil {
		f.t.Fatalf("the audit log of %s: %v", name, err)
	}
	return out
}

// ended waits until a run is over in a node's audit log, which is after its output's end
// is on the bus, and returns all that the log says of it.
func (f *fleet) ended(name, run string) []string {
	f.t.Helper()
	var what []string
	f.until(name+" wrote down that "+run+" ended", func() bool {
		what = nil
		for _, e := range f.records(name) {
			if e.Run == run {
				what = append(what, e.What)
			}
		}
		return slices.Contains(what, "ended")
	})
	return what
}

// grant returns one for nodes, not yet sealed.
func (f *fleet) grant(d time.Duration, nodes ...string) job.Grant {
	var id [16]byte
	rand.Read(id[:])
	return job.Grant{
		Version: job.GrantVersion, Purpose: job.PurposeRun, ID: hex.EncodeToString(id[:]), Run: "run-" + hex.EncodeToString(id[:]), Nodes: nodes,
		Limits: job.Limits{Duration: d}, Approval: job.Approval{Requester: "r", Tier: "observe-sensitive"},
		NotBefore: time.Now(), Expires: time.Now().Add(5 * time.Minute),
	}
}

func (f *fleet) seal(key *approvals.Key, g *job.Grant) []byte {
	f.t.Helper()
	d, err := job.DigestOf(f.prog, g.Nodes, g.Limits)
	if err != nil {
		f.t.Fatal(err)
	}
	g.Digest = d.String()
	envelope, err := key.Sign(*g, f.prog)
	if err != nil {
		f.t.Fatal(err)
	}
	return envelope
}

// trace is a run that is followed.
type trace struct {
	f        *fleet
	g        job.Grant
	envelope []byte
	end      func(error) // ends following, with a cause
	ended    chan struct{}

	mu       sync.Mutex
	attached []output.Attached
	events   map[string]int // by node
	errors   []string
	summary  output.Summary
	err      error
}

// run dispatches a grant and waits until it is attached everywhere.
func (f *fleet) run(d time.Duration, nodes ...string) *trace {
	f.t.Helper()
	tr := f.follow(f.key, f.grant(d, nodes...))
	f.until("the run is attached", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		select {
		case <-tr.ended:
			f.t.Fatalf("the run has ended: %+v", tr.summary)
		default:
		}
		return len(tr.attached) == len(nodes)
	})
	return tr
}

// follow dispatches a grant and follows it.
func (f *fleet) follow(key *approvals.Key, g job.Grant) *trace {
	f.t.Helper()
	ctx, cancel := context.WithCancelCause(f.t.Context())
	tr := &trace{f: f, g: g, end: cancel, ended: make(chan struct{}), events: map[string]int{}}
	tr.envelope = f.seal(key, &tr.g)
	if err := executor.Dispatch(ctx, f.bus, &tr.g, tr.envelope); err != nil {
		f.t.Fatal(err)
	}
	go func() {
		defer close(tr.ended)
		s, err := executor.Follow(ctx, f.bus, &tr.g, tr.take)
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.summary, tr.err = s, err
	}()
	f.t.Cleanup(func() { cancel(nil); <-tr.ended })
	return tr
}

func (tr *trace) take(line []byte) {
	rec, err := output.Decode(line)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	switch r := rec.(type) {
	case output.Attached:
		tr.attached = append(tr.attached, r)
	case output.Event:
		tr.events[r.Node]++
	case output.Error:
		tr.errors = append(tr.errors, r.Message)
	}
	if err != nil {
		tr.errors = append(tr.errors, err.Error())
	}
}

// wait returns the run's summary, whose account must balance.
func (tr *trace) wait() output.Summary {
	tr.f.t.Helper()
	select {
	case <-tr.ended:
	case <-time.After(patience):
		tr.f.t.Fatal("the run does not end")
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if !tr.summary.Balanced() {
		tr.f.t.Errorf("the account does not balance: %+v", tr.summary.Counters)
	}
	return tr.summary
}

// gone waits until everything of the run on these nodes has left the kernel. A run that is
// to end before its time must be longer than that.
func (tr *trace) gone(nodes ...string) {
	tr.f.t.Helper()
	start := time.Now()
	tr.mu.Lock()
	attached := slices.DeleteFunc(slices.Clone(tr.attached), func(a output.Attached) bool { return !slices.Contains(nodes, a.Node) })
	tr.mu.Unlock()
	if len(attached) != len(nodes) {
		tr.f.t.Errorf("of %v only %d have attached", nodes, len(attached))
	}
	tr.f.until("the program leaves the kernel", func() bool { return !slices.ContainsFunc(attached, loaded) })
	for _, a := range attached {
		residue.Gone(tr.f.t, a.ProgramIDs, a.MapIDs)
	}
	tr.f.t.Logf("gone after %v", time.Since(start))
}

func loaded(a output.Attached) bool {
	return slices.ContainsFunc(a.ProgramIDs, func(id uint32) bool {
		p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		if err != nil {
			return false
		}
		p.Close()
		return true
	})
}

// execute makes an event for every executor of this host.
func (f *fleet) execute(times int) {
	f.t.Helper()
	for range times {
		if err := exec.Command("true").Run(); err != nil {
			f.t.Fatal(err)
		}
	}
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
}

// Two nodes run what was approved for both, and nothing else.
func TestExecutors(t *testing.T) {
	needsRoot(t)
	t.Parallel()
	f := newFleet(t, "a", "b")
	f.start("a", "--labels", "role=db,zone=eu-1")
	f.start("b")

	info := (&node{f: f, name: "a"}).announced
	t.Run("Announce", func(t *testing.T) {
		n := info()
		if n.Labels["role"] != "db" || n.Labels["kernel"] != n.Kernel || n.Labels["arch"] != n.Arch || n.Kernel == "" {
			t.Errorf("labels %v of kernel %q %q", n.Labels, n.Kernel, n.Arch)
		}
		if len(n.BTF) != 64 || n.Version == "" || !slices.Contains(n.Capabilities, "CAP_BPF") {
			t.Errorf("BTF %q, version %q, capabilities %q", n.BTF, n.Version, n.Capabilities)
		}
		blob, err := f.bus.Facts(t.Context(), n.Facts)
		if err != nil {
			t.Fatal(err)
		}
		facts, err := kernel.Decode(blob)
		if err != nil || facts.Release != n.Kernel || facts.BTFHash != n.BTF {
			t.Errorf("its facts: %v", err)
		}
		if why, tried := n.Kinds["tracepoint"]; !tried || why != "" {
			t.Errorf("tracepoints: tried %v, %q; kinds %v", tried, why, n.Kinds)
		}
	})
	t.Run("Output", func(t *testing.T) {
		const times = 20
		tr := f.run(long, "a", "b")
		f.execute(times)
		if err := executor.Stop(t.Context(), f.bus, tr.g.Run); err != nil {
			t.Fatal(err)
		}
		s := tr.wait()
		if s.Reason != output.ReasonStopped || len(s.Nodes) != 2 || tr.err != nil {
			t.Errorf("summary %+v, %v", s, tr.err)
		}
		for _, n := range s.Nodes {
			if tr.events[n.Node] < times || uint64(tr.events[n.Node]) != n.Delivered {
				t.Errorf("%s: %d events came, %d delivered, at least %d happened", n.Node, tr.events[n.Node], n.Delivered, times)
			}
		}
		tr.gone("a", "b")
		for _, n := range []string{"a", "b"} {
			if what := f.ended(n, tr.g.Run); !slices.Equal(what, []string{"accepted", "attached", "ended"}) {
				t.Errorf("the audit log of %s says %q", n, what)
			}
		}
	})
	t.Run("Deadline", func(t *testing.T) {
		tr := f.follow(f.key, f.grant(time.Second, "a", "b"))
		if s := tr.wait(); s.Reason != output.ReasonDeadline || len(s.Nodes) != 2 || tr.err != nil {
			t.Errorf("summary %+v, %v", s, tr.err)
		}
		tr.gone("a", "b")
	})
	// Whoever can write to the bus can run nothing.
	t.Run("Forged", func(t *testing.T) {
		stranger, err := approvals.NewKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		good := f.follow(f.key, f.grant(time.Second, "a"))
		good.wait()
		f.ended("a", good.g.Run)
		change := func(change func(*job.Grant)) job.Grant {
			g := f.grant(time.Minute, "a")
			change(&g)
			return g
		}
		for _, c := range []struct {
			name     string
			key      *approvals.Key
			grant    job.Grant
			envelope []byte
			rule     job.Refusal
		}{
			{name: "another's key", key: stranger, grant: f.grant(time.Minute, "a"), rule: job.RefusedKey},
			{name: "for another node", key: f.key, grant: f.grant(time.Minute, "b"), rule: job.RefusedNode},
			{name: "not yet", key: f.key, grant: change(func(g *job.Grant) {
				g.NotBefore, g.Expires = time.Now().Add(2*time.Minute), time.Now().Add(5*time.Minute)
			}), rule: job.RefusedEarly},
			{name: "no more", key: f.key, grant: change(func(g *job.Grant) {
				g.NotBefore, g.Expires = time.Now().Add(-5*time.Minute), time.Now().Add(-2*time.Minute)
			}), rule: job.RefusedExpired},
			{name: "too long", key: f.key, grant: f.grant(2*time.Hour, "a"), rule: job.RefusedLimits},
			{name: "replayed", grant: good.g, envelope: good.envelope, rule: job.RefusedReplay},
			{name: "too large", grant: f.grant(time.Minute, "a"), envelope: make([]byte, job.MaxEnvelope+1), rule: job.RefusedSize},
			{name: "rubbish", grant: f.grant(time.Minute, "a"), envelope: []byte("{}"), rule: job.RefusedMalformed},
		} {
			seen := len(f.records("a"))
			if c.envelope == nil {
				c.envelope = f.seal(c.key, &c.grant)
			}
			if err := f.bus.Renew(t.Context(), c.grant.Run, patience); err != nil {
				t.Fatal(err)
			}
			if err := f.bus.Submit(t.Context(), c.envelope, "a"); err != nil {
				t.Fatal(err)
			}
			f.until(c.name+" is on record", func() bool { return len(f.records("a")) > seen })
			if e := f.records("a")[seen]; e.What != "refused" || e.Rule != string(c.rule) {
				t.Errorf("%s: %s %s %s, want it refused as %s", c.name, e.What, e.Rule, e.Detail, c.rule)
			}
		}
	})
	// A key is trusted, and is not any more, by its file alone.
	t.Run("Rotate", func(t *testing.T) {
		old := f.key
		f.kgent("keys", "rotate", "prepare", "--dir", f.path("keys"))
		f.kgent("keys", "rotate", "switch", "--dir", f.path("keys"))
		f.key = f.load("signing.key")
		if f.key.ID() == old.ID() {
			t.Fatal("the key is the same")
		}
		for _, key := range []*approvals.Key{old, f.key} {
			if s := f.follow(key, f.grant(time.Second, "a", "b")).wait(); s.Reason != output.ReasonDeadline {
				t.Errorf("with %s: %+v", key, s)
			}
		}
		if err := os.Remove(f.path("keys", "trusted", old.ID()+publicExt)); err != nil {
			t.Fatal(err)
		}
		if s := f.follow(old, f.grant(time.Second, "a", "b")).wait(); s.Reason != output.ReasonRefused || !strings.Contains(s.Detail, string(job.RefusedKey)) {
			t.Errorf("with the old key: %+v", s)
		}
		if s := f.follow(f.key, f.grant(time.Second, "a", "b")).wait(); s.Reason != output.ReasonDeadline {
			t.Errorf("with the new key: %+v", s)
		}
	})
}

// SIGTERM ends what runs, in order.
func TestExecutorTerminated(t *testing.T) {
	needsRoot(t)
	t.Parallel()
	f := newFleet(t, "a")
	n := f.start("a")
	tr := f.run(long, "a")
	n.cmd.Process.Signal(syscall.SIGTERM)
	tr.gone("a")
	if s := tr.wait(); s.Reason != output.ReasonInterrupted || s.BusTrimmed != 0 {
		t.Errorf("summary %+v", s)
	}
	select {
	case err := <-n.done:
		n.done <- err
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	if list, err := f.bus.Nodes(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("still listed: %v, %v", list, err)
	}
}

// Killed in mid-run, an executor leaves nothing; started again, it says so, and
// keeps the program out for a while.
func TestExecutorKilled(t *testing.T) {
	needsRoot(t)
	t.Parallel()
	f := newFleet(t, "a", "b")
	n := f.start("a", "--policy", f.write("policy.yaml", "pause_after_crash: {first: 1h, longest: 1h}"))
	f.start("b") // while it runs there, the other is heard however late it is back
	tr := f.run(long, "a", "b")
	n.kill()
	tr.gone("a")
	n = f.start("a", "--policy", f.path("policy.yaml"))
	f.until("it says so", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return len(tr.errors) > 0
	})
	if err := executor.Stop(t.Context(), f.bus, tr.g.Run); err != nil {
		t.Fatal(err)
	}
	s := tr.wait()
	if s.Reason != output.ReasonFailed || len(s.Nodes) != 2 || !strings.Contains(s.Nodes[0].Detail, "its executor died while exec was loaded") || s.Nodes[1].Reason != output.ReasonStopped {
		t.Errorf("summary %+v", s)
	}
	if !strings.Contains(n.log.String(), "the executor died while a program was loaded") {
		t.Error("it does not say that it died")
	}
	if entries := f.records("a"); !slices.ContainsFunc(entries, func(e executor.Entry) bool { return e.What == "crashed" }) {
		t.Errorf("the audit log does not tell of it: %+v", entries)
	}
	if s := f.follow(f.key, f.grant(time.Second, "a")).wait(); s.Reason != output.ReasonRefused || !strings.Contains(s.Detail, "died while the same program was loaded, once") {
		t.Errorf("the same program: %+v", s)
	}
	n.kill() // between runs
	f.start("a", "--policy", f.write("policy.yaml", "pause_after_crash: {first: 0s}"))
	if s := f.follow(f.key, f.grant(time.Second, "a")).wait(); s.Reason != output.ReasonDeadline {
		t.Errorf("let in by the operator: %+v", s)
	}
}

// write makes a file in the fleet's directory.
func (f *fleet) write(name, text string) string {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return f.path(name)
}

// An operator asks what a node does, drains it, and starts it again; drained it
// stays.
func TestExecutorDrained(t *testing.T) {
	needsRoot(t)
	t.Parallel()
	f := newFleet(t, "a")
	run, err := os.MkdirTemp("", "kgent-ops-") // t.TempDir's path can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(run)
	socket := filepath.Join(run, "x.sock")
	n := f.start("a", "--socket", socket, "--metrics", "127.0.0.1:0", "--log-format", "json")
	tr := f.run(long, "a")
	status := func() executor.Status {
		t.Helper()
		var st executor.Status
		if err := json.Unmarshal([]byte(f.kgent("executor", "status", "--socket", socket, "-o", "json")), &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	if st := status(); len(st.Runs) != 1 || st.Runs[0].Attached.IsZero() || st.Runs[0].Run != tr.g.Run || st.Heard.IsZero() || st.Drained != nil {
		t.Errorf("status %+v", st)
	}
	if s := f.kgent("executor", "status", "--socket", socket); !strings.Contains(s, "a: takes jobs") || !strings.Contains(s, "ends in") {
		t.Errorf("it says\n%s", s)
	}
	f.kgent("executor", "drain", "--now", "--why", "a new disk", "--socket", socket)
	if s := tr.wait(); s.Reason != output.ReasonInterrupted || !strings.Contains(s.Nodes[0].Detail, "by root: a new disk") {
		t.Errorf("what ran: %+v", s)
	}
	refused := func() {
		t.Helper()
		if s := f.follow(f.key, f.grant(time.Second, "a")).wait(); s.Reason != output.ReasonRefused || !strings.Contains(s.Detail, "(drained): this node is in maintenance") {
			t.Errorf("drained: %+v", s)
		}
	}
	refused()
	f.until("it is announced as drained", func() bool { return n.announced().Drained != "" })
	n.cmd.Process.Signal(syscall.SIGTERM)
	if err := <-n.done; err != nil {
		t.Errorf("it ended with %v", err)
	}
	n.done <- nil
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	f.start("a", "--socket", socket)
	refused()
	f.kgent("executor", "undrain", "--socket", socket)
	again := f.follow(f.key, f.grant(time.Second, "a"))
	if s := again.wait(); s.Reason != output.ReasonDeadline {
		t.Errorf("undrained: %+v", s)
	}
	f.ended("a", again.g.Run)
	if st := status(); st.Totals.Jobs["refused: drained"] != 1 || st.Totals.Jobs["deadline"] != 1 || st.Totals.RunTime < time.Second {
		t.Errorf("totals %+v", st.Totals)
	}
	var told []string
	for _, e := range f.records("a") {
		if strings.HasSuffix(e.What, "drained") {
			told = append(told, e.What+" "+e.Detail)
		}
	}
	if len(told) != 2 || !strings.Contains(told[0], "by root: a new disk") || told[1] != "undrained by root" {
		t.Errorf("the audit log says %q", told)
	}
}

// An operator at the bot's host drains a node through Redis and undrains it, as far as the
// policy lets them; whoever has only Redis does not.
func TestExecutorDrainedFromAfar(t *testing.T) {
	needsRoot(t)
	t.Parallel()
	f := newFleet(t, "a", "b")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	rules := f.write("policy.yaml", fmt.Sprintf(`version: 1
tenants: [terminal:%[1]s]
people: {ops: [terminal:%[1]s/root]}
maintenance: [{nodes: role=db, by: {people: [ops]}}]
rules:
  - {tiers: [observe], requesters: {anyone: true}, approvers: {anyone: true}, quorum: 1, max_duration: 1m, max_events: 10, expiry: 1h}
`, host))
	f.start("a", "--labels", "role=db")
	f.start("b", "--labels", "role=web")
	address := f.redis.URLOf(bus.BotUser, f.read("bot.password"))
	order := func(keys, who string, args ...string) (said string, code int) {
		t.Helper()
		cmd := exec.Command(f.bin, append([]string{"executor"}, args...)...)
		if len(args) > 1 {
			cmd.Args = append(cmd.Args, "--keys", keys, "--policy", rules)
		}
		cmd.Env = append(os.Environ(), "SUDO_USER="+who, "REDIS_URL="+address)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	keys := f.path("keys")
	runs := func() output.Summary { return f.follow(f.key, f.grant(time.Second, "a")).wait() }
	if said, code := order(keys, "", "drain", "--node", "a", "--why", "a new disk"); code != 0 || !strings.Contains(said, "a: drained, nothing runs") {
		t.Fatalf("%d: %s", code, said)
	}
	if s := runs(); s.Reason != output.ReasonRefused || !strings.Contains(s.Detail, "by ops (terminal:"+host+"/root): a new disk") {
		t.Errorf("drained: %+v", s)
	}
	f.until("it is listed as drained", func() bool {
		said, _ := order(keys, "", "list")
		return strings.Contains(said, "by ops (terminal:"+host+"/root): a new disk")
	})
	f.kgent("keys", "new", "--dir", f.path("others"))
	for name, tt := range map[string]struct {
		keys, who, node, says string
		code                  int
	}{
		"not by the policy": {keys, "nobody", "a", "is none of them", exitPolicy},
		"no such entry":     {keys, "", "b", "no entry for it under maintenance", exitPolicy},
		"not all of them":   {keys, "", "a,b", "no entry for it under maintenance", exitPolicy},
		"another's key":     {f.path("others"), "", "a", "NOT DONE: refusing grant: unknown-key", exitNode},
		"no node":           {keys, "", "a,", "--node: name", exitUsage},
	} {
		if said, code := order(tt.keys, tt.who, "undrain", "--node", tt.node); code != tt.code || !strings.Contains(said, tt.says) {
			t.Errorf("%s: %d: %s", name, code, said)
		}
	}
	if s := runs(); s.Reason != output.ReasonRefused {
		t.Errorf("still drained: %+v", s)
	}
	if said, code := order(keys, "", "undrain", "--node", "a"); code != 0 {
		t.Errorf("%d: %s", code, said)
	}
	if s := runs(); s.Reason != output.ReasonDeadline {
		t.Errorf("undrained: %+v", s)
	}
	var told []string
	for _, e := range f.records("a") {
		if e.Approval != nil && strings.HasSuffix(e.What, "drained") {
			told = append(told, e.What+" "+e.Approval.Account)
		}
	}
	if want := []string{"drained terminal:" + host + "/root", "undrained terminal:" + host + "/root"}; !slices.Equal(told, want) {
		t.Errorf("the node's audit log says %q", told)
	}
	cmd := exec.Command(f.bin, "audit", "show", "--kind", "order")
	cmd.Env = append(os.Environ(), "REDIS_URL="+address)
	if out, err := cmd.Output(); err != nil || strings.Count(string(out), "ops (terminal:"+host+"/root)") != 3 { // another's key signed one that no node took
		t.Errorf("the team's audit log: %v\n%s", err, out)
	}
}

// A host that has another's name takes none of its jobs while that one is there.
func TestExecutorOfTheSameName(t *testing.T) {
	needsRoot(t)
	t.Parallel()
	f := newFleet(t, "a")
	first := f.start("a")
	second := f.launch("a", "--state", f.path("state-of-another-host"))
	f.until("the second says why it waits", func() bool { return strings.Contains(second.log.String(), "another host") })
	if s := f.follow(f.key, f.grant(time.Second, "a")).wait(); s.Reason != output.ReasonDeadline {
		t.Errorf("summary %+v", s)
	}
	if strings.Contains(second.log.String(), "executor runs") {
		t.Error("the second has begun")
	}
	first.kill()
	f.until("the second begins", func() bool { return strings.Contains(second.log.String(), "executor runs") })
}

// Cut off from Redis, whatever way, a run ends by itself long before its time, and the node is
// there again when Redis is.
func TestExecutorWithoutRedis(t *testing.T) {
	needsRoot(t)
	admin := func(args ...any) func(*rdbtest.Server) {
		return func(s *rdbtest.Server) {
			t.Helper()
			if err := s.Client().Do(t.Context(), args...).Err(); err != nil {
				t.Errorf("%v: %v", args, err)
			}
		}
	}
	for _, c := range []struct {
		name       string
		away, back func(*rdbtest.Server)
	}{
		{"Killed", (*rdbtest.Server).Kill, (*rdbtest.Server).Restart},
		{"Paused", (*rdbtest.Server).Pause, (*rdbtest.Server).Resume},
		{"ReadOnly", admin("REPLICAOF", "127.0.0.1", "1"), admin("REPLICAOF", "NO", "ONE")}, // as after a failover
		{"Full", admin("CONFIG", "SET", "maxmemory", "1"), admin("CONFIG", "SET", "maxmemory", "0")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, "a")
			n := f.start("a")
			tr := f.run(long, "a")
			c.away(f.redis)
			tr.gone("a")
			c.back(f.redis)
			if s := tr.wait(); s.Reason != output.ReasonOutput && s.Reason != output.ReasonFailed {
				t.Errorf("summary %+v", s)
			}
			n.announced()
			f.until("a run succeeds", func() bool {
				return f.follow(f.key, f.grant(time.Second, "a")).wait().Reason == output.ReasonDeadline
			})
			if lines := strings.Count(n.log.String(), "level=WARN"); lines > 20 {
				t.Errorf("%d warnings of one outage", lines)
			}
		})
	}
}

// Redis loses everything in mid-run: the run ends in time, and the next works.
func TestExecutorRedisEmptied(t *testing.T) {
	needsRoot(t)
	t.Parallel()
	f := newFleet(t, "a")
	f.start("a")
	tr := f.run(10*time.Second, "a")
	if err := f.redis.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	s := tr.wait()
	tr.gone("a")
	if s.Reason != output.ReasonDeadline && s.Reason != output.ReasonOutput {
		t.Errorf("summary %+v", s)
	}
	if tr = f.follow(f.key, f.grant(time.Second, "a")); tr.wait().Reason != output.ReasonDeadline {
		t.Errorf("the next run: %+v", tr.summary)
	}
}

// While its audit log cannot be written, a node runs nothing.
func TestExecutorAudit(t *testing.T) {
	record, err := audit.Open(t.Context(), filepath.Join(t.TempDir(), auditFile), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	k := &auditedKernel{Kernel: noKernel{}, log: slog.New(slog.DiscardHandler), record: record}
	k.audit(executor.Entry{What: "accepted"})
	if _, err := k.Load(t.Context(), nil, nil); !errors.Is(err, errNoKernel) {
		t.Errorf("with the log: %v", err)
	}
	record.Close()
	k.audit(executor.Entry{What: "accepted"})
	if _, err := k.Load(t.Context(), nil, nil); err == nil || errors.Is(err, errNoKernel) {
		t.Errorf("without the log: %v", err)
	}
}

var errNoKernel = errors.New("there is no kernel")

type noKernel struct{}

func (noKernel) Load(context.Context, *program.Object, *program.Manifest) (executor.Probe, error) {
	return nil, errNoKernel
}

// The same warning is not repeated all the time.
func TestCalm(t *testing.T) {
	now := time.Now()
	var out bytes.Buffer
	log := slog.New(newCalm(slog.NewTextHandler(&out, nil), func() time.Time { return now }))
	for range 100 {
		log.Warn("taking jobs", "err", "x")
		log.Error("broken")
		now = now.Add(time.Second)
	}
	log.Warn("another")
	if n := strings.Count(out.String(), "taking jobs"); n != 4 {
		t.Errorf("%d times in 100 seconds, want 4", n)
	}
	if !strings.Contains(out.String(), "not_repeated=29") || strings.Count(out.String(), "broken") != 100 || !strings.Contains(out.String(), "another") {
		t.Errorf("the log is:\n%s", out.String())
	}
}

// A node is called as it is told, or as its host is, if somebody has named that.
func TestNodeName(t *testing.T) {
	for _, test := range []struct {
		given, host string
		fails       error
		want, says  string
	}{
		{given: "db-1", host: "(none)", want: "db-1"},
		{given: "localhost", host: "db-1", want: "localhost"}, // whoever says so means it
		{host: "db-1.example", want: "db-1.example"},
		{given: "a b", host: "db-1", says: `--node-name: name "a b"`},
		{host: "", says: "--node-name NAME"},
		{host: "(none)", says: `(it is called "(none)", as others may be): say by --node-name NAME`},
		{host: "localhost", says: "--node-name NAME"},
		{host: "LOCALHOST.localdomain", says: "--node-name NAME"},
		{host: "my host", says: `name "my host": want 1 to`},
		{host: "my host", says: "say by --node-name NAME"},
		{fails: errors.New("no uname"), says: "no uname; --node-name NAME"},
	} {
		got, err := nodeName(test.given, func() (string, error) { return test.host, test.fails })
		if got != test.want || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("given %q on %q: %q, %v; want %q, %q", test.given, test.host, got, err, test.want, test.says)
		}
		var usage usageError
		if err != nil && errors.As(err, &usage) != (test.fails == nil) {
			t.Errorf("given %q on %q: %v is of the wrong kind", test.given, test.host, err)
		}
	}
}

func TestParseLabels(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "map[]"},
		{"role=db,zone=eu-1", "map[role:db zone:eu-1]"},
		{"role", ""}, {"=x", ""}, {"role=", ""}, {"a=b=c", ""}, {"a=b,", ""}, {"a=b,a=c", ""}, {"arch=x", "map[arch:x]"}, {"a=b c", ""}, {"a=\x1b[1m", ""},
	} {
		got, err := parseLabels(c.in)
		if (err != nil) != (c.want == "") || err == nil && fmt.Sprint(got) != c.want {
			t.Errorf("%q: %v, %v; want %s", c.in, got, err, c.want)
		}
	}
}
