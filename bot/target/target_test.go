package target_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"kgent/bot/target"
	"kgent/executor/bus"
)

var fleet = []bus.NodeInfo{
	{Name: "db-1", Labels: map[string]string{"role": "db", "env": "prod"}},
	{Name: "db-2", Labels: map[string]string{"role": "db", "env": "prod"}},
	{Name: "db-3", Labels: map[string]string{"role": "db", "env": "staging"}},
	{Name: "web.eu", Labels: map[string]string{"role": "web", "env": "prod"}},
}

func TestResolve(t *testing.T) {
	for selector, want := range map[string]string{
		"db-1":                            "db-1",
		" db-2 , db-1 ":                   "db-1 db-2",
		"db-1,db-1,role=db":               "db-1 db-2 db-3",
		"all":                             "db-1 db-2 db-3 web.eu",
		"ALL":                             "db-1 db-2 db-3 web.eu",
		"env=prod":                        "db-1 db-2 web.eu",
		"any 2 of role=db":                "db-1 db-2",
		"1 of all":                        "db-1",
		"any 1 of env=staging":            "db-3",
		"any 4 of role=db":                "!wants 4 nodes, but there are 3",
		"any 0 of role=db":                "!from 1",
		"mars":                            "!no node mars answers; there are: db-1, db-2, db-3, web.eu",
		"db-1,mars":                       "!mars",
		"role=":                           "!has the label role=",
		"":                                "!no node is named",
		",":                               "!no node is named",
		"any 1 of any 2 of mars":          "!mars",
		"any 99999999999999999999 of all": "!from 1",
	} {
		got, err := target.Resolve(selector, fleet)
		if rest, bad := strings.CutPrefix(want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), rest) {
				t.Errorf("%q: %v, %v; want error %q", selector, got, err, rest)
			}
		} else if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %v, %v; want %s", selector, got, err, want)
		}
	}
	// Of any N, none is in maintenance; who is named is taken, and will say it.
	drained := slices.Clone(fleet)
	drained[0].Drained = "since noon"
	for selector, want := range map[string]string{
		"any 2 of role=db": "db-2 db-3",
		"any 3 of all":     "db-2 db-3 web.eu",
		"any 3 of role=db": "!wants 3 nodes, but there are 2: db-1, db-2, db-3; in maintenance: db-1",
		"role=db":          "db-1 db-2 db-3",
		"db-1":             "db-1",
	} {
		got, err := target.Resolve(selector, drained)
		if rest, bad := strings.CutPrefix(want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), rest) {
				t.Errorf("drained, %q: %v, %v; want error %q", selector, got, err, rest)
			}
		} else if err != nil || strings.Join(got, " ") != want {
			t.Errorf("drained, %q: %v, %v; want %s", selector, got, err, want)
		}
	}
	if _, err := target.Resolve("all", nil); err == nil || !strings.Contains(err.Error(), "kgent executor") {
		t.Errorf("without nodes: %v", err)
	}
}

func TestFromText(t *testing.T) {
	for _, tc := range []struct{ text, selector, rest string }{
		{"which processes on db-3 get ECONNREFUSED", "db-3", "which processes get ECONNREFUSED"},
		{"fsync latency of postgres on db-1 and db-2 as a histogram", "db-1,db-2", "fsync latency of postgres as a histogram"},
		{"connects on db-1, db-2, and web.eu for a minute", "db-1,db-2,web.eu", "connects for a minute"},
		{"trace connects on all nodes for 10s", "all", "trace connects for 10s"},
		{"trace connects on every node", "all", "trace connects"},
		{"trace connects on any 2 of role=db for 10 s", "any 2 of role=db", "trace connects for 10 s"},
		{"trace connects on role=db", "role=db", "trace connects"},
		{"trace connects on env=prod nodes", "env=prod", "trace connects"},
		{"connects on port 443 on db-3", "db-3", "connects on port 443"},
		{"connects on port 443", "", "connects on port 443"},
		{"connects from db-1, IPv4 and IPv6", "db-1", "connects, IPv4 and IPv6"},
		{"what happens on db-3?", "db-3", "what happens?"},
		{"on host db-2: who is killing my process", "db-2", "who is killing my process"},
		{"connects on db-1 and IPv6 too", "db-1", "connects and IPv6 too"},
		{"also all failing opens", "", "also all failing opens"},
		{"trace connects on all", "all", "trace connects"},
		{"tcp retransmits for all processes", "", "tcp retransmits for all processes"},
		{"profile on all cpus", "", "profile on all cpus"},
		{"opens from all users on port 443", "", "opens from all users on port 443"},
		{"profile on each cpu", "", "profile on each cpu"},
		{"opens for all users on all nodes", "all", "opens for all users"},
		{"connects on DB-3", "db-3", "connects"},
		{"profile on x86-64", "", "profile on x86-64"},
		{"drops on eth0 from 10.0.0.7", "", "drops on eth0 from 10.0.0.7"},
		{"opens on python3 for 5 s", "", "opens on python3 for 5 s"},
		{"connects from web-7 on db-1", "db-1", "connects from web-7"},
		{"connects on pid=7 and on dport=443", "", "connects on pid=7 and on dport=443"},
		{"again on db-1.", "db-1", "again"},
	} {
		selector, rest, err := target.FromText(tc.text, fleet)
		if err != nil || selector != tc.selector || rest != tc.rest {
			t.Errorf("%q: %q, %q, %v; want %q, %q", tc.text, selector, rest, err, tc.selector, tc.rest)
		}
	}
	if _, _, err := target.FromText("trace connects on node mars", fleet); err == nil || !strings.Contains(err.Error(), "db-1") {
		t.Errorf("an unknown node: %v", err)
	}
}

// What looks like a node and is none is said to be none, and not left to the
// matcher of requests.
func TestUnknown(t *testing.T) {
	seen := time.Date(2026, 3, 1, 20, 39, 12, 0, time.UTC)
	lost := []target.Lost{{NodeInfo: bus.NodeInfo{Name: "db-4", Labels: map[string]string{"role": "cache"}}, Seen: seen}, {NodeInfo: bus.NodeInfo{Name: "neptune"}, Seen: seen}}
	for _, tc := range []struct{ text, rest, want string }{
		{"connects on db-9", "connects", "no node db-9 answers; there are: db-1, db-2, db-3, web.eu"},
		{"connects on db-4", "connects", "no node db-4 answers (last seen 20:39 UTC); there are: db-1"},
		{"connects on neptune for 5 s", "connects for 5 s", "no node neptune answers (last seen 20:39 UTC)"},
		{"connects on db-1 and db-4", "connects", "no node db-4 answers (last seen"},
		{"connects on env=qa", "connects", "no node that answers has the label env=qa; there are"},
		{"connects on role=cache", "connects", "the label role=cache (last seen 20:39 UTC)"},
		{"connects on any 2 of mars", "connects", "no node mars answers"},
		{"connects on db9", "connects", "no node db9 answers"},
		{"on ip-10-0-0-9.eu-1.compute.internal who opens files", "who opens files", "no node ip-10-0-0-9.eu-1.compute.internal answers"},
	} {
		selector, rest, err := target.FromText(tc.text, fleet, lost...)
		var unknown *target.UnknownError
		if selector != "" || rest != tc.rest || !errors.As(err, &unknown) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %q, %q, %v; want %q, %s", tc.text, selector, rest, err, tc.rest, tc.want)
		}
	}
	if _, err := target.Resolve("db-1,db-4", fleet, lost...); err == nil || !strings.Contains(err.Error(), "no node db-4 answers (last seen 20:39 UTC)") {
		t.Errorf("resolving a lost node: %v", err)
	}
	if _, err := target.Resolve("db-4", nil, lost...); err == nil || !strings.Contains(err.Error(), "no node db-4 answers (last seen 20:39 UTC), and no other does") {
		t.Errorf("resolving the last node, lost: %v", err)
	}
}

func FuzzFromText(f *testing.F) {
	f.Add("connects on db-1, and db-2 for 3 of role=db")
	f.Fuzz(func(t *testing.T, text string) {
		selector, rest, err := target.FromText(text, fleet)
		if err != nil {
			return
		}
		if selector == "" && rest != text {
			t.Errorf("%q became %q", text, rest)
		}
		if selector != "" {
			if _, err := target.Resolve(selector, fleet); err != nil && !strings.Contains(err.Error(), "nodes") && !strings.Contains(err.Error(), "from 1") {
				t.Errorf("%q selects with %q: %v", text, selector, err)
			}
		}
	})
}
