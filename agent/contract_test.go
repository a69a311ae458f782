package agent_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kgent/agent"
	"kgent/agent/contract"
	"kgent/agent/llm"
	"kgent/agent/llm/llmd"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
)

// The examples in the prompt are right: they are what a model learns the language from.
func TestExamplesInThePrompt(t *testing.T) {
	m := host(t)
	types, err := contract.NewTypes(m.facts)
	if err != nil {
		t.Fatal(err)
	}
	prompt, err := os.ReadFile("prompt/contract.md")
	if err != nil {
		t.Fatal(err)
	}
	objects := regexp.MustCompile(`(?s)\n(\{"analysis".*?)\n\n`).FindAllSubmatch(prompt, -1)
	if len(objects) != 2 {
		t.Fatalf("%d examples", len(objects))
	}
	var all []*contract.Contract
	for _, o := range objects {
		d, err := contract.DecodeDraft(o[1])
		if err != nil {
			t.Fatalf("%v\n%s", err, o[1])
		}
		all = append(all, d.Contract)
	}
	text := regexp.MustCompile("(?s)```\n(.*?)```").FindSubmatch(prompt)
	c, err := contract.Parse(string(text[1]))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(all, c) {
		checked, err := contract.Check(c, types)
		if err != nil {
			t.Errorf("%v\n%s", err, contract.Format(c))
			continue
		}
		if len(checked.Remarks) > 0 {
			t.Errorf("%v", checked.Remarks)
		}
		if words := contract.English(c); !strings.Contains(words, c.Title) {
			t.Errorf("its words lack the title:\n%s", words)
		}
	}
}

// asks is draft with another condition in its only case.
func asks(when string) said {
	d := draft()
	raw := jsonOfSaid(d)
	return fromJSON(strings.Replace(raw, `"task_wanted(pid, comm, uid)"`, fmt.Sprintf("%q", when), 1))
}

// tids is a program that shows threads where processes are asked for.
func tids(t testing.TB) said { return answer(edit(t, "k_current_pid()", "k_current_tid()")) }

// What comes of contracts, right and wrong, and who hears of it.
func TestContracts(t *testing.T) {
	m := host(t)
	right := draft()
	text := "Here it is:\n```kc\n" + formatted(t, right) + "```\nI hope that helps."
	unknown := asks("task_wanted(pid, comm, uid) && current.pid != 1")
	for _, tc := range []struct {
		name      string
		contracts []any
		programs  []any
		verdict   proof.Verdict
		// asked are parts of the last questions to the author of contracts, told of those to the
		// author of programs; drafts are what is on record of contracts.
		asked, told [][]string
		drafts      []string // why: part of the error or outcome
		card        []string // parts of what people see
	}{
		{name: "right at once", contracts: []any{right}, programs: []any{answer(counting)}, verdict: proof.Verified,
			asked:  [][]string{{"# Request (data", "- tp_btf/sched_process_exec: p (struct task_struct *), old_pid (pid_t), bprm (struct linux_binprm *)\n", "- struct task_struct: pid (pid_t), tgid (pid_t)"}},
			told:   [][]string{{"Hooks, these and no others: tracepoint/syscalls/sys_enter_getppid.", "Map `calls` tagged KGENT_OUTPUT. Its key has these members:\n- k_pid pid: current.tgid\n- char comm[16]: current.comm\nIts value is k_count: 1\nParameters: KGENT_TASK_FILTER and no others"}},
			drafts: []string{"asked: VERIFIED: proved for all inputs"}},
		{name: "prose", contracts: []any{"Sure, let me think.", right}, programs: []any{answer(counting)}, verdict: proof.Verified,
			asked: [][]string{{"# Request"}, {"not the JSON object"}}, drafts: []string{"asked: no JSON object", "mended: VERIFIED"}},
		{name: "another schema", contracts: []any{`{"contract": {"title": "x"}}`, right}, programs: []any{answer(counting)}, verdict: proof.Verified,
			asked: [][]string{{"# Request"}, {`no hook`}}},
		{name: "lists left out", contracts: []any{strings.NewReplacer(`"enums":[],`, "", `"memories":[],`, "", `"show":[],`, `"show":null,`).Replace(jsonOf(t, right))},
			programs: []any{answer(counting)}, verdict: proof.Verified},
		{name: "text in a fence", contracts: []any{text}, programs: []any{answer(counting)}, verdict: proof.Verified},
		{name: "text after thoughts", contracts: []any{"<think>```\ncontract \"x\"\n``` no</think>\n" + formatted(t, right)}, programs: []any{answer(counting)}, verdict: proof.Verified},
		{name: "wrong text in a fence", contracts: []any{strings.Replace(text, "add 1 to calls", "add 1 to cals", 1), right}, programs: []any{answer(counting)}, verdict: proof.Verified,
			asked: [][]string{{"# Request"}, {"in `add 1 to cals[", "did you mean calls?"}}},
		{name: "cut off", contracts: []any{llmd.Rule{Text: jsonOf(t, right)[:300], Finish: "length"}, right}, programs: []any{answer(counting)}, verdict: proof.Verified,
			asked: [][]string{{"# Request"}, {"cut off"}}},
		{name: "no such name", contracts: []any{unknown, right}, programs: []any{answer(counting)}, verdict: proof.Verified,
			asked:  [][]string{{"# Request"}, {"in `case asked: task_wanted(pid, comm, uid) && current.pid != 1`: no member of current is called pid; write current.tgid"}},
			drafts: []string{"asked: no member of current", "mended: VERIFIED"}},
		{name: "an assumption of its own", contracts: []any{right.with("assume", []any{"approved_by_security"}), right}, programs: []any{answer(counting)}, verdict: proof.Verified,
			asked: [][]string{{"# Request"}}},
		{name: "never right", contracts: []any{llmd.Rule{JSON: unknown, Times: 100}}, programs: []any{answer(counting)}, verdict: proof.Unknown,
			asked: [][]string{{"# Request"}, {"current.tgid"}, {"current.tgid"}, {"# Contracts already refused", "Write a different one"}, {"current.tgid"}, {"current.tgid"}},
			told:  [][]string{{"# Request"}}, card: []string{"there is no contract", "no member of current is called pid"}},
		{name: "cannot", contracts: []any{right.with("cannot", "nobody can say that", "hooks", []any{})}, programs: []any{answer(counting)}, verdict: proof.Unknown,
			asked: [][]string{{"# Request"}}, card: []string{`there is no contract`, `the model says: "nobody can say that"`}},
		{name: "refuses", contracts: []any{llmd.Rule{Refusal: "I can't help with that."}}, programs: []any{answer(counting)}, verdict: proof.Unknown,
			card: []string{"there is no contract", "I can't help"}},
		{name: "refuted, then mended", contracts: []any{right}, programs: []any{tids(t), answer(counting)}, verdict: proof.Verified,
			told: [][]string{{"# What the program has to look like"}, {"REFUTED", "calls", "Mend exactly this"}},
			card: []string{"a program that was first written from the request did otherwise than the contract"}},
		{name: "another form", contracts: []any{right}, programs: []any{answer(strings.ReplaceAll(edit(t, "struct req_key { k_pid pid;", "struct req_key { k_tid pid; k_uid uid;"), "key.pid", "key.pid")), answer(counting)}, verdict: proof.Verified,
			told: [][]string{{"# What"}, {"does not look as it has to", "k_pid", "also uid"}}},
		{name: "vacuous, then not", contracts: []any{vacuous(right), right}, programs: []any{answer(counting)}, verdict: proof.Verified,
			asked: [][]string{{"# Request"}, {"says too little", "never", "never applies"}}, told: [][]string{{"# Request"}},
			drafts: []string{"asked: VACUOUS", "vacuous: VERIFIED"}},
		{name: "vacuous for ever", contracts: []any{llmd.Rule{JSON: vacuous(right), Times: 100}}, programs: []any{answer(counting)}, verdict: proof.Unknown,
			told: [][]string{{"# Request"}}, card: []string{"there is no contract", "could hardly be broken"}},
		{name: "wrong, read again", contracts: []any{asks("task_wanted(pid, comm, uid) && current.uid == 0"), right},
			programs: []any{llmd.Rule{JSON: answer(counting), Times: 100}}, verdict: proof.Verified,
			asked:  [][]string{{"# Request"}, {"Programs that others wrote", "1. tracepoint/syscalls", "fires with", "Read the request once more"}},
			told:   [][]string{{"# What"}, {"REFUTED"}, {"REFUTED"}, {"# The whole contract", "already refused"}},
			drafts: []string{"asked: REFUTED", "read again: VERIFIED"}, card: []string{"read the request again and CHANGED it"}},
		{name: "another value", contracts: []any{fromJSON(strings.Replace(jsonOfSaid(right), `"default":"","means":"only this name`, `"default":"\"postgres\"","means":"only this name`, 1))},
			programs: []any{answer(counting).with("parameters", []any{said{"name": "comm", "value": "mysqld"}}), answer(counting)}, verdict: proof.Verified,
			told: [][]string{{"# What"}, {`sets comm to "mysqld"`, "another value"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newAuthors(t, m, yes{}, tc.contracts, tc.programs...)
			c, err := b.prepare(t.Context(), beyond)
			if err != nil {
				t.Fatal(err)
			}
			if tc.name == "another value" && (len(c.Manifest.Constants) != 1 || c.Manifest.Constants[0].Value != "postgres") {
				t.Errorf("constants %+v", c.Manifest.Constants)
			}
			if c.Finding.Verdict != tc.verdict || (c.Contract != nil) != (tc.verdict == proof.Verified) || c.Source != counting {
				t.Errorf("%s: %s", c.Finding.Verdict, c.Finding.Reason)
			}
			for schema, want := range map[string][][]string{"kgent_contract": tc.asked, "ebpf_program": tc.told} {
				got := b.askedFor(schema)
				if want != nil && len(got) != len(want) {
					t.Errorf("%d questions for %s, want %d", len(got), schema, len(want))
				}
				for i := range min(len(want), len(got)) {
					wants(t, fmt.Sprintf("question %d for %s", i+1, schema), got[i], want[i]...)
				}
			}
			for i, want := range tc.drafts {
				if i >= len(c.Record.Contracts) {
					t.Fatalf("%d contracts on record", len(c.Record.Contracts))
				}
				d := c.Record.Contracts[i]
				if why, what, _ := strings.Cut(want, ": "); d.Why != why || !strings.Contains(d.Error+d.Outcome, what) {
					t.Errorf("contract %d on record: %s: %s%s, want %s", i+1, d.Why, d.Error, d.Outcome, want)
				}
			}
			wants(t, "what people see", c.Finding.Reason+"\n"+strings.Join(c.Understood, "\n"), tc.card...)
			if c.Contract == nil {
				return
			}
			if words := c.ContractWords(); !strings.HasPrefix(words, `"getppid calls by process." (written from the request alone by model scripted, in its words)`) {
				t.Errorf("the contract in words:\n%s", words)
			}
			blind(t, b)
		})
	}
}

// What cannot be proved, for a reason that its author can avoid, is asked for once more; if that
// brings nothing better, the first stands.
func TestUnprovable(t *testing.T) {
	m := host(t)
	odd := answer(edit(t, "\tk_count *n = ", "\tlong (*branch_snapshot)(void *, __u32, __u64) = (void *)176;\n\t__u64 taken[3] = {};\n\tif (branch_snapshot(taken, sizeof(taken), 0) == 77)\n\t\treturn 0;\n\tk_count *n = "))
	b := newAuthors(t, m, yes{}, []any{draft()}, odd, answer(counting))
	c, err := b.prepare(t.Context(), beyond)
	if err != nil {
		t.Fatal(err)
	}
	asked := b.asked()
	if c.Finding.Verdict != proof.Verified || len(asked) != 2 || c.Source != counting {
		t.Fatalf("%s after %d questions: %s", c.Finding.Verdict, len(asked), c.Finding.Reason)
	}
	wants(t, "the question", asked[1], "cannot be proved", "BranchSnapshot", "not modelled")
	for name, second := range map[string]any{"the same again": odd, "worse": answer(edit(t, "(*n)++;", "nosuch();")), "nothing": llmd.Rule{Status: 401}} {
		b := newAuthors(t, m, yes{}, []any{draft()}, odd, second)
		c, err := b.prepare(t.Context(), beyond)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c.Finding.Verdict != proof.Unknown || !strings.Contains(c.Source, "branch_snapshot") || c.Contract == nil {
			t.Errorf("%s: %s: %s", name, c.Finding.Verdict, c.Finding.Reason)
		}
	}
}

// blind fails if the author of contracts has seen anything of a program.
func blind(t testing.TB, b *bench) {
	t.Helper()
	for _, r := range b.server.Requests() {
		if r.Schema != "kgent_contract" {
			continue
		}
		for _, code := range []string{"SEC(", "bpf_ring", "KGENT_", "program.bpf.c", "req_key", "k_cell"} {
			if strings.Contains(string(r.Body), code) {
				t.Errorf("the author of the contract saw %q", code)
			}
		}
	}
}

// A contract that its author keeps stands: the programs are refused, and the record says so.
func TestContractKept(t *testing.T) {
	stands := asks("task_wanted(pid, comm, uid) && current.uid == 0")
	b := newAuthors(t, host(t), yes{}, []any{llmd.Rule{JSON: stands, Times: 100}}, llmd.Rule{JSON: answer(counting), Times: 100})
	r := b.rejected(beyond)
	if n := len(b.askedFor("kgent_contract")); n != 2 || len(r.Record.Attempts) != 6 {
		t.Errorf("%d questions about the contract, %d programs", n, len(r.Record.Attempts))
	}
	if d := r.Record.Contracts[1]; d.Why != "read again" || d.Outcome != "kept after a second reading" {
		t.Errorf("on record: %s: %s", d.Why, d.Outcome)
	}
	for _, a := range r.Record.Attempts {
		if a.Verdict != "REFUTED" || a.Contract != 1 || a.Gate != verify.GateSymbolic {
			t.Errorf("attempt %+v", a)
		}
	}
}

// Contracts and programs may come from different models, whose names are on record.
func TestModelsByTask(t *testing.T) {
	b := newAuthors(t, host(t), yes{}, []any{llmd.Rule{JSON: draft(), Match: llmd.Match{Model: "scripted"}}}, answer(counting))
	b.Model = &llm.ByTask{Usual: b.client("http://127.0.0.1:1/v1", "k"), For: map[llm.Task]llm.Model{llm.TaskContract: b.client(b.server.URL(), "sk-test-0123456789abcdef"),
		llm.TaskCode: b.client(b.server.URL(), "sk-test-0123456789abcdef")}}
	c, err := b.prepare(t.Context(), beyond)
	if err != nil {
		t.Fatal(err)
	}
	if c.ContractBy != "model scripted" || len(c.Record.Calls) != 2 || c.Record.ContractVersion != agent.ContractPromptVersion || c.Record.Attempts[0].Contract != 1 {
		t.Errorf("record %+v", c.Record)
	}
}

// The contract takes its share of the budget and no more.
func TestContractBudget(t *testing.T) {
	m := host(t)
	wrong := asks("nosuch == 1")
	b := newAuthors(t, m, yes{}, []any{llmd.Rule{JSON: wrong, Usage: &llmd.Usage{PromptTokens: 30_000, CompletionTokens: 10_000}, Times: 100}}, answer(counting))
	b.Budget.Tokens = 200_000
	c, err := b.prepare(t.Context(), beyond)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Record.Contracts); n != 3 {
		t.Errorf("%d contracts were written", n)
	}
	wants(t, "the reason", c.Finding.Reason, "120000 tokens", "nosuch")

	b = newAuthors(t, m, yes{}, []any{llmd.Rule{JSON: wrong, Times: 100}}, answer(counting))
	b.Budget.Contracts = 2
	if c, err = b.prepare(t.Context(), beyond); err != nil || len(c.Record.Contracts) != 2 {
		t.Errorf("%v, want 2 contracts", err)
	}

	b = newAuthors(t, m, yes{}, []any{llmd.Rule{Hang: true}}, answer(counting))
	b.Budget.Time = 40_000_000_000 // of which the contract has 16 s, and a program what it needs on a busy machine
	if c, err = b.prepare(t.Context(), beyond); err != nil {
		t.Fatal(err)
	}
	wants(t, "the reason", c.Finding.Reason, "there is no contract (there was none after 16s)")

	b = newAuthors(t, m, yes{}, []any{llmd.Rule{Status: 401}}, answer(counting))
	if _, err = b.prepare(t.Context(), beyond); !errors.Is(err, agent.ErrModel) || !errors.Is(err, llm.ErrUnauthorized) {
		t.Errorf("error %v", err)
	}
}

// vacuous is a contract with a case that no input reaches.
func vacuous(d said) said {
	const otherwise = `{"effects":[],"name":"otherwise"`
	never := `{"effects":[],"name":"never","step":1,"when":"current.tid == 1 && current.tid == 2"},`
	raw := jsonOfSaid(d)
	return fromJSON(strings.Replace(raw, otherwise, never+otherwise, 1))
}

func jsonOfSaid(s said) string {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func fromJSON(raw string) said {
	var s said
	if err := json.Unmarshal([]byte(raw), &s); err != nil {
		panic(err)
	}
	return s
}

// formatted is the text form of a draft.
func formatted(t testing.TB, s said) string {
	t.Helper()
	d, err := contract.DecodeDraft([]byte(jsonOfSaid(s)))
	if err != nil {
		t.Fatal(err)
	}
	return contract.Format(d.Contract)
}

// Contracts for requests that no recipe answers, written with nothing but the prompt to go by,
// come through as answers in either form.
func TestContractsOfStrangers(t *testing.T) {
	files, err := filepath.Glob("testdata/contracts/*.kc")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	m := host(t)
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			c, err := contract.Parse(string(text))
			if err != nil {
				t.Fatal(err)
			}
			raw, err := contract.EncodeJSON(c)
			if err != nil {
				t.Fatal(err)
			}
			for form, reply := range map[string]string{"JSON": string(raw), "text": "```\n" + string(text) + "```"} {
				b := newAuthors(t, m, yes{}, []any{reply}, llmd.Rule{Refusal: "no"})
				if _, err := b.prepare(t.Context(), beyond+", on lo"); !errors.Is(err, agent.ErrNoAnswer) {
					t.Fatal(err)
				}
				if n := len(b.askedFor("kgent_contract")); n != 1 {
					t.Errorf("as %s the author was asked %d times: %s", form, n, b.askedFor("kgent_contract")[n-1])
				}
			}
		})
	}
}

// slowCalls is a program for the first example in the prompt.
const slowCalls = `#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";
KGENT_TASK_FILTER
const volatile k_ns threshold = 20000000;
struct req_event { k_time time; k_pid pid; char comm[16]; k_ns took; k_ret result; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct req_event); } slow SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, __u32); __type(value, __u64); } begun SEC(".maps");
SEC("tracepoint/syscalls/sys_enter_fsync")
int begins(struct trace_event_raw_sys_enter *ctx)
{
	__u32 tid = k_current_tid();
	__u64 now = bpf_ktime_get_ns();

	if (k_task_wanted())
		k_put(&begun, &tid, &now);
	return 0;
}
SEC("tracepoint/syscalls/sys_exit_fsync")
int ends(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid();
	__u64 now = bpf_ktime_get_ns();
	__u64 *at = bpf_map_lookup_elem(&begun, &tid);
	struct req_event *e;
	__u64 took;

	if (!at)
		return 0;
	took = now - *at;
	bpf_map_delete_elem(&begun, &tid);
	if (took < threshold)
		return 0;
	e = bpf_ringbuf_reserve(&slow, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->time = now;
	e->pid = k_current_pid();
	k_process_comm(e->comm, (struct task_struct *)bpf_get_current_task_btf());
	e->took = took;
	e->result = ctx->ret;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
`

// The first example in the prompt, and a program that is written as its contract fixes it: the
// request's values for the standard filter are set in the manifest, those of other parameters are
// the program's own.
func TestExampleIsKept(t *testing.T) {
	prompt, err := os.ReadFile("prompt/contract.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile(`(?s)\n(\{"analysis".*?)\n\n`).FindSubmatch(prompt)
	b := newAuthors(t, host(t), nil, []any{string(example[1])}, told(slowCalls))
	c, err := b.prepare(t.Context(), beyond)
	if err != nil {
		t.Fatal(err)
	}
	if c.Finding.Verdict != proof.Verified {
		t.Errorf("%s: %s", c.Finding.Verdict, c.Finding.Reason)
	}
	if len(c.Manifest.Constants) != 1 || c.Manifest.Constants[0].Value != "postgres" {
		t.Errorf("constants %+v", c.Manifest.Constants)
	}
	wants(t, "the question", b.asked()[0], "Hooks, these and no others: tracepoint/syscalls/sys_enter_fsync; tracepoint/syscalls/sys_exit_fsync.\n",
		"Ring buffer `slow`, an event has these members:\n- k_time time: now\n- k_pid pid: current.tgid\n", "- k_ns took: now - started[current.tid].at\n",
		"- const volatile k_ns threshold = 20000000: only calls that take at least this long\n")
}
