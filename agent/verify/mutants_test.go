package verify

import (
	"os"
	"slices"
	"testing"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/recipes"
	"kgent/agent/verify/proof"
)

// Mutants judge the contracts of recipes as they would a stranger's: none is found to say too
// little, and it costs about as much as the proof. All of them with KGENT_SOAK.
func TestContractsJudged(t *testing.T) {
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	k, err := KernelOf(programtest.Here(t).Facts)
	if err != nil {
		t.Fatal(err)
	}
	some := []string{"oom-kills", "tcp-states", "fsync-latency", "cgroup-bytes"}
	for _, r := range library.Recipes() {
		if os.Getenv("KGENT_SOAK") == "" && !slices.Contains(some, r.Name) {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			o := programtest.Object(t, string(r.Source))
			m, err := program.Build(o, scoredOptions)
			if err != nil {
				t.Fatal(err)
			}
			p := &Prover{Limits: patient, Trusted: TrustedAre([]*contract.Contract{r.Contract})}
			plain, err := p.ProveOn(t.Context(), k, o, m, r.Contract)
			if err != nil {
				t.Fatal(err)
			}
			if plain.Stats.Mutants != 0 {
				t.Errorf("a contract that is trusted was judged by %d mutants", plain.Stats.Mutants)
			}
			p = &Prover{Limits: patient}
			judged, err := p.ProveOn(t.Context(), k, o, m, r.Contract)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %d of %d mutants survive; %v instead of %v", judged.Verdict, judged.Stats.Survivors, judged.Stats.Mutants, judged.Stats.Time, plain.Stats.Time)
			if judged.Verdict != proof.Verified || judged.Stats.Mutants == 0 && slices.Contains(some, r.Name) {
				t.Errorf("%s: %v", judged.Verdict, judged.Reasons)
			}
		})
	}
}

// A contract that leaves open what the program mostly does is found out, though it can be
// broken.
func TestWeakContract(t *testing.T) {
	const source = `#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "GPL";
struct exit { k_time time; k_pid pid, parent; k_uid uid; k_errno error; __u64 flags, priority; char comm[16]; __u32 code, signal; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct exit); } exits SEC(".maps");
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *p)
{
	struct exit *e = bpf_ringbuf_reserve(&exits, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->time = bpf_ktime_get_ns();
	e->pid = p->tgid;
	e->parent = p->real_parent->tgid;
	e->uid = p->cred->uid.val;
	e->error = p->exit_code & 0x7f;
	e->flags = p->flags & 0xffff;
	e->priority = p->prio - 100;
	e->code = (__u32)p->exit_code >> 8;
	e->signal = p->exit_signal;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, 0);
	return 0;
}
`
	o := programtest.Object(t, source)
	m, err := program.Build(o, scoredOptions)
	if err != nil {
		t.Fatal(err)
	}
	k, err := KernelOf(programtest.Here(t).Facts)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		contract string
		want     proof.Verdict
	}{
		{`contract "Exits"
event exits { time: k_time, ... }
hook tp_btf/sched_process_exit(p)
  case exit: always
    emit exits { time: now }
  otherwise nothing
`, proof.Vacuous},
		{`contract "Exits"
event exits { time: k_time, pid: k_pid, parent: k_pid, uid: k_uid, flags: u64, code: u32, ... }
hook tp_btf/sched_process_exit(p)
  case exit: always
    emit exits { time: now, pid: p.tgid, parent: p.real_parent.tgid, uid: p.cred.uid.val, flags: u64(p.flags) & 0xffff, code: u32(p.exit_code) >> 8 }
  otherwise nothing
`, proof.Verified},
	} {
		c, err := contract.Parse(tt.contract)
		if err != nil {
			t.Fatal(err)
		}
		p := &Prover{Limits: patient}
		r, err := p.ProveOn(t.Context(), k, o, m, c)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d of %d: %v", r.Verdict, r.Stats.Survivors, r.Stats.Mutants, r.Reasons)
		if r.Verdict != tt.want {
			t.Errorf("%s, want %s: %v", r.Verdict, tt.want, r.Reasons)
		}
	}
}
