package compare

import (
	"strings"
	"testing"

	"kgent/agent/program/programtest"
)

// Programs in the form for kernels without ring buffers are compared by what they show, as others are.
func TestPerfForm(t *testing.T) {
	const source = `#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "GPL";
struct ev { k_pid pid; k_tid tid; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct ev); } calls SEC(".maps");
SEC("tp/syscalls/sys_enter_fsync") int enter(void *ctx)
{
	struct ev *e = bpf_ringbuf_reserve(&calls, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = k_current_pid();
	e->tid = k_current_tid();
	bpf_ringbuf_submit(e, 0);
	return 0;
}`
	copied := strings.NewReplacer("struct ev *e = bpf_ringbuf_reserve(&calls, sizeof(*e), 0);\n\tif (!e)\n\t\treturn 0;", "struct ev v, *e = &v;",
		"bpf_ringbuf_submit(e, 0)", "bpf_ringbuf_output(&calls, e, sizeof(*e), 0)").Replace(source)
	other := strings.Replace(source, "e->tid = k_current_tid();", "e->tid = k_current_pid();", 1)
	a := built(t, "reserved", programtest.PerfObject(t, source))
	if r := held(t, a, built(t, "copied", programtest.PerfObject(t, copied)), here(t)); r.Verdict != Same {
		t.Errorf("put together elsewhere: %s", r.Verdict)
	}
	if r := held(t, a, built(t, "other", programtest.PerfObject(t, other)), here(t)); r.Verdict != Different {
		t.Errorf("another member: %s", r.Verdict)
	}
}
