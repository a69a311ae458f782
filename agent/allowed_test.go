package agent_test

import (
	"strings"
	"testing"

	"kgent/agent"
	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
)

// What was proved for a range of values says nothing about others: they cannot be set, and
// other values are unproved until they were looked at.
func TestConstantsInRange(t *testing.T) {
	o := programtest.Object(t, `#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "GPL";
const volatile k_ns least = 1000000;
const volatile int nice = 0;
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, k_count); } opens SEC(".maps") KGENT_OUTPUT;
SEC("tp/syscalls/sys_enter_openat")
int enter(void *ctx) { __u32 k = 0; k_count *n = bpf_map_lookup_elem(&opens, &k); if (n && least > nice) (*n)++; return 0; }
`)
	c, err := contract.Parse(`contract "Opens"
param least: k_ns = 1ms from 1us to 1s means "at least this long"
param nice: s32 from -20 to 19 means "a niceness"
table opens : count
hook tracepoint/syscalls/sys_enter_openat()
  case c: always
    add 1 to opens
  otherwise nothing
`)
	if err != nil {
		t.Fatal(err)
	}
	m, err := program.Build(o, program.Options{Name: "test", Title: "test"})
	if err != nil {
		t.Fatal(err)
	}
	was := &agent.Candidate{Object: o, Manifest: m, Contract: c, Finding: verify.Finding{Verdict: proof.Verified}}
	for _, tt := range []struct{ name, value, want string }{
		{"least", "2ms", ""}, {"least", "1s", ""}, {"least", "1001ms", "the contract allows 1us to 1s"}, {"least", "0", "the contract allows"},
		{"nice", "-20", ""}, {"nice", "-21", "the contract allows -20 to 19"}, {"nice", "20", "the contract allows"},
	} {
		next, err := was.WithConstants(map[string]string{tt.name: tt.value})
		switch {
		case tt.want != "":
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s = %s: %v, want %q", tt.name, tt.value, err, tt.want)
			}
		case err != nil:
			t.Errorf("%s = %s: %v", tt.name, tt.value, err)
		case next.Finding.Verdict == proof.Verified:
			t.Errorf("%s = %s is VERIFIED before anything was asked", tt.name, tt.value)
		}
	}
}
