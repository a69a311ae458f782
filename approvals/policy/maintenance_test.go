package policy_test

import (
	"errors"
	"strings"
	"testing"

	"kgent/approvals"
	"kgent/approvals/policy"
)

const upkeep = `maintenance:
  - nodes: env=prod,role=db
    by: {people: [ada]}
  - nodes: env=prod
    by: {groups: [sre]}
  - nodes: env=dev
    by: {}
`

// The first entry that fits a node says who drains it, of each node; what none fits,
// nobody.
func TestMayMaintain(t *testing.T) {
	for _, tt := range []struct {
		name, who string
		nodes     []string
		rule      string // "" when they may
	}{
		{"named", "slack:T1/UADA", []string{"prod-1"}, ""},
		{"by another account", "discord:G1/1", []string{"prod-1"}, ""},
		{"in the group of a later entry", "slack:T1/UTIM", []string{"prod-1"}, "requester"},
		{"in the group", "slack:T1/UTIM", []string{"prod-2"}, ""},
		{"not for all of them", "slack:T1/UTIM", []string{"prod-2", "prod-1"}, "requester"},
		{"an empty by is nobody", "slack:T1/UADA", []string{"dev-1"}, "requester"},
		{"no entry", "slack:T1/UADA", []string{"bare"}, "nobody"},
		{"unknown node", "slack:T1/UADA", []string{"nope"}, "node"},
		{"no node", "slack:T1/UADA", nil, "node"},
		{"elsewhere", "slack:T2/UADA", []string{"prod-1"}, "human"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := parse(t, upkeep+team, sre())
			got, err := p.MayMaintain(t.Context(), by(tt.who), tt.nodes, false)
			if tt.rule == "" && (err != nil || got.Policy != p.Version()) || tt.rule != "" && ruleOf(err) != tt.rule {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	p := parse(t, upkeep+team, sre())
	if got, err := p.MayMaintain(t.Context(), by("slack:T1/UADA"), []string{"prod-1"}, false); err != nil || got.Labels["prod-1"]["role"] != "db" || got.Labels["prod-1"]["env"] != "prod" {
		t.Errorf("what it went by: %+v, %v", got, err)
	}
	bot := by("slack:T1/UADA")
	bot.Human = false
	if _, err := p.MayMaintain(t.Context(), bot, []string{"prod-1"}, false); ruleOf(err) != "human" {
		t.Errorf("a bot: %v", err)
	}
	if _, err := p.MayMaintain(t.Context(), by("slack:T1/UADA"), []string{"lost"}, false); !errors.Is(err, approvals.ErrTryAgain) {
		t.Errorf("labels that cannot be looked up: %v", err)
	}
	if _, err := parse(t, team, sre()).MayMaintain(t.Context(), by("slack:T1/UADA"), []string{"prod-1"}, false); ruleOf(err) != "nobody" {
		t.Errorf("without the section: %v", err)
	}
	off := parse(t, "paused: migration\n"+upkeep+team, sre())
	if _, err := off.MayMaintain(t.Context(), by("slack:T1/UADA"), []string{"prod-1"}, false); err != nil {
		t.Errorf("paused, draining: %v", err)
	}
	if _, err := off.MayMaintain(t.Context(), by("slack:T1/UADA"), []string{"prod-1"}, true); ruleOf(err) != "paused" {
		t.Errorf("paused, undraining: %v", err)
	}
}

func TestMaintenanceProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		section, says string
		warning       bool
	}{
		"no list":   {"maintenance: {by: {anyone: true}}\n", "must be a list", false},
		"no by":     {"maintenance:\n  - nodes: env=prod\n", "has no by", false},
		"a typo":    {"maintenance:\n  - node: env=prod\n    by: {anyone: true}\n", `did you mean "nodes"`, false},
		"nobody":    {"maintenance:\n  - by: {people: [zoe]}\n", `people has no "zoe"`, false},
		"no labels": {"maintenance:\n  - nodes: prod\n    by: {anyone: true}\n", "selects no nodes", false},
		"never":     {"maintenance:\n  - nodes: env=prod,env=dev\n    by: {anyone: true}\n", "no node has such labels", true},
		"too late":  {"maintenance:\n  - by: {anyone: true}\n  - nodes: env=prod\n    by: {groups: [sre]}\n", "one before it takes all", true},
		"empty":     {"maintenance:\n  - by: {}\n", "nobody may drain", true},
	} {
		t.Run(name, func(t *testing.T) {
			p, problems := policy.Parse("x", []byte(tt.section+team), policy.Options{})
			if (p != nil) != tt.warning || !strings.Contains(problems.Error(), tt.says) {
				t.Errorf("%v, %s", p != nil, problems)
			}
		})
	}
}
