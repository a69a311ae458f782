package policy_test

import (
	"os"
	"strings"
	"testing"

	"kgent/approvals"
	"kgent/approvals/policy"
)

const small = `version: 1
tenants: [slack:T1]
people:
  ada: [slack:T1/UADA]
  bob: slack:T1/UBOB
rules:
  - tiers: [observe]
    quorum: 1
    approvers: {people: [ada, bob]}
    requesters: {anyone: true}
    max_duration: 1m
    max_events: 10
    expiry: 5m
`

func TestParse(t *testing.T) {
	tests := []struct {
		name     string
		old, new string   // replaced in the small file
		want     []string // problems; none: the file is in order
	}{
		{name: "in order"},
		{name: "comments, anchors and quotes", old: "{people: [ada, bob]}", new: "&team {people: [\"ada\", 'bob', slack:T1/U7]} # these\n    break_glass: {by: *team, max_duration: 1m, audit: [slack:T1/C1]}"},

		{name: "empty", old: small, new: "", want: []string{"want one YAML document, there are 0"}},
		{name: "no YAML", old: "people:", new: "people: [", want: []string{"line 6: "}},
		{name: "a list", old: small, new: "[1]", want: []string{"line 1: a policy must be a mapping"}},
		{name: "two documents", old: "rules:", new: "---\nrules:", want: []string{"there are 2"}},
		{name: "too large", old: "rules:", new: "# " + strings.Repeat("x", 256<<10) + "\nrules:", want: []string{"at most 262144"}},
		{name: "no version", old: "version: 1\n", want: []string{"version is missing"}},
		{name: "no tenants", old: "tenants: [slack:T1]\n", want: []string{"tenants is missing", "slack:T1, which is not among the tenants"}},
		{name: "empty tenants", old: "[slack:T1]", new: "[]", want: []string{"tenants lists no workspace"}},
		{name: "a tenant that is none", old: "[slack:T1]", new: "[slack:T1, T2]", want: []string{`line 2: "T2" is not of the form`}},
		{name: "an unknown key", old: "max_duration:", new: "max_durration:", want: []string{`line 11: a rule has no "max_durration", did you mean "max_duration"?`, "line 7: rule 1 has no max_duration"}},
		{name: "an unknown key at the top", old: "people:", new: "peple:", want: []string{`line 3: a policy has no "peple", did you mean "people"?`, `people has no "ada"`}},
		{name: "an unknown key far from all", old: "    quorum: 1\n", new: "    quorum: 1\n    whatever: 1\n", want: []string{`line 9: a rule has no "whatever"; it has approvers, ask,`}},
		{name: "a key twice", old: "    quorum: 1\n", new: "    quorum: 1\n    quorum: 2\n", want: []string{"line 9: "}},
		{name: "merged keys", old: "    quorum: 1\n", new: "    quorum: 1\n    <<: {self: true}\n", want: []string{`line 9: a rule has no "<<"`}},
		{name: "an unknown key of people", old: "{anyone: true}", new: "{any: true}", want: []string{`line 10: requesters has no "any"`}},
		{name: "an account twice", old: "slack:T1/UBOB", new: "slack:T1/UADA", want: []string{"line 5: the account slack:T1/UADA is that of ada already", "line 5: bob has no account"}},
		{name: "a person without accounts", old: "[slack:T1/UADA]", new: "[]", want: []string{"line 4: ada has no account"}},
		{name: "a person with an account's name", old: "  ada:", new: "  'slack:T1/U9':", want: []string{"line 4: \"slack:T1/U9\" is no name for a person", `people has no "ada"`}},
		{name: "an account of another workspace", old: "slack:T1/UBOB", new: "slack:T2/UBOB", want: []string{`line 5: slack:T2/UBOB is of slack:T2, which is not among the tenants, did you mean "slack:T1"?`}},
		{name: "a channel for an account", old: "slack:T1/UBOB", new: "slack:T1/C1", want: []string{"line 5: Slack's id C1 is of the kind place, and here stands one of the kind account"}},
		{name: "an unknown platform", old: "slack:T1/UBOB", new: "slak:T1/UBOB", want: []string{`line 5: "slak:T1/UBOB": no platform is called "slak", did you mean "slack"?`}},
		{name: "an unknown person", old: "[ada, bob]", new: "[ada, bop]", want: []string{`line 9: people has no "bop", did you mean "bob"?`}},
		{name: "an unknown group", old: "{people: [ada, bob]}", new: "{groups: [sre]}", want: []string{`line 9: groups has no "sre"`}},
		{name: "a user for a group", old: "{people: [ada, bob]}", new: "{groups: [slack:T1/U1]}", want: []string{"line 9: Slack's id U1 is of the kind account"}},
		{name: "a role by its name", old: "{people: [ada, bob]}", new: "{groups: [discord:G1/sre]}", want: []string{`Discord's ids are numbers, and "sre" is none`}},
		{name: "everybody for a group", old: "{people: [ada, bob]}", new: "{groups: [discord:G1/G1]}", want: []string{"line 9: discord:G1/G1 is Discord's role of everybody"}},
		{name: "a group of an unknown host", old: "{people: [ada, bob]}", new: "{groups: [terminal:h/wheel]}", want: []string{"line 9: terminal:h/wheel is of terminal:h, which is not among the tenants"}},
		{name: "a channel that terminals do not have", old: "    quorum: 1\n", new: "    quorum: 1\n    ask: [terminal:h/ops]\n", want: []string{"line 9: the terminals of a host have one channel for all, terminal:h/console"}},
		{name: "no rules", old: small[strings.Index(small, "rules:"):], new: "rules: []\n", want: []string{"line 6: rules is empty"}},
		{name: "a rule that is none", old: small[strings.Index(small, "  - tiers"):], new: "  - nothing\n", want: []string{"line 7: a rule must be a mapping"}},
		{name: "rules that are no list", old: small[strings.Index(small, "rules:"):], new: "rules: {a: 1}\n", want: []string{"line 6: rules must be a list"}},
		{name: "an unknown tier", old: "[observe]", new: "[observed]", want: []string{`line 7: "observed" is no tier`, `did you mean "observe"?`}},
		{name: "no tier", old: "[observe]", new: "[]", want: []string{"line 7: tiers is empty"}},
		{name: "quorum of nobody", old: "quorum: 1", new: "quorum: 0", want: []string{"line 8: want a number from 1 to 10"}},
		{name: "quorum in words", old: "quorum: 1", new: "quorum: '2'", want: []string{"line 8: want a number"}},
		{name: "a number for a duration", old: "1m", new: "60", want: []string{"line 11: want a duration from 1s to 24h0m0s here, such as 5m"}},
		{name: "an endless duration", old: "1m", new: "9999h", want: []string{"line 11: want a duration"}},
		{name: "a short expiry", old: "5m", new: "1s", want: []string{"line 13: want a duration from 1m0s"}},
		{name: "self for more", old: "[observe]", new: "[observe, act]\n    self: true", want: []string{"self is for the tier observe only"}},
		{name: "anyone for more", old: "[observe]\n    quorum: 1\n    approvers: {people: [ada, bob]}", new: "[act]\n    quorum: 1\n    approvers: {anyone: true}", want: []string{"approvers may be anyone for the tier observe only"}},
		{name: "anyone breaks glass", old: "    quorum: 1\n", new: "    quorum: 1\n    break_glass: {by: {anyone: true}, max_duration: 1m, audit: [slack:T1/C1]}\n", want: []string{"by anyone would make the quorum void"}},
		{name: "quiet glass", old: "    quorum: 1\n", new: "    quorum: 1\n    break_glass: {by: {people: [ada]}, max_duration: 1m, audit: []}\n", want: []string{"tells nobody"}},
		{name: "glass without end", old: "    quorum: 1\n", new: "    quorum: 1\n    break_glass: {by: {people: [ada]}, audit: [slack:T1/C1]}\n", want: []string{"break_glass of rule 1 has no max_duration"}},
		{name: "no place", old: "    quorum: 1\n", new: "    quorum: 1\n    places: []\n", want: []string{"places is empty"}},
		{name: "a selector with two equal signs", old: "    quorum: 1\n", new: "    quorum: 1\n    nodes: env==prod\n", want: []string{`line 9: "env==prod" selects no nodes`}},
		{name: "a selector with a pattern", old: "    quorum: 1\n", new: "    quorum: 1\n    nodes: env=prod*\n", want: []string{`line 9: "env=prod*" selects no nodes`}},
		{name: "another version", old: "version: 1\n", new: "version: 2\n", want: []string{`line 1: version must be 1`}},
		{name: "a selector that is none", old: "    quorum: 1\n", new: "    quorum: 1\n    nodes: prod\n", want: []string{`line 9: "prod" selects no nodes`}},
		{name: "paused for nothing", old: "people:", new: "paused: ''\npeople:", want: []string{"line 3: paused must say why"}},
		{name: "yes for true", old: "anyone: true", new: "anyone: yes", want: []string{"line 10: want true or false"}},
		{name: "two rules of one name", old: "  - tiers: [observe]", new: "  - name: '2'\n    tiers: [observe]", want: nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := small
			if tt.old != "" {
				if !strings.Contains(small, tt.old) {
					t.Fatal("nothing is replaced")
				}
				text = strings.Replace(small, tt.old, tt.new, 1)
			}
			p, problems := policy.Parse("x.yaml", []byte(text), policy.Options{})
			if len(tt.want) == 0 {
				if p == nil || len(problems) > 0 {
					t.Fatal(problems)
				}
				return
			}
			if p != nil || len(problems.Errors()) == 0 {
				t.Fatalf("it was taken: %v", problems)
			}
			for _, s := range tt.want {
				if !strings.Contains(problems.Error(), s) {
					t.Errorf("%q is not in\n%s", s, problems.Error())
				}
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		name     string
		old, new string
		want     string
	}{
		{"paused", "people:", "paused: migration\npeople:", "paused: every request is refused: migration"},
		{"nobody approves", "{people: [ada, bob]}", "{}", "it forbids what it matches"},
		{"nobody asks", "{anyone: true}", "{people: []}", "nobody may ask"},
		{"too few", "quorum: 1", "quorum: 3", "3 must approve, but only 2 may"},
		{"too few without the one who asks", "quorum: 1\n    approvers: {people: [ada, bob]}\n    requesters: {anyone: true}", "quorum: 2\n    approvers: {people: [ada, bob]}\n    requesters: {people: [ada]}", "what one of them asks for is never approved"},
		{"an account for a person", "[ada, bob]", "[slack:T1/UADA, bob]", "name the person"},
		{"no such labels", "    quorum: 1\n", "    quorum: 1\n    nodes: env=prod,env!=prod|dev\n", "no node has such labels"},
		{"contradicting labels", "    quorum: 1\n", "    quorum: 1\n    nodes: [env=prod, env=dev|staging]\n", "no node has such labels"},
		{"an unused group", "rules:", "groups: {sre: [slack:T1/S1]}\nrules:", "the group sre is used by no rule"},
		{"glass of nobody", "    quorum: 1\n", "    quorum: 1\n    break_glass: {by: {}, max_duration: 1m, audit: [slack:T1/C1]}\n", "break_glass by is empty"},
		{"accounts nobody can tell apart", "tenants: [slack:T1]\n", "tenants: [slack:T1, discord:G1]\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(small, tt.old, tt.new, 1)
			if tt.want == "" {
				text = strings.Replace(text, "[ada, bob]", "[slack:T1/U7, discord:G1/7]", 1)
				tt.want = "do not count beside each other"
			}
			p, problems := policy.Parse("x.yaml", []byte(text), policy.Options{})
			if p == nil || !strings.Contains(problems.Error(), "warning: ") || !strings.Contains(problems.Error(), tt.want) {
				t.Errorf("problems %v, want %q", problems, tt.want)
			}
		})
	}
	// Rules in the shade of others.
	for _, tt := range []struct {
		first, second string // tiers and nodes
		shaded        bool
	}{
		{"[observe]", "[observe]", true},
		{"[observe, act]", "[act]\n    nodes: env=prod", true},
		{"[observe]\n    nodes: env=prod|dev", "[observe]\n    nodes: [env=prod, role=db]", true},
		{"[observe]\n    nodes: env!=prod", "[observe]\n    nodes: env=dev", true},
		{"[observe]\n    nodes: env!=prod", "[observe]\n    nodes: env!=prod|dev", true},
		{"[observe]", "[observe, act]", false},
		{"[observe]\n    nodes: env=prod", "[observe]", false},
		{"[observe]\n    nodes: env=prod", "[observe]\n    nodes: env=prod|dev", false},
		{"[observe]\n    nodes: env=prod", "[observe]\n    nodes: env!=dev", false},
		{"[observe]\n    nodes: env=prod,role=db", "[observe]\n    nodes: env=prod", false},
		{"[act]", "[observe]", false},
	} {
		rule := small[strings.Index(small, "  - tiers"):]
		text := strings.Replace(small, "[observe]", tt.first, 1) + strings.Replace(rule, "[observe]", tt.second, 1)
		p, problems := policy.Parse("x.yaml", []byte(text), policy.Options{})
		if p == nil || strings.Contains(problems.Error(), "rule 2 can never match: before it, rule 1 takes") != tt.shaded {
			t.Errorf("%q before %q: %v", tt.first, tt.second, problems)
		}
	}
}

// Accounts come from platforms: whatever they are, comparing them is
// symmetric, and an account is never certainly two people.
func FuzzCompare(f *testing.F) {
	f.Add("slack:T1/UADA", "discord:G1/1")
	f.Add("slack:T1/", "slack:T1/UADA/x")
	f.Add("", "slack:T1/U\u202e")
	p, problems := policy.Parse("x", []byte(team), policy.Options{})
	if p == nil {
		f.Fatal(problems)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := approvals.Person{Account: a}, approvals.Person{Account: b}
		if p.Compare(x, y) != p.Compare(y, x) {
			t.Error("not symmetric")
		}
		if p.Compare(x, x) == approvals.Different || a == b && p.Compare(x, y) == approvals.Different {
			t.Error("one account, two people")
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(small))
	f.Add([]byte(team))
	f.Add([]byte("a: &a [*a]\npeople: *a\nrules: [*a]"))
	f.Add([]byte("rules: [{tiers: &t [act], approvers: {people: *t}}]"))
	if example, err := os.ReadFile("../../deploy/policy.example.yaml"); err == nil {
		f.Add(example)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		p, problems := policy.Parse("x", content, policy.Options{})
		if (p == nil) != (len(problems.Errors()) > 0) {
			t.Errorf("policy %v with problems %v", p != nil, problems)
		}
	})
}
