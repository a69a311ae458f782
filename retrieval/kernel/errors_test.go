package kernel

import (
	"strings"
	"testing"
)

func TestNotFoundError(t *testing.T) {
	tests := []struct {
		err  NotFoundError
		want string
	}{
		{
			NotFoundError{Kind: "tracepoint", Name: "sched:sched_swich", Where: "on kernel 6.18.44", Suggestions: []string{"sched:sched_switch"}},
			"no tracepoint sched:sched_swich on kernel 6.18.44; did you mean sched:sched_switch?",
		},
		{
			NotFoundError{Kind: "function", Name: "x", Where: "in /bin/true", Suggestions: []string{"a", "b", "c"}},
			"no function x in /bin/true; did you mean a, b or c?",
		},
		{NotFoundError{Kind: "program", Name: "x", Suggestions: []string{"a", "b"}}, "no program x; did you mean a or b?"},
		{NotFoundError{Kind: "helper", Name: "x", Where: "on kernel 6.1"}, "no helper x on kernel 6.1"},
		{NotFoundError{Kind: "helper", Name: ""}, `no helper ""`},
		{NotFoundError{Kind: "function", Name: "a\x1b[2Jb\n", Suggestions: []string{"c\x07"}}, `no function "a\x1b[2Jb\n"; did you mean "c\a"?`},
		{NotFoundError{Kind: "function", Name: "\xff"}, `no function "\xff"`},
		{NotFoundError{Kind: "function", Name: "a\u202eb"}, `no function "a\u202eb"`},
	}
	for _, test := range tests {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func TestVisibleIsBounded(t *testing.T) {
	got := visible(strings.Repeat("é", 10_000))
	if len(got) > maxVisible+8 || !strings.HasSuffix(got, "é…") {
		t.Errorf("%d bytes: %.40s", len(got), got)
	}
}
