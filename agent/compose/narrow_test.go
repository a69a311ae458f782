package compose

import (
	"strings"
	"testing"

	"kgent/agent/recipes"
)

// TestNarrows: every part of a recipe that words can ask for is a condition that its contract takes.
func TestNarrows(t *testing.T) {
	c := host(t)
	n := 0
	for _, r := range c.recipes.Recipes() {
		for _, narrow := range r.Narrows {
			switch {
			case len(narrow.Is) > 0:
				narrow.When = narrow.Of + " in {" + strings.Join(narrow.Is, ", ") + "}"
			default:
				narrow.When = strings.ReplaceAll(narrow.When, "$", "TCP_ESTABLISHED")
			}
			m := &recipes.Match{Recipe: r, Only: []recipes.Narrowed{{Narrow: narrow, Said: "it"}}}
			if _, err := c.only(t.Context(), m, []string{"it"}); err != nil {
				t.Errorf("%s, %s: %v", r.Name, narrow.Means, err)
			}
			n++
		}
	}
	if n < 35 {
		t.Errorf("only %d", n)
	}
}

// TestNothingWider: what is said beyond a recipe is in its contract, or the answer is no.
func TestNothingWider(t *testing.T) {
	c := host(t)
	for text, title := range map[string]string{
		"processes that exit with an error":    "only processes that end with another exit code than 0, or by a signal",
		"denied capability checks":             "only checks that were denied",
		"setuid calls to root":                 "that ask for user id 0",
		"setuid calls by root":                 "user id 0 before",
		"tcp resets sent by us":                "only resets that this host sends",
		"rename calls":                         "Calls of rename",
		"failed renames under /srv":            "only attempts that fail, only what is renamed",
		"connections that get refused":         "only connections that are refused",
		"ipv6 connects of curl":                "only sockets of IPv6",
		"sockets leaving ESTABLISHED":          "only changes from TCP_ESTABLISHED",
		"files opened more than once":          "",
		"realtime signals":                     "",
		"connections to external addresses":    "",
		"tcp connections closed by the peer":   "",
		"child processes of nginx that exit":   "",
		"failed opens of directories":          "",
		"block latency of nvme0n1":             "",
		"resets of outgoing connections":       "",
		"count openat by process >> and statx": "",
		"tcp resets >> only those we send":     "only resets that this host sends",
		"resets sent and received":             "TCP resets, sent and received",
		"deletions, failed ones included":      "only what is deleted",
		"exits, and whether they failed":       "Processes that end, with exit code or signal",
		"tcp resets with the state":            "TCP resets, sent and received",
		"openat calls without O_CLOEXEC":       "not O_CLOEXEC",
		"opens that fail with EACCES or EPERM": "EACCES or EPERM",
		"exits with status 1":                  "exitcode == 1",
		"bpf programs loaded by root":          "user == 0",

		"count bpf calls with BPF_MAP_CREATE by process":    "BPF_MAP_CREATE",
		"count bpf calls with BPF_MAP_TYPE_HASH by process": "", // no command of bpf(2)
		"which processes call unlinkat with AT_FDCWD":       "", // no flag
		"which connections were refused or timed out":       "", // nothing can be both
		"connections that timed out or were refused":        "",
		"processes that exit with an error or by SIGKILL":   "",
		"setuid calls that fail or go to root":              "",
		"connections that fail or are refused":              "that fail",
		"connections that fail with ECONNREFUSED":           "New outgoing",
		"deletions that fail or not":                        "only what is deleted",
	} {
		turns := strings.Split(text, " >> ")
		got, err := answered(c, request{before: turns[:len(turns)-1], text: turns[len(turns)-1]})
		switch {
		case err != nil && title != "":
			t.Errorf("%s: %v", text, err)
		case err == nil && title == "":
			t.Errorf("%s: answered by %q, %v", text, got.Contract.Title, got.Options.Constants)
		case err == nil && !strings.Contains(got.Contract.Title, title):
			t.Errorf("%s: answered by %q", text, got.Contract.Title)
		}
	}
}
