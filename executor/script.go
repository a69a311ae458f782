package executor

import (
	"context"
	"errors"

	"kgent/agent/program"
	"kgent/executor/output"
	"kgent/executor/tracer"
)

// loadScript hands a script to the node's bpftrace.
func (k *HostKernel) loadScript(ctx context.Context, o *program.Object, m *program.Manifest) (Probe, error) {
	if k.Scripts == nil {
		return nil, errors.New("this node runs no bpftrace scripts: it has no bpftrace, or its executor was not told of it; install bpftrace there and start the executor again")
	}
	r, err := k.Scripts.Load(ctx, o, m)
	if err != nil {
		return nil, err
	}
	return &scriptProbe{r}, nil
}

// scriptProbe is a script as the probe of a run.
type scriptProbe struct{ run *tracer.Run }

// Attach implements Probe.
func (p *scriptProbe) Attach(ctx context.Context) (output.Attached, error) { return p.run.Attach(ctx) }

// Stream implements Probe.
func (p *scriptProbe) Stream(ctx context.Context, sink Sink) error { return p.run.Stream(ctx, sink) }

// Counts implements Probe. Events are the lines that the script prints.
func (p *scriptProbe) Counts() (produced, lost, mapFull uint64, err error) { return p.run.Counts() }

// Overhead implements Probe: what another process's programs cost is not measured.
func (p *scriptProbe) Overhead() output.Overhead { return output.Overhead{} }

// Verified implements Probe.
func (p *scriptProbe) Verified() ([]program.Verified, error) { return p.run.Verified(), nil }

// Close implements Probe.
func (p *scriptProbe) Close() error { return p.run.Close() }
