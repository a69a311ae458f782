package executor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
)

// order signs an order as the desk does.
func (b *bench) order(p job.Purpose, o job.Order, nodes ...string) (job.Grant, []byte) {
	b.t.Helper()
	g := b.grant(0, nodes...)
	g.Purpose, g.Order, g.Limits = p, &o, job.Limits{}
	g.Approval = job.Approval{Requester: "ada", Account: "terminal:h/ada", Policy: "team@1"}
	g.Expires = g.NotBefore.Add(30 * time.Second)
	d, err := job.OrderDigestOf(p, o, g.Nodes)
	if err != nil {
		b.t.Fatal(err)
	}
	g.Digest = d.String()
	raw, err := job.Sign(b.key, g, job.Program{})
	if err != nil {
		b.t.Fatal(err)
	}
	return g, raw
}

// command signs and sends an order, and returns the answer of the first node.
func (b *bench) command(p job.Purpose, o job.Order, nodes ...string) NodeAnswer {
	b.t.Helper()
	g, raw := b.order(p, o, nodes...)
	return b.send(g, raw)
}

func (b *bench) send(g job.Grant, raw []byte) NodeAnswer {
	b.t.Helper()
	answers, err := Command(b.t.Context(), b.bus, &g, raw)
	if err != nil {
		b.t.Fatal(err)
	}
	return answers[0]
}

// A node is drained and undrained over the bus: what runs goes on or is ended, who did
// it is known everywhere, it stays so over a restart, and no order counts twice.
func TestOrders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drained")
	onBench(t, func(t *testing.T, b *bench) {
		reopen := func(e *Executor) {
			var err error
			if e.Maintenance, err = OpenMaintenance(path); err != nil {
				t.Fatal(err)
			}
		}
		reopen(b.e)
		replays := b.e.Verifier.Replays
		b.serve()
		var first result
		g := b.dispatch(b.grant(20 * time.Second))
		done := make(chan struct{})
		go func() { defer close(done); first = b.follow(t.Context(), g) }()
		time.Sleep(time.Second)

		drain, drainRaw := b.order(job.PurposeDrain, job.Order{Why: "a new disk"})
		if a := b.send(drain, drainRaw); !a.Answered || !a.Obeyed || a.Detail != "drained; runs that go on to their end: 1" {
			t.Errorf("drained: %+v", a)
		}
		d := b.e.Status().Drained
		if d == nil || d.By != "ada (terminal:h/ada)" || d.Why != "a new disk" || !d.Ordered.Equal(drain.NotBefore) {
			t.Errorf("status: %+v", d)
		}
		synctest.Wait()
		if known, err := b.bus.Nodes(t.Context()); err != nil || len(known) != 1 || !strings.Contains(known[0].Drained, "by ada (terminal:h/ada): a new disk") {
			t.Errorf("it announces %+v, %v", known, err)
		}
		b.run(b.grant(time.Second)).want(t, output.ReasonRefused, "by ada (terminal:h/ada): a new disk")
		<-done
		first.want(t, output.ReasonDeadline, "")

		// Another executor of the node, with the same disk.
		b.end()
		b.e = b.executor("n1")
		b.e.Verifier.Replays = replays
		reopen(b.e)
		b.serve()
		b.run(b.grant(time.Second)).want(t, output.ReasonRefused, "by ada")
		time.Sleep(time.Second)
		if a := b.command(job.PurposeUndrain, job.Order{}); !a.Obeyed || a.Detail != "it takes runs again" {
			t.Errorf("undrained: %+v", a)
		}
		b.run(b.grant(time.Second)).want(t, output.ReasonDeadline, "")
		// Whoever holds the bus sends the first one again.
		if err := b.bus.Submit(t.Context(), drainRaw, "n1"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if b.e.Maintenance.Drained() != nil {
			t.Error("an order counted twice")
		}

		done = make(chan struct{})
		go func() { defer close(done); first = b.run(b.grant(time.Hour)) }()
		time.Sleep(time.Second)
		if a := b.command(job.PurposeDrain, job.Order{End: true}); !a.Obeyed || a.Detail != "drained; runs that are being ended: 1" {
			t.Errorf("drained at once: %+v", a)
		}
		<-done
		first.want(t, output.ReasonInterrupted, "")
		synctest.Wait() // its last word is out before the node has let go of the run
		st := b.e.Status()
		if st.Totals.Jobs["obeyed"] != 2 || st.Totals.Jobs["refused: replayed"] != 1 || len(st.Runs) != 0 {
			t.Errorf("totals: %+v", st.Totals.Jobs)
		}
		b.end()
		if got := b.audit(); got != "accepted attached drained refused:drained ended refused:drained undrained accepted attached ended refused:replayed accepted attached drained ended" {
			t.Errorf("audit log: %s", got)
		}
		for _, e := range b.entries {
			if strings.HasSuffix(e.What, "drained") && (e.Grant == "" || e.Approval == nil || e.Approval.Account != "terminal:h/ada" || e.Job == "") {
				t.Errorf("not whole: %+v", e)
			}
		}
	})
}

// What was held back on the bus does not undo what came later, wherever that came from; nor
// does what this node cannot do count as done.
func TestOrdersOutOfTurn(t *testing.T) {
	dir := t.TempDir()
	onBench(t, func(t *testing.T, b *bench) {
		b.serve()
		if a := b.command(job.PurposeDrain, job.Order{}); a.Obeyed || !strings.Contains(a.Detail, "no maintenance switch") {
			t.Errorf("without a switch: %+v", a)
		}
		b.end()
		b.e = b.executor("n1")
		var err error
		if b.e.Maintenance, err = OpenMaintenance(filepath.Join(dir, "drained")); err != nil {
			t.Fatal(err)
		}
		b.serve()
		late := "what came later counts"
		undrain, undrainRaw := b.order(job.PurposeUndrain, job.Order{})
		time.Sleep(time.Second)
		if a := b.command(job.PurposeDrain, job.Order{}); !a.Obeyed {
			t.Errorf("drained: %+v", a)
		}
		if a := b.send(undrain, undrainRaw); a.Obeyed || !strings.Contains(a.Detail, late) || b.e.Maintenance.Drained() == nil {
			t.Errorf("an undrain from before: %+v", a)
		}
		drain, drainRaw := b.order(job.PurposeDrain, job.Order{})
		time.Sleep(time.Second)
		if a := b.command(job.PurposeUndrain, job.Order{}); !a.Obeyed {
			t.Errorf("undrained: %+v", a)
		}
		if a := b.send(drain, drainRaw); a.Obeyed || !strings.Contains(a.Detail, late) || b.e.Maintenance.Drained() != nil {
			t.Errorf("a drain from before: %+v", a)
		}
		// Somebody at the node itself, too.
		undrain, undrainRaw = b.order(job.PurposeUndrain, job.Order{})
		time.Sleep(time.Second)
		if err := b.e.Drain(Drain{Since: time.Now(), By: "root"}, false); err != nil {
			t.Fatal(err)
		}
		if a := b.send(undrain, undrainRaw); a.Obeyed || !strings.Contains(a.Detail, late) || b.e.Maintenance.Drained() == nil {
			t.Errorf("an undrain from before: %+v", a)
		}
		time.Sleep(time.Second)
		if a := b.command(job.PurposeUndrain, job.Order{}); !a.Obeyed {
			t.Errorf("undrained: %+v", a)
		}
		// Nor does one from before drain a node that was undrained, there or from afar, over
		// restarts, too.
		for _, here := range []bool{true, false} {
			time.Sleep(time.Second)
			if err := b.e.Drain(Drain{Since: time.Now(), By: "root"}, false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			drain, drainRaw = b.order(job.PurposeDrain, job.Order{})
			other, otherRaw := b.order(job.PurposeDrain, job.Order{})
			time.Sleep(time.Second)
			if here {
				if err := b.e.Undrain("root"); err != nil {
					t.Fatal(err)
				}
			} else if a := b.command(job.PurposeUndrain, job.Order{}); !a.Obeyed {
				t.Errorf("undrained: %+v", a)
			}
			if a := b.send(drain, drainRaw); a.Obeyed || !strings.Contains(a.Detail, late) || b.e.Maintenance.Drained() != nil {
				t.Errorf("undrained here: %v; a drain from before: %+v", here, a)
			}
			b.end()
			b.e = b.executor("n1")
			if b.e.Maintenance, err = OpenMaintenance(filepath.Join(dir, "drained")); err != nil {
				t.Fatal(err)
			}
			b.serve()
			if a := b.send(other, otherRaw); a.Obeyed || !strings.Contains(a.Detail, late) || b.e.Maintenance.Drained() != nil {
				t.Errorf("undrained here: %v; a drain from before, after a restart: %+v", here, a)
			}
		}
		time.Sleep(time.Second)
		old, oldRaw := b.order(job.PurposeDrain, job.Order{})
		time.Sleep(2 * time.Minute)
		if a := b.send(old, oldRaw); a.Obeyed || !strings.Contains(a.Detail, "expired") {
			t.Errorf("two minutes later: %+v", a)
		}
	})
}

// Nodes that are not there are named; when nobody can be told that is an error.
func TestCommandUnheard(t *testing.T) {
	dir := t.TempDir()
	onBench(t, func(t *testing.T, b *bench) {
		var err error
		if b.e.Maintenance, err = OpenMaintenance(filepath.Join(dir, "drained")); err != nil {
			t.Fatal(err)
		}
		b.serve()
		b.bus.submit = func(ctx context.Context, envelope []byte, nodes ...string) error {
			full := bus.Unsent{}
			for _, node := range nodes {
				if node == "n3" {
					full[node] = errors.New("no room")
				} else if err := b.bus.Bus.Submit(ctx, envelope, node); err != nil {
					return err
				}
			}
			if len(full) > 0 {
				return full
			}
			return nil
		}
		g, raw := b.order(job.PurposeDrain, job.Order{}, "n1", "n2", "n3")
		start := time.Now()
		got, err := Command(t.Context(), b.bus, &g, raw)
		if err != nil || len(got) != 3 || !got[0].Obeyed || got[1].Answered || !strings.Contains(got[1].Detail, "did not answer within 10s") || !strings.Contains(got[2].Detail, "no room") {
			t.Errorf("%+v, %v", got, err)
		}
		if took := time.Since(start); took > checkAnswer+time.Second {
			t.Errorf("it took %v", took)
		}
		g, raw = b.order(job.PurposeDrain, job.Order{}, "n3")
		if _, err := Command(t.Context(), b.bus, &g, raw); err == nil || !strings.Contains(err.Error(), "no room") {
			t.Errorf("nobody was told: %v", err)
		}
		// One that was maybe told is listened to.
		told := b.bus.submit
		b.bus.submit = func(ctx context.Context, envelope []byte, nodes ...string) error {
			lost := bus.Unsent{}
			for _, node := range nodes {
				lost[node] = fmt.Errorf("no answer; %w", bus.ErrUnheard)
			}
			return errors.Join(b.bus.Bus.Submit(ctx, envelope, "n1"), lost)
		}
		g, raw = b.order(job.PurposeUndrain, job.Order{}, "n1", "n2")
		got, err = Command(t.Context(), b.bus, &g, raw)
		if err != nil || len(got) != 2 || !got[0].Obeyed || got[1].Answered || !strings.Contains(got[1].Detail, "was maybe not told (no answer; it may be queued nevertheless)") {
			t.Errorf("%+v, %v", got, err)
		}
		b.bus.submit = told
		g = b.grant(time.Second)
		if _, err := Command(t.Context(), b.bus, &g, raw); err == nil {
			t.Error("a run was sent as an order")
		}
		// Nobody's answer is believed to be more than words.
		for _, c := range []bus.Chunk{{Final: true}, {Final: true, Lines: []byte("{\n")}, {Final: true, Lines: []byte(`{"type":"event"}` + "\n")}} {
			n := NodeAnswer{Node: "n1"}
			if n.take(c); n.Obeyed || n.Detail != "its answer is not one to an order" {
				t.Errorf("%+v", n)
			}
		}
	})
}
