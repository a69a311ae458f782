package agent_test

import (
	"strings"
	"testing"

	"kgent/agent"
	"kgent/agent/llm"
	"kgent/agent/llm/llmd"
	"kgent/agent/verify/proof"
)

// reading is an answer of the second reader.
func reading(s said) llmd.Rule {
	return llmd.Rule{JSON: s, Match: llmd.Match{Schema: "kgent_reading"}}
}

// keyed is the contract of the tests with other values in its key.
func keyed(pid string) said {
	d := draft()
	hook := said(d["hooks"].([]any)[0].(said)).with("cases", []any{
		said{"step": 1, "name": "asked", "when": "task_wanted(pid, comm, uid)", "effects": []any{said{"do": "add", "to": "calls",
			"key": []any{said{"name": "pid", "is": pid}, said{"name": "comm", "is": "current.comm"}}, "value": "1", "fields": []any{}}}},
		said{"step": 1, "name": "otherwise", "when": "otherwise", "effects": []any{}},
	})
	return d.with("hooks", []any{hook}, "analysis", "Counts calls of getppid.\nOne row for each process.")
}

func TestComprehend(t *testing.T) {
	m := host(t)
	member := draft()["tables"].([]any)[0].(said)
	for _, tc := range []struct {
		name    string
		replies []any
		want    agent.Outcome
		words   []string
	}{
		{"agrees", []any{reading(keyed("current.tgid"))}, agent.Agrees, []string{"A second reading agrees."}},
		{"differs", []any{reading(keyed("u32(current.task.real_parent.tgid)"))}, agent.Differs,
			[]string{"A second reading differs: When tracepoint/syscalls", "the program changes the row of table “calls” for pid = ", "the second reading changes the row for pid = "}},
		{"form, then agrees", []any{reading(draft().with("tables", []any{member.with("name", "other"), member.with("name", "calls2")})), reading(keyed("current.tgid"))}, agent.Agrees, nil},
		{"prose", []any{llmd.Rule{Text: "It counts.", Match: llmd.Match{Schema: "kgent_reading"}, Times: 3}}, agent.NotRead, []string{"There is no second reading: what the model wrote is no contract"}},
		{"cannot", []any{reading(draft().with("cannot", "it sets a timer", "hooks", []any{}))}, agent.NotRead, []string{"it sets a timer"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newAuthors(t, m, yes{}, []any{draft()}, append([]any{answer("/* only for alice */\n" + counting)}, tc.replies...)...)
			c, err := b.prepare(t.Context(), beyond)
			if err != nil {
				t.Fatal(err)
			}
			if c.Finding.Verdict != proof.Verified {
				t.Fatalf("the candidate is %s: %s", c.Finding.Verdict, c.Finding.Reason)
			}
			before := c.Finding
			r, err := b.Comprehend(t.Context(), c, []agent.Target{b.Target}, llm.NewBudget(llm.Bounds{}), c.Record, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s %q", r, r.Question)
			if r.Outcome != tc.want || c.Finding != before {
				t.Errorf("outcome %q (%s), want %q; finding %v", r.Outcome, r.Reason, tc.want, c.Finding)
			}
			wants(t, "the line", r.String(), tc.words...)
			if tc.want == agent.Agrees && (r.Summary != "Counts calls of getppid. One row for each process." || r.By != "model scripted" || r.Contract == "") {
				t.Errorf("reading %+v", r)
			}
			for _, q := range b.askedFor("kgent_reading") {
				for _, never := range []string{"alice", "parent's id", "how often", "contract \""} {
					if strings.Contains(q, never) {
						t.Errorf("the reader is told %q:\n%s", never, q)
					}
				}
			}
			wants(t, "the first question", b.askedFor("kgent_reading")[0], "# The places of the program", "tracepoint/syscalls/sys_enter_getppid", "bpf_get_current_comm(key.comm")
		})
	}
}

// A gate is not lowered, nor is a reading made, without a model or a source.
func TestComprehendNothing(t *testing.T) {
	r, err := (&agent.Agent{}).Comprehend(t.Context(), &agent.Candidate{}, nil, nil, nil, nil)
	if err != nil || r.Outcome != agent.NotRead || !strings.HasPrefix(r.String(), "There is no second reading: ") {
		t.Errorf("%v, %v", r, err)
	}
}

// A request that has effort for it comes with its second reading; where none is to be had, the candidate comes all
// the same and says so.
func TestReread(t *testing.T) {
	m := host(t)
	for _, tc := range []struct {
		name    string
		replies []any
		want    agent.Outcome
		words   string
	}{
		{"read", []any{reading(keyed("current.tgid"))}, agent.Agrees, "A second reading agrees."},
		{"not read", nil, agent.NotRead, "There is no second reading: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newAuthors(t, m, yes{}, []any{draft()}, append([]any{answer(counting)}, tc.replies...)...)
			b.Effort.Comprehend = true
			c, err := b.prepare(t.Context(), beyond)
			if err != nil {
				t.Fatal(err)
			}
			if c.Finding.Verdict != proof.Verified || c.Reading == nil || c.Reading.Outcome != tc.want {
				t.Fatalf("finding %v, reading %+v", c.Finding, c.Reading)
			}
			wants(t, "the card's line", c.ReadingWords(), tc.words)
		})
	}
}
