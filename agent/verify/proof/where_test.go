package proof

import (
	"context"
	"strings"
	"testing"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
)

// That a program looks only at a container is part of what is proved, and so is at which.
func TestInside(t *testing.T) {
	c, err := contract.Parse(`contract "Opens in a container"
table opens : count
hook tracepoint/syscalls/sys_enter_openat()
  case c: inside("pod:shop/db-0") && current.uid != 0
    add 1 to opens
  otherwise nothing
`)
	if err != nil {
		t.Fatal(err)
	}
	const counts = `
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, k_count); } opens SEC(".maps") KGENT_OUTPUT;
SEC("tp/syscalls/sys_enter_openat")
int enter(void *ctx)
{
	__u32 zero = 0;
	k_count *n = bpf_map_lookup_elem(&opens, &zero);
	if (n && k_current_uid() && (%))
		(*n)++;
	return 0;
}
`
	// One cgroup alone, as somebody may write it.
	const single = `struct { __uint(type, BPF_MAP_TYPE_CGROUP_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u32); } kgent_where SEC(".maps");`
	// Too many entries for what is asked of it.
	const two = `struct { __uint(type, BPF_MAP_TYPE_CGROUP_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u32); } kgent_where SEC(".maps");`
	h := here(t)
	for _, tt := range []struct {
		name, before, cond, where string
		want                      Verdict
	}{
		{"the header's", "KGENT_WHERE", "k_inside()", "pod:shop/db-0", Verified},
		{"one cgroup", single, "bpf_current_task_under_cgroup(&kgent_where, 0) == 1", "pod:shop/db-0", Verified},
		{"it never asks", "", "1", "", Refuted},
		{"it has the map and never asks", "KGENT_WHERE", "1", "pod:shop/db-0", Refuted},
		{"turned round", "KGENT_WHERE", "!k_inside()", "pod:shop/db-0", Refuted},
		{"an error is taken for yes", single, "bpf_current_task_under_cgroup(&kgent_where, 0)", "pod:shop/db-0", Refuted},
		{"the first of two", two, "bpf_current_task_under_cgroup(&kgent_where, 0) == 1", "pod:shop/db-0", Unknown},
		{"another place", "KGENT_WHERE", "k_inside()", "pod:shop/db-1", Refuted},
		{"by the id of a cgroup", "const volatile __u64 kgent_group;", "bpf_get_current_cgroup_id() == kgent_group", "", Refuted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := programtest.Object(t, head+tt.before+strings.Replace(counts, "%", tt.cond, 1))
			m, err := program.Build(o, program.Options{Name: "test", Title: "test", Where: tt.where})
			if err != nil {
				t.Fatal(err)
			}
			r, err := Verify(context.Background(), Input{Object: o, Manifest: m, Contract: c, Kernel: h.kernel, Types: h.types, Limits: patient})
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != tt.want {
				t.Errorf("%s, want %s: %s", r.Verdict, tt.want, r.Text())
			}
		})
	}
}
