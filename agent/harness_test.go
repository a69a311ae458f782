package agent_test

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/agent"
	"kgent/agent/llm"
	"kgent/agent/llm/llmd"
	"kgent/agent/program"
	"kgent/agent/program/compile"
	"kgent/agent/program/programtest"
	"kgent/agent/program/vmlinux"
	"kgent/agent/recipes"
	"kgent/agent/recipes/recipetest"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
	"kgent/agent/verify/symbolic"
	"kgent/agent/verify/worker"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
	"kgent/retrieval/kernel"
)

// beyond is a request that no recipe answers.
const beyond = "which processes ask for their parent's id, and how often"

// loader asks this kernel's verifier.
type loader struct{ *probe.Loader }

func (l loader) DryLoad(ctx context.Context, o *program.Object, m *program.Manifest) ([]program.Verified, error) {
	s, err := l.Load(ctx, o, m)
	if err != nil {
		return nil, err
	}
	v, err := s.Verified()
	return v, errors.Join(err, s.Close())
}

// yes is a loader for tests that are not about the kernel.
type yes struct{}

func (yes) DryLoad(context.Context, *program.Object, *program.Manifest) ([]program.Verified, error) {
	return nil, nil
}

type machine struct {
	facts    *kernel.Facts
	types    *vmlinux.Types
	compiler *compile.Compiler
	library  *recipes.Library
	loader   loader
	records  *agent.Records
}

// thisMachine is read once for all tests.
var thisMachine = sync.OnceValues(func() (machine, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	tools, err := programtest.Find()
	if err != nil {
		return machine{}, err
	}
	facts := tools.Facts
	facts.Refused = map[string]string{}
	for _, f := range probe.Inventory(ctx) {
		if !f.OK {
			facts.Refused[string(f.Kind)] = f.Why
		}
	}
	library, err := recipes.Default()
	if err != nil {
		return machine{}, err
	}
	l := probe.NewLoader(probe.Options{Resolve: facts.ResolveBinary, Cgroups: facts.CgroupMount})
	return machine{facts, tools.Types, tools.Compiler, library, loader{l}, &agent.Records{}}, nil
})

func host(t testing.TB) machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	m, err := thisMachine()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// said is a model's answer: the fields of the schema.
type said map[string]any

// answer is one that agrees with the program counting below; change fields
// with with.
func answer(source string) said {
	return said{
		"analysis": "count calls by process", "cannot": "", "name": "parents", "title": "getppid calls by process", "source": source,
		"programs":   []any{said{"name": "asked", "section": "tp/syscalls/sys_enter_getppid"}},
		"maps":       []any{said{"name": "calls", "role": "output"}},
		"parameters": []any{}, "duration_ms": 0, "interface": "", "top": 0, "interval_ms": 0,
		"explanation": "Counts the calls of getppid by process.",
	}
}

// draft is an answer of the author of contracts that asks for what counting does.
func draft() said {
	key := []any{said{"name": "pid", "is": "current.tgid"}, said{"name": "comm", "is": "current.comm"}}
	return said{
		"analysis": "count calls by process", "cannot": "", "title": "getppid calls by process",
		"params": []any{
			said{"name": "pid", "type": "k_pid", "default": "", "means": "only this process; 0 is any"},
			said{"name": "comm", "type": "char[16]", "default": "", "means": "only this name; empty is any"},
			said{"name": "uid", "type": "k_uid", "default": "-1", "means": "only this user; -1 is any"},
		},
		"enums": []any{}, "events": []any{}, "memories": []any{}, "assume": []any{}, "show": []any{},
		"tables": []any{said{"name": "calls", "key": []any{said{"name": "pid", "type": "k_pid"}, said{"name": "comm", "type": "char[16]"}},
			"values": []any{said{"name": "", "how": "count", "type": "k_count", "step": 0, "slots": 0}}}},
		"hooks": []any{said{"places": []any{said{"at": "tracepoint/syscalls/sys_enter_getppid", "args": []any{}, "with": []any{}, "if_present": false}},
			"cases": []any{
				said{"step": 1, "name": "asked", "when": "task_wanted(pid, comm, uid)", "effects": []any{said{"do": "add", "to": "calls", "key": key, "value": "1", "fields": []any{}}}},
				said{"step": 1, "name": "otherwise", "when": "otherwise", "effects": []any{}},
			}}},
	}
}

func (s said) with(pairs ...any) said {
	s = maps.Clone(s)
	for i := 0; i < len(pairs); i += 2 {
		s[pairs[i].(string)] = pairs[i+1]
	}
	return s
}

// counting is a right program.
const counting = `#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

struct req_key { k_pid pid; char comm[TASK_COMM_LEN]; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 10240);
	__type(key, struct req_key);
	__type(value, k_count);
} calls SEC(".maps") KGENT_OUTPUT;

SEC("tp/syscalls/sys_enter_getppid")
int asked(struct trace_event_raw_sys_enter *ctx)
{
	struct req_key key = {};

	if (!k_task_wanted())
		return 0;
	key.pid = k_current_pid();
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	k_count *n = k_cell(&calls, &key, k_count);
	if (n)
		(*n)++;
	return 0;
}
`

// edit is counting with one passage replaced.
func edit(t testing.TB, old, new string) string {
	t.Helper()
	if strings.Count(counting, old) != 1 {
		t.Fatalf("%q is in the program %d times", old, strings.Count(counting, old))
	}
	return strings.Replace(counting, old, new, 1)
}

// rule makes an answer to a request: a said is an object, a string is text.
func rule(reply any) llmd.Rule {
	switch r := reply.(type) {
	case llmd.Rule:
		return r
	case said:
		return llmd.Rule{JSON: r}
	case string:
		return llmd.Rule{Text: r}
	}
	panic("no reply")
}

// bench is an agent with a model that follows a script.
type bench struct {
	*agent.Agent
	t      testing.TB
	server *llmd.Server
	slept  []time.Duration
	steps  []agent.Step
}

// newBench makes one whose model has no contract to offer and gives the replies in turn
// for programs. Afterwards nothing may be left in the kernel.
func newBench(t testing.TB, m machine, l verify.Loader, replies ...any) *bench {
	t.Helper()
	return newAuthors(t, m, l, []any{llmd.Rule{JSON: draft().with("cannot", "no contract in this test", "hooks", []any{}), Times: 1000}}, replies...)
}

// newAuthors makes a bench whose model gives one list of replies for contracts and
// another for programs, each in turn.
func newAuthors(t testing.TB, m machine, l verify.Loader, contracts []any, programs ...any) *bench {
	t.Helper()
	judge := prover(t, m)
	residue.Check(t)
	b := &bench{t: t}
	script := llmd.Script{Models: []string{"scripted"}, Key: "sk-test-0123456789abcdef"}
	add := func(schema string, replies []any) {
		for _, reply := range replies {
			r := rule(reply)
			if r.Match.Schema == "" {
				r.Match.Schema = schema
			}
			if r.Times == 0 {
				r.Times = 1
			}
			script.Rules = append(script.Rules, r)
		}
	}
	add("kgent_contract", contracts)
	add("ebpf_program", programs)
	var err error
	if b.server, err = llmd.Start("127.0.0.1:0", script, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.server.Close(); err != nil {
			t.Error(err)
		}
	})
	client := b.client(b.server.URL(), script.Key)
	b.Agent = &agent.Agent{
		Recipes: m.library, Model: client, Compiler: m.compiler, Budget: agent.Budget{Tries: 6, Tokens: 1_000_000, Time: 4 * time.Minute}, Now: time.Now, Records: m.records,
		Prover: judge, Comparer: judge,
		Target: agent.Target{Facts: m.facts, Types: m.types, Loader: cmp.Or(l, verify.Loader(m.loader))},
	}
	return b
}

// prover proves as a bot does, in a process of the built kgent, which the race detector does not slow
// down. It remembers what it proved from test to test, and its process, which the first proof starts, ends
// with that of the tests.
func prover(t testing.TB, m machine) *worker.Process {
	t.Helper()
	oneProver.Do(func() {
		o := programtest.Object(t, counting)
		manifest, err := program.Build(o, program.Options{Name: "counting"})
		if err != nil {
			t.Fatal(err)
		}
		p := worker.New(recipetest.Binary(t), "prover")
		// For a machine that is busy with other tests.
		p.Limits = proof.Limits{Time: time.Minute, Machine: symbolic.Limits{Time: time.Minute, Query: 5 * time.Second}}
		if _, err := p.Prove(t.Context(), m.facts, o, manifest, nil); err != nil {
			t.Fatal(err)
		}
		oneProver.Process = p
	})
	if oneProver.Process == nil {
		t.Fatal("the process that proves was not started")
	}
	return oneProver.Process
}

var oneProver struct {
	sync.Once
	*worker.Process
}

// client is a real one that waits only on paper.
func (b *bench) client(url, key string) *llm.Client {
	b.t.Helper()
	c, err := llm.New(llm.Config{BaseURL: url, Key: llm.NewSecret(key), Model: "scripted", Timeout: 2 * time.Minute,
		Prices: map[string]llm.Price{"scripted": {Prompt: 2, Completion: 10}},
		Sleep: func(ctx context.Context, d time.Duration) error {
			b.slept = append(b.slept, d)
			return context.Cause(ctx)
		}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

func (b *bench) prepare(ctx context.Context, text string) (*agent.Candidate, error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	return b.Prepare(ctx, agent.Request{ID: "r1", Text: text}, func(s agent.Step) { b.steps = append(b.steps, s) })
}

// rejected prepares and wants a rejection.
func (b *bench) rejected(text string) *agent.RejectedError {
	b.t.Helper()
	c, err := b.prepare(b.t.Context(), text)
	var r *agent.RejectedError
	if !errors.As(err, &r) {
		b.t.Fatalf("candidate %v, error %v; want a rejection", c != nil, err)
	}
	return r
}

// asked are the last user messages that the author of programs got.
func (b *bench) asked() []string { return b.askedFor("ebpf_program") }

// askedFor are the last user messages of the requests with a schema.
func (b *bench) askedFor(schema string) []string {
	var out []string
	for _, r := range b.server.Requests() {
		if r.Schema == schema {
			out = append(out, r.User)
		}
	}
	return out
}

// calls are the calls of the model for programs.
func calls(r *agent.Record) (out []llm.CallRecord) {
	for _, c := range r.Calls {
		if c.Purpose == "write the program" {
			out = append(out, c)
		}
	}
	return out
}

// wants fails unless text has all of the parts.
func wants(t testing.TB, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s lacks %q:\n%s", what, p, text)
		}
	}
}

func steps(all []agent.Step) string {
	var out []string
	for _, s := range all {
		if s.State != "start" {
			out = append(out, s.Name+" "+s.State)
		}
	}
	return strings.Join(slices.Compact(out), ", ")
}
