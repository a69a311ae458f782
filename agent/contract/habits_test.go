package contract

import (
	"strings"
	"testing"
)

// What is written by habit from elsewhere is taken where it can mean one thing only, and else
// the message says what to write.
func TestHabits(t *testing.T) {
	types := host(t)
	for when, want := range map[string]string{
		"current->tgid == 1":                             "",
		"current.task->parent == NULL":                   "",
		"ret < 0 and current.tgid != 1":                  "write && for and",
		"current.comm == 'nginx'":                        "double quotes",
		"args[0] == 1":                                   "by the names that are listed",
		"pid == 5":                                       "current.tgid",
		`strncmp(current.comm, "ab", 2) == 0`:            "write starts",
		"bpf_get_current_pid_tgid() == 1":                "contracts call no helpers",
		"ret == ENOENT":                                  "write ret == -ENOENT",
		"ret in {-EINTR, EAGAIN}":                        "write ret == -EAGAIN",
		"ret == -ENOENT":                                 "",
		"ret & 1":                                        "write (ret & 1) != 0",
		"known started[current.tid] and current.tid > 1": "write && for and",
	} {
		text := "contract \"x\"\nevent e { time: k_time }\nmemory started { thread: k_tid } : {}\nhook tracepoint/syscalls/sys_exit_read(ret)\n  case c: " + when +
			"\n    emit e { time: now }\n    remember started[current.tid] {}\n  case d: known started[current.tid]\n    forget started[current.tid]\n  otherwise nothing\n"
		c, err := Parse(text)
		if err == nil {
			_, err = Check(c, types)
		}
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", when, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", when, err, want)
		}
	}
	for text, want := range map[string]string{"tracepoint:syscalls:sys_enter_read": "tracepoint/syscalls/sys_enter_read", "tp:sched:sched_switch": "tracepoint/sched/sched_switch",
		"uprobe:libc.so.6:getaddrinfo": "uprobe/libc.so.6:getaddrinfo", "kprobe:vfs_read": "kprobe/vfs_read", "tracepoint/sched:sched_switch": "tracepoint/sched/sched_switch", "xdp": "xdp"} {
		kind, target, err := cutPlace(text)
		if got := (&Place{Kind: kind, Target: target}).String(); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{"sig (int)": "sig", "int sig": "sig", "struct task_struct *p": "p", "const char * name": "name", "sig as signo": "sig as signo",
		"host: user_pointer": "host: user_pointer", "p: struct task_struct *": "p", "path: char[64]": "path: char[64]", "ret": "ret"} {
		if got := asArgument(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// In the JSON form what can be meant in one way only is taken.
func TestTidy(t *testing.T) {
	const draft = `{"title": "x",
		"tables": [{"name": "calls", "values": [{"how": "count"}]}, {"name": "sums", "values": [{"how": "sum", "type": "k_bytes"}]}],
		"memories": [{"name": "begun", "key": [{"name": "cpu", "type": "u32"}, {"name": "thread", "type": "k_tid"}]}],
		"hooks": [{"places": [{"at": "tracepoint:syscalls:sys_exit_read", "args": ["long ret"]}], "cases": [
			{"name": "all", "when": "true", "effects": [{"do": "add", "to": "calls"}, {"do": "add", "to": "sums", "fields": [{"name": "sums", "is": "u64(ret)"}]},
				{"do": "remember", "to": "begun", "key": [{"name": "thread", "is": "current.tid"}, {"name": "cpu", "is": "cpu"}]}]},
			{"name": "rest", "when": "otherwise"}]}]}`
	d, err := DecodeDraft([]byte(draft))
	if err != nil {
		t.Fatal(err)
	}
	text := Format(d.Contract)
	for _, want := range []string{"hook tracepoint/syscalls/sys_exit_read(ret)", "case all: always", "add 1 to calls\n", "add u64(ret) to sums\n", "remember begun[cpu, current.tid] {"} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
}
