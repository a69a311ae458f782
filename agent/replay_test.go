package agent_test

import (
	"encoding/json"
	"strings"
	"testing"

	"kgent/agent"
	"kgent/agent/llm/llmd"
)

// recorded prepares a request and returns its record as it is written, however it ends.
func recorded(t *testing.T, b *bench) *agent.Record {
	t.Helper()
	var kept *agent.Record
	b.Keep = func(r *agent.Record) { kept = r }
	b.prepare(t.Context(), beyond)
	raw, err := json.MarshalIndent(kept, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), "sk-test-0123456789abcdef") {
		t.Error("the key is in the record")
	}
	r, err := agent.DecodeRecord(raw)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// replayed makes it again without the model.
func replayed(t *testing.T, b *bench, then *agent.Record) []string {
	t.Helper()
	asked := len(b.server.Requests())
	model := agent.NewReplay(then)
	var now *agent.Record
	b.Model, b.Keep = model, func(r *agent.Record) { now = r }
	b.Prepare(t.Context(), then.Request, nil)
	if n := len(b.server.Requests()); n != asked {
		t.Errorf("the model was asked %d times", n-asked)
	}
	return model.Divergences(then, now)
}

func TestReplay(t *testing.T) {
	for name, programs := range map[string][]any{
		"at once":          {answer(counting)},
		"after repairs":    {"no object", answer("int x"), llmd.Rule{Text: `{"source": "int`, Finish: "length"}, answer(counting)},
		"never":            {llmd.Rule{JSON: answer("int x"), Times: 9}},
		"refused":          {llmd.Rule{Refusal: "I will not."}},
		"the endpoint":     {llmd.Rule{Status: 401}},
		"line breaks":      {"Here:\n```json\n" + jsonOf(t, answer(counting)) + "\n```\n"},
		"nearly an object": {jsonOf(t, said{"source": counting})},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, host(t), yes{}, programs...)
			b.Prover = believes{}
			if d := replayed(t, b, recorded(t, b)); len(d) > 0 {
				t.Errorf("it went another way: %q", d)
			}
		})
	}
	t.Run("changed", func(t *testing.T) {
		b := newBench(t, host(t), yes{}, answer(counting))
		b.Prover = believes{}
		then := recorded(t, b)
		then.PromptVersion, then.BTF = "0", "another"
		then.Exchanges[len(then.Exchanges)-1].Text = "no object"
		wants(t, "divergences", strings.Join(replayed(t, b, then), "\n"), "the prompts have versions", "the kernel is another", "program 1", "was not asked then", "it ended with")
	})
}
