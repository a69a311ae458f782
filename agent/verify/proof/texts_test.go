package proof

import (
	"strings"
	"testing"
)

// preamble is what the programs of this file have in common.
const preamble = `
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "GPL";
`

// A text of which program and contract read more or less is one text.
func TestTextOfTwoLengths(t *testing.T) {
	const program = preamble + `
struct removals_event { char start[16]; char name[64]; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct removals_event);
} removals SEC(".maps");

SEC("tp/syscalls/sys_enter_unlink")
int removes(struct trace_event_raw_sys_enter *ctx)
{
	struct removals_event *ev = bpf_ringbuf_reserve(&removals, sizeof(*ev), 0);

	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	bpf_probe_read_user_str(ev->name, sizeof(ev->name), (void *)ctx->args[0]);
	__builtin_memcpy(ev->start, ev->name, 15);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}
`
	const text = `contract "Removals"
event removals { start: char[16], name: char[64] }
hook tracepoint/syscalls/sys_enter_unlink(pathname)
  case removed: always
    emit removals { start: user_text(pathname, 16), name: user_text(pathname, 64) }
  otherwise nothing
`
	if r := verify(t, program, text, patient); r.Verdict != Verified {
		t.Errorf("%s\n%s", r.Verdict, strings.Join(r.Reasons, "\n"))
	}
	short := strings.Replace(program, "ev->name, 15)", "ev->name, 14)", 1)
	if r := verify(t, short, text, patient); r.Verdict != Refuted {
		t.Errorf("cut to 14 bytes instead of 15: %s", r.Verdict)
	}
}
