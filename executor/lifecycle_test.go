package executor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kgent/executor/output"
)

func (k eventKind) String() string {
	return [...]string{"loaded", "attached", "streamed", "closed", "slow", "deadline", "stopped", "unled", "cutOff", "shutdown", "hot", "drained", "overdue"}[k]
}

func (e effect) String() string {
	return [...]string{"attach", "announce", "stream", "interrupt", "limit", "close", "finish"}[e]
}

func (e event) String() string {
	if e.err != nil {
		return e.kind.String() + "!"
	}
	return e.kind.String()
}

// happens makes events of their names; "!" adds an error.
func happens(t *testing.T, names string) []event {
	t.Helper()
	var out []event
	for name := range strings.FieldsSeq(names) {
		e := event{kind: -1}
		for k := loaded; k <= overdue; k++ {
			if k.String() == strings.TrimSuffix(name, "!") {
				e.kind = k
			}
		}
		if e.kind < 0 {
			t.Fatalf("no event %q", name)
		}
		if strings.HasSuffix(name, "!") {
			e.err = errors.New(name)
		}
		out = append(out, e)
	}
	return out
}

func TestLife(t *testing.T) {
	for _, test := range []struct {
		name   string
		events string
		// effects of each event; "-" for none
		effects string
		reason  output.Reason
		detail  string
	}{
		{"its time is up",
			"loaded attached deadline streamed closed",
			"attach | announce stream | interrupt limit | close | finish",
			output.ReasonDeadline, ""},
		{"somebody stops it",
			"loaded attached stopped streamed closed",
			"attach | announce stream | interrupt limit | close | finish",
			output.ReasonStopped, ""},
		{"stopped, then its time is up: the first counts",
			"loaded attached stopped deadline unled streamed closed",
			"attach | announce stream | interrupt limit | - | - | close | finish",
			output.ReasonStopped, ""},
		{"its time is up, then stopped",
			"loaded attached deadline stopped shutdown streamed closed",
			"attach | announce stream | interrupt limit | - | - | close | finish",
			output.ReasonDeadline, ""},
		{"nobody follows it any more",
			"loaded attached unled streamed closed",
			"attach | announce stream | interrupt limit | close | finish",
			output.ReasonOutput, "nobody follows the run any more"},
		{"the bus is gone",
			"loaded attached cutOff! streamed closed",
			"attach | announce stream | interrupt limit | close | finish",
			output.ReasonOutput, "the bus could not be reached for 5s: cutOff!"},
		{"the executor ends",
			"loaded attached shutdown streamed closed",
			"attach | announce stream | interrupt limit | close | finish",
			output.ReasonInterrupted, "the executor on this node was stopped"},
		{"it costs too much",
			"loaded attached hot! streamed closed",
			"attach | announce stream | interrupt limit | close | finish",
			output.ReasonBudget, "hot!"},
		{"the node is drained",
			"loaded attached drained! streamed closed",
			"attach | announce stream | interrupt limit | close | finish",
			output.ReasonInterrupted, "drained!"},
		{"the program has said everything",
			"loaded attached streamed closed",
			"attach | announce stream | close | finish",
			reasonComplete, ""},
		{"loading fails",
			"loaded!",
			"finish",
			output.ReasonFailed, "loaded!"},
		{"attaching fails",
			"loaded attached! closed",
			"attach | close | finish",
			output.ReasonFailed, "attached!"},
		{"reading fails",
			"loaded attached streamed! closed",
			"attach | announce stream | close | finish",
			output.ReasonFailed, "streamed!"},
		{"detaching fails",
			"loaded attached deadline streamed closed!",
			"attach | announce stream | interrupt limit | close | finish",
			output.ReasonFailed, "closed! (it was ending: deadline)"},
		{"reading and detaching fail",
			"loaded attached streamed! closed!",
			"attach | announce stream | close | finish",
			output.ReasonFailed, "streamed!; closed!"},
		{"reading the rest fails",
			"loaded attached stopped streamed! closed",
			"attach | announce stream | interrupt limit | close | finish",
			output.ReasonFailed, "streamed! (it was ending: stopped)"},
		{"its time is up while reading fails: the failure counts",
			"loaded attached deadline streamed! stopped closed",
			"attach | announce stream | interrupt limit | close | - | finish",
			output.ReasonFailed, "streamed! (it was ending: deadline)"},
		{"reading fails as its time is up: too late to be the reason",
			"loaded attached streamed! deadline closed",
			"attach | announce stream | close | - | finish",
			output.ReasonFailed, "streamed!"},
		{"stopped while loading",
			"stopped loaded closed",
			"interrupt | close | finish",
			output.ReasonStopped, ""},
		{"stopped while loading, which fails for it",
			"stopped loaded!",
			"interrupt | finish",
			output.ReasonStopped, ""},
		{"stopped while attaching, which succeeds: what it saw is read",
			"loaded stopped attached streamed closed",
			"attach | interrupt | announce limit stream | close | finish",
			output.ReasonStopped, ""},
		{"stopped while attaching, which fails for it",
			"loaded stopped attached! closed",
			"attach | interrupt | close | finish",
			output.ReasonStopped, ""},
		{"loading takes too long",
			"slow loaded closed",
			"interrupt | close | finish",
			output.ReasonFailed, "loading and attaching: not done after 1m0s"},
		{"attaching takes too long, and fails for it",
			"loaded slow attached! closed",
			"attach | interrupt | close | finish",
			output.ReasonFailed, "loading and attaching: not done after 1m0s"},
		{"stopped while attaching, which takes too long",
			"loaded stopped slow attached streamed closed",
			"attach | interrupt | - | announce limit stream | close | finish",
			output.ReasonStopped, ""},
		{"it was attached in time",
			"loaded attached slow deadline slow streamed slow closed",
			"attach | announce stream | - | interrupt limit | - | close | - | finish",
			output.ReasonDeadline, ""},
		{"it does not stop reading",
			"loaded attached deadline overdue closed streamed",
			"attach | announce stream | interrupt limit | close | finish | -",
			output.ReasonFailed, "reading the rest of the output: not done after 20s, it was cut off (it was ending: deadline)"},
		{"it stops reading while it is cut off",
			"loaded attached deadline overdue streamed closed",
			"attach | announce stream | interrupt limit | close | - | finish",
			output.ReasonFailed, "reading the rest of the output: not done after 20s, it was cut off (it was ending: deadline)"},
		{"after the end nothing matters",
			"loaded! deadline stopped overdue shutdown",
			"finish | - | - | - | -",
			output.ReasonFailed, "loaded!"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s state
			var got []string
			for _, e := range happens(t, test.events) {
				var effects []effect
				s, effects = step(s, e)
				words := []string{}
				for _, eff := range effects {
					words = append(words, eff.String())
				}
				if len(words) == 0 {
					words = []string{"-"}
				}
				got = append(got, strings.Join(words, " "))
			}
			if g := strings.Join(got, " | "); g != test.effects {
				t.Errorf("effects %s\n  want %s", g, test.effects)
			}
			if s.phase != ended || s.reason != test.reason || s.detail != test.detail {
				t.Errorf("it ended in phase %d, %s, %q; want %s, %q", s.phase, s.reason, s.detail, test.reason, test.detail)
			}
		})
	}
}

// TestEveryLife plays every possible course of events up to a length: results
// come after the effects that they are of, everything else at any time.
func TestEveryLife(t *testing.T) {
	type life struct {
		s       state
		course  []event
		effects []effect
		running map[eventKind]bool // results that will come
		limited bool
	}
	result := map[effect]eventKind{doAttach: attached, doStream: streamed, doClose: closed}
	courses := 0
	var live func(l life)
	check := func(l life) {
		count := func(e effect) int {
			n := 0
			for _, x := range l.effects {
				if x == e {
					n++
				}
			}
			return n
		}
		wasLoaded := slices.ContainsFunc(l.course, func(e event) bool { return e.kind == loaded && e.err == nil })
		wasAttached := slices.ContainsFunc(l.course, func(e event) bool { return e.kind == attached && e.err == nil })
		failed := slices.ContainsFunc(l.course, func(e event) bool { return e.kind == closed && e.err != nil })
		bad := ""
		switch {
		case count(doFinish) != 1 || l.effects[len(l.effects)-1] != doFinish:
			bad = "it is not finished once, as the last effect"
		case wasLoaded && count(doClose) != 1:
			bad = "it was loaded and is not closed once"
		case !wasLoaded && count(doClose) != 0:
			bad = "it was not loaded and is closed"
		case wasAttached != (count(doStream) == 1) || wasAttached != (count(doAnnounce) == 1):
			bad = "it is not announced and streamed once, as it was attached"
		case count(doInterrupt) > 1 || count(doLimit) > 1 || count(doAttach) > 1:
			bad = "an effect is there twice"
		case l.s.reason == "":
			bad = "it ended without a reason"
		case failed && l.s.reason != output.ReasonFailed:
			bad = "detaching failed, and that is not the reason"
		case l.s.reason == output.ReasonFailed && l.s.detail == "":
			bad = "it failed without saying why"
		}
		if bad != "" {
			t.Fatalf("%s\n course %v\n effects %v\n %+v", bad, l.course, l.effects, l.s)
		}
	}
	live = func(l life) {
		if l.s.phase == ended {
			courses++
			check(l)
			return
		}
		var possible []event
		for kind := range l.running {
			possible = append(possible, event{kind: kind}, event{kind, fmt.Errorf("%v fails", kind)})
		}
		if len(l.course) < 6 {
			possible = append(possible, event{kind: deadline}, event{kind: slow}, event{kind: stopped}, event{cutOff, errors.New("no bus")}, event{kind: shutdown}, event{hot, errors.New("too hot")}, event{drained, errors.New("drained")})
			if l.limited {
				possible = append(possible, event{kind: overdue})
			}
		}
		if len(possible) == 0 {
			t.Fatalf("nothing can happen any more after %v; %+v", l.course, l.s)
		}
		for _, e := range possible {
			next := life{course: append(slices.Clip(l.course), e), running: map[eventKind]bool{}, limited: l.limited}
			var effects []effect
			next.s, effects = step(l.s, e)
			next.effects = append(slices.Clip(l.effects), effects...)
			for k := range l.running {
				if k != e.kind {
					next.running[k] = true
				}
			}
			for _, eff := range effects {
				if kind, ok := result[eff]; ok {
					next.running[kind] = true
				}
				next.limited = next.limited || eff == doLimit
			}
			live(next)
		}
	}
	live(life{running: map[eventKind]bool{loaded: true}})
	if courses < 10_000 {
		t.Errorf("only %d courses were played", courses)
	}
	t.Logf("%d courses", courses)
}
