package policy_test

import (
	"testing"

	"kgent/approvals"
)

// Recipes take what a run would take there, and what the policy asks for besides.
func TestRecipes(t *testing.T) {
	for _, tc := range []struct {
		name, section string
		quorum        int
		judged        string // refusal
		bob, eve      string // refusals of their votes
	}{
		{name: "nothing said", quorum: 1},
		{name: "more people", section: "recipes: {quorum: 3}\n", quorum: 3},
		{name: "fewer than a run", section: "recipes: {quorum: 1}\n", quorum: 1},
		{name: "certain people", section: "recipes: {quorum: 2, approvers: {people: [bob]}}\n", quorum: 2, eve: "approver"},
		{name: "nobody", section: "recipes: {forbidden: true}\n", judged: "nobody"},
	} {
		p := parse(t, tc.section+team, sre())
		c := ask(approvals.Observe, "slack:T1/UJOE", "prod-2")
		run, err := p.Judge(t.Context(), c)
		if err != nil || run.Quorum != 1 {
			t.Fatalf("%s: a run: %+v, %v", tc.name, run, err)
		}
		c.Purpose = approvals.KeepRecipe
		r, err := p.Judge(t.Context(), c)
		if ruleOf(err) != tc.judged || err == nil && r.Quorum != tc.quorum {
			t.Errorf("%s: %+v, %v", tc.name, r, err)
		}
		if err := p.MayApprove(t.Context(), c, by("discord:G1/2")); ruleOf(err) != tc.bob {
			t.Errorf("%s: bob: %v", tc.name, err)
		}
		if err := p.MayApprove(t.Context(), c, by("discord:G1/3")); ruleOf(err) != tc.eve {
			t.Errorf("%s: eve: %v", tc.name, err)
		}
	}
}
