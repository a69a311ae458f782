package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"kgent/agent/llm/llmd"
)

// getppids is a program as models write it, with the headers of libbpf and no
// license; %s is the call that counts.
const getppids = `#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct req_key { k_pid pid; char comm[16]; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct req_key);
	__type(value, k_count);
} calls SEC(".maps") KGENT_OUTPUT;

SEC("tracepoint/syscalls/sys_enter_getppid")
int asked(struct trace_event_raw_sys_enter *ctx)
{
	struct req_key key = {};
	key.pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(&key.comm, sizeof(key.comm));
	k_count *n = %s(&calls, &key, k_count);
	if (n)
		(*n)++;
	return 0;
}
`

func written(call string) map[string]any {
	return map[string]any{
		"analysis": "count", "cannot": "", "name": "parents", "title": "getppid calls by process", "source": fmt.Sprintf(getppids, call),
		"programs":   []any{map[string]any{"name": "asked", "section": "tracepoint/syscalls/sys_enter_getppid"}},
		"maps":       []any{map[string]any{"name": "calls", "role": "output"}},
		"parameters": []any{}, "duration_ms": 0, "interface": "", "top": 0, "interval_ms": 0,
		"explanation": "Counts the calls of getppid by process.",
	}
}

func scripted(script string) map[string]any {
	return map[string]any{"analysis": "count", "cannot": "", "name": "parents", "script": script, "duration_ms": 0, "explanation": "Counts the calls of getppid by process."}
}

// TestModelScripts runs testdata/model with a model that follows a script.
func TestModelScripts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	cannot := written("")
	cannot["source"], cannot["cannot"] = "", "the kernel does not know"
	serve := func(s llmd.Script) string {
		server, err := llmd.Start("127.0.0.1:0", s, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		return server.URL()
	}
	noContract := map[string]any{"analysis": "", "cannot": "no contract in this test", "title": ""}
	for _, list := range []string{"params", "enums", "events", "tables", "memories", "hooks", "assume", "show"} {
		noContract[list] = []any{}
	}
	open := serve(llmd.Script{Rules: []llmd.Rule{
		{Match: llmd.Match{Schema: "bpftrace_script", User: "never allowed"}, JSON: scripted("tracepoint:syscalls:sys_enter_getpidd { @ = count(); }")},
		{Match: llmd.Match{Schema: "bpftrace_script", User: "sys_enter_getpidd"}, JSON: scripted("tracepoint:syscalls:sys_enter_getppid { @calls[comm] = count(); }")},
		{Match: llmd.Match{Schema: "bpftrace_script"}, JSON: scripted(`tracepoint:syscalls:sys_enter_getppid { $x = system("id"); }`)},
		{Match: llmd.Match{Schema: "kgent_contract"}, JSON: noContract},
		{Match: llmd.Match{User: "(?m)^> temperature"}, JSON: cannot},
		{Match: llmd.Match{User: "(?m)^> which processes"}, JSON: written("cell")},
		{Match: llmd.Match{User: "undeclared function 'cell'"}, JSON: written("k_cell")},
		{JSON: written("nosuch")},
	}})
	locked := serve(llmd.Script{Key: "sk-nobody-has-it", Rules: []llmd.Rule{{Text: "unused"}}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := fmt.Sprintf("http://%s/v1", l.Addr())
	l.Close() // nobody listens there now
	// What the trace is to see: this process asks now and then.
	asking := time.NewTicker(2 * time.Millisecond)
	done := make(chan struct{})
	t.Cleanup(func() {
		asking.Stop()
		close(done)
	})
	go func() {
		for {
			select {
			case <-asking.C:
				syscall.Getppid()
			case <-done:
				return
			}
		}
	}()
	path := scriptPath(t)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "model"),
		Setup: func(env *testscript.Env) error {
			for k, v := range map[string]string{"PATH": path, "OPENAI_API_KEY": "", "KGENT_MODEL": "scripted", "MODEL_URL": open, "LOCKED_URL": locked, "DOWN_URL": down} {
				env.Setenv(k, v)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"records": cmdRecords, "exits": cmdExits},
	})
}
