package agent_test

import (
	"encoding/json"
	"strings"
	"testing"

	"kgent/agent/contract"
	"kgent/agent/llm/llmd"
	"kgent/agent/verify/proof"
)

// parted is an answer that divides a request.
func parted(parts ...any) llmd.Rule {
	return llmd.Rule{JSON: said{"analysis": "", "parts": parts}, Match: llmd.Match{Schema: "request_parts"}}
}

// forPart is a contract for one part of a request.
func forPart(text string, c string) llmd.Rule {
	return llmd.Rule{Text: "```\n" + c + "```", Match: llmd.Match{Schema: "kgent_contract", User: text}}
}

const (
	parentsByUser = `contract "getppid calls by user"
table calls { uid: k_uid } : count
hook tracepoint/syscalls/sys_enter_getppid()
  case asked: current.uid != 0
    add 1 to calls[uid: current.uid]
  otherwise nothing
`
	parents = `contract "getppid calls by process"
param pid: k_pid = 7 means "only this process"
table calls { pid: k_pid } : count
hook tracepoint/syscalls/sys_enter_getppid()
  case asked: pid == 0 || current.tgid == pid
    add 1 to calls[pid: current.tgid]
  otherwise nothing
`
	kills = `contract "Signals"
param pid: k_pid = 0 means "only to this process"
event sent { pid: k_pid, sig: k_signal }
hook tracepoint/syscalls/sys_enter_kill(pid as whom, sig)
  case sent: pid == 0 || s32(whom) == s32(pid)
    emit sent { pid: u32(whom), sig: s32(sig) }
  otherwise nothing
`
)

const several = "count getppid calls by process, and also getppid calls by user without root, and show who sends which signals"

// A request for several things becomes one contract and one program.
func TestSplit(t *testing.T) {
	b := generating(t, []any{parted("getppid calls by process", "getppid calls by user without root", "who sends which signals"),
		forPart("by process\n", parents), forPart("by user without root\n", parentsByUser), forPart("which signals\n", kills)})
	b.Effort.Split = true
	c, err := b.prepare(t.Context(), several)
	if err != nil {
		t.Fatal(err)
	}
	if c.Finding.Verdict != proof.Verified || len(c.Manifest.Programs) != 2 || len(c.Record.Contracts) != 4 {
		t.Errorf("%s: %s; %d programs, %d contracts", c.Finding.Verdict, c.Finding.Reason, len(c.Manifest.Programs), len(c.Record.Contracts))
	}
	text := contract.Format(c.Contract)
	wants(t, "the contract", text, "calls_2 {", "param pid_3", "then", "current.uid != 0", "pid_3 == 0 ||")
	wants(t, "what was understood", strings.Join(c.Understood, "\n"), "divided into 3 parts")
	if c.Record.Plan == nil || c.Record.Plan.Outcome != "one contract" {
		t.Errorf("plan %+v", c.Record.Plan)
	}
}

// What cannot be divided is taken as a whole.
func TestNotSplit(t *testing.T) {
	whole := llmd.Rule{JSON: draft(), Match: llmd.Match{Schema: "kgent_contract", User: "and also"}}
	drop := "contract \"a\"\ntable dropped : count\nhook cgroup_skb/egress()\n  case a: packet.len > 100\n    add 1 to dropped\n    return 0\n  otherwise\n    return 1\n"
	for name, tc := range map[string]struct {
		text      string
		contracts []any
		plan      string
	}{
		"one thing":         {text: beyond, contracts: []any{draft()}},
		"one part":          {text: several, contracts: []any{parted("all of it"), whole}},
		"too many":          {text: several, contracts: []any{parted("a b c", "b b c", "c b c", "d b c", "e b c", "f b c"), whole}},
		"no contract":       {text: several, contracts: []any{parted("part one", "part two"), forPart("part one", parents), llmd.Rule{JSON: draft().with("cannot", "no", "hooks", []any{}), Match: llmd.Match{Schema: "kgent_contract", User: "part two"}}, whole}, plan: "taken as a whole: there is no contract for part 2"},
		"two decisions":     {text: several, contracts: []any{parted("part one", "part two"), forPart("part one", drop), forPart("part two", drop), whole}, plan: "two parts decide"},
		"the endpoint":      {text: several, contracts: []any{llmd.Rule{Status: 401, Match: llmd.Match{Schema: "request_parts"}}, whole}},
		"no plan but words": {text: several, contracts: []any{llmd.Rule{Text: "I think there are three.", Match: llmd.Match{Schema: "request_parts"}}, whole}},
	} {
		t.Run(name, func(t *testing.T) {
			b := generating(t, tc.contracts)
			b.Effort.Split, b.Prover = true, believes{}
			c, err := b.prepare(t.Context(), tc.text)
			if err != nil {
				t.Fatal(err)
			}
			if c.Contract.Title != "getppid calls by process" {
				t.Errorf("the contract is %q", c.Contract.Title)
			}
			raw, _ := json.Marshal(c.Record.Plan)
			wants(t, "the plan", string(raw), tc.plan)
		})
	}
}
