package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"kgent/agent"
	"kgent/agent/llm"
	"kgent/agent/llm/llmd"
	"kgent/agent/program/compile"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
	"kgent/retrieval/kernel"
)

func TestFirstTry(t *testing.T) {
	b := newBench(t, host(t), nil, answer(counting).with("name", "Parent IDs!", "parameters", []any{said{"name": "comm", "value": "postgres"}},
		"top", 7, "interval_ms", 1000, "duration_ms", 90_000))
	c, err := b.prepare(t.Context(), beyond+" by postgres for 90 s")
	if err != nil {
		t.Fatal(err)
	}
	if c.Origin != "model scripted" || c.Source != counting || c.Finding.Verdict != proof.Unknown || c.Duration != 90*time.Second {
		t.Errorf("candidate %+v", c)
	}
	if c.Explanation != "Counts the calls of getppid by process." {
		t.Errorf("explanation %q", c.Explanation)
	}
	m := c.Manifest
	if m.Name != "parent-ids" || m.Title != "getppid calls by process" || m.View.Top != 7 || m.View.Interval != time.Second {
		t.Errorf("manifest %+v", m)
	}
	if len(m.Constants) != 1 || m.Constants[0].Name != "comm" || m.Constants[0].Value != "postgres" {
		t.Errorf("constants %+v", m.Constants)
	}
	if len(c.Facts) != 1 || c.Facts[0].Instructions == 0 {
		t.Errorf("facts %+v", c.Facts)
	}
	if got, want := steps(b.steps), "match failed, compose failed, contract failed, write done, compile done, facts done, prove done, load done"; got != want {
		t.Errorf("steps %s, want %s", got, want)
	}
	r := c.Record
	if r.Outcome != "candidate" || r.PromptVersion != agent.PromptVersion || r.Kernel == "" || r.BTF == "" || r.Seconds <= 0 || r.Request.ID != "r1" {
		t.Errorf("record %+v", r)
	}
	if len(r.Attempts) != 1 || r.Attempts[0].Source != counting || len(r.Attempts[0].SHA256) != 64 || r.Attempts[0].Error != "" || r.Attempts[0].Origin != c.Origin {
		t.Errorf("attempts %+v", r.Attempts)
	}
	if len(calls(r)) != 1 || r.Calls[0].Usage.PromptTokens == 0 || r.Calls[0].Usage.CompletionTokens == 0 || r.Calls[0].Cost <= 0 {
		t.Errorf("calls %+v", r.Calls)
	}
	if raw, err := json.Marshal(r); err != nil || strings.Contains(string(raw), "0123456789abcdef") {
		t.Errorf("the record, %v: %s", err, raw)
	}
}

// What a first answer gets wrong is fed back, and the second is taken.
func TestFeedback(t *testing.T) {
	m := host(t)
	const cell = "k_count *n = k_cell(&calls, &key, k_count);\n\tif (n)\n\t\t(*n)++;"
	onEvents := answer("").with("maps", []any{said{"name": "events", "role": "events"}})
	section := func(s string) said {
		return answer(edit(t, `SEC("tp/syscalls/sys_enter_getppid")`, `SEC("`+s+`")`)).with("programs", []any{said{"name": "asked", "section": s}})
	}
	for _, tc := range []struct {
		name  string
		first any
		want  []string // in the feedback
		gate  verify.Gate
		real  bool // the kernel's verifier is asked
	}{
		{name: "prose", first: "Sure! Here is a program that counts calls.", want: []string{"not the JSON object"}},
		{name: "nothing", first: llmd.Rule{Text: " "}, want: []string{"not the JSON object"}},
		{name: "broken JSON", first: `{"analysis": "count", "source": "int`, want: []string{"not the JSON object"}},
		{name: "another schema", first: `{"program": "int x;"}`, want: []string{"not the JSON object", "analysis"}},
		{name: "wrong type", first: strings.Replace(jsonOf(t, answer(counting)), `"top":0`, `"top":"all"`, 1), want: []string{"top"}},
		{name: "cut off", first: llmd.Rule{Text: jsonOf(t, answer(counting))[:200], Finish: "length"}, want: []string{"cut off"}},
		{name: "empty source", first: answer(""), want: []string{`"source" is empty`}, gate: verify.GateCompile},
		{name: "huge source", first: answer(counting + strings.Repeat("// padding\n", 30_000)), want: []string{"cut off"}},
		{name: "syntax", first: answer(edit(t, "(*n)++;", "(*n)++")), want: []string{"does not compile", "expected ';'", "line 26", "(*n)++"}, gate: verify.GateCompile},
		{name: "unknown field", first: answer(edit(t, "key.pid = k_current_pid();", "key.pid = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), thread_group_id);")),
			want: []string{"thread_group_id", "line 22"}, gate: verify.GateCompile},
		{name: "unknown function", first: answer(edit(t, "k_current_pid()", "current_pid()")), want: []string{"current_pid", "line 22"}, gate: verify.GateCompile},
		{name: "another file", first: answer(edit(t, `#include "kgent.bpf.h"`, "#include \"kgent.bpf.h\"\n#include \"/etc/passwd\"")),
			want: []string{`only #include "kgent.bpf.h"`, "line 2"}, gate: verify.GateCompile},
		{name: "stack", first: answer(edit(t, "struct req_key key = {};", "struct req_key key = {}; char path[1024];\n\tbpf_probe_read_user_str(path, sizeof(path), (void *)ctx->args[0]); barrier_var(ctx); if (path[5] == 'x') key.pid = path[7];")),
			want: []string{"stack"}, gate: verify.GateCompile},
		{name: "no program", first: answer(counting[:strings.Index(counting, "SEC(\"tp")]).with("programs", []any{}), want: []string{"holds no program"}, gate: verify.GateCompile},
		{name: "nothing to see", first: answer(edit(t, ` KGENT_OUTPUT;`, "; struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 9); __type(key, int); __type(value, int); } other SEC(\".maps\");")).with("maps", []any{said{"name": "calls", "role": "internal"}}),
			want: []string{"shows nothing"}, gate: verify.GateCompile},
		{name: "ring without a type", first: onEvents.with("source", strings.Replace(ringed(t, ""), "sizeof(*e), 0", "20, 0", 1)).with("maps", []any{said{"name": "events", "role": "internal"}}), want: []string{"ring buffer needs __type(value"}, gate: verify.GateCompile},
		{name: "perf buffer", first: answer(edit(t, "KGENT_TASK_FILTER", "KGENT_TASK_FILTER\nstruct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } pb SEC(\".maps\");")).
			with("maps", []any{said{"name": "calls", "role": "output"}, said{"name": "pb", "role": "internal"}}), want: []string{"perf buffers are not read"}, gate: verify.GateCompile},

		{name: "no such parameter", first: answer(counting).with("parameters", []any{said{"name": "port", "value": "443"}}),
			want: []string{`no parameter "port"`, "comm"}, gate: verify.GateCompile},
		{name: "value that does not fit", first: answer(counting).with("parameters", []any{said{"name": "pid", "value": "postgres"}}), want: []string{"parameter pid"}, gate: verify.GateCompile},
		{name: "rows", first: answer(counting).with("top", 100_000), want: []string{"top 100000"}, gate: verify.GateCompile},
		{name: "interval", first: answer(counting).with("interval_ms", 1), want: []string{"interval 1ms"}, gate: verify.GateCompile},

		{name: "no such tracepoint", first: section("tp/syscalls/sys_enter_getpppid"), want: []string{"did you mean", "sys_enter_getppid"}, gate: verify.GateFacts},
		{name: "no such raw tracepoint", first: section("tp_btf/sched_process_exc"), want: []string{"did you mean", "sched_process_exec"}, gate: verify.GateFacts},
		{name: "no such binary", first: section("uprobe/nosuchbinary:main"), want: []string{"nosuchbinary"}, gate: verify.GateFacts},
		{name: "no such symbol", first: section("uprobe/libc.so.6:getadrinfo"), want: []string{"getaddrinfo"}, gate: verify.GateFacts},
		{name: "kind unknown", first: section("ksyscall/getppid"), want: []string{"is not a hook kgent attaches"}, gate: verify.GateCompile},

		{name: "unchecked look-up", real: true, first: answer(edit(t, cell, "k_count *n = bpf_map_lookup_elem(&calls, &key);\n\t(*n)++;")),
			want: []string{"nothing that the kernel forbids", "(*n)++", "25"}, gate: verify.GateSymbolic},
		{name: "loop without end", real: true, first: answer(edit(t, "key.pid = k_current_pid();", "for (volatile int i = 0; i >= 0;) key.pid++;")), want: []string{"verifier"}, gate: verify.GateKernel},
		{name: "helper of another kind", real: true, first: answer(edit(t, "key.pid = k_current_pid();", "key.pid = bpf_get_hash_recalc(ctx);")), want: []string{"get_hash_recalc"}, gate: verify.GateFacts},
		{name: "memory of the kernel", real: true, first: answer(edit(t, "key.pid = k_current_pid();", "struct task_struct *t = (void *)(8 + bpf_get_current_task());\n\tkey.pid = t->tgid;")),
			want: []string{"verifier", "program.bpf.c:23"}, gate: verify.GateKernel},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var l verify.Loader = yes{}
			if tc.real {
				l = nil
			}
			b := newBench(t, m, l, tc.first, answer(counting))
			c, err := b.prepare(t.Context(), beyond)
			if err != nil {
				t.Fatal(err)
			}
			if c.Source != counting || len(c.Record.Attempts) != 2 || len(calls(c.Record)) != 2 {
				t.Errorf("%d attempts, %d calls", len(c.Record.Attempts), len(c.Record.Calls))
			}
			first := c.Record.Attempts[0]
			if first.Error == "" || first.Gate != tc.gate {
				t.Errorf("the first ended at gate %q, want %q: %s", first.Gate, tc.gate, first.Error)
			}
			asked := b.asked()
			if len(asked) != 2 {
				t.Fatalf("%d questions", len(asked))
			}
			wants(t, "the feedback", asked[1], tc.want...)
			if len(asked[1]) > 20_000 {
				t.Errorf("the feedback has %d bytes", len(asked[1]))
			}
		})
	}
}

// What an answer says wrongly of its own source costs nothing: the source counts.
func TestSourceCounts(t *testing.T) {
	m := host(t)
	for _, tc := range []struct {
		name  string
		first said
		want  []string // in the note
	}{
		{name: "another section", first: answer(counting).with("programs", []any{said{"name": "asked", "section": "tp/syscalls/sys_exit_getppid"}}), want: []string{"sys_enter_getppid", "sys_exit_getppid"}},
		{name: "a program too many", first: answer(counting).with("programs", []any{said{"name": "asked", "section": "tp/syscalls/sys_enter_getppid"}, said{"name": "left", "section": "xdp"}}), want: []string{"names left"}},
		{name: "a program too few", first: answer(counting).with("programs", []any{}), want: []string{`the program asked`}},
		{name: "a map too few", first: answer(counting).with("maps", []any{}), want: []string{"the map calls"}},
		{name: "a map too many", first: answer(counting).with("maps", []any{said{"name": "calls", "role": "output"}, said{"name": "other", "role": "internal"}}), want: []string{"names other"}},
		{name: "another role", first: answer(counting).with("maps", []any{said{"name": "calls", "role": "events"}}), want: []string{`"events" in "maps" but "output"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, m, yes{}, tc.first)
			c, err := b.prepare(t.Context(), beyond)
			if err != nil {
				t.Fatal(err)
			}
			if c.Source != counting || len(c.Record.Attempts) != 1 {
				t.Errorf("%d attempts", len(c.Record.Attempts))
			}
			wants(t, "the notes", strings.Join(c.Record.Attempts[0].Notes, "\n"), tc.want...)
		})
	}
}

// ringed is a program with a ring buffer that has the given extra attributes.
func ringed(t testing.TB, extra string) string {
	return edit(t, `struct {
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
`, `struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	`+extra+`
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_getppid")
int asked(struct trace_event_raw_sys_enter *ctx)
{
	struct req_key *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->pid = k_current_pid();
	bpf_ringbuf_submit(e, 0);
	return 0;
}
`)
}

func jsonOf(t testing.TB, s said) string {
	t.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// A hook of a kind that this host refuses is told apart from one that does not
// exist, and the model knows of it before it writes.
func TestRefusedKind(t *testing.T) {
	m := host(t)
	facts, err := kernel.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	facts.Refused = map[string]string{"fentry": "the host forbids it", "kprobe": "there are none"}
	m.facts = facts
	for _, sec := range []string{"fentry/do_nanosleep", "kprobe/do_nanosleep"} {
		first := answer(edit(t, `SEC("tp/syscalls/sys_enter_getppid")`, `SEC("`+sec+`")`)).with("programs", []any{said{"name": "asked", "section": sec}})
		b := newBench(t, m, nil, first, answer(counting))
		c, err := b.prepare(t.Context(), beyond)
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(sec, "/")
		asked := b.asked()
		wants(t, "the question", asked[0], kind+" does not work here: "+facts.Refused[kind])
		wants(t, "the feedback", asked[1], facts.Refused[kind])
		if c.Record.Attempts[0].Gate != verify.GateFacts {
			t.Errorf("%s ended at gate %q", sec, c.Record.Attempts[0].Gate)
		}
	}
}

// Without end wrong: as many tries as the budget has, every reason on record,
// a fresh start after two repairs, and the conversation does not grow.
func TestEndlesslyWrong(t *testing.T) {
	wrong := llmd.Rule{JSON: answer(edit(t, "(*n)++;", "nosuch();")), Times: 1000}
	b := newBench(t, host(t), yes{}, wrong)
	r := b.rejected(beyond)
	if len(r.Record.Attempts) != 6 || len(calls(r.Record)) != 6 {
		t.Errorf("%d attempts and %d calls, want 6", len(r.Record.Attempts), len(r.Record.Calls))
	}
	for i, a := range r.Record.Attempts {
		if a.Gate != verify.GateCompile || !strings.Contains(a.Error, "nosuch") || a.Source == "" {
			t.Errorf("attempt %d: %+v", i, a)
		}
	}
	wants(t, "the error", r.Error(), "none of 6 programs passed", "nosuch")
	if r.Record.Outcome != r.Error() {
		t.Errorf("outcome %q", r.Record.Outcome)
	}
	asked := b.asked()
	for i, fresh := range []bool{true, false, false, true, false, false} {
		if got := strings.Contains(asked[i], "# Request"); got != fresh {
			t.Errorf("question %d: afresh is %v, want %v", i, got, fresh)
		}
	}
	wants(t, "the fresh start", asked[3], "already refused", "nosuch")
	if n := strings.Count(asked[3], "undeclared function"); n != 3 {
		t.Errorf("the fresh start names %d refusals, want 3", n)
	}
}

// The model says that it cannot, or will not.
func TestNoAnswer(t *testing.T) {
	m := host(t)
	for name, tc := range map[string]struct {
		reply any
		want  []string
	}{
		"cannot":  {answer("").with("cannot", "the kernel does not see\x1b[31m temperatures"), []string{`the model says: "the kernel does not see\x1b[31m temperatures"`}},
		"refusal": {llmd.Rule{Refusal: "I can't help with that."}, []string{"the model refuses", "I can't help with that."}},
		"filter":  {llmd.Rule{Text: "I", Finish: "content_filter"}, []string{"content filter"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, m, yes{}, tc.reply)
			_, err := b.prepare(t.Context(), beyond)
			if !errors.Is(err, agent.ErrNoAnswer) {
				t.Fatalf("error %v, want ErrNoAnswer", err)
			}
			wants(t, "the error", err.Error(), tc.want...)
			if n := len(b.asked()); n != 1 {
				t.Errorf("it was asked %d times", n)
			}
		})
	}
}

// A fault of the endpoint is no rejection: it says what to do.
func TestEndpoint(t *testing.T) {
	m := host(t)
	always := func(r llmd.Rule) llmd.Rule { r.Times = 1000; return r }
	for name, tc := range map[string]struct {
		replies []any
		kind    error
		want    []string
	}{
		"401":     {[]any{llmd.Rule{Status: 401}}, llm.ErrUnauthorized, []string{"OPENAI_API_KEY"}},
		"404":     {[]any{llmd.Rule{Status: 404}}, llm.ErrNoModel, []string{"KGENT_MODEL"}},
		"429":     {[]any{always(llmd.Rule{Status: 429, Headers: map[string]string{"Retry-After": "3600"}})}, llm.ErrRateLimited, []string{"try again in 1h"}},
		"500":     {[]any{always(llmd.Rule{Status: 500})}, llm.ErrUnavailable, []string{"after 5 requests", "try again later"}},
		"drop":    {[]any{always(llmd.Rule{Drop: true})}, llm.ErrUnavailable, []string{"OPENAI_BASE_URL"}},
		"cut":     {[]any{always(llmd.Rule{JSON: answer(counting), CutAfter: 100})}, llm.ErrUnavailable, []string{"in the middle of the answer"}},
		"garbage": {[]any{llmd.Rule{Body: "<html>hello</html>"}}, llm.ErrProtocol, []string{"OPENAI_BASE_URL"}},
		"huge":    {[]any{llmd.Rule{Huge: 64 << 20}}, llm.ErrTooLarge, []string{"too large"}},
		// Programs that were refused before do not make it one either.
		"401 later": {[]any{answer("int x;"), llmd.Rule{Status: 401}}, llm.ErrUnauthorized, []string{"OPENAI_API_KEY"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, m, yes{}, tc.replies...)
			_, err := b.prepare(t.Context(), beyond)
			var r *agent.RejectedError
			if !errors.Is(err, agent.ErrModel) || !errors.Is(err, tc.kind) || errors.As(err, &r) {
				t.Fatalf("error %v, want ErrModel and %v", err, tc.kind)
			}
			wants(t, "the error", err.Error(), append(tc.want, "the model cannot be asked", b.server.URL())...)
			if last := b.steps[len(b.steps)-1]; last.Name != "write" || last.State != "failed" {
				t.Errorf("the last step is %+v", last)
			}
		})
	}
	t.Run("down", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close() // nobody listens there now
		b := newBench(t, m, yes{}, "unused")
		b.Model = b.client(fmt.Sprintf("http://%s/v1", l.Addr()), "k")
		_, err = b.prepare(t.Context(), beyond)
		if !errors.Is(err, agent.ErrModel) || !errors.Is(err, llm.ErrUnavailable) {
			t.Fatalf("error %v", err)
		}
		wants(t, "the error", err.Error(), "connection refused", "OPENAI_BASE_URL")
	})
	t.Run("slow", func(t *testing.T) {
		b := newBench(t, m, yes{}, llmd.Rule{JSON: answer(counting), Delay: 300 * time.Millisecond})
		if _, err := b.prepare(t.Context(), beyond); err != nil {
			t.Errorf("a slow answer is one: %v", err)
		}
	})
	t.Run("recovers", func(t *testing.T) {
		b := newBench(t, m, yes{}, llmd.Rule{Status: 429, Headers: map[string]string{"Retry-After": "7"}}, llmd.Rule{Status: 500}, llmd.Rule{JSON: answer(counting), CutAfter: 50}, answer(counting))
		c, err := b.prepare(t.Context(), beyond)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.slept) != 3 || b.slept[0] != 7*time.Second {
			t.Errorf("waited %v", b.slept)
		}
		if len(c.Record.Attempts) != 1 || len(calls(c.Record)) != 1 || len(calls(c.Record)[0].Attempts) != 4 {
			t.Errorf("%d programs, calls %+v", len(c.Record.Attempts), c.Record.Calls)
		}
	})
}

// Tokens and time are bounded, and what ended it is said.
func TestBudget(t *testing.T) {
	m := host(t)
	wrong := answer("int x;")
	t.Run("tokens at once", func(t *testing.T) {
		b := newBench(t, m, yes{}, answer(counting))
		b.Budget.Tokens = 100
		_, err := b.prepare(t.Context(), beyond)
		if !errors.Is(err, agent.ErrModel) || !errors.Is(err, llm.ErrBudget) {
			t.Fatalf("error %v", err)
		}
		if n := len(b.asked()); n != 0 {
			t.Errorf("it was asked %d times all the same", n)
		}
	})
	t.Run("tokens later", func(t *testing.T) {
		b := newBench(t, m, yes{}, llmd.Rule{JSON: wrong, Usage: &llmd.Usage{PromptTokens: 20_000, CompletionTokens: 20_000}, Times: 1000})
		b.Budget.Tokens = 100_000
		r := b.rejected(beyond)
		if n := len(r.Record.Attempts); n < 2 || n > 3 || !errors.Is(r.Ended, llm.ErrBudget) {
			t.Errorf("%d programs, ended by %v", n, r.Ended)
		}
		wants(t, "the error", r.Error(), "no further try", "tokens")
	})
	t.Run("time at once", func(t *testing.T) {
		b := newBench(t, m, yes{}, llmd.Rule{Hang: true})
		b.Budget.Time = 300 * time.Millisecond
		_, err := b.prepare(t.Context(), beyond)
		var r *agent.RejectedError
		if !errors.Is(err, agent.ErrModel) || errors.As(err, &r) {
			t.Fatalf("error %v", err)
		}
		wants(t, "the error", err.Error(), "300ms")
	})
	t.Run("time later", func(t *testing.T) {
		b := newBench(t, m, yes{}, wrong, llmd.Rule{Hang: true})
		b.Budget.Time = 20 * time.Second // enough for the first program on a busy machine
		r := b.rejected(beyond)
		if len(r.Record.Attempts) != 1 {
			t.Errorf("%d programs", len(r.Record.Attempts))
		}
		wants(t, "the error", r.Error(), "no further try", "20s")
	})
}

// The person gives up: nothing but that is reported.
func TestCancelled(t *testing.T) {
	b := newBench(t, host(t), yes{}, answer("int x;"), llmd.Rule{Hang: true})
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("enough")
	go func() {
		if b.server.Wait(ctx, 3) == nil { // the contract, a program, the next one

			cancel(gone)
		}
	}()
	_, err := b.prepare(ctx, beyond)
	var r *agent.RejectedError
	if !errors.Is(err, gone) || errors.As(err, &r) || errors.Is(err, agent.ErrModel) {
		t.Errorf("error %v, want the cause", err)
	}
	if err := b.server.WaitGone(t.Context(), 3); err != nil {
		t.Error(err)
	}
}

// Without clang no token is spent.
func TestNoClang(t *testing.T) {
	b := newBench(t, host(t), yes{}, answer(counting))
	b.Compiler = nil
	if _, err := b.prepare(t.Context(), beyond); !errors.Is(err, compile.ErrNoClang) {
		t.Errorf("error %v", err)
	}
	if n := len(b.asked()); n != 0 {
		t.Errorf("the model was asked %d times", n)
	}
}

// A recipe that answers needs no model, and requests that are none are not
// handed to one.
func TestModelIsNotAsked(t *testing.T) {
	b := newBench(t, host(t), nil, answer(counting))
	c, err := b.prepare(t.Context(), "fsync latency as a histogram")
	if err != nil {
		t.Fatal(err)
	}
	if c.Origin != "recipe fsync-latency" || len(c.Record.Calls) != 0 || c.Record.Outcome != "candidate" {
		t.Errorf("candidate %+v", c)
	}
	for name, text := range map[string]string{
		"empty": " \n", "long": strings.Repeat("word ", 1000), "100 kB": strings.Repeat("x", 100_000), "binary": "trace \x00\x01", "escape": "trace \x1b[31m",
		"C1": "trace \u009b31m", "not UTF-8": "trace \xff\xfe",
	} {
		if _, err := b.prepare(t.Context(), text); !errors.Is(err, agent.ErrRequest) {
			t.Errorf("%s: error %v, want ErrRequest", name, err)
		}
	}
	if n := len(b.asked()); n != 0 {
		t.Errorf("the model was asked %d times", n)
	}
	b.Model = nil
	_, err = b.prepare(t.Context(), beyond)
	if !errors.Is(err, agent.ErrNoAnswer) || !strings.Contains(err.Error(), "OPENAI_BASE_URL") {
		t.Errorf("without a model: %v", err)
	}
}
