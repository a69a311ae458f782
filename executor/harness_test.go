package executor

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"kgent/agent/program"
	"kgent/agent/program/bpftrace"
	"kgent/agent/program/bpftrace/jail"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
	"kgent/executor/probe"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == jail.Arg {
		fmt.Fprintln(os.Stderr, jail.Enter(os.Args[2]))
		os.Exit(bpftrace.ExitJail)
	}
	if os.Getenv(holdEnv) != "" {
		hold() // a process that a test kills
	}
	goleak.VerifyTestMain(m)
}

// fakeKernel loads nothing and remembers everything.
type fakeKernel struct {
	load func(ctx context.Context) error // before a probe is made
	make func() *fakeProbe

	mu     sync.Mutex
	loads  int
	probes []*fakeProbe
}

func (k *fakeKernel) Load(ctx context.Context, o *program.Object, m *program.Manifest) (Probe, error) {
	k.mu.Lock()
	k.loads++
	k.mu.Unlock()
	if k.load != nil {
		if err := k.load(ctx); err != nil {
			return nil, err
		}
	}
	p := &fakeProbe{}
	if k.make != nil {
		if p = k.make(); p == nil {
			return nil, nil
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.probes = append(k.probes, p)
	return p, nil
}

// fakeProbe does what a probe does by default: it waits for its end.
type fakeProbe struct {
	attach   func(ctx context.Context, p *fakeProbe) error
	stream   func(ctx context.Context, p *fakeProbe, sink Sink) error
	counts   func() error
	overhead func()
	sample   func(ctx context.Context, window time.Duration) (probe.Sample, error)
	close    func(p *fakeProbe) error

	mu                      sync.Mutex
	hooks                   int // attached now
	closed                  int
	attachedAt, detachedAt  time.Time
	produced, lost, mapFull uint64
}

func (p *fakeProbe) Attach(ctx context.Context) (output.Attached, error) {
	p.hook(2)
	if p.attach != nil {
		if err := p.attach(ctx, p); err != nil {
			return output.Attached{}, err
		}
	}
	return output.Attached{Hooks: []string{"raw_tracepoint sys_enter"}, ProgramIDs: []uint32{7}, MapIDs: []uint32{8}}, nil
}

func (p *fakeProbe) hook(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hooks, p.attachedAt = n, time.Now()
}

func (p *fakeProbe) detach() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hooks > 0 {
		p.hooks, p.detachedAt = 0, time.Now()
	}
}

func (p *fakeProbe) isDetached() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.detachedAt.IsZero()
}

func (p *fakeProbe) Stream(ctx context.Context, sink Sink) error {
	defer p.detach()
	if p.stream != nil {
		return p.stream(ctx, p, sink)
	}
	<-ctx.Done()
	return nil
}

// emit produces an event and takes it the whole way.
func (p *fakeProbe) emit(sink Sink) bool {
	p.mu.Lock()
	p.produced++
	n := p.produced
	p.mu.Unlock()
	if !sink.Admit() {
		return false
	}
	sink.Line(fmt.Appendf(nil, `{"type":"event","node":"","stream":"events","data":{"n":%d}}`+"\n", n))
	return true
}

// lose produces events that find no room in the kernel.
func (p *fakeProbe) lose(n uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.produced += n
	p.lost += n
}

func (p *fakeProbe) Counts() (produced, lost, mapFull uint64, err error) {
	if p.counts != nil {
		if err := p.counts(); err != nil {
			return 0, 0, 0, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed > 0 {
		return 0, 0, 0, errors.New("counting a closed probe")
	}
	return p.produced, p.lost, p.mapFull, nil
}

func (p *fakeProbe) Verified() ([]program.Verified, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed > 0 {
		return nil, errors.New("asking a closed probe")
	}
	return []program.Verified{{Program: "p", Processed: 42}}, nil
}

func (p *fakeProbe) Sample(ctx context.Context, window time.Duration) (probe.Sample, error) {
	if p.sample != nil {
		return p.sample(ctx, window)
	}
	return probe.Sample{Overhead: output.Overhead{Available: true}, Window: window}, nil
}

func (p *fakeProbe) Overhead() output.Overhead {
	if p.overhead != nil {
		p.overhead()
	}
	return output.Overhead{Runs: 10, Nanos: 1000, CPUShare: 0.25, Available: true}
}

func (p *fakeProbe) Close() error {
	p.mu.Lock()
	p.closed++
	p.mu.Unlock()
	p.detach()
	if p.close != nil {
		return p.close(p)
	}
	return nil
}

// faultyBus is a bus whose ways fail as a test wants.
type faultyBus struct {
	bus.Bus
	publish func(ctx context.Context, c bus.Chunk) error
	lease   func(ctx context.Context, run string) (bus.Lease, error)
	consume func(ctx context.Context, node, consumer string, each func(bus.Job)) error
	follow  func(ctx context.Context, run string, nodes []string, each func(bus.Chunk) error) error
	stops   func(ctx context.Context) (<-chan string, error)
	stop    func(ctx context.Context, run string) error
	submit  func(ctx context.Context, envelope []byte, nodes ...string) error
	ack     func(ctx context.Context, node, id string) error
}

func (b *faultyBus) Publish(ctx context.Context, c bus.Chunk) error {
	if b.publish != nil {
		return b.publish(ctx, c)
	}
	return b.Bus.Publish(ctx, c)
}

func (b *faultyBus) Lease(ctx context.Context, run string) (bus.Lease, error) {
	if b.lease != nil {
		return b.lease(ctx, run)
	}
	return b.Bus.Lease(ctx, run)
}

func (b *faultyBus) Consume(ctx context.Context, node, consumer string, each func(bus.Job)) error {
	if b.consume != nil {
		return b.consume(ctx, node, consumer, each)
	}
	return b.Bus.Consume(ctx, node, consumer, each)
}

func (b *faultyBus) Follow(ctx context.Context, run string, nodes []string, each func(bus.Chunk) error) error {
	if b.follow != nil {
		return b.follow(ctx, run, nodes, each)
	}
	return b.Bus.Follow(ctx, run, nodes, each)
}

func (b *faultyBus) Stops(ctx context.Context) (<-chan string, error) {
	if b.stops != nil {
		return b.stops(ctx)
	}
	return b.Bus.Stops(ctx)
}

func (b *faultyBus) Stop(ctx context.Context, run string) error {
	if b.stop != nil {
		return b.stop(ctx, run)
	}
	return b.Bus.Stop(ctx, run)
}

func (b *faultyBus) Submit(ctx context.Context, envelope []byte, nodes ...string) error {
	if b.submit != nil {
		return b.submit(ctx, envelope, nodes...)
	}
	return b.Bus.Submit(ctx, envelope, nodes...)
}

func (b *faultyBus) Ack(ctx context.Context, node, id string) error {
	if b.ack != nil {
		return b.ack(ctx, node, id)
	}
	return b.Bus.Ack(ctx, node, id)
}

// bench is a node with a fake kernel, and the control side, on one bus.
type bench struct {
	t      *testing.T
	bus    *faultyBus
	kernel *fakeKernel
	key    ed25519.PrivateKey
	prog   job.Program
	e      *Executor

	end func() // of Serve, which it waits for

	mu      sync.Mutex
	entries []Entry
}

// realBench is a bench outside of a bubble, for this machine's kernel and clock.
func realBench(t *testing.T, source string, opt program.Options) *bench {
	t.Helper()
	elf := compile(t, source)
	_, m := built(t, source, opt)
	manifest, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, kernel: &fakeKernel{}, key: key, prog: job.Program{ELF: elf, Manifest: manifest, Contract: []byte("{}")}}
	b.bus = &faultyBus{Bus: bus.NewMemory()}
	b.e = b.executor("n1")
	return b
}

// onBench runs f in a bubble of fake time, and then makes sure that nothing
// is left.
func onBench(t *testing.T, f func(t *testing.T, b *bench)) {
	compile(t, plain) // outside of the bubble: it starts a process
	synctest.Test(t, func(t *testing.T) {
		b := realBench(t, plain, program.Options{})
		f(t, b)
		if b.end != nil {
			b.end()
		}
		b.checkResidue()
	})
}

func (b *bench) executor(node string) *Executor {
	return &Executor{
		Node:     bus.NodeInfo{Name: node, Kernel: "6.18.0", Arch: runtime.GOARCH},
		Verifier: b.verifier(node),
		Kernel:   b.kernel,
		Bus:      b.bus,
		Policy:   DefaultPolicy(),
		Audit: func(e Entry) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.entries = append(b.entries, e)
		},
	}
}

func (b *bench) verifier(node string) *job.Verifier {
	return &job.Verifier{
		Node:        node,
		Keys:        []ed25519.PublicKey{b.key.Public().(ed25519.PublicKey)},
		Replays:     NewMemoryReplays(time.Now),
		Now:         time.Now,
		MaxDuration: time.Hour,
	}
}

// serve starts the bench's executor.
func (b *bench) serve() {
	b.t.Helper()
	b.end = b.start(b.e)
}

func (b *bench) start(e *Executor) (end func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Serve: %v", err)
		}
	})
}

func (b *bench) checkResidue() {
	b.t.Helper()
	b.kernel.mu.Lock()
	defer b.kernel.mu.Unlock()
	for i, p := range b.kernel.probes {
		p.mu.Lock()
		if p.closed != 1 || p.hooks != 0 {
			b.t.Errorf("probe %d was closed %d times and has %d hooks attached, want 1 and 0", i, p.closed, p.hooks)
		}
		p.mu.Unlock()
	}
}

// probe returns the only probe there was.
func (b *bench) probe() *fakeProbe {
	b.t.Helper()
	b.kernel.mu.Lock()
	defer b.kernel.mu.Unlock()
	if len(b.kernel.probes) != 1 {
		b.t.Fatalf("%d probes were loaded, want 1", len(b.kernel.probes))
	}
	return b.kernel.probes[0]
}

// audit returns what the audit log was told, one word an entry.
func (b *bench) audit() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var words []string
	for _, e := range b.entries {
		w := e.What
		if e.Rule != "" {
			w += ":" + e.Rule
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// grant returns a grant for a run of so long on these nodes, or n1.
func (b *bench) grant(d time.Duration, nodes ...string) job.Grant {
	var id [16]byte
	rand.Read(id[:])
	if len(nodes) == 0 {
		nodes = []string{"n1"}
	}
	return job.Grant{
		Version: job.GrantVersion, Purpose: job.PurposeRun, ID: hex.EncodeToString(id[:]), Run: "run-" + hex.EncodeToString(id[:4]),
		Nodes: nodes, Limits: job.Limits{Duration: d},
		Approval:  job.Approval{Requester: "r", Tier: "observe"},
		NotBefore: time.Now(), Expires: time.Now().Add(5 * time.Minute),
	}
}

// seal signs a grant for the bench's program.
func (b *bench) seal(g job.Grant) (job.Grant, []byte) {
	b.t.Helper()
	d, err := job.DigestOf(b.prog, g.Nodes, g.Limits)
	if err != nil {
		b.t.Fatal(err)
	}
	g.Digest = d.String()
	raw, err := job.Sign(b.key, g, b.prog)
	if err != nil {
		b.t.Fatal(err)
	}
	return g, raw
}

// dispatch seals and sends a grant.
func (b *bench) dispatch(g job.Grant) job.Grant {
	b.t.Helper()
	g, raw := b.seal(g)
	if err := Dispatch(b.t.Context(), b.bus, &g, raw); err != nil {
		b.t.Fatal(err)
	}
	return g
}

// result is what a follower got.
type result struct {
	lines   []string
	summary output.Summary
	err     error
	took    time.Duration
}

func (b *bench) follow(ctx context.Context, g job.Grant) result {
	b.t.Helper()
	var r result
	start := time.Now()
	r.summary, r.err = Follow(ctx, b.bus, &g, func(line []byte) {
		if !bytes.HasSuffix(line, []byte("\n")) || bytes.Count(line, []byte("\n")) != 1 {
			b.t.Errorf("not a line: %q", line)
		}
		r.lines = append(r.lines, string(line))
	})
	r.took = time.Since(start)
	if errors.Is(r.err, bus.ErrHandOver) {
		return r // the account is the next one's
	}
	if !r.summary.Balanced() {
		b.t.Errorf("the account does not balance: %+v", r.summary.Counters)
	}
	if got := uint64(r.count("event")); got != r.summary.Delivered {
		b.t.Errorf("%d events came, %d delivered according to the account", got, r.summary.Delivered)
	}
	return r
}

// run dispatches and follows.
func (b *bench) run(g job.Grant) result {
	b.t.Helper()
	return b.follow(b.t.Context(), b.dispatch(g))
}

func (r result) count(kind string) int {
	n := 0
	for _, l := range r.lines {
		if strings.HasPrefix(l, `{"type":"`+kind+`"`) {
			n++
		}
	}
	return n
}

// want checks why the run ended.
func (r result) want(t *testing.T, reason output.Reason, detail string) {
	t.Helper()
	if r.summary.Reason != reason || !strings.Contains(r.summary.Detail, detail) {
		t.Errorf("it ended %s: %q, want %s with %q", r.summary.Reason, r.summary.Detail, reason, detail)
	}
}

// kinds are the types of the records that came, without repetition.
func (r result) kinds(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, l := range r.lines {
		rec, err := output.Decode([]byte(l))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.TrimPrefix(fmt.Sprintf("%T", rec), "output."))
	}
	return slices.Compact(out)
}
