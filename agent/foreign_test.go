package agent

import (
	"strings"
	"testing"

	"kgent/agent/contract"
	"kgent/agent/program"
)

// Lists, sets and ranges of ids are as foreign, whoever writes them.
func TestNumbered(t *testing.T) {
	for when, want := range map[string]string{
		"current.pid in {77, 78, 0}":                          "(77, 78)",
		"!(current.tgid in {4242})":                           "(4242)",
		"current.tgid == 5 || current.tgid == 6":              "(5, 6)",
		"9 != current.tid":                                    "(9)",
		"current.pid >= 100 && current.pid < 200":             "(100, 200)",
		"current.uid in {77, 78} && current.pid != 0":         "",
		"current.pid & 1 == 1 && current.tgid != current.tid": "",
	} {
		text := "contract \"x\"\ntable n : count\nhook tracepoint/syscalls/sys_enter_openat()\n  case c: " + strings.ReplaceAll(when, "current.pid & 1 ==", "(current.pid & 1) ==") + "\n    add 1 to n\n  otherwise nothing\n"
		c, err := contract.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if got := numbered(&Candidate{Contract: c, Manifest: &program.Manifest{}}); "("+got+")" != want && got != want {
			t.Errorf("%s: it sees %q, want %s", when, got, want)
		}
	}
	for text, want := range map[string]string{
		"tracepoint:syscalls:sys_enter_openat /pid == 77 || pid == 78/ { @ = count(); }":             "77, 78",
		"tracepoint:sched:sched_switch /args->next_pid==77 || 78 != args.prev_pid/ { @ = count(); }": "77, 78",
		"tracepoint:syscalls:sys_enter_openat /uid == 77 && pid != 0/ { @[pid] = count(); }":         "",
	} {
		if got := numbered(&Candidate{Manifest: &program.Manifest{Script: &program.Script{Text: text}}}); got != want {
			t.Errorf("%s: it sees %q, want %q", text, got, want)
		}
	}
}
