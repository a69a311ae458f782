package agent_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"kgent/agent/contract"
	"kgent/agent/llm/llmd"
	"kgent/agent/program"
	"kgent/agent/verify/proof"
	"kgent/retrieval/kernel"
)

// believes is a prover for tests that are not about proofs.
type believes struct{}

func (believes) Prove(_ context.Context, _ *kernel.Facts, _ *program.Object, _ *program.Manifest, c *contract.Contract) (*proof.Report, error) {
	if c == nil {
		return &proof.Report{Verdict: proof.Unknown, Reasons: []string{"there is no contract"}}, nil
	}
	return &proof.Report{Verdict: proof.Verified, Reasons: []string{"believed"}}, nil
}

// Answers of models that nothing holds to a schema: what is there is taken.
func TestSalvage(t *testing.T) {
	m := host(t)
	object := func(pairs ...any) string { return jsonOf(t, answer(counting).with(pairs...)) }
	loose := `{"source": "` + strings.ReplaceAll(strings.ReplaceAll(counting, `"`, `\"`), "\\0", "") + `", "title": "calls",}`
	for name, text := range map[string]string{
		"fields left out":     jsonOf(t, said{"source": counting}),
		"fields too many":     object("confidence", 0.9, "notes", []any{}),
		"numbers as texts":    object("top", "5", "interval_ms", ""),
		"null for nothing":    object("cannot", nil, "parameters", nil),
		"thoughts and object": "<think>\nWhich hook? { maybe }\n</think>\nHere it is:\n```json\n" + jsonOf(t, said{"source": counting}) + "\n```\nDone.",
		"line breaks in text": loose,
		"three quotes":        "{\"source\": \"\"\"" + counting + "\"\"\", \"title\": \"calls\"}",
		"backticks":           "{\"title\": \"calls\", \"source\": `" + counting + "`}",
		"another name":        jsonOf(t, said{"code": counting, "explanation": "counts"}),
		"a fence":             "Sure! Here is the program:\n\n```c\n" + counting + "```\n\nIt counts the calls.",
		"C alone":             counting,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, m, yes{}, text)
			b.Budget.Tries, b.Prover = 1, believes{}
			c, err := b.prepare(t.Context(), beyond)
			if err != nil {
				t.Fatal(err)
			}
			if strings.TrimSpace(c.Source) != strings.TrimSpace(counting) || len(c.Record.Attempts[0].Notes) == 0 {
				t.Errorf("notes %q, the source is\n%s", c.Record.Attempts[0].Notes, c.Source)
			}
		})
	}
	for name, text := range map[string]string{
		"two programs":   "```c\n" + counting + "```\nor\n```c\n" + counting + "```\n",
		"an end missing": jsonOf(t, answer(counting))[:700],
		"no program":     `{"source": 5}`,
		"words":          "I would attach to sys_enter_getppid.",
	} {
		t.Run("not "+name, func(t *testing.T) {
			b := newBench(t, m, yes{}, text)
			b.Budget.Tries = 1
			b.rejected(beyond)
		})
	}
}

// Contracts in the words of C and of other tracers.
func TestSloppyContract(t *testing.T) {
	m := host(t)
	raw := func(edits ...func(map[string]any)) llmd.Rule {
		var object map[string]any
		if err := json.Unmarshal([]byte(jsonOf(t, draft())), &object); err != nil {
			t.Fatal(err)
		}
		for _, edit := range edits {
			edit(object)
		}
		return llmd.Rule{Text: jsonOf(t, object)}
	}
	hook := func(d map[string]any) map[string]any { return d["hooks"].([]any)[0].(map[string]any) }
	effect := func(d map[string]any) map[string]any {
		return hook(d)["cases"].([]any)[0].(map[string]any)["effects"].([]any)[0].(map[string]any)
	}
	for name, edit := range map[string]func(map[string]any){
		"a key as an object":    func(d map[string]any) { effect(d)["key"] = said{"pid": "current.tgid", "comm": "current.comm"} },
		"another place":         func(d map[string]any) { hook(d)["places"] = "syscalls/sys_enter_getppid" },
		"the place at the hook": func(d map[string]any) { delete(hook(d), "places"); hook(d)["at"] = "tp/syscalls/sys_enter_getppid" },
		"no otherwise":          func(d map[string]any) { hook(d)["cases"] = hook(d)["cases"].([]any)[:1] },
		"a verb of its own":     func(d map[string]any) { effect(d)["do"] = "increment" },
		"a number":              func(d map[string]any) { effect(d)["value"] = 1 },
		"C": func(d map[string]any) {
			effect(d)["key"] = []any{said{"name": "pid", "is": "bpf_get_current_pid_tgid() >> 32"}, said{"name": "comm", "is": "current.comm"}}
		},
		"types of C": func(d map[string]any) {
			d["tables"] = []any{said{"name": "calls", "key": []any{said{"name": "pid", "type": "pid_t"}, said{"name": "comm", "type": "string"}}, "values": []any{said{"how": "Count"}}}}
		},
		"wrapped": func(d map[string]any) {
			inner := map[string]any{}
			for k, v := range d {
				inner[k] = v
				delete(d, k)
			}
			d["contract"] = inner
		},
		"assumptions of its own": func(d map[string]any) { d["assume"] = []any{"the kernel has getppid"} },
	} {
		t.Run(name, func(t *testing.T) {
			b := newAuthors(t, m, yes{}, []any{raw(edit)}, answer(counting))
			b.Budget.Tries = 1
			b.Prover = believes{}
			c, err := b.prepare(t.Context(), beyond)
			if err != nil {
				t.Fatalf("%v\n%+v", err, b.steps)
			}
			if c.Contract == nil || c.Finding.Verdict != proof.Verified {
				t.Errorf("%s: %s; %q", c.Finding.Verdict, c.Finding.Reason, c.Understood)
			}
		})
	}
}
