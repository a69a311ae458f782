package card_test

import (
	"strings"
	"testing"

	"kgent/bot/card"
	"kgent/executor/output"
)

func candidate() output.Candidate {
	return output.Candidate{Digest: strings.Repeat("ab", 32), Title: "opens", Origin: "recipe opens", Verdict: "UNKNOWN", Reason: "unproved: no contract",
		Tier: "observe", Why: []string{"reads", "only"}, Does: []string{"counts"}, Hooks: []string{"tp a:b"}, Nodes: []string{"n1", "n2"}, Duration: "30s",
		Params: []output.Param{{Name: "comm", Value: "nginx"}}}
}

func field(c card.Card, label string) string {
	for _, b := range c.Blocks {
		if fs, ok := b.(card.Fields); ok {
			for _, f := range fs {
				if f.Label == label {
					return f.Text
				}
			}
		}
	}
	return "(missing)"
}

func TestCandidate(t *testing.T) {
	c := card.Candidate("who opens", candidate(), []string{"process nginx"}, "It counts.")
	for label, want := range map[string]string{
		"request": "who opens", "program": "recipe opens", "runs on": "n1, n2", "for": "30s", "risk": "observe: reads; only",
		"verdict": "UNPROVED: nobody has shown that it means what was asked; it loads on the kernel it is for and only reads (no contract)", "digest": "abababababab",
	} {
		if got := field(c, label); got != want {
			t.Errorf("%s is %q, want %q", label, got, want)
		}
	}
	lists := map[string]string{}
	var quoted string
	for _, b := range c.Blocks {
		switch b := b.(type) {
		case card.List:
			lists[b.Heading] = strings.Join(b.Items, "; ")
		case card.Text:
			if !b.Quoted {
				t.Errorf("the author's words are not quoted: %+v", b)
			}
			quoted = b.Body
		}
	}
	for heading, want := range map[string]string{"it does": "counts", "it listens at": "tp a:b", "with the parameters": "comm = nginx", "understood from the request": "process nginx"} {
		if lists[heading] != want {
			t.Errorf("%s: %q, want %q", heading, lists[heading], want)
		}
	}
	if c.Title != "opens" || quoted != "It counts." {
		t.Errorf("title %q, words %q", c.Title, quoted)
	}
}

// Only VERIFIED is shown as proved, and a model's title is its own word.
func TestVerdictAndTitle(t *testing.T) {
	for verdict, want := range map[string]string{"VERIFIED": "VERIFIED", "UNKNOWN": "UNPROVED: nobody", "VACUOUS": "UNPROVED (VACUOUS): nobody", "": "UNPROVED (): nobody", "verified": "UNPROVED (verified): nobody"} {
		rec := candidate()
		rec.Verdict, rec.Reason = verdict, ""
		if got := field(card.Candidate("q", rec, nil, ""), "verdict"); !strings.HasPrefix(got, want) {
			t.Errorf("%q is shown as %q, want %q", verdict, got, want)
		}
	}
	// Of a program that acts it is not said that it only reads.
	acts := output.Candidate{Verdict: "UNKNOWN", Reason: "unproved: no contract was checked; it loads", Tier: "act"}
	for loads, want := range map[bool]string{true: "; it loads on the kernel it is for", false: "asked"} {
		if got := card.Verdict(acts, loads); !strings.HasSuffix(got, want) || strings.Contains(got, "reads") {
			t.Errorf("acting, loads %v: %q", loads, got)
		}
	}
	rec := candidate()
	rec.Origin, rec.Title = "model recipe x", "approved\n  risk none"
	if got := card.Candidate("q", rec, nil, "").Title; got != `"approved\n  risk none" (the author's words)` {
		t.Errorf("title %s", got)
	}
	if n := len(card.Candidate("q", output.Candidate{}, nil, "").Blocks); n != 3 {
		t.Errorf("an empty candidate has %d blocks", n)
	}
}
