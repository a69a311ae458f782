package executor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"kgent/agent/program"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/output"
)

// run is one run in progress: it performs the effects that [step] decides on.
// Effects that can take long run beside its loop, one at a time, and report as
// events. What they leave in the fields below is read after their event.
type run struct {
	e     *Executor
	grant *job.Grant
	elf   job.Program
	job   bus.Job
	taken time.Time

	events chan event
	done   chan struct{} // no event is read any more

	out       *outlet
	probe     Probe
	interrupt context.CancelFunc
	timers    []*time.Timer

	record   output.Attached
	attachMS float64
	clean    bool // Stream returned without error
	closing  bool
	told     sync.WaitGroup // the audit log, that it is attached
	account  output.Counters
	overhead output.Overhead
}

func newRun(e *Executor, g *job.Grant, p job.Program, j bus.Job, taken time.Time) *run {
	return &run{e: e, grant: g, elf: p, job: j, taken: taken, events: make(chan event), done: make(chan struct{})}
}

// post reports an event; false means that nobody reads it any more.
func (r *run) post(e event) bool {
	select {
	case r.events <- e:
		return true
	case <-r.done:
		return false
	}
}

// run takes a job whose grant is believed to its end.
func (r *run) run(ctx context.Context) {
	var o *program.Object
	var m *program.Manifest
	rule := "program"
	err := r.e.guard("checking the program", func() (err error) {
		o, m, err = r.e.admit(r.elf, r.grant.Approval.Tier, r.grant.Limits.DryRun)
		return err
	})
	var policy *PolicyError
	if errors.As(err, &policy) {
		rule = policy.Rule
	}
	a := answer{job: r.job, run: r.grant.Run, grant: r.grant}
	if err == nil {
		if a.reason, err = r.led(ctx); err != nil {
			rule = "lease"
		}
	}
	if err != nil {
		close(r.done)
		r.e.refuse(context.WithoutCancel(ctx), a, rule, err)
		return
	}
	r.e.tell(Entry{What: "accepted", Job: r.job.ID}.of(r.grant))
	if err := r.e.guard("running the program", func() error { r.live(ctx, o, m); return nil }); err != nil {
		a.reason = output.ReasonFailed
		r.e.refuse(context.WithoutCancel(ctx), a, "internal", err)
	}
}

// admit holds a program against its manifest and, as one of the tier, against
// the node's policy. For a dry run it makes the program that only counts, and
// that is what the policy is asked about, as of one that only observes: whatever
// was left in is refused.
func (e *Executor) admit(p job.Program, tier string, dry bool) (*program.Object, *program.Manifest, error) {
	o, m, err := program.Open(p.ELF, p.Manifest)
	if err != nil {
		return nil, nil, err
	}
	if dry {
		if o, err = o.DryRun(); err != nil {
			return nil, nil, err
		}
		tier = tierObserve
	}
	if err := e.Policy.Check(o, m, tier, e.cpus); err != nil {
		return nil, nil, err
	}
	if e.Tombstones != nil {
		hash, err := programHash(o, m)
		if err != nil {
			return nil, nil, err
		}
		if err := e.Tombstones.Allow(hash); err != nil {
			return nil, nil, err
		}
	}
	return o, m, nil
}

// led reports an error, with the reason that the run ends for, unless somebody
// wants the run to begin.
func (r *run) led(ctx context.Context) (output.Reason, error) {
	limit, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for {
		l, err := r.e.Bus.Lease(limit, r.grant.Run)
		switch {
		case err != nil && pause(limit, leasePoll):
		case ctx.Err() != nil:
			return output.ReasonInterrupted, errors.New("the executor on this node was stopped before the run began")
		case err != nil:
			return output.ReasonOutput, fmt.Errorf("asking whether anybody follows the run: %w", err)
		case l == bus.LeaseStopped:
			return output.ReasonStopped, errors.New("the run was stopped before it began")
		case l == bus.LeaseGone:
			return output.ReasonOutput, errors.New("nobody follows the run")
		default:
			return "", nil
		}
	}
}

// live is the loop of a run.
func (r *run) live(ctx context.Context, o *program.Object, m *program.Manifest) {
	// The run outlives ctx by the time it takes to end it in order.
	base := context.WithoutCancel(ctx)
	work, interrupt := context.WithCancel(base)
	r.interrupt = interrupt
	r.out = newOutlet(base, r.e.Bus, r.grant.Run, r.e.Node.Name,
		rates{r.e.Policy.eventsPerSecond(r.grant.Limits.EventsPerSecond), r.e.Policy.MaxLines, r.e.Policy.MaxBytes, len(r.grant.Nodes)},
		func(err error) { go r.post(event{cutOff, err}) }, r.e.tally.busFailed)
	r.e.tally.begin(r, r.out)
	unhook := context.AfterFunc(ctx, func() { r.post(event{kind: shutdown}) })
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(work) })
	defer func() {
		// However this ends, by a panic of its own too, nothing stays.
		unhook()
		r.e.costs.leave(r)
		r.e.tally.forget(r)
		interrupt()
		close(r.done)
		r.out.cancel()
		for _, t := range r.timers {
			t.Stop()
		}
		watching.Wait()
		if r.probe != nil && !r.closing {
			r.e.guard("detaching", r.probe.Close)
		}
	}()

	r.after(startLimit, slow)
	go r.load(work, o, m)
	for s := (state{}); s.phase != ended; {
		e := <-r.events
		if e.kind == streamed {
			r.clean = e.err == nil
		}
		next, effects := step(s, e)
		for _, eff := range effects {
			r.perform(work, base, eff, next)
		}
		s = next
	}
}

func (r *run) perform(work, base context.Context, eff effect, s state) {
	switch eff {
	case doAttach:
		go r.attach(work)
	case doAnnounce:
		r.announce()
	case doStream:
		go r.stream(work)
	case doInterrupt:
		r.e.costs.leave(r)
		r.out.detach()
		r.interrupt()
	case doLimit:
		r.after(drainLimit, overdue)
	case doClose:
		r.e.costs.leave(r)
		r.closing = true
		go r.close(r.clean)
	case doFinish:
		r.finish(base, s)
	}
}

// after reports an event at a later time. Time is the process's monotonic
// clock: setting the clock neither prolongs nor shortens a run.
func (r *run) after(d time.Duration, kind eventKind) {
	r.timers = append(r.timers, time.AfterFunc(d, func() { r.post(event{kind: kind}) }))
}

func (r *run) load(ctx context.Context, o *program.Object, m *program.Manifest) {
	if len(r.grant.Nodes) > 1 {
		one := *m
		one.View.Whole = true
		m = &one
	}
	var p Probe
	err := r.e.guard("loading the program", func() (err error) {
		p, err = r.e.kernel.Load(ctx, o, m)
		if err == nil && p == nil {
			err = errors.New("loading the program: the kernel gave nothing to attach")
		}
		return err
	})
	if err == nil {
		r.probe = p
	}
	if !r.post(event{loaded, err}) && err == nil {
		r.e.guard("detaching", p.Close)
	}
}

func (r *run) attach(ctx context.Context) {
	r.post(event{attached, r.e.guard("attaching the program", func() (err error) {
		r.record, err = r.probe.Attach(ctx)
		return err
	})})
}

// announce tells that the run is attached, and starts its time.
func (r *run) announce() {
	now := time.Now()
	r.attachMS = float64(now.Sub(r.taken)) / float64(time.Millisecond)
	r.after(r.grant.Limits.Duration, deadline)
	r.record.Node, r.record.Run = r.e.Node.Name, r.grant.Run
	r.record.Deadline = output.Time(now.Add(r.grant.Limits.Duration))
	r.out.begin(r.counts)
	r.out.Record(r.record)
	r.out.flush()
	r.e.costs.enter(r)
	// Beside the loop: a log that hangs must not keep the run attached.
	entry := Entry{What: "attached", Job: r.job.ID, ProgramIDs: r.record.ProgramIDs}.of(r.grant)
	r.told.Go(func() { r.e.tell(entry) })
}

func (r *run) counts() (produced, lost, mapFull uint64, err error) {
	err = r.e.guard("counting events", func() (err error) {
		produced, lost, mapFull, err = r.probe.Counts()
		return err
	})
	return produced, lost, mapFull, err
}

func (r *run) stream(ctx context.Context) {
	err := r.e.guard("reading the output", func() error { return r.probe.Stream(ctx, r.out) })
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // that it was told to end is no error
	}
	if err != nil {
		err = fmt.Errorf("reading the output: %w", err)
	}
	r.post(event{streamed, err})
}

// close takes the account and then everything out of the kernel, whatever
// becomes of the account.
func (r *run) close(clean bool) {
	var errs []error
	errs = append(errs, r.e.guard("accounting for the run", func() (err error) {
		r.account, err = r.out.seal(clean)
		r.overhead = r.probe.Overhead()
		return err
	}))
	if err := r.e.guard("detaching", r.probe.Close); err != nil {
		errs = append(errs, fmt.Errorf("detaching, something may be left in the kernel: %w", err))
	}
	r.post(event{closed, errors.Join(errs...)})
}

// watch asks for the run's lease until ctx ends.
func (r *run) watch(ctx context.Context) {
	heard := time.Now()
	for pause(ctx, leasePoll) {
		limit, cancel := context.WithTimeout(ctx, publishLimit)
		l, err := r.e.Bus.Lease(limit, r.grant.Run)
		cancel()
		switch {
		case ctx.Err() != nil:
		case err != nil && time.Since(heard) < grace:
		case err != nil:
			r.post(event{cutOff, err})
		case l == bus.LeaseStopped:
			r.post(event{kind: stopped})
		case l == bus.LeaseGone:
			r.post(event{kind: unled})
		default:
			heard = time.Now()
		}
	}
}

// finish says the last words and, when they are out, acknowledges the job.
func (r *run) finish(ctx context.Context, s state) {
	summary := output.NodeSummary{Node: r.e.Node.Name, Reason: s.reason, Detail: s.detail, Counters: r.account, Overhead: r.overhead}
	summary.Overhead.AttachMS = r.attachMS
	var last []output.Record
	if s.reason == output.ReasonFailed {
		last = append(last, output.Error{Node: r.e.Node.Name, Code: "node", Message: s.detail})
	}
	r.e.tally.end(r)
	err := r.out.finish(append(last, summary)...)
	entry := Entry{What: "ended", Job: r.job.ID, Summary: &summary}
	if err != nil {
		entry.Detail = err.Error()
	} else {
		r.e.ack(ctx, r.job)
	}
	r.told.Wait()
	r.e.tell(entry.of(r.grant))
}
