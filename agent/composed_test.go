package agent_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"kgent/agent"
	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify/proof"
	"kgent/retrieval/kernel"
)

// unsure is a prover that can prove nothing.
type unsure struct{}

func (unsure) Prove(context.Context, *kernel.Facts, *program.Object, *program.Manifest, *contract.Contract) (*proof.Report, error) {
	return &proof.Report{Reasons: []string{"it was not tried"}}, nil
}

// What no recipe answers is composed, proved and offered without a model.
func TestComposed(t *testing.T) {
	m := host(t)
	b := newBench(t, m, nil)
	b.Model = nil
	c, err := b.prepare(t.Context(), "count getppid calls by user and cpu, only uid 1000, every 5 seconds")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := steps(b.steps), "match failed, compose done, compile done, facts done, prove done, load done"; got != want {
		t.Errorf("steps %s, want %s", got, want)
	}
	if c.Origin != "composed for the system call getppid" || c.Finding.Verdict != proof.Verified || c.ContractBy != "" || c.Contract == nil {
		t.Errorf("%s, %v by %q", c.Origin, c.Finding, c.ContractBy)
	}
	if want := []program.Constant{{Name: "uid", Value: "1000"}}; !slices.Equal(c.Manifest.Constants, want) {
		t.Errorf("constants %+v", c.Manifest.Constants)
	}
	if c.Manifest.View.Interval.Seconds() != 5 {
		t.Errorf("view %+v", c.Manifest.View)
	}
	wants(t, "what was understood", strings.Join(c.Understood, "\n"), "every call of getppid", "one for each uid, cpu", "the user id 1000")
	wants(t, "the contract", contract.Format(c.Contract), "sys_enter_getppid", "{ uid: k_uid, cpu: u32 } : count")
}

// Without a proof nothing that was composed is offered; a model is asked, if there is one.
func TestComposedButNotProved(t *testing.T) {
	m := host(t)
	b := newBench(t, m, yes{}, answer(counting))
	b.Prover = unsure{}
	model := b.Model
	b.Model = nil
	_, err := b.prepare(t.Context(), "count getppid calls by user and cpu")
	if !errors.Is(err, agent.ErrNoAnswer) {
		t.Fatalf("%v", err)
	}
	wants(t, "the refusal", err.Error(), "composed was", "not offered", "it was not tried", "KGENT_MODEL")
	b.Model = model
	c, err := b.prepare(t.Context(), "count getppid calls by user and cpu")
	if err != nil || !strings.HasPrefix(c.Origin, "model ") {
		t.Errorf("%+v, %v", c, err)
	}
}

// A word that is not understood is named.
func TestNotComposed(t *testing.T) {
	m := host(t)
	b := newBench(t, m, yes{})
	b.Model = nil
	_, err := b.prepare(t.Context(), "count getppid calls by user while it rains")
	if !errors.Is(err, agent.ErrNoAnswer) {
		t.Fatalf("%v", err)
	}
	wants(t, "the refusal", err.Error(), "rains", "by user")
}

// What a model answered is refined by what is composed on top of its contract.
func TestComposedOnPrevious(t *testing.T) {
	m := host(t)
	b := newBench(t, m, yes{})
	b.Model, b.Prover = nil, believes{}
	previous := &agent.Previous{Origin: "model x", Values: map[string]string{"uid": "33"}, Contract: `contract "Parents"

param pid: k_pid means "only this process, by its id; 0 is any"
param comm: char[16] means "only threads or processes of this name, at most 15 bytes; empty is any"
param uid: k_uid = -1 means "only this user, by id; -1 is any"

table asked { pid: k_pid, comm: char[16] } : count

hook tracepoint/syscalls/sys_enter_getppid()
  case asks: task_wanted(pid, comm, uid)
    add 1 to asked[pid: current.tgid, comm: current.comm]
  otherwise nothing
`}
	here := agent.Target{Facts: m.facts, Types: m.types, Loader: yes{}}
	c, err := b.prepareFor(agent.Request{Text: "not nginx, top 5", Before: []string{"who asks for parents, by and large"}, Previous: previous}, here)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "the contract", contract.Format(c.Contract), `current.comm != "nginx"`, "{ pid: k_pid, comm: char[16] } : count")
	if want := []program.Constant{{Name: "uid", Value: "33"}}; !slices.Equal(c.Manifest.Constants, want) || c.Manifest.View.Top != 5 {
		t.Errorf("%+v", c.Manifest)
	}
}
