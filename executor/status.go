package executor

import (
	"maps"
	"slices"
	"sync"
	"time"

	"kgent/executor/bus"
	"kgent/executor/output"
)

// Status is what an executor does and has done, for its operator.
type Status struct {
	Node    bus.NodeInfo `json:"node"`
	Started time.Time    `json:"started"`
	Drained *Drain       `json:"drained,omitempty"`
	// Heard is when the bus last took the node's announcement; zero: never.
	Heard time.Time `json:"heard,omitzero"`
	// Lag is how long the oldest output waits for the bus to take it.
	Lag  time.Duration `json:"bus_lag_ns"`
	Runs []RunStatus   `json:"runs"`
	// CPUShare is what the programs of all runs cost, of one core, as sampled in
	// the last second.
	CPUShare float64 `json:"cpu_share"`
	Totals   Totals  `json:"totals"`
	// KeptOut are the programs that are not loaded for now: the executor died while
	// they were.
	KeptOut []Crash `json:"kept_out,omitempty"`
	Policy  Bounds  `json:"bounds"`
}

// RunStatus is a run in progress.
type RunStatus struct {
	Run       string    `json:"run"`
	Digest    string    `json:"digest"`
	Requester string    `json:"requester"`
	Tier      string    `json:"tier"`
	Taken     time.Time `json:"taken"`
	// Attached is since when; zero: not yet. Deadline is when it ends.
	Attached time.Time       `json:"attached,omitzero"`
	Deadline time.Time       `json:"deadline,omitzero"`
	Counters output.Counters `json:"counters"`
	CPUShare float64         `json:"cpu_share"`
}

// Totals only grow, from the start of the executor.
type Totals struct {
	// Jobs are those that are over, by outcome: the reason that a run ended for,
	// checked, obeyed, or "refused: " with the rule.
	Jobs map[string]uint64 `json:"jobs"`
	// Events are those of all runs, those in progress included.
	Events output.Counters `json:"events"`
	// RunTime is how long runs that are over were attached, together.
	RunTime time.Duration `json:"run_time_ns"`
	// ProgramTime is what programs were measured to take, within the samples.
	ProgramTime time.Duration `json:"program_time_ns"`
	// Missed are program runs that the kernel left out.
	Missed uint64 `json:"missed"`
	// BusErrors counts failures of the bus.
	BusErrors uint64 `json:"bus_errors"`
}

// Bounds are those of the node's policy that a number is compared with.
type Bounds struct {
	Runs      int     `json:"runs"`
	CPUPerRun float64 `json:"cpu_per_run"`
	CPUTotal  float64 `json:"cpu_all_runs"`
}

// tally keeps what [Executor.Status] tells.
type tally struct {
	mu      sync.Mutex
	started time.Time
	heard   time.Time
	totals  Totals
	live    map[*run]*outlet
}

func (t *tally) begin(r *run, o *outlet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live[r] = o
}

// end moves a run's account from what is in progress to what is over.
func (t *tally) end(r *run) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live[r] == nil {
		return
	}
	delete(t.live, r)
	t.totals.Events = t.totals.Events.Add(r.account)
	t.totals.RunTime += r.out.duration()
	t.totals.ProgramTime += time.Duration(r.overhead.Nanos)
	t.totals.Missed += r.overhead.Missed
}

// forget drops a run that did not come to an account.
func (t *tally) forget(r *run) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.live, r)
}

// over counts a job that is over.
func (t *tally) over(e Entry) {
	outcome := ""
	switch {
	case e.What == "refused" || e.What == "checked" && e.Rule != "":
		outcome = "refused: " + e.Rule
	case (e.What == "drained" || e.What == "undrained") && e.Job != "":
		outcome = string(output.ReasonObeyed)
	case e.What == "checked":
		outcome = string(output.ReasonChecked)
	case e.What == "ended" && e.Summary != nil:
		outcome = string(e.Summary.Reason)
	default:
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.totals.Jobs[outcome]++
}

// announced notes how an announcement went.
func (t *tally) announced(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.heard = time.Now()
	}
}

// busFailed counts a failure of the bus.
func (t *tally) busFailed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.totals.BusErrors++
}

// Status returns what the executor does. See [Executor.Started].
func (e *Executor) Status() Status {
	s := Status{
		Node: e.Node, Drained: e.Maintenance.Drained(), Runs: []RunStatus{},
		KeptOut: e.Tombstones.KeptOut(),
		Policy:  Bounds{e.Policy.MaxRuns, e.Policy.CPUPerRun, e.Policy.CPUTotal},
	}
	e.mu.Lock()
	runs := slices.Collect(maps.Values(e.runs))
	e.mu.Unlock()
	t := &e.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Started, s.Heard, s.Totals = t.started, t.heard, t.totals
	s.Totals.Jobs = maps.Clone(t.totals.Jobs)
	for _, r := range runs {
		x := RunStatus{Run: r.grant.Run, Digest: r.grant.Digest, Requester: r.grant.Approval.Requester, Tier: r.grant.Approval.Tier, Taken: r.taken}
		x.CPUShare, s.CPUShare = e.costs.share(r.grant.Run)
		if o := t.live[r]; o != nil {
			var lag time.Duration
			x.Counters, x.Attached, lag = o.status()
			if !x.Attached.IsZero() {
				x.Deadline = x.Attached.Add(r.grant.Limits.Duration)
			}
			s.Lag = max(s.Lag, lag)
		}
		s.Runs = append(s.Runs, x)
	}
	for _, o := range t.live {
		c, _, _ := o.status()
		s.Totals.Events = s.Totals.Events.Add(c)
	}
	slices.SortFunc(s.Runs, func(a, b RunStatus) int { return a.Taken.Compare(b.Taken) })
	return s
}

// Drain puts the node into maintenance, and with end also ends what runs.
func (e *Executor) Drain(d Drain, end bool) error {
	_, err := e.drain(d, end, Entry{})
	return err
}

// drain is Drain, on the record as that entry. It returns how many runs were in progress.
func (e *Executor) drain(d Drain, end bool, entry Entry) (going int, err error) {
	if d.Ordered.IsZero() {
		err = e.Maintenance.Set(&d)
	} else {
		err = e.Maintenance.obey(&d, d.Ordered)
	}
	if err != nil {
		return 0, err
	}
	e.tellAtOnce()
	e.Log.Info("drained", "by", d.By, "why", d.Why, "end_runs", end)
	entry.What, entry.Detail = "drained", d.String()
	e.tell(entry)
	e.mu.Lock()
	defer e.mu.Unlock()
	if end {
		for _, r := range e.runs {
			go r.post(event{drained, &PolicyError{"drained", "this node is " + d.String()}}) // it may be busy ending
		}
	}
	return len(e.runs), nil
}

// tellAtOnce has the node announced without waiting for the next time: who asks for any
// two of some nodes must not be given one that has just been drained.
func (e *Executor) tellAtOnce() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// Undrain ends the node's maintenance.
func (e *Executor) Undrain(by string) error {
	if err := e.Maintenance.Set(nil); err != nil {
		return err
	}
	e.undrained(by, Entry{})
	return nil
}

// undrained tells everybody that the node is, on the record as that entry.
func (e *Executor) undrained(by string, entry Entry) {
	e.tellAtOnce()
	e.Log.Info("maintenance has ended", "by", by)
	entry.What = "undrained"
	if by != "" {
		entry.Detail = "by " + by
	}
	e.tell(entry)
}
