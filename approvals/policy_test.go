package approvals_test

import (
	"cmp"
	"reflect"
	"strings"
	"testing"
	"time"

	"kgent/approvals"
	"kgent/approvals/approvalstest"
	"kgent/executor/job"
)

func TestLocal(t *testing.T) {
	root := approvals.Person{ID: "root", Surface: approvals.Terminal, Human: true}
	chat := approvals.Person{ID: "root", Surface: "slack", Human: true}
	here := []string{"host"}
	tests := []struct {
		name  string
		local approvals.Local
		tier  approvals.Tier
		base  approvals.Tier // 0: tier
		nodes []string
		by    approvals.Person
		rule  approvals.Rule // "": allowed
		says  string
	}{
		{name: "observing", tier: approvals.Observe, nodes: here, by: root},
		{name: "sensitive", tier: approvals.ObserveSensitive, nodes: here, by: root},
		{name: "unproved", tier: approvals.Act, base: approvals.ObserveSensitive, nodes: here, by: root},
		{name: "acting", tier: approvals.Act, nodes: here, by: root, rule: approvals.RuleTier, says: "a policy file that names approvers for the tier act allows it"},
		{name: "no tier", nodes: here, by: root, rule: approvals.RuleTier},
		{name: "another node", tier: approvals.Observe, nodes: []string{"other"}, by: root, rule: approvals.RuleNode, says: "on this host, host, only"},
		{name: "more nodes", tier: approvals.Observe, nodes: []string{"host", "other"}, by: root, rule: approvals.RuleNode},
		{name: "no node", tier: approvals.Observe, by: root, rule: approvals.RuleNode},
		{name: "from a chat", tier: approvals.Observe, nodes: here, by: chat, rule: approvals.RuleRequester},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.local.Node = "host"
			r, err := tt.local.Judge(t.Context(), approvals.Case{Tier: tt.tier, Base: cmp.Or(tt.base, tt.tier), Nodes: tt.nodes, Requester: tt.by})
			if tt.rule != "" {
				wantRefused(t, err, tt.rule)
				if !strings.Contains(err.Error(), tt.says) {
					t.Errorf("error %q, want %q in it", err, tt.says)
				}
				if !reflect.DeepEqual(r, approvals.Ruling{}) {
					t.Errorf("ruling %+v beside the error", r)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.Quorum != 1 || !r.Self || r.MaxDuration != 10*time.Minute || r.MaxEvents != approvals.LocalEvents || r.Expiry != approvals.LocalExpiry || r.Policy != "local" {
				t.Errorf("ruling %+v", r)
			}
		})
	}
	c := approvals.Case{Requester: root, Nodes: here, Tier: approvals.Observe, Base: approvals.Observe}
	own := approvals.Local{Node: "host", MaxDuration: time.Second, MaxEvents: 3, Expiry: time.Minute}
	if r, err := own.Judge(t.Context(), c); err != nil || r.MaxDuration != time.Second || r.MaxEvents != 3 || r.Expiry != time.Minute {
		t.Errorf("own numbers: %+v (%v)", r, err)
	}
	if err := own.MayApprove(t.Context(), c, root); err != nil {
		t.Errorf("the requester: %v", err)
	}
	wantRefused(t, own.MayApprove(t.Context(), c, chat), approvals.RuleApprover)
	wantRefused(t, own.MayApprove(t.Context(), c, approvals.Person{ID: "guest", Surface: approvals.Terminal, Human: true}), approvals.RuleApprover)
}

// The whole of the terminal's path, with real programs.
func TestLocalDesk(t *testing.T) {
	o := newOffice(t)
	o.Policy = approvals.Local{Node: "host"}
	o.cand.Nodes, o.cand.Requester.Surface = []string{"host"}, approvals.Terminal
	o.digest(&o.cand)
	c := o.open()
	got, err := o.Decide(t.Context(), c.ID, approvals.Vote{By: o.cand.Requester, Choice: approvals.Approve})
	if err != nil || got.State != approvals.Approved {
		t.Fatalf("%s (%v)", got.State, err)
	}
	if _, _, err := o.Grant(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	// Somebody else at the same time, and a longer run.
	c = o.open()
	_, err = o.vote(c.ID, "bob", approvals.Approve)
	wantRefused(t, err, approvals.RuleApprover)
	o.cand.Limits = job.Limits{Duration: 10*time.Minute + 1, EventsPerSecond: 1}
	o.digest(&o.cand)
	_, err = o.Open(t.Context(), o.cand)
	wantRefused(t, err, approvals.RuleDuration)
	o.cand.Limits = job.Limits{Duration: time.Minute, EventsPerSecond: 1}
	o.cand.Program, o.cand.Tier = approvalstest.Compile(t, approvalstest.Acting), approvals.Act
	o.digest(&o.cand)
	_, err = o.Open(t.Context(), o.cand)
	wantRefused(t, err, approvals.RuleTier)
}
