package proof

import (
	"strings"
	"testing"

	"kgent/agent/program/programtest"
)

const perfContract = `contract "Calls of fsync"

event call { pid: k_pid, n: u64 }

hook tracepoint/syscalls/sys_enter_fsync()
  case all: always
    emit call { pid: current.tgid, n: current.tid }
`

// perfProgram hands its event over by what kgent.bpf.h makes of the calls of ring buffers, so that
// it can be made wrong in ways that those do not let a program be.
const perfProgram = `#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";
struct ev { k_pid pid; __u32 _pad; __u64 n; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct ev); } call SEC(".maps");
SEC("tp/syscalls/sys_enter_fsync")
int enter(void *ctx)
{
#ifdef KGENT_RINGS
	__u32 zero = 0;
	struct kgent_counts *c = kgent_counts();
	struct kgent_record *r = bpf_map_lookup_elem(&kgent_records, &zero);
	if (!r || !c)
		return 0;
	__sync_fetch_and_add(&r->taken, 1);
	if (READ_ONCE(r->taken) != 1) {
		__sync_fetch_and_add(&r->taken, -1);
		__sync_fetch_and_add(&c->lost, 1);
		return 0;
	}
	struct ev *e = (void *)r->data;
	e->pid = k_current_pid();
	e->_pad = 0;
	e->n = k_current_tid();
	if (kgent_perf_event_output(ctx, &call, 0xffffffffULL, e, sizeof(*e)))
		__sync_fetch_and_add(&c->lost, 1);
	else
		__sync_fetch_and_add(&c->produced, 1);
	barrier();
	__sync_fetch_and_add(&r->taken, -1);
#endif
	return 0;
}
`

// What a program can get wrong with perf buffers is not VERIFIED, and where it shows in what comes
// out while there is room, or is never allowed, it is REFUTED.
func TestPerfMutants(t *testing.T) {
	if r := verifyObject(t, programtest.PerfObject(t, perfProgram), perfContract, patient); r.Verdict != Verified {
		t.Fatalf("the right program is %s: %s", r.Verdict, strings.Join(r.Reasons, "\n"))
	}
	const giveBack = "	barrier();\n	__sync_fetch_and_add(&r->taken, -1);\n"
	for _, tt := range []struct {
		name     string
		old, new string
		want     Verdict
	}{
		{"keeps the record", giveBack, "", Refuted},
		{"gives it back twice", giveBack, giveBack + giveBack, Refuted},
		{"gives it back before it is copied", "	if (kgent_perf", giveBack + "	if (kgent_perf", Refuted},
		{"changes it afterwards", giveBack, giveBack + "	e->n = 8;\n", Refuted},
		{"does not take it", "	__sync_fetch_and_add(&r->taken, 1);\n	if (READ_ONCE(r->taken) != 1) {", "	if (!r->data) {", Refuted},
		{"does not look whether it has it", "	if (READ_ONCE(r->taken) != 1) {", "	if (!r->data) {", Refuted},
		{"takes it where it is another one's", "	if (READ_ONCE(r->taken) != 1) {", "	if (READ_ONCE(r->taken) > 2) {", Unknown},
		{"leaves its hand on it", "		__sync_fetch_and_add(&r->taken, -1);\n", "", Unknown},
		{"marks it in two steps", "	__sync_fetch_and_add(&r->taken, 1);\n	if (READ_ONCE(r->taken) != 1) {", "	if (READ_ONCE(r->taken) == 0)\n		WRITE_ONCE(r->taken, 1);\n	else {", Unknown},
		{"clears the number", "	__sync_fetch_and_add(&r->taken, -1);\n#", "	WRITE_ONCE(r->taken, 0);\n#", Unknown},
		{"looks twice", "	if (READ_ONCE(r->taken) != 1) {", "	if (READ_ONCE(r->taken) != 1 && READ_ONCE(r->taken) != 1) {", Unknown},
		{"what another event left", "	e->n = k_current_tid();\n", "", Refuted},
		{"padding of another event", "	e->_pad = 0;\n", "", Refuted},
		{"another value", "e->n = k_current_tid()", "e->n = k_current_tid() + 1", Refuted},
		{"a byte too few", "sizeof(*e)))", "sizeof(*e) - 1))", Refuted},
		{"twice", "	if (kgent_perf", "	if (!kgent_perf_event_output(ctx, &call, 0xffffffffULL, e, sizeof(*e)))\n		__sync_fetch_and_add(&c->produced, 1);\n	if (kgent_perf", Refuted},
		{"not counted", "		__sync_fetch_and_add(&c->produced, 1);\n", "		;\n", Refuted},
		{"a full buffer is not counted", "e, sizeof(*e)))\n		__sync_fetch_and_add(&c->lost, 1);\n	else\n		", "e, sizeof(*e)) == 0)\n		", Unknown},
		{"a record that is taken is not counted", "		__sync_fetch_and_add(&c->lost, 1);\n		return 0;\n", "		return 0;\n", Unknown},
		{"lost events count as handed over", "		__sync_fetch_and_add(&c->lost, 1);\n	else\n		__sync_fetch_and_add(&c->produced, 1);\n", "		__sync_fetch_and_add(&c->produced, 1);\n	else\n		__sync_fetch_and_add(&c->produced, 1);\n", Refuted},
		{"another processor's buffer", "0xffffffffULL", "1ULL", Unknown},
		{"no context", "(ctx, &call", "((void *)r->data, &call", Refuted},
		{"another processor's record", "	struct kgent_record *r = bpf_map_lookup_elem(&kgent_records, &zero);", "	struct kgent_record *r = bpf_map_lookup_percpu_elem(&kgent_records, &zero, 0);", Unknown},
		{"writes records by helper", "	__sync_fetch_and_add(&r->taken, 1);\n", "	static const struct kgent_record _zero;\n	kgent_map_update_elem(&kgent_records, &zero, &_zero, 0);\n	__sync_fetch_and_add(&r->taken, 1);\n", Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Count(perfProgram, tt.old) != 1 {
				t.Fatalf("%q is in the program %d times", tt.old, strings.Count(perfProgram, tt.old))
			}
			r := verifyObject(t, programtest.PerfObject(t, strings.Replace(perfProgram, tt.old, tt.new, 1)), perfContract, patient)
			if r.Verdict != tt.want {
				t.Errorf("%s, want %s: %s", r.Verdict, tt.want, strings.Join(r.Reasons, "\n"))
			} else {
				t.Log(strings.Join(r.Reasons, "\n"))
			}
		})
	}
}

// Every program of an object is held to what keeps events of perf buffers apart: also one that the contract does not
// name, which could interrupt the others.
func TestPerfOthers(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       Verdict
	}{
		{"nothing", "", Verified},
		{"writes into an event", "if (r) r->data[0] = 1;", Refuted},
		{"marks it, and leaves it marked", "if (r) __sync_fetch_and_add(&r->taken, 1);", Refuted},
		{"clears the mark", "if (r) __sync_fetch_and_add(&r->taken, -1);", Refuted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			other := `
SEC("tp/syscalls/sys_enter_sync") int other(void *ctx)
{
#ifdef KGENT_RINGS
	__u32 zero = 0;
	struct kgent_record *r = bpf_map_lookup_elem(&kgent_records, &zero);
	` + tt.body + `
#endif
	return 0;
}
`
			if r := verifyObject(t, programtest.PerfObject(t, perfProgram+other), perfContract, patient); r.Verdict != tt.want {
				t.Errorf("%s, want %s: %s", r.Verdict, tt.want, strings.Join(r.Reasons, "\n"))
			}
		})
	}
}
