package compose

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kgent/agent/contract"
	"kgent/agent/program"
)

var update = flag.Bool("update", false, "write the golden files")

// What is composed, word for word, with the English that people approve.
func TestGolden(t *testing.T) {
	c := host(t)
	for name, turns := range map[string][]string{
		"call-count":        {"count ioctl calls by process"},
		"call-list":         {"trace every ioctl of qemu"},
		"call-latency":      {"how long does statx take per process"},
		"call-constant":     {"which processes call ptrace with PTRACE_ATTACH"},
		"call-argument":     {"histogram of the count argument of pwrite64 by comm"},
		"call-failed":       {"munlock calls that return EPERM, not from systemd"},
		"tracepoint":        {"rate of context switches per cpu"},
		"group":             {"count events of group task"},
		"recipe-count":      {"count outgoing tcp connections by destination port"},
		"recipe-excluding":  {"tcp connections that nginx did not open"},
		"recipe-refined":    {"new outgoing TCP connections", "slower than 50ms", "only port 443", "as a histogram of the latency"},
		"recipe-of-process": {"signals by sender and signal"},
		"recipe-path":       {"deleted files except under /tmp"},
		"hook-refined":      {"count madvise by process", "by user instead", "only MADV_DONTNEED"},
		"memory-not-used":   {"tcp state changes every 2s, counted by remote address"},
	} {
		t.Run(name, func(t *testing.T) {
			last := len(turns) - 1
			got, err := c.Continue(t.Context(), turns[:last], nil, turns[last])
			var text string
			var no *NoError
			switch {
			case errors.As(err, &no):
				text = "no: " + no.Error() + "\n"
			case err != nil:
				t.Fatal(err)
			default:
				text = strings.Join(got.Understood, "\n") + "\n---\n" + contract.Format(got.Contract) + "---\n" + contract.English(got.Contract)
			}
			file := filepath.Join("testdata", "golden", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if text != string(want) {
				t.Errorf("composed is now\n%s\nwant\n%s", text, want)
			}
		})
	}
}

func parsed(t testing.TB, text string) *contract.Contract {
	t.Helper()
	c, err := contract.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const stepwise = `contract "Steps"

event seen { time: k_time, pid: k_pid, n: u32 }

memory last { thread: k_tid } : { n: u32 }

hook tracepoint/task/task_rename(pid as renamed)
  case first: !known last[current.tid]
    emit seen { time: now, pid: current.tgid, n: 1 }
    remember last[current.tid] { n: 1 }
  case later: last[current.tid].n < 5
    emit seen { time: now, pid: current.tgid, n: 2 }
  otherwise
    emit seen { time: now, pid: current.tgid, n: 3 }
    forget last[current.tid]
`

// What is left out has no output; its other effects stay, and no later case takes over.
func TestFilterKeepsTheRest(t *testing.T) {
	before := contract.Format(parsed(t, stepwise))
	c := parsed(t, before)
	got, err := filter(c, func(s site) (contract.Expr, error) { return expression("current.tgid != 7") })
	if err != nil {
		t.Fatal(err)
	}
	const want = `  case first: !known last[current.tid] && current.tgid != 7
    emit seen { time: now, pid: current.tgid, n: 1 }
    remember last[current.tid] { n: 1 }
  case first_left_out: !known last[current.tid]
    remember last[current.tid] { n: 1 }
  case later: last[current.tid].n < 5 && current.tgid != 7
    emit seen { time: now, pid: current.tgid, n: 2 }
  case later_left_out: last[current.tid].n < 5
    nothing
  case others: current.tgid != 7
    emit seen { time: now, pid: current.tgid, n: 3 }
    forget last[current.tid]
  case others_left_out: always
    forget last[current.tid]
  otherwise nothing
`
	if text := contract.Format(got); !strings.Contains(text, want) {
		t.Errorf("%s\nwant\n%s", text, want)
	}
	if contract.Format(c) != before {
		t.Error("the contract that was narrowed has changed")
	}
}

// A contract from elsewhere is refined by the same transformations.
func TestRefineForeign(t *testing.T) {
	c := host(t)
	foreign := parsed(t, `contract "Renames"

param pid: k_pid means "only this process, by its id; 0 is any"
param comm: char[16] means "only threads or processes of this name, at most 15 bytes; empty is any"
param uid: k_uid = -1 means "only this user, by id; -1 is any"

event renames { time: k_time, pid: k_pid, comm: char[16], result: k_errno, took: k_ns }

memory begun { thread: k_tid } : { at: k_time }

hook tracepoint/syscalls/sys_enter_rename()
  case begins: task_wanted(pid, comm, uid)
    remember begun[current.tid] { at: now }
  otherwise nothing

hook tracepoint/syscalls/sys_exit_rename(ret)
  case ends: known begun[current.tid]
    emit renames { time: now, pid: current.tgid, comm: current.comm, result: ret, took: now - begun[current.tid].at }
    forget begun[current.tid]
  otherwise nothing

assume returns
`)
	last := Of(foreign, program.Options{Name: "renames"}, "model x")
	for _, tc := range []struct{ text, want string }{
		{"only pid 77", ""},
		{"slower than 50ms", ">= 50ms"},
		{"as a histogram of how long it takes", ": log2 k_ns"},
		{"per process, as a count", "{ pid: k_pid, comm: char[16] } : count"},
		{"not nginx", `current.comm != "nginx" && process_comm(current.task) != "nginx"`},
		{"only ENOENT", "in {ENOENT, -ENOENT}"},
		{"the same for renameat2", "sys_enter_renameat2"},
	} {
		got, err := c.Refine(context.Background(), last, tc.text)
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		if text := contract.Format(got.Contract); !strings.Contains(text, tc.want) {
			t.Errorf("%s: %s", tc.text, text)
		}
	}
	if got, err := c.Refine(t.Context(), last, "only pid 77"); err != nil || got.Options.Constants["pid"] != "77" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"only port 443", "in green", "by interface", "", "top 5", "the same for sched:sched_switch"} {
		var no *NoError
		if got, err := c.Refine(t.Context(), last, text); !errors.As(err, &no) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	// Once more refined: what was narrowed stays so.
	first, err := c.Refine(t.Context(), last, "slower than 50ms")
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.Refine(t.Context(), first, "by process")
	if err != nil {
		t.Fatal(err)
	}
	if text := contract.Format(second.Contract); !strings.Contains(text, ">= 50ms") || !strings.Contains(text, ": count") {
		t.Error(text)
	}
}
