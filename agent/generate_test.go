package agent_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"kgent/agent"
	"kgent/agent/codegen"
	"kgent/agent/contract"
	"kgent/agent/llm/llmd"
	"kgent/agent/verify/proof"
)

// generating is a bench whose programs are generated from contracts.
func generating(t testing.TB, contracts []any, programs ...any) *bench {
	t.Helper()
	b := newAuthors(t, host(t), yes{}, contracts, programs...)
	b.Generate = codegen.C
	return b
}

// which is an answer to the question which of two readings a request asks for.
func which(answer string, pairs ...any) llmd.Rule {
	return llmd.Rule{JSON: said{"analysis": "", "answer": answer, "question": "", "one": "", "two": ""}.with(pairs...), Match: llmd.Match{Schema: "which_reading"}}
}

// otherwise is a program that reads the request differently: process 1 is left out.
func otherwise(t testing.TB) said {
	return answer(edit(t, "key.pid = k_current_pid();", "key.pid = k_current_pid();\n\tif (key.pid == 1)\n\t\treturn 0;"))
}

func TestGenerated(t *testing.T) {
	for _, tc := range []struct {
		name       string
		alone      bool // no second reading
		contracts  []any
		programs   []any
		understood []string
		calls      int
	}{
		{name: "alone", alone: true, contracts: []any{draft()}, understood: []string{"the program was generated from it"}, calls: 1},
		{name: "agreed", contracts: []any{draft()}, programs: []any{answer(counting)},
			understood: []string{"a program that model scripted wrote from the request does the same as the contract (proved for all inputs)"}, calls: 2},
		{name: "the contract's", contracts: []any{draft()}, programs: []any{otherwise(t), which("one")}, understood: []string{"DIFFERED", "chose the contract's"}, calls: 3},
		{name: "left open", contracts: []any{draft()}, programs: []any{otherwise(t), which("open")}, understood: []string{"DIFFERED", "does not say which one"}, calls: 3},
		{name: "no program", contracts: []any{draft()}, programs: []any{answer("").with("cannot", "there is no such call")}, understood: []string{`no second reading`, "there is no such call"}, calls: 2},
		{name: "two that do not compile", contracts: []any{draft()}, programs: []any{answer("int x"), answer("int y")}, understood: []string{"no second reading", "did not pass"}, calls: 3},
		{name: "the endpoint fails", contracts: []any{draft()}, programs: []any{llmd.Rule{Status: 401}}, understood: []string{"no second reading"}, calls: 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := generating(t, tc.contracts, tc.programs...)
			b.Effort.Independent = !tc.alone
			c, err := b.prepare(t.Context(), beyond+" for 2 minutes")
			if err != nil {
				t.Fatal(err)
			}
			if c.Origin != "generated from the contract by model scripted" || c.ContractBy != "model scripted" || c.Finding.Verdict != proof.Verified {
				t.Errorf("origin %q, contract by %q, %s: %s", c.Origin, c.ContractBy, c.Finding.Verdict, c.Finding.Reason)
			}
			if c.Duration.Minutes() != 2 {
				t.Errorf("duration %v", c.Duration)
			}
			wants(t, "what was understood", strings.Join(c.Understood, "\n"), tc.understood...)
			if len(c.Record.Calls) != tc.calls {
				t.Errorf("%d calls, want %d", len(c.Record.Calls), tc.calls)
			}
		})
	}
}

// The program's reading is the right one: the contract's author is asked again, and the program is generated anew.
func TestContractChanged(t *testing.T) {
	changed := draft()
	hooks := strings.TrimSuffix(strings.TrimPrefix(jsonOf(t, said{"h": changed["hooks"]}), `{"h":`), "}")
	var without any = jsonText(strings.Replace(hooks, `"task_wanted(pid, comm, uid)"`, `"task_wanted(pid, comm, uid) \u0026\u0026 current.tgid != 1"`, 1))
	changed = changed.with("hooks", without)
	b := generating(t, []any{draft(), changed}, otherwise(t), which("two"))
	b.Effort.Independent = true
	c, err := b.prepare(t.Context(), beyond)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "what was understood", strings.Join(c.Understood, "\n"), "chose the program's", "CHANGED")
	wants(t, "the contract", contract.Format(c.Contract), "current.tgid != 1")
	if c.Finding.Verdict != proof.Verified {
		t.Errorf("%s: %s", c.Finding.Verdict, c.Finding.Reason)
	}
}

// What a request leaves open is for the person to say, once.
func TestQuestion(t *testing.T) {
	open := which("open", "question", "Does “which processes”\ninclude process 1?", "one", "with process 1", "two", "without it")
	b := generating(t, []any{draft()}, otherwise(t), open)
	b.Effort.Independent, b.Effort.Ask = true, true
	_, err := b.prepare(t.Context(), beyond)
	var q *agent.Question
	if !errors.As(err, &q) {
		t.Fatalf("error %v", err)
	}
	if q.Text != "Does “which processes” include process 1?" || len(q.Options) != 2 || q.Options[1] != "without it" || !strings.Contains(q.Example, "sys_enter_getppid") || q.Record == nil {
		t.Errorf("%+v", q)
	}
	// The answer goes to both authors.
	b = generating(t, []any{draft()}, answer(counting))
	b.Effort.Independent, b.Effort.Ask = true, true
	req := agent.Request{ID: "r2", Text: beyond, Answers: []agent.Reply{{Question: q.Text, Answer: "with process 1"}}}
	if _, err := b.Prepare(t.Context(), req, nil); err != nil {
		t.Fatal(err)
	}
	for _, schema := range []string{"kgent_contract", "ebpf_program"} {
		wants(t, schema, strings.Join(b.askedFor(schema), "\n"), "> → with process 1")
	}
	// It is not asked for ever.
	b = generating(t, []any{draft()}, otherwise(t), open)
	b.Effort.Independent, b.Effort.Ask = true, true
	req.Answers = append(req.Answers, req.Answers[0])
	if _, err := b.Prepare(t.Context(), req, nil); err != nil {
		t.Fatal(err)
	}
}

// What cannot be generated a model writes.
func TestNotGenerated(t *testing.T) {
	for name, generate := range map[string]agent.Generator{
		"no code": func(*contract.Checked) (string, error) { return "", &codegen.Unsupported{What: "anything"} },
		"wrong code": func(*contract.Checked) (string, error) {
			return strings.Replace(counting, "(*n)++", "*n += 2", 1), nil
		},
		"broken code": func(*contract.Checked) (string, error) { return "int", nil },
	} {
		t.Run(name, func(t *testing.T) {
			b := generating(t, []any{draft()}, answer(counting))
			b.Generate, b.Effort.Independent = generate, true
			c, err := b.prepare(t.Context(), beyond)
			if err != nil {
				t.Fatal(err)
			}
			if c.Origin != "model scripted" || c.Finding.Verdict != proof.Verified {
				t.Errorf("origin %q, %s", c.Origin, c.Finding.Verdict)
			}
		})
	}
}

// jsonText is JSON as a value.
func jsonText(text string) any {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		panic(err)
	}
	return v
}
