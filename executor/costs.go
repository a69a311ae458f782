package executor

import (
	"context"
	"slices"
	"sync"
	"time"

	"kgent/executor/output"
	"kgent/executor/probe"
)

// metered is an attached run whose cost is watched.
type metered struct {
	run   *run
	probe Probe
	meter meter
	// Of an estimate: when events were last counted, and how many there were.
	at       time.Time
	produced uint64
	load     load
}

// costs are the attached runs, and what they cost when last sampled.
type costs struct {
	mu   sync.Mutex
	runs map[string]*metered
	// entered holds a token when a run has come: while there is none, nothing is
	// sampled, and nothing wakes an idle node for it.
	entered chan struct{}
}

func newCosts() costs {
	return costs{runs: map[string]*metered{}, entered: make(chan struct{}, 1)}
}

func (c *costs) enter(r *run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &metered{run: r, probe: r.probe, at: time.Now()}
	m.meter.reports = slices.ContainsFunc(r.record.Streams, func(s output.Stream) bool { return s.Events })
	c.runs[r.grant.Run] = m
	select {
	case c.entered <- struct{}{}:
	default: // there is one
	}
}

func (c *costs) leave(r *run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.runs[r.grant.Run]; m != nil && m.run == r {
		delete(c.runs, r.grant.Run)
	}
}

func (c *costs) all() []*metered {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*metered
	for _, m := range c.runs {
		out = append(out, m)
	}
	return out
}

// share returns what a run costs, and what all cost, of a core.
func (c *costs) share(name string) (run, all float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, m := range c.runs {
		all += m.load.share
		if n == name {
			run = m.load.share
		}
	}
	return run, all
}

// watchCosts samples what the attached runs cost, all in the same window, and
// ends those that are over the node's budget, until ctx ends: then all runs do.
func (e *Executor) watchCosts(ctx context.Context) {
	for pause(ctx, sampleEvery) {
		runs := e.costs.all()
		if len(runs) == 0 {
			select {
			case <-e.costs.entered:
			case <-ctx.Done():
			}
			continue
		}
		var sampling sync.WaitGroup
		for _, m := range runs {
			sampling.Go(func() { e.measure(ctx, m) })
		}
		sampling.Wait()
		loads, byName := map[string]load{}, map[string]*metered{}
		for _, m := range runs {
			l, ok := m.meter.load()
			e.costs.mu.Lock()
			m.load = l
			e.costs.mu.Unlock()
			if ok {
				loads[m.run.grant.Run], byName[m.run.grant.Run] = l, m
			}
		}
		for name, why := range tooHot(loads, e.Policy.CPUPerRun, e.Policy.CPUTotal) {
			m := byName[name]
			e.costs.leave(m.run)
			e.Log.Warn("a run is over the CPU budget", "run", name, "share", m.load.share, "why", why)
			go m.run.post(event{hot, &BudgetError{why}}) // it may be busy ending
		}
	}
}

// BudgetError says why a run cost its node too much.
type BudgetError struct{ Why string }

func (e *BudgetError) Error() string { return e.Why }

// measure takes one sample of a run.
func (e *Executor) measure(ctx context.Context, m *metered) {
	var s probe.Sample
	err := e.guard("measuring a run", func() (err error) {
		limit, cancel := context.WithTimeout(ctx, 2*sampleWindow)
		defer cancel()
		s, err = m.probe.Sample(limit, sampleWindow)
		return err
	})
	if err == nil && !s.Available {
		// The kernel does not let it be measured; events always can be counted.
		s, err = m.estimate()
		m.meter.estimated = true
	}
	if err == nil { // else it is ending
		m.meter.add(s)
	}
}

// estimate is a sample of a run by the events that it has produced since the
// last one.
func (m *metered) estimate() (probe.Sample, error) {
	produced, err := m.run.out.produced()
	if err != nil {
		return probe.Sample{}, err
	}
	now := time.Now()
	n := produced - min(produced, m.produced)
	s := probe.Sample{
		Overhead: output.Overhead{Runs: n},
		Window:   now.Sub(m.at),
		Programs: []probe.Cost{{Runs: n, Spent: time.Duration(n) * assumedCost}},
	}
	m.at, m.produced = now, produced
	return s, nil
}
