package agent_test

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"kgent/agent"
	"kgent/agent/llm/llmd"
	"kgent/agent/program"
	"kgent/agent/quota"
	"kgent/agent/team"
	"kgent/agent/verify/proof"
	"kgent/retrieval/kernel"
)

// owned is counting as somebody has it who knows libbpf: with its headers, without a license.
func owned() string {
	counted := strings.Replace(counting, "#include \"kgent.bpf.h\"\n", "", 1)
	counted = strings.Replace(counted, "char LICENSE[] SEC(\"license\") = \"Dual MIT/GPL\";\n", "", 1)
	return "#include \"vmlinux.h\"\n#include <bpf/bpf_helpers.h>\n" + counted
}

// A program that somebody brings is held against the contract that can be had, and is
// nothing without one but unproved.
func TestBrought(t *testing.T) {
	m := host(t)
	right := formatted(t, draft())
	wrong := edit(t, "k_current_pid()", "k_current_tid()")
	byThread := strings.NewReplacer("k_pid pid; char comm[TASK_COMM_LEN]", "k_tid tid", "key.pid = k_current_pid()", "key.tid = k_current_tid()", "	bpf_get_current_comm(key.comm, sizeof(key.comm));\n", "").Replace(owned())
	stale := strings.Replace(counting, "struct req_key key = {};", "struct req_key key; key.pid = 0;", 1)
	stale = strings.Replace(stale, "	bpf_get_current_comm(key.comm, sizeof(key.comm));\n", "", 1)
	for _, tc := range []struct {
		name      string
		request   string // empty: one for which there is no contract without a model
		source    string
		contract  string // that comes with it
		contracts []any  // of the model; none: there is no model
		verdict   proof.Verdict
		refused   []string // parts of the refusal's words; empty: it is a candidate
		card      []string
		unsaid    []string // that the model must not have been told
	}{
		{name: "its own contract", source: owned(), contract: right, verdict: proof.Verified,
			card: []string{"came with it", "left out #include <bpf/bpf_helpers.h>", "the contract came with the program, in its author's words"}},
		{name: "breaks its own contract", source: wrong, contract: right,
			refused: []string{"the proof", "It must hold that", "1. tracepoint/syscalls", "Expected:", "Got:"}},
		{name: "its contract is of another form", source: counting, contract: strings.Replace(strings.Replace(right, "comm: char[16] }", "name: char[16] }", 1), "comm: current.comm", "name: current.comm", 1),
			refused: []string{"the proof"}},
		{name: "no contract", source: owned(), verdict: proof.Unknown, card: []string{"there is no contract: no recipe answers the request; none can be composed from the words of the request; no model is configured"}},
		{name: "a composed contract", request: "count getppid calls by tid", source: byThread, verdict: proof.Verified, card: []string{"held against a contract composed from the words of the request"}},
		{name: "breaks a composed contract", request: "count getppid calls by tid", source: strings.Replace(byThread, "k_current_tid()", "k_current_pid()", 1), refused: []string{"the proof", "current.pid"}},
		{name: "no contract, and wrong in itself", source: stale, refused: []string{"written by the program", "Got:"}},
		{name: "the model's contract", source: owned(), contracts: []any{draft()}, verdict: proof.Verified,
			card: []string{"model scripted wrote the contract from the request alone"}, unsaid: []string{"k_cell", "KGENT_TASK_FILTER", "bpf_get_current_comm"}},
		{name: "breaks the model's contract", source: wrong, contracts: []any{draft()}, refused: []string{"the proof", "current.tgid"}},
		{name: "the model's contract has another form", source: strings.Replace(owned(), "k_pid pid; char comm", "k_pid who; char comm", 1) + "\n", contracts: []any{draft()},
			refused: []string{"compiling"}},
		{name: "another form of the whole", source: strings.ReplaceAll(strings.ReplaceAll(owned(), "k_pid pid; char comm", "k_pid who; char comm"), "key.pid", "key.who"), contracts: []any{draft()},
			verdict: proof.Unknown, card: []string{"there is no contract", "asks for another form of output"}},
		{name: "the model has none", source: owned(), contracts: []any{draft().with("cannot", "nobody can say that", "hooks", []any{})}, verdict: proof.Unknown,
			card: []string{"nobody can say that"}},
		{name: "no program", source: "int main() { return 0; }", refused: []string{"compiling"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newAuthors(t, m, yes{}, tc.contracts)
			if len(tc.contracts) == 0 {
				b.Model = nil
			}
			c, err := b.Prepare(t.Context(), agent.Request{ID: "r", Text: cmp.Or(tc.request, beyond), Program: &agent.Brought{Name: "my <b>.bpf.c", Source: tc.source, Contract: tc.contract}}, nil)
			for _, asked := range b.askedFor("kgent_contract") {
				wants(t, "the question", asked, "hooks, names and types", "tracepoint/syscalls/sys_enter_getppid", "Table `calls`")
				for _, not := range tc.unsaid {
					if strings.Contains(asked, not) {
						t.Errorf("the author of the contract was told %q", not)
					}
				}
			}
			if len(tc.refused) > 0 {
				r := agent.RefusalOf(err)
				if r == nil || !errors.As(err, new(*agent.RejectedError)) {
					t.Fatalf("candidate %v, error %v; want a rejection", c != nil, err)
				}
				wants(t, "the refusal", strings.Join(r.Words(), "\n"), tc.refused...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Finding.Verdict != tc.verdict || c.Origin != "file my__b_.bpf.c" {
				t.Errorf("%s by %s: %s", c.Finding.Verdict, c.Origin, c.Finding.Reason)
			}
			wants(t, "the card", strings.Join(c.Understood, "\n")+"\n"+c.ContractWords(), tc.card...)
		})
	}
}

// A contract that is brought gets a hook that this host does not refuse, which is tried only then.
func TestHookReplaced(t *testing.T) {
	m := host(t)
	facts, err := kernel.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := newAuthors(t, m, yes{}, nil)
	b.Model, b.Target.Facts = nil, facts
	trials := 0
	b.Trial = func(context.Context) map[string]string {
		trials++
		return map[string]string{"fentry": "there are no trampolines", "kprobe": "there are no probes"}
	}
	text := `contract "segments of open connections, by port"
table segments { port: k_port } : count
hook fentry/tcp_rcv_established(sk)
  case all: always
    add 1 to segments[port: sk.__sk_common.skc_num]
  otherwise nothing
`
	c, err := b.Prepare(t.Context(), agent.Request{ID: "r", Text: beyond, Program: &agent.Brought{Name: "segments.kc", Contract: text, Source: "int none;", Generated: true}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Finding.Verdict != proof.Verified || trials != 1 {
		t.Errorf("%v after %d trials", c.Finding.Verdict, trials)
	}
	wants(t, "the card", strings.Join(c.Understood, "\n"), "fentry/tcp_rcv_established was replaced by tp_btf/tcp_probe", "there are no trampolines")
	if _, err := b.Prepare(t.Context(), agent.Request{ID: "s", Text: beyond, Program: &agent.Brought{Name: "c.bpf.c", Source: owned()}}, nil); err != nil || trials != 1 {
		t.Errorf("%d trials, %v", trials, err)
	}
}

// Where and for how long a program that was brought runs is what the request says, also where no
// recipe has read it.
func TestBroughtWhere(t *testing.T) {
	b := newAuthors(t, host(t), yes{}, nil)
	b.Model = nil
	source := `#include "kgent.bpf.h"
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, k_count);
} dropped SEC(".maps") KGENT_OUTPUT;
SEC("xdp")
int drop(struct xdp_md *ctx)
{
	__u32 key = 0;
	k_count *n = k_cell(&dropped, &key, k_count);
	if (n)
		(*n)++;
	return XDP_DROP;
}
`
	c, err := b.Prepare(t.Context(), agent.Request{ID: "r", Text: "drop everything on lo for 6s", Program: &agent.Brought{Name: "drop.bpf.c", Source: source}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Manifest.Programs[0].Hook.Target; got != "lo" || c.Duration != 6*time.Second {
		t.Errorf("at %q for %v", got, c.Duration)
	}
}

// What cannot be read as a program or a contract ends before anything is asked.
func TestBroughtUnreadable(t *testing.T) {
	m := host(t)
	b := newAuthors(t, m, yes{}, nil)
	for name, p := range map[string]agent.Brought{
		"nothing":      {},
		"both":         {Source: "x", ELF: []byte("x")},
		"too long":     {Source: strings.Repeat("x", agent.MaxSource+1)},
		"no text":      {Source: "a\x00b"},
		"bad contract": {Source: counting, Contract: "hoook"},
		"other kernel": {Source: counting, Contract: strings.Replace(formatted(t, draft()), "sys_enter_getppid", "sys_enter_nosuch", 1)},
	} {
		if _, err := b.Prepare(t.Context(), agent.Request{Text: beyond, Program: &p}, nil); !errors.Is(err, agent.ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An explanation says what the bytecode says, and finds what is wrong without a contract.
func TestExplain(t *testing.T) {
	m := host(t)
	b := newAuthors(t, m, yes{}, nil)
	b.Model = nil
	r, ok := m.library.Lookup("signals")
	if !ok {
		t.Fatal("no recipe signals")
	}
	targets := []agent.Target{b.Target}
	x, err := b.Explain(t.Context(), agent.Request{Program: &agent.Brought{Name: "s.c", Source: string(r.Source)}}, targets, nil)
	if err != nil {
		t.Fatal(err)
	}
	if x.ContractFrom != "recipe signals" || x.Contract == nil || x.Mistake != nil || len(x.Hooks) != 1 || x.Hooks[0].Place != "tp_btf/signal_generate" {
		t.Errorf("%+v", x)
	}
	wants(t, "the hook", x.Hooks[0].Words, "a signal is sent")
	wants(t, "the helpers", strings.Join(x.Helpers, " "), "bpf_ringbuf_reserve")

	leaks := strings.Replace(counting, "struct req_key key = {};", "struct req_key key; key.pid = 0;", 1)
	leaks = strings.Replace(leaks, "	bpf_get_current_comm(key.comm, sizeof(key.comm));\n", "", 1)
	if x, err = b.Explain(t.Context(), agent.Request{Program: &agent.Brought{Name: "s.c", Source: leaks}}, targets, nil); err != nil {
		t.Fatal(err)
	}
	if x.Mistake == nil || x.Contract != nil {
		t.Fatalf("no mistake was found: %s", x.Checked)
	}
	wants(t, "the mistake", strings.Join(agent.CounterexampleWords(x.Mistake), "\n"), "fires with", "Got:")

	if x, err = b.Explain(t.Context(), agent.Request{Program: &agent.Brought{Source: "no C"}}, targets, nil); err != nil || x.Unfit == nil || x.Object != nil {
		t.Errorf("%+v, %v", x, err)
	}
}

// Constants that a request chose become parameters where the program can be proved with them;
// the recipe that a team keeps of it answers by its words, without a model.
func TestTeamRecipe(t *testing.T) {
	m := host(t)
	b := newAuthors(t, m, yes{}, nil)
	b.Model = nil
	src := strings.Replace(edit(t, "	if (!k_task_wanted())\n		return 0;\n", "	if (bpf_get_current_pid_tgid() >> 32 < 100 /* 100: not the first ones */)\n		return 0;\n"), "KGENT_TASK_FILTER\n", "", 1)
	kc := `contract "getppid calls by process"
table calls { pid: k_pid, comm: char[16] } : count
hook tracepoint/syscalls/sys_enter_getppid()
  case asked: current.tgid >= 100
    add 1 to calls[pid: current.tgid, comm: current.comm]
  otherwise nothing
`
	opt := program.Options{Name: "parents", Title: "x"}
	lifted, err := b.Lift(t.Context(), src, kc, opt, []agent.Target{b.Target}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lifted.Params["the_pid"] != "100" || len(lifted.Kept) != 0 || lifted.Finding.Verdict != proof.Verified {
		t.Fatalf("lifted %v, kept %v, %s", lifted.Params, lifted.Kept, lifted.Finding.Reason)
	}
	wants(t, "the source", lifted.Source, "const volatile k_pid the_pid = 100;\n", "< the_pid /* 100: not the first ones */", "max_entries, 10240")
	// One that the proof does not follow stays.
	odd := strings.Replace(src, "< 100", "< 0x40 + 36", 1)
	kept, err := b.Lift(t.Context(), odd, kc, opt, []agent.Target{b.Target}, nil)
	if err != nil || len(kept.Params) != 0 || len(kept.Kept) != 1 || kept.Source != odd {
		t.Errorf("%v: lifted %v, kept %v", err, kept.Params, kept.Kept)
	}
	if _, err := b.Lift(t.Context(), strings.Replace(src, "< 100", "< 101", 1), kc, opt, []agent.Target{b.Target}, nil); err == nil {
		t.Error("a program that does not keep its contract is a recipe")
	}

	store := &team.Memory{}
	b.Team = store.List
	if err := store.Put(t.Context(), team.Recipe{Name: "parent-questions", Phrasings: []string{"parent questions of processes above {the_pid}"}, By: "ada",
		Source: lifted.Source, Contract: string(lifted.ContractText()), Values: map[string]string{"the_pid": "100"}}, nil); err != nil {
		t.Fatal(err)
	}
	c, err := b.prepare(t.Context(), "Parent questions of processes above 4000, for 2 minutes")
	if err != nil {
		t.Fatal(err)
	}
	if c.Origin != "team recipe parent-questions" || c.Finding.Verdict != proof.Verified || c.Duration != 2*time.Minute || len(c.Manifest.Constants) != 1 || c.Manifest.Constants[0].Value != "4000" {
		t.Errorf("%s, %s, %v, %+v", c.Origin, c.Finding.Verdict, c.Duration, c.Manifest.Constants)
	}
	wants(t, "the contract's words", c.ContractWords(), "kept by your team: team recipe parent-questions")
	// A built-in recipe is never stood in for, and what is stored is not believed.
	evil := team.Recipe{Name: "evil", Phrasings: []string{"who sends signals", "parent questions of nobody at all"}, Source: strings.Replace(lifted.Source, "< the_pid", "> the_pid", 1), Contract: string(lifted.ContractText())}
	if err := store.Put(t.Context(), evil, nil); err != nil {
		t.Fatal(err)
	}
	if c, err := b.prepare(t.Context(), "who sends signals"); err != nil || c.Origin != "recipe signals" {
		t.Errorf("%v, %v", c, err)
	}
	b.rejected("parent questions of nobody at all")
}

// With a model an explanation has its summary, as its words, and says what was proved of what it read.
func TestExplainRead(t *testing.T) {
	m := host(t)
	for _, tc := range []struct {
		name  string
		reply any
		want  agent.Outcome
		words []string
	}{
		{"kept", reading(keyed("current.tgid")), agent.Described, []string{"the program does what it was read to do"}},
		{"differs", reading(keyed("u32(current.task.real_parent.tgid)")), agent.Differs, []string{"A second reading differs"}},
		{"the endpoint fails", llmd.Rule{Status: 401, Match: llmd.Match{Schema: "kgent_reading"}}, agent.NotRead, []string{"There is no second reading"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newAuthors(t, m, yes{}, nil, tc.reply)
			b.Effort.Comprehend = true
			noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			b.Quota = &quota.Ledger{Store: quota.NewMemory(func() time.Time { return noon }), Limits: quota.Limits{User: quota.Use{Requests: 1}}, Now: func() time.Time { return noon }}
			req := agent.Request{Program: &agent.Brought{Name: "p.bpf.c", Source: "/* only for alice */\n" + counting}, By: "ann"}
			x, err := b.Explain(t.Context(), req, []agent.Target{b.Target}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if x.Reading == nil || x.Reading.Outcome != tc.want || x.Contract != nil || x.Mistake != nil {
				t.Fatalf("reading %+v, contract %v, mistake %v", x.Reading, x.Contract, x.Mistake)
			}
			wants(t, "the reading", x.Reading.String(), tc.words...)
			if tc.want != agent.NotRead && x.Reading.Summary != "Counts calls of getppid. One row for each process." {
				t.Errorf("summary %q", x.Reading.Summary)
			}
			for _, q := range b.askedFor("kgent_reading") {
				if strings.Contains(q, "alice") {
					t.Error("the reader is shown comments")
				}
			}
			// It is charged: the next one has no part left, and is explained all the same.
			x, err = b.Explain(t.Context(), req, []agent.Target{b.Target}, nil)
			if err != nil || x.Reading == nil || !strings.Contains(x.Reading.Reason, "used up") || x.Checked == "" {
				t.Errorf("%v, reading %+v", err, x.Reading)
			}
		})
	}
	b := newAuthors(t, m, yes{}, nil)
	if x, err := b.Explain(t.Context(), agent.Request{Program: &agent.Brought{Name: "p.bpf.c", Source: counting}}, []agent.Target{b.Target}, nil); err != nil || x.Reading != nil || len(b.server.Requests()) != 0 {
		t.Errorf("without effort for it: %v, %+v", err, x.Reading)
	}
}
