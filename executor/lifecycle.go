package executor

import (
	"fmt"

	"kgent/executor/output"
)

// The life of a run as a pure function of what happens to it: step takes a
// state and an event and returns the next state and what is to be done. It
// knows no time, kernel or bus; [run] performs the effects and reports what
// came of them as further events.
//
//	loading → attaching → streaming → draining → closing → ended
//
// Whatever happens, every path from a loaded program leads through exactly
// one doClose, and every path ends with exactly one doFinish.

type phase int

const (
	loading   phase = iota
	attaching       // loaded
	streaming       // attached
	draining        // told to end: detaching, reading what is left
	closing
	ended
)

// state is all that decides. Its zero value is a run that is being loaded.
type state struct {
	phase phase
	// reason is why the run ends, once something made it; the first word
	// counts, but a failure overrides, because its output is not what was
	// asked for.
	reason output.Reason
	detail string
}

// event is something that happened to a run.
type event struct {
	kind eventKind
	err  error // of the results
}

type eventKind int

const (
	// Results of effects; err says how they went.
	loaded eventKind = iota
	attached
	streamed
	closed

	// What ends a run.
	slow     // it was not attached in time
	deadline // its time is up
	stopped  // somebody stopped it
	unled    // its lease is gone: nobody follows it
	cutOff   // the bus cannot be reached; err says why
	shutdown // the executor is told to end
	hot      // it costs the node too much; err says why
	drained  // the node is to be in maintenance; err says why
	overdue  // it was told to end and still drains
)

// effect is something to do.
type effect int

const (
	doAttach    effect = iota
	doAnnounce         // say that it is attached, and start its time
	doStream           // until interrupted
	doInterrupt        // what is going on: loading, attaching or streaming
	doLimit            // give it a bounded time to drain
	doClose            // take the account, then everything out of the kernel
	doFinish           // the last words
)

// reasonComplete ends a run whose program has nothing more to say.
const reasonComplete output.Reason = "complete"

func step(s state, e event) (state, []effect) {
	switch s.phase {
	case loading:
		return stepLoading(s, e)
	case attaching:
		return stepAttaching(s, e)
	case streaming:
		return stepStreaming(s, e)
	case draining:
		return stepDraining(s, e)
	case closing:
		if e.kind != closed {
			return s, nil
		}
		if e.err != nil {
			s = s.fail(e.err)
		}
		s.phase = ended
		return s, []effect{doFinish}
	}
	return s, nil // ended
}

func stepLoading(s state, e event) (state, []effect) {
	if e.kind != loaded {
		return s.interrupted(e)
	}
	switch {
	case e.err != nil:
		// An error after an interruption is its consequence.
		if s.reason == "" {
			s = s.fail(e.err)
		}
		s.phase = ended
		return s, []effect{doFinish}
	case s.reason != "":
		s.phase = closing
		return s, []effect{doClose}
	}
	s.phase = attaching
	return s, []effect{doAttach}
}

func stepAttaching(s state, e event) (state, []effect) {
	if e.kind != attached {
		return s.interrupted(e)
	}
	switch {
	case e.err != nil:
		if s.reason == "" {
			s = s.fail(e.err)
		}
		s.phase = closing
		return s, []effect{doClose}
	case s.reason != "":
		// It was attached and may have produced events, which are accounted
		// for by reading them.
		s.phase = draining
		return s, []effect{doAnnounce, doLimit, doStream}
	}
	s.phase = streaming
	return s, []effect{doAnnounce, doStream}
}

func stepStreaming(s state, e event) (state, []effect) {
	if e.kind == streamed {
		if e.err != nil {
			s = s.fail(e.err)
		} else {
			s.reason = reasonComplete
		}
		s.phase = closing
		return s, []effect{doClose}
	}
	s, effects := s.interrupted(e)
	if s.reason != "" {
		s.phase = draining
		effects = append(effects, doLimit)
	}
	return s, effects
}

func stepDraining(s state, e event) (state, []effect) {
	switch e.kind {
	case streamed:
		if e.err != nil {
			s = s.fail(e.err)
		}
	case overdue:
		s = s.fail(fmt.Errorf("reading the rest of the output: not done after %v, it was cut off", drainLimit))
	default:
		return s, nil
	}
	s.phase = closing
	return s, []effect{doClose}
}

// interrupted takes in an event that ends a run, and ignores others and all
// after the first.
func (s state) interrupted(e event) (state, []effect) {
	if s.reason != "" {
		return s, nil
	}
	switch e.kind {
	case slow:
		if s.phase == streaming {
			return s, nil
		}
		s = s.fail(fmt.Errorf("loading and attaching: not done after %v", startLimit))
	case deadline:
		s.reason = output.ReasonDeadline
	case stopped:
		s.reason = output.ReasonStopped
	case unled:
		s.reason, s.detail = output.ReasonOutput, "nobody follows the run any more"
	case cutOff:
		s.reason, s.detail = output.ReasonOutput, fmt.Sprintf("the bus could not be reached for %v: %v", grace, e.err)
	case hot:
		s.reason, s.detail = output.ReasonBudget, e.err.Error()
	case drained:
		s.reason, s.detail = output.ReasonInterrupted, e.err.Error()
	case shutdown:
		s.reason, s.detail = output.ReasonInterrupted, "the executor on this node was stopped"
	default:
		return s, nil
	}
	return s, []effect{doInterrupt}
}

// fail makes a failure the reason. Of several the first is told first.
func (s state) fail(err error) state {
	detail := err.Error()
	switch {
	case s.reason == output.ReasonFailed:
		detail = s.detail + "; " + detail
	case s.reason != "":
		detail = fmt.Sprintf("%s (it was ending: %s)", detail, s.reason)
	}
	s.reason, s.detail = output.ReasonFailed, detail
	return s
}
