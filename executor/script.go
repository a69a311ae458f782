package executor

import (
	"context"
	"errors"
	"sync"
	"time"

	"kgent/agent/program"
	"kgent/executor/output"
	"kgent/executor/probe"
	"kgent/executor/tracer"
)

// loadScript hands a script to the node's bpftrace.
func (k *HostKernel) loadScript(ctx context.Context, o *program.Object, m *program.Manifest) (Probe, error) {
	if k.Scripts == nil {
		return nil, errors.New("this node runs no bpftrace scripts: it has no bpftrace, or its executor was not told of it; install bpftrace there and start the executor again")
	}
	for _, x := range m.Programs {
		if err := k.loader.Permit(ctx, x.Hook); err != nil {
			return nil, err
		}
	}
	r, err := k.Scripts.Load(ctx, o, m)
	if err != nil {
		return nil, err
	}
	return &scriptProbe{run: r}, nil
}

// scriptProbe is a script as the probe of a run.
type scriptProbe struct {
	run *tracer.Run
	ids []uint32 // of bpftrace's programs

	mu       sync.Mutex
	measured probe.Total
}

// Attach implements Probe.
func (p *scriptProbe) Attach(ctx context.Context) (output.Attached, error) {
	a, err := p.run.Attach(ctx)
	p.ids = a.ProgramIDs
	return a, err
}

// Stream implements Probe. What it reads, which is what bpftrace prints, it reads on
// a thread without the capabilities to load and attach, as of other programs.
func (p *scriptProbe) Stream(ctx context.Context, sink Sink) error {
	return confined(func() error { return p.run.Stream(ctx, sink) }, reading[:]...)
}

// Counts implements Probe. Events are the lines that the script prints.
func (p *scriptProbe) Counts() (produced, lost, mapFull uint64, err error) { return p.run.Counts() }

// Sample implements Probe.
func (p *scriptProbe) Sample(ctx context.Context, window time.Duration) (probe.Sample, error) {
	s, err := probe.SampleIDs(ctx, window, p.ids)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.measured.Add(s)
	return s, err
}

// Overhead implements Probe.
func (p *scriptProbe) Overhead() output.Overhead {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.measured.Overhead()
}

// Verified implements Probe.
func (p *scriptProbe) Verified() ([]program.Verified, error) { return p.run.Verified(), nil }

// Close implements Probe.
func (p *scriptProbe) Close() error { return p.run.Close() }
