package recipes

import (
	"slices"
	"testing"
)

func TestAsides(t *testing.T) {
	l := library(t)
	for _, tt := range []struct {
		request string
		want    []bool
	}{
		{"the link feels lossy, show tcp retransmits", []bool{true, false}},
		{"show tcp retransmits, i think the switch is broken", []bool{false, true}},
		{"our ledgerd feels slow, histogram of fsync times", []bool{false, false}},                       // may be a name
		{"nginx is slow, histogram of fsync times", []bool{false, false}},                                // is one
		{"tcp connects, internal ones are boring", []bool{false, false}},                                 // leaves out
		{"dns lookups by process, the name that is asked for and the name server", []bool{false, false}}, // lists
		{"in containers things are slow, trace file opens", []bool{false, false}},                        // narrows
		{"the billing team wants to know who opens /etc/shadow", []bool{true, false}},                    // says who asks
	} {
		q := l.read(tt.request, MatchOptions{})
		var got []bool
		for _, c := range q.clauses {
			got = append(got, c.aside)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q: asides %v, want %v", tt.request, got, tt.want)
		}
	}
}

func TestIdleNegation(t *testing.T) {
	l := library(t)
	for request, want := range map[string]bool{
		"file opens, but not mine":              false,
		"file opens but not nginx":              false,
		"is fsync slow or not really":           true,
		"show file opens but only for a minute": true,
		"file opens but the ones of root":       false,
		"trace execs but for cron":              false,
	} {
		q := l.read(request, MatchOptions{})
		idle := true
		for _, u := range q.units(make([]byte, len(q.words))) {
			if slices.Contains(u.meaning.concepts, conceptNegation) {
				idle = idle && q.idle(u)
			}
		}
		if idle != want {
			t.Errorf("%q: negation leaves nothing out: %v, want %v", request, idle, want)
		}
	}
}

func TestTwoEdits(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"retransmisison", "retransmission", true}, {"histogarmm", "histogram", true}, {"capability", "capacity", false}, {"connections", "corrections", false}, {"distribution", "contribution", false},
	} {
		if got := twoEdits(tt.a, tt.b); got != tt.want {
			t.Errorf("twoEdits(%q, %q) = %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}
