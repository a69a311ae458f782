package agent

import (
	"strings"
	"testing"

	"kgent/agent/verify/proof"
)

// Who decides between two readings is told which column they differ in, and what one of them puts there: of
// "nginx" and "worker" alone nobody can say which is right.
func TestSplitNamesTheColumn(t *testing.T) {
	for _, tt := range []struct{ obligation, words, want string }{
		{"tracepoint/syscalls/sys_exit_read/returned/read.comm", "at tracepoint/syscalls/sys_exit_read, in case returned, read.comm is process_comm(current.task)",
			"# Where they differ, in read.comm\n> tracepoint/syscalls/sys_exit_read fires with ret = 3\n\n# Then\nOne: \"nginx\" (it is process_comm(current.task))\nTwo: \"worker\"\n"},
		{"tracepoint/syscalls/sys_exit_read/returned/events", "at tracepoint/syscalls/sys_exit_read, in case returned, one event is emitted",
			"# Where they differ\n> tracepoint/syscalls/sys_exit_read fires with ret = 3\n\n# Then\nOne: \"nginx\"\nTwo: \"worker\"\n"},
	} {
		x := &proof.Counterexample{Obligation: tt.obligation, Words: tt.words, Expected: `"nginx"`, Got: `"worker"`,
			Scenario: []proof.Step{{Place: "tracepoint/syscalls/sys_exit_read", Inputs: []proof.Named{{Name: "ret", Value: "3"}}}}}
		if got := strings.TrimSpace(ofCounterexample(x).words()) + "\n"; got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.obligation, got, tt.want)
		}
	}
}
