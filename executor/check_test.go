package executor

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/program"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
	"kgent/executor/probe"
)

// checkSigner signs checks with the bench's key.
type checkSigner struct {
	*bench
	change func(*job.Grant)
	signed []*job.Grant
}

func (s *checkSigner) Check(_ context.Context, p job.Program, nodes []string, dry bool) (*job.Grant, []byte, error) {
	var id [16]byte
	rand.Read(id[:])
	g := job.Grant{Version: job.GrantVersion, Purpose: job.PurposeCheck, ID: hex.EncodeToString(id[:]), Run: "check-" + hex.EncodeToString(id[:4]),
		Nodes: nodes, Limits: job.Limits{DryRun: dry}, Approval: job.Approval{Requester: "r"}, NotBefore: time.Now(), Expires: time.Now().Add(time.Minute)}
	d, err := job.CheckDigestOf(p, nodes, dry)
	if err != nil {
		return nil, nil, err
	}
	g.Digest = d.String()
	if s.change != nil {
		s.change(&g)
	}
	s.signed = append(s.signed, &g)
	raw, err := job.Sign(s.key, g, p)
	return &g, raw, err
}

// checkOnce asks n1, and not again when it is busy.
func (b *bench) checkOnce() NodeCheck {
	b.t.Helper()
	c := NodeCheck{Node: "n1"}
	if err := checkOnce(b.t.Context(), b.bus, &checkSigner{bench: b}, b.prog, []*NodeCheck{&c}, false); err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bench) check(nodes ...string) []NodeCheck {
	b.t.Helper()
	out, err := Check(b.t.Context(), b.bus, &checkSigner{bench: b}, b.prog, nodes, false)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// neverAttached fails when any probe was ever attached.
func (b *bench) neverAttached() {
	b.t.Helper()
	b.kernel.mu.Lock()
	defer b.kernel.mu.Unlock()
	for i, p := range b.kernel.probes {
		p.mu.Lock()
		if !p.attachedAt.IsZero() {
			b.t.Errorf("probe %d was attached", i)
		}
		p.mu.Unlock()
	}
}

func TestCheck(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.serve()
		start := time.Now()
		got := b.check("n1")
		if c := got[0]; len(got) != 1 || c.Node != "n1" || !c.Answered || !c.OK || c.Kernel != "6.18.0" || c.Detail != "" ||
			!slices.Equal(c.Programs, []program.Verified{{Program: "p", Processed: 42}}) {
			t.Errorf("%+v", got)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("it took %v", d)
		}
		b.neverAttached()
		if p := b.probe(); p.closed != 1 {
			t.Errorf("the probe was closed %d times", p.closed)
		}
		b.end()
		if got := b.audit(); got != "checking checked" {
			t.Errorf("audit log: %s", got)
		}
		if e := b.entries[0]; e.Digest == "" || e.Grant == "" || e.Approval.Requester != "r" {
			t.Errorf("entry %+v", e)
		}
	})
}

// hooksFunc is a Hooks.
type hooksFunc func(kind, target string) error

func (f hooksFunc) CheckHook(kind, target string) error { return f(kind, target) }

// Everything that speaks against a program is said, and leaves nothing behind.
func TestCheckRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		set    func(*bench)
		rule   string
		detail string
	}{
		"the verifier": {func(b *bench) {
			b.kernel.load = func(context.Context) error { return errors.New("loading program p: R1 invalid mem access") }
		}, "kernel", "R1 invalid mem access"},
		"a long word": {func(b *bench) {
			b.kernel.load = func(context.Context) error { return errors.New(strings.Repeat("ä", 1<<20) + "\x1b[2J") }
		}, "kernel", "ääää"},
		"a kernel without ring buffers": {func(b *bench) {
			b.kernel.load = func(context.Context) error {
				return &probe.LoadError{Map: "events", Reason: "events are handed over in ring buffers, which need Linux 5.8", Err: unix.EINVAL}
			}
		}, "kernel", "creating map events: events are handed over in ring buffers, which need Linux 5.8"},
		"a panic": {func(b *bench) { b.kernel.load = func(context.Context) error { panic("boom") } }, "kernel", "panic: boom"},
		"nothing": {func(b *bench) { b.kernel.make = func() *fakeProbe { return nil } }, "kernel", "gave nothing"},
		"left behind": {func(b *bench) {
			b.kernel.make = func() *fakeProbe {
				return &fakeProbe{close: func(*fakeProbe) error { return errors.New("still there") }}
			}
		}, "kernel", "still there"},
		"the hook": {func(b *bench) {
			b.e.Hooks = hooksFunc(func(k, target string) error { return fmt.Errorf("no %s %s", k, target) })
		}, "hook", "no raw_tracepoint"},
		"the policy":   {func(b *bench) { b.e.Policy.DenyKinds = []program.Kind{program.RawTracepoint} }, "kind", "attaches by raw_tracepoint"},
		"a torn ELF":   {func(b *bench) { b.prog.ELF = b.prog.ELF[:100] }, "program", "parsing object"},
		"its manifest": {func(b *bench) { b.prog.Manifest = []byte(`{"version":1}`) }, "program", "manifest"},
	} {
		t.Run(name, func(t *testing.T) {
			onBench(t, func(t *testing.T, b *bench) {
				test.set(b)
				b.serve()
				c := b.check("n1")[0]
				if !c.Answered || c.OK || c.Rule != test.rule || !strings.Contains(c.Detail, test.detail) {
					t.Errorf("%+v, want rule %s and %q", c, test.rule, test.detail)
				}
				if len(c.Detail) > maxCheckDetail+8 || strings.ContainsRune(c.Detail, '\x1b') {
					t.Errorf("the detail has %d bytes: %.80q", len(c.Detail), c.Detail)
				}
				b.neverAttached()
			})
		})
	}
}

// A program that acts can be checked before anybody was asked about it, but not
// on a node that never lets one act.
func TestCheckOfActing(t *testing.T) {
	source := prelude + `struct xdp_md { __u32 data; };
SEC("xdp") int p(struct xdp_md *ctx) { return 1; }`
	for allowed, want := range map[bool]string{true: "", false: "act"} {
		elf := compile(t, source)
		_, m := built(t, source, program.Options{Interface: "lo"})
		manifest, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		onBench(t, func(t *testing.T, b *bench) {
			b.prog = job.Program{ELF: elf, Manifest: manifest}
			b.e.Policy.AllowAct = allowed
			b.serve()
			if c := b.check("n1")[0]; c.OK != allowed || c.Rule != want {
				t.Errorf("acting allowed %v: %+v", allowed, c)
			}
		})
	}
}

// A check never becomes a run, whatever is done to it on its way.
func TestCheckIsNoRun(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.serve()
		s := &checkSigner{bench: b}
		sealed := func() (job.Grant, []byte) {
			g, raw, err := s.Check(t.Context(), b.prog, []string{"n1"}, false)
			if err != nil {
				t.Fatal(err)
			}
			return *g, raw
		}
		// As a run: dispatched and followed, with a live lease, it stays a check.
		g, raw := sealed()
		if err := Dispatch(t.Context(), b.bus, &g, raw); err != nil {
			t.Fatal(err)
		}
		if r := b.follow(t.Context(), g); r.summary.Reason != output.ReasonChecked || r.count("attached") != 0 {
			t.Errorf("a check that was dispatched: %+v, %q", r.summary, r.lines)
		}
		for name, alter := range map[string]func(*job.Envelope){
			"its envelope says run": func(e *job.Envelope) { e.Purpose = job.PurposeRun },
			"its grant says run":    func(e *job.Envelope) { e.Grant = bytes.Replace(e.Grant, []byte(`"check"`), []byte(`"run"`), 1) },
			"both say run": func(e *job.Envelope) {
				e.Purpose = job.PurposeRun
				e.Grant = bytes.Replace(e.Grant, []byte(`"check"`), []byte(`"run"`), 1)
			},
			"a check of another program": func(e *job.Envelope) { e.Contract = []byte("x") },
		} {
			g, raw := sealed()
			var e job.Envelope
			if err := json.Unmarshal(raw, &e); err != nil {
				t.Fatal(err)
			}
			alter(&e)
			if raw, _ = json.Marshal(e); raw == nil {
				t.Fatal("no envelope")
			}
			if err := Dispatch(t.Context(), b.bus, &g, raw); err != nil {
				t.Fatal(err)
			}
			r := b.follow(t.Context(), g)
			if r.summary.Reason != output.ReasonRefused || !strings.Contains(r.summary.Detail, "refusing grant") {
				t.Errorf("%s: %+v", name, r.summary)
			}
		}
		b.neverAttached()
		if len(b.kernel.probes) != 1 {
			t.Errorf("%d programs were loaded, want that of the one good check", len(b.kernel.probes))
		}
		// A run in the envelope of a check is no check either.
		run, raw := b.seal(b.grant(time.Minute))
		if err := Dispatch(t.Context(), b.bus, &run, bytes.Replace(raw, []byte(`"purpose":"run"`), []byte(`"purpose":"check"`), 1)); err != nil {
			t.Fatal(err)
		}
		if r := b.follow(t.Context(), run); !strings.Contains(r.summary.Detail, string(job.RefusedSignature)) {
			t.Errorf("a run as a check: %+v", r.summary)
		}
	})
}

func TestCheckReplayed(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.serve()
		s := &checkSigner{bench: b}
		g, raw, err := s.Check(t.Context(), b.prog, []string{"n1"}, false)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := b.bus.Submit(t.Context(), raw, "n1"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		_ = g
		if len(b.kernel.probes) != 1 {
			t.Errorf("%d programs were loaded, want 1", len(b.kernel.probes))
		}
		b.end()
		if got := b.audit(); strings.Count(got, "refused:replayed") != 2 || strings.Count(got, "checked") != 1 {
			t.Errorf("audit log: %s", got)
		}
	})
}

// A kernel that does not come to an end keeps its place, and nobody waits for it.
func TestCheckOfHangingKernel(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		release := make(chan struct{})
		var hang atomic.Bool
		hang.Store(true)
		b.kernel.load = func(context.Context) error {
			if hang.Load() {
				<-release
			}
			return nil
		}
		b.serve()
		start := time.Now()
		c := b.check("n1")[0]
		if c.OK || !c.Answered || c.Rule != "time" || time.Since(start) > checkLimit+time.Second {
			t.Errorf("%+v after %v", c, time.Since(start))
		}
		done := make(chan NodeCheck)
		go func() { done <- b.check("n1")[0] }() // takes the second place
		time.Sleep(time.Second)
		if c := b.checkOnce(); c.OK || !c.busy() || !strings.Contains(c.Detail, "2 checks are in progress") {
			t.Errorf("the third check: %+v", c)
		}
		// A run is not held up.
		hang.Store(false)
		b.run(b.grant(time.Second)).want(t, output.ReasonDeadline, "")
		close(release)
		if c := <-done; !c.OK {
			t.Errorf("the second check: %+v", c)
		}
		synctest.Wait()
		if c := b.check("n1")[0]; !c.OK {
			t.Errorf("after that: %+v", c)
		}
	})
}

func TestChecksAreBudgeted(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.serve()
		for i := range checksPerMinute {
			if c := b.check("n1")[0]; !c.OK {
				t.Fatalf("check %d: %+v", i+1, c)
			}
		}
		if c := b.checkOnce(); c.OK || !c.busy() || !strings.Contains(c.Detail, "in the last minute") {
			t.Errorf("one too many: %+v", c)
		}
		b.run(b.grant(time.Second)).want(t, output.ReasonDeadline, "")
		time.Sleep(time.Minute)
		if c := b.check("n1")[0]; !c.OK {
			t.Errorf("a minute later: %+v", c)
		}
	})
}

// Many who ask at once all get an answer, each way of asking: who finds the node
// busy asks again. Who wants to wait no longer is not kept, and a node that
// stays busy says so.
func TestChecksWaitTheirTurn(t *testing.T) {
	o, m := built(t, plain, program.Options{})
	onBench(t, func(t *testing.T, b *bench) {
		var loads atomic.Int32
		var hang atomic.Bool
		release := make(chan struct{})
		b.kernel.load = func(context.Context) error {
			if loads.Add(1) > checksAtOnce {
				t.Errorf("more than %d loads at once", checksAtOnce)
			}
			defer loads.Add(-1)
			if hang.Load() {
				<-release
			}
			time.Sleep(2 * time.Second)
			return nil
		}
		b.serve()
		var wg sync.WaitGroup
		for i := range 8 {
			s := &checkSigner{bench: b}
			wg.Go(func() {
				if i%2 == 0 {
					c, err := Check(t.Context(), b.bus, s, b.prog, []string{"gone", "n1"}, false)
					if err != nil || !c[1].OK || c[0].Answered {
						t.Errorf("check %d: %+v, %v", i, c, err)
					}
					return
				}
				f := &Preflight{Bus: b.bus, Signer: s, Nodes: []string{"n1"}}
				if _, err := f.DryLoad(t.Context(), o, m); err != nil {
					t.Errorf("check %d: %v", i, err)
				}
			})
		}
		wg.Wait()

		hang.Store(true)
		for range checksAtOnce {
			wg.Go(func() { b.checkOnce() })
		}
		time.Sleep(time.Second)
		begun := time.Now()
		ctx, cancel := context.WithCancelCause(t.Context())
		gaveUp := errors.New("gave up")
		time.AfterFunc(3*time.Second, func() { cancel(gaveUp) })
		if _, err := Check(ctx, b.bus, &checkSigner{bench: b}, b.prog, []string{"n1"}, false); !errors.Is(err, gaveUp) || time.Since(begun) > 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		begun = time.Now()
		f := &Preflight{Bus: b.bus, Signer: &checkSigner{bench: b}, Nodes: []string{"n1"}}
		_, err := f.DryLoad(t.Context(), o, m)
		if !errors.Is(err, program.ErrUntried) || !strings.Contains(err.Error(), "2 checks are in progress") || time.Since(begun) > checkPatience {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		close(release)
		wg.Wait()
		time.Sleep(3 * time.Second) // the loads end, for which nobody waits
	})
}

// Nodes that are not there are named, and those that are do not wait for them.
func TestCheckOfMissingNodes(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.serve()
		start := time.Now()
		got := b.check("gone", "n1", "away")
		if got[0].Answered || got[0].OK || !strings.Contains(got[0].Detail, "did not answer") || got[0].Node != "gone" || !got[1].OK || got[2].Answered {
			t.Errorf("%+v", got)
		}
		if d := time.Since(start); d > checkAnswer+time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

func TestCheckRefusesToAsk(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		s := &checkSigner{bench: b}
		if _, err := Check(t.Context(), b.bus, s, b.prog, nil, false); err == nil {
			t.Error("nobody was asked")
		}
		if _, err := Check(t.Context(), b.bus, s, b.prog, []string{"n1", "n1"}, false); err == nil {
			t.Error("one was asked twice")
		}
		b.bus.submit = func(context.Context, []byte, ...string) error { return errors.New("out of order") }
		if _, err := Check(t.Context(), b.bus, s, b.prog, []string{"n1"}, false); err == nil || !strings.Contains(err.Error(), "out of order") {
			t.Errorf("%v", err)
		}
		b.bus.submit = nil
		ctx, cancel := context.WithCancelCause(t.Context())
		gaveUp := errors.New("gave up")
		time.AfterFunc(3*time.Second, func() { cancel(gaveUp) })
		if _, err := Check(ctx, b.bus, s, b.prog, []string{"n1"}, false); !errors.Is(err, gaveUp) {
			t.Errorf("%v", err)
		}
	})
}

// What a forged answer says is bounded and legible.
func TestCheckOfForgedAnswer(t *testing.T) {
	var n NodeCheck
	line, err := output.Encode(output.Check{Node: "n1", OK: true, Kernel: strings.Repeat("6", 9999), Detail: "\x1b[2J", Programs: make([]output.Verified, 99999)})
	if err != nil {
		t.Fatal(err)
	}
	n.take(bus.Chunk{Final: true, Lines: append([]byte("nonsense\n{}\n"), line...)})
	if !n.OK || len(n.Kernel) > 80 || len(n.Programs) > maxVerified || n.Detail != "" {
		t.Errorf("%+v", n)
	}
	n = NodeCheck{}
	n.take(bus.Chunk{Final: true, Lines: []byte("nonsense")})
	if n.OK || !n.Answered || n.Detail == "" {
		t.Errorf("%+v", n)
	}
}

func TestPreflight(t *testing.T) {
	o, m := built(t, plain, program.Options{})
	onBench(t, func(t *testing.T, b *bench) {
		b.serve()
		f := &Preflight{Bus: b.bus, Signer: &checkSigner{bench: b}, Nodes: []string{"gone", "n1"}}
		got, err := f.DryLoad(t.Context(), o, m)
		if err != nil || len(got) != 1 || got[0].Processed != 42 {
			t.Errorf("%+v, %v", got, err)
		}
		b.kernel.load = func(context.Context) error { return errors.New("unreachable insn 3") }
		if _, err := f.DryLoad(t.Context(), o, m); err == nil || errors.Is(err, program.ErrUntried) || !strings.Contains(err.Error(), "unreachable insn 3") {
			t.Errorf("refused: %v", err)
		}
		f.Nodes = []string{"gone", "away", "lost", "n1"}
		if _, err := f.DryLoad(t.Context(), o, m); !errors.Is(err, program.ErrUntried) || !strings.Contains(err.Error(), "gone: it did not answer") {
			t.Errorf("nobody there: %v", err)
		} else if silent, ok := errors.AsType[*program.SilentError](err); !ok || !slices.Equal(silent.Nodes, []string{"gone", "away", "lost"}) {
			t.Errorf("silent: %v", err)
		}
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		f.Nodes, b.key = []string{"n1"}, key
		if _, err := f.DryLoad(t.Context(), o, m); !errors.Is(err, program.ErrUntried) || !strings.Contains(err.Error(), "unknown-key") {
			t.Errorf("another key: %v", err)
		}
		f.Nodes = nil
		if _, err := f.DryLoad(t.Context(), o, m); !errors.Is(err, program.ErrUntried) {
			t.Errorf("no node: %v", err)
		}
	})
}
