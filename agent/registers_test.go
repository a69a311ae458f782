package agent

import (
	"strings"
	"testing"
)

// Of an argument of a system call a program takes as much of the register as the kernel does; what has a cast, or is no number
// of fewer bits, stays.
func TestRegisters(t *testing.T) {
	m := mending{source: `#include "kgent.bpf.h"
SEC("tp/syscalls/sys_enter_kill")
int on_kill(struct trace_event_raw_sys_enter *ctx)
{
	if (ctx->args[0] > 2 && (__u64)ctx->args[1] != 9) // ctx->args[0]
		return ctx -> args[ 1 ];
	return 0;
}
SEC("tracepoint/syscalls/sys_enter_write")
int on_write(struct trace_event_raw_sys_enter *c)
{
	return c->args[0] == 1 && c->args[2] > 4096 && other->args[0];
}
`}
	m.mend()
	for _, want := range []string{"((int)ctx->args[0]) > 2 && (__u64)ctx->args[1] != 9) // ctx->args[0]", "return ((int)ctx -> args[ 1 ])",
		"((unsigned int)c->args[0]) == 1 && c->args[2] > 4096 && other->args[0]"} {
		if !strings.Contains(m.source, want) {
			t.Errorf("%s is not in\n%s", want, m.source)
		}
	}
	if len(m.notes) != 3 || m.notes[len(m.notes)-1] != "args[0] of write is taken as the kernel takes it: unsigned int" {
		t.Errorf("%q", m.notes)
	}
}
