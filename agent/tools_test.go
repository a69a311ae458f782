package agent_test

import (
	"strings"
	"testing"
	"time"

	"kgent/agent"
	"kgent/agent/llm/llmd"
)

// calling is an answer that uses tools.
func calling(calls ...llmd.ToolCall) llmd.Rule { return llmd.Rule{ToolCalls: calls} }

func tooled(t *testing.T, contracts []any, programs ...any) *bench {
	b := newAuthors(t, host(t), yes{}, contracts, programs...)
	b.Prover = believes{}
	b.Effort.Tools = agent.ToolBounds{Calls: 12, Bytes: 8 << 10, Time: time.Minute}
	return b
}

// A program that does not compile makes tools worth their tokens; each says what it found, or what is wrong with the call.
func TestTools(t *testing.T) {
	use := func(name string, args any) llmd.ToolCall { return llmd.ToolCall{Name: name, Arguments: args} }
	for _, tc := range []struct {
		call llmd.ToolCall
		want string
	}{
		{use("search_hooks", said{"query": "getppid"}), "sys_enter_getppid"},
		{use("btf_type", said{"name": "struct task_struct", "like": "parent"}), "real_parent"},
		{use("btf_type", said{"name": "task_strukt", "like": ""}), "task_struct"},
		{use("func_proto", said{"name": "sched_switch"}), "struct task_struct *prev"},
		{use("func_proto", said{"name": "vfs_reed"}), "vfs_read"},
		{use("tracepoint_format", said{"name": "sched:sched_switch"}), "prev_comm"},
		{use("helper_info", said{"name": "bpf_get_stackid"}), "bpf_get_stackid"},
		{use("helper_info", said{"name": "bpf_get_weather"}), "bpf_get_weather"},
		{use("compile", said{"source": counting}), "it compiles: 1 program"},
		{use("compile", said{"source": "int x"}), "does not compile"},
		{use("verify", said{"source": counting}), "UNKNOWN"},
		{use("load", said{"source": counting}), "takes it"},
		{use("attach", said{"source": counting}), "there is no tool"},
		{use("check_contract", said{"contract": "x"}), "there is no tool"}, // of the author of programs
		{use("compile", "no JSON"), "arguments"},
		{use("search_hooks", said{"words": "x"}), "(nothing)"},
	} {
		t.Run(tc.call.Name+" "+tc.want, func(t *testing.T) {
			b := tooled(t, []any{llmd.Rule{JSON: draft().with("cannot", "none", "hooks", []any{}), Times: 9}}, answer("int x"), calling(tc.call), answer(counting))
			c, err := b.prepare(t.Context(), beyond)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Record.Lookups) != 1 || len(c.Record.Attempts) != 2 {
				t.Fatalf("%d look-ups, %d attempts", len(c.Record.Lookups), len(c.Record.Attempts))
			}
			requests := b.server.Requests()
			wants(t, "the result", requests[len(requests)-1].Tool, tc.want)
			wants(t, "the progress", steps(b.steps), "tool ")
		})
	}
}

// A model that only ever looks things up is cut, told what it found, and asked for an answer.
func TestEndlessTools(t *testing.T) {
	endless := llmd.Rule{ToolCalls: []llmd.ToolCall{{Name: "search_hooks", Arguments: said{"query": "sched"}}, {Name: "btf_type", Arguments: said{"name": "task_struct", "like": ""}}}, Times: 100}
	b := tooled(t, []any{llmd.Rule{JSON: draft().with("cannot", "none", "hooks", []any{}), Times: 9}}, answer("int x"), endless)
	b.Budget.Tries = 2
	r := b.rejected(beyond)
	bytes := 0
	for _, x := range r.Record.Lookups {
		bytes += x.Bytes
	}
	if n := len(r.Record.Lookups); n > 12 || bytes > 8<<10 || n < 3 {
		t.Errorf("%d look-ups of %d bytes", n, bytes)
	}
	wants(t, "the last question", b.asked()[len(b.asked())-1], "What you have looked up", "Nothing more can be looked up", "task_struct")
	if n := len(b.server.Requests()); n > 20 {
		t.Errorf("%d requests", n)
	}
	wants(t, "the end", r.Error(), "not the JSON object")
}

// An endpoint without tools is asked without them.
func TestNoTools(t *testing.T) {
	refused := llmd.Rule{Status: 400, Error: &llmd.ErrorBody{Message: "tools is not supported by this model", Type: "invalid_request_error"}}
	b := tooled(t, []any{llmd.Rule{JSON: draft().with("cannot", "none", "hooks", []any{}), Times: 9}}, answer("int x"), refused, answer("int y"), answer(counting))
	c, err := b.prepare(t.Context(), beyond)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Record.Lookups) != 0 || len(c.Record.Attempts) != 3 {
		t.Errorf("%d look-ups, %d attempts", len(c.Record.Lookups), len(c.Record.Attempts))
	}
}

// Who writes a contract sees no program, by no tool.
func TestToolsOfContracts(t *testing.T) {
	wrong := draft().with("tables", []any{})
	b := tooled(t, []any{wrong, calling(llmd.ToolCall{Name: "compile", Arguments: said{"source": counting}}, llmd.ToolCall{Name: "check_contract", Arguments: said{"contract": formatted(t, draft())}}), draft()}, answer(counting))
	c, err := b.prepare(t.Context(), beyond)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Record.Lookups) != 2 || !strings.Contains(c.Record.Lookups[0].Error, "there is no tool") || c.Record.Lookups[1].Error != "" {
		t.Errorf("%+v", c.Record.Lookups)
	}
}
