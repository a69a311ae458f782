// Package fleettest is a fleet of nodes in one process, for tests of what happens when
// there are hundreds: real executors, which check real grants, on a real Redis. Only
// their kernels are stand-ins, which load nothing and say what a test wants.
//
//	f := fleettest.Start(t, fleettest.Config{Nodes: 500, Stream: stream})
//	g, envelope := f.Seal(time.Minute, f.Names()...)
//	err := executor.Dispatch(ctx, f.Bus, &g, envelope)
//	summary, err := executor.Follow(ctx, f.Bus, &g, sink)
package fleettest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb"
	"kgent/executor/bus/rdb/rdbtest"
	"kgent/executor/job"
	"kgent/executor/output"
	"kgent/executor/probe"
)

// source is a program of the usual size, which no kernel sees.
const source = `#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";
struct key { k_pid pid; char comm[TASK_COMM_LEN]; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct key);
	__type(value, k_count);
} calls SEC(".maps") KGENT_OUTPUT;
SEC("raw_tp/sys_enter") int on_enter(void *ctx)
{
	struct key key = {};
	k_count *n;
	key.pid = k_current_pid();
	n = k_cell(&calls, &key, k_count);
	if (n)
		(*n)++;
	return 0;
}
`

// Config says what fleet there is.
type Config struct {
	// Nodes is how many nodes there are.
	Nodes int
	// Name is how the node i is called, from 0; nil: node-1 and so on.
	Name func(i int) string
	// Labels are those of the node i; nil: none.
	Labels func(i int) map[string]string
	// Streams are what all programs say that they print.
	Streams []output.Stream
	// Stream is what the probe of a run does while it is attached; it returns when ctx
	// ends. Nil: it waits for that.
	Stream func(ctx context.Context, p *Probe, sink executor.Sink) error
	// Refuse, if set, says why the kernel of a node does not take a program; nil: it
	// does.
	Refuse func(node string) error
	// Drained, if set, says whether the node i is in maintenance.
	Drained func(i int) bool
	// Wrap, if set, is put between the node i and its bus.
	Wrap func(i int, b bus.Bus) bus.Node
	// Light nodes are no executors: they say to Redis what an executor says when it takes a
	// job, without believing or loading anything, and end when the run is stopped.
	// Each has its own connections, and next to no cost beside those.
	Light bool
	// Server is a Redis server of the test; nil: one is started.
	Server *rdbtest.Server
}

// Fleet is a running fleet.
type Fleet struct {
	// Bus is that of the side that sends jobs.
	Bus    *bus.Redis
	Client redis.UniversalClient
	Server *rdbtest.Server

	t     testing.TB
	cfg   Config
	key   ed25519.PrivateKey
	prog  job.Program
	nodes []*node
	run   atomic.Pointer[string] // of the newest grant
	stops func() (*endings, error)
}

type node struct {
	name string
	end  func()
}

// Start starts a fleet that ends with the test, and waits until all of its nodes have
// announced themselves.
func Start(t testing.TB, cfg Config) *Fleet {
	t.Helper()
	rdb.Quiet() // of the server's end, which is no news
	if cfg.Name == nil {
		cfg.Name = func(i int) string { return fmt.Sprintf("node-%d", i+1) }
	}
	if cfg.Server == nil {
		cfg.Server = rdbtest.Start(t, rdbtest.Unix())
	}
	o := programtest.Object(t, source)
	m, err := program.Build(o, program.Options{Name: "fleet", Title: "fleet"})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &Fleet{Server: cfg.Server, t: t, cfg: cfg, key: key, prog: job.Program{ELF: o.ELF(), Manifest: manifest, Contract: []byte("{}")}}
	f.Client = f.client()
	f.Bus = bus.NewRedis(f.Client)
	f.stops = sync.OnceValues(func() (*endings, error) { return f.listen(t.Context()) })
	started := make(chan struct{}, cfg.Nodes)
	for i := range cfg.Nodes {
		n := &node{name: cfg.Name(i)}
		n.end = f.serve(i, n.name, started)
		f.nodes = append(f.nodes, n)
	}
	t.Cleanup(f.stop)
	for range cfg.Nodes {
		<-started
	}
	f.until("all nodes have announced themselves", func() bool {
		known, err := f.Bus.Nodes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(known) == cfg.Nodes
	})
	return f
}

// client returns a client of its own, as each process has one.
func (f *Fleet) client() redis.UniversalClient {
	f.t.Helper()
	c, err := rdb.New(f.Server.Config())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	return c
}

// serve starts a node.
func (f *Fleet) serve(i int, name string, started chan<- struct{}) (end func()) {
	f.t.Helper()
	var labels map[string]string
	if f.cfg.Labels != nil {
		labels = f.cfg.Labels(i)
	}
	var b bus.Node = f.Bus
	if !f.cfg.Light {
		b = bus.NewRedis(f.client())
	}
	if f.cfg.Wrap != nil {
		b = f.cfg.Wrap(i, b.(bus.Bus))
	}
	e := &executor.Executor{
		Node: bus.NodeInfo{Name: name, Labels: labels, Kernel: "6.18.0", Arch: runtime.GOARCH},
		Verifier: &job.Verifier{
			Node:        name,
			Labels:      labels,
			Keys:        []ed25519.PublicKey{f.key.Public().(ed25519.PublicKey)},
			Replays:     executor.NewMemoryReplays(time.Now),
			Now:         time.Now,
			MaxDuration: time.Hour,
		},
		Kernel:  kernel{f, name},
		Bus:     b,
		Policy:  executor.DefaultPolicy(),
		Started: func() { started <- struct{}{} },
	}
	if f.cfg.Drained != nil && f.cfg.Drained(i) {
		m, err := executor.OpenMaintenance(filepath.Join(f.t.TempDir(), "drained"))
		if err == nil {
			err = m.Set(&executor.Drain{Since: time.Now(), By: "alice", Why: "a new disk"})
		}
		if err != nil {
			f.t.Fatal(err)
		}
		e.Maintenance = m
	}
	serve := e.Serve
	if f.cfg.Light {
		serve = (&light{f, name, started}).serve
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("node %s: %v", name, err)
		}
	})
}

// RedisCPU returns the processor time that Redis has used.
func (f *Fleet) RedisCPU() time.Duration {
	f.t.Helper()
	info, err := f.Client.Info(context.Background(), "cpu").Result()
	if err != nil {
		f.t.Fatal(err)
	}
	var total float64
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			s, err := strconv.ParseFloat(value, 64)
			if err != nil {
				f.t.Fatal(err)
			}
			total += s
		}
	}
	return time.Duration(total * float64(time.Second))
}

// stop ends all nodes.
func (f *Fleet) stop() {
	var wg sync.WaitGroup
	for _, n := range f.nodes {
		wg.Go(n.end)
	}
	wg.Wait()
}

// Kill ends a node.
func (f *Fleet) Kill(name string) {
	f.t.Helper()
	for _, n := range f.nodes {
		if n.name == name {
			n.end()
			return
		}
	}
	f.t.Fatalf("there is no node %s", name)
}

// Names returns the names of all nodes.
func (f *Fleet) Names() []string {
	out := make([]string, len(f.nodes))
	for i, n := range f.nodes {
		out[i] = n.name
	}
	return out
}

// Seal returns a grant for a run of so long on these nodes, and its envelope.
func (f *Fleet) Seal(d time.Duration, nodes ...string) (job.Grant, []byte) {
	f.t.Helper()
	var id [16]byte
	rand.Read(id[:])
	g := job.Grant{
		Version: job.GrantVersion, Purpose: job.PurposeRun, ID: hex.EncodeToString(id[:]), Run: "run-" + hex.EncodeToString(id[:4]),
		Nodes: slices.Sorted(slices.Values(nodes)), Limits: job.Limits{Duration: d},
		Approval:  job.Approval{Requester: "r", Tier: "observe"},
		NotBefore: time.Now(), Expires: time.Now().Add(5 * time.Minute),
	}
	f.run.Store(&g.Run)
	digest, err := job.DigestOf(f.prog, g.Nodes, g.Limits)
	if err != nil {
		f.t.Fatal(err)
	}
	g.Digest = digest.String()
	envelope, err := job.Sign(f.key, g, f.prog)
	if err != nil {
		f.t.Fatal(err)
	}
	return g, envelope
}

// patience bounds the wait for something that must happen: far longer than it takes on a
// busy host.
const patience = 3 * time.Minute

func (f *Fleet) until(what string, ok func() bool) {
	f.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("waited %v until %s", patience, what)
		}
	}
}

// kernel is the stand-in for a node's kernel.
type kernel struct {
	fleet *Fleet
	node  string
}

// Load implements [executor.Kernel].
func (k kernel) Load(context.Context, *program.Object, *program.Manifest) (executor.Probe, error) {
	if k.fleet.cfg.Refuse != nil {
		if err := k.fleet.cfg.Refuse(k.node); err != nil {
			return nil, err
		}
	}
	return &Probe{Node: k.node, fleet: k.fleet}, nil
}

// Probe is a loaded program, which counts what it is told to produce.
type Probe struct {
	Node  string
	fleet *Fleet

	mu             sync.Mutex
	produced, lost uint64
}

// Event produces an event, given as the line of its record, and hands it over.
func (p *Probe) Event(sink executor.Sink, line []byte) {
	p.mu.Lock()
	p.produced++
	p.mu.Unlock()
	if sink.Admit() {
		sink.Line(line)
	}
}

// Lose produces events that the kernel has no room for.
func (p *Probe) Lose(n uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.produced += n
	p.lost += n
}

// Attach implements [executor.Probe].
func (p *Probe) Attach(context.Context) (output.Attached, error) {
	return output.Attached{Hooks: []string{"raw_tracepoint sys_enter"}, ProgramIDs: []uint32{7}, MapIDs: []uint32{8}, Streams: p.fleet.cfg.Streams}, nil
}

// Stream implements [executor.Probe].
func (p *Probe) Stream(ctx context.Context, sink executor.Sink) error {
	if p.fleet.cfg.Stream != nil {
		return p.fleet.cfg.Stream(ctx, p, sink)
	}
	<-ctx.Done()
	return nil
}

// Counts implements [executor.Probe].
func (p *Probe) Counts() (produced, lost, mapFull uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.produced, p.lost, 0, nil
}

// Sample implements [executor.Probe].
func (p *Probe) Sample(_ context.Context, window time.Duration) (probe.Sample, error) {
	return probe.Sample{Overhead: output.Overhead{Available: true}, Window: window}, nil
}

// Overhead implements [executor.Probe].
func (p *Probe) Overhead() output.Overhead { return output.Overhead{Available: true} }

// Verified implements [executor.Probe].
func (p *Probe) Verified() ([]program.Verified, error) {
	return []program.Verified{{Program: "on_enter", Processed: 42}}, nil
}

// Close implements [executor.Probe].
func (p *Probe) Close() error { return nil }
