package bpftrace_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/bpftrace"
	"kgent/agent/program/bpftrace/jail"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
	"kgent/agent/verify/symbolic"
	"kgent/retrieval/kernel"
)

const (
	fsync = `
hook tracepoint/syscalls/sys_enter_fsync(fd)
  case called: always
`
	latency = `
memory started { thread: k_tid } : { at: k_time }
hook tracepoint/syscalls/sys_enter_fsync()
  case begins: always
    remember started[current.tid] { at: now }
  otherwise nothing
hook tracepoint/syscalls/sys_exit_fsync(ret)
  case ends: known started[current.tid]
    add now - started[current.tid].at to took
    forget started[current.tid]
  otherwise nothing
assume returns
`
	onePid = `event calls { pid: k_pid }` + fsync + `    emit calls { pid: current.tgid }
  otherwise nothing`
	pidAndUser = `event calls { pid: k_pid, user: k_uid }` + fsync + `    emit calls { pid: current.tgid, user: current.uid }
  otherwise nothing`
	read = `
hook tracepoint/syscalls/sys_exit_read(ret)
  case read: ret >= 0
`
)

func printing(call string) string { return "tracepoint:syscalls:sys_enter_fsync { " + call + "; }" }

// Scripts are held against contracts by what bpftrace makes of them.
func TestProved(t *testing.T) {
	tool, err := bpftrace.Find(t.Context(), os.Getenv, "/proc/self/exe", jail.Arg)
	if err != nil {
		t.Fatal(err)
	}
	release, err := tool.Release(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	facts, err := kernel.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// For a machine that is busy with other tests.
	patient := proof.Limits{Time: 10 * time.Minute, Query: 2 * time.Minute, Machine: symbolic.Limits{Time: 4 * time.Minute, Query: 20 * time.Second}}
	prover := &verify.Prover{Limits: patient, Trusted: func(*contract.Contract) bool { return true }}
	for name, tt := range map[string]struct {
		script, contract string
		verdict          proof.Verdict
		why              string
		line             int
	}{
		"count": {`tracepoint:syscalls:sys_enter_fsync { @[pid, comm] = count(); }`,
			`table calls { pid: k_pid, comm: char[16] } : count` + fsync + `    add 1 to calls[pid: current.tgid, comm: current.comm]
  otherwise nothing`, proof.Verified, "", 0},
		"count of the thread": {`tracepoint:syscalls:sys_enter_fsync { @[tid, comm] = count(); }`,
			`table calls { pid: k_pid, comm: char[16] } : count` + fsync + `    add 1 to calls[pid: current.tgid, comm: current.comm]
  otherwise nothing`, proof.Refuted, "under its key", 1},
		"count of all": {`tracepoint:syscalls:sys_enter_fsync { @ = count(); }`,
			`table calls : count` + fsync + `    add 1 to calls
  otherwise nothing`, proof.Verified, "", 0},
		"filter": {"tracepoint:syscalls:sys_enter_fsync\n/pid == 7/ { @ = count(); }",
			`table calls : count` + fsync + `    add 1 to calls
  otherwise nothing`, proof.Refuted, "", 2},
		"sum": {`tracepoint:syscalls:sys_exit_read /args->ret >= 0/ { @bytes[pid] = sum(args->ret); }`,
			`table bytes { pid: k_pid } : sum k_bytes` + read + `    add u64(ret) to bytes[pid: current.tgid]
  otherwise nothing`, proof.Verified, "", 0},
		"sum of errors": {`tracepoint:syscalls:sys_exit_read { @bytes[pid] = sum(args->ret); }`,
			`table bytes { pid: k_pid } : sum k_bytes` + read + `    add u64(ret) to bytes[pid: current.tgid]
  otherwise nothing`, proof.Refuted, "", 1},
		"hist": {`tracepoint:syscalls:sys_exit_read /args->ret >= 0/ { @[pid] = hist(args->ret); }`,
			`table sizes { pid: k_pid } : log2 k_bytes` + read + `    add u64(ret) to sizes[pid: current.tgid]
  otherwise nothing`, proof.Verified, "", 0},
		"hist of something else": {`tracepoint:syscalls:sys_exit_read /args->ret >= 0/ { @[pid] = hist(args->ret * 2); }`,
			`table sizes { pid: k_pid } : log2 k_bytes` + read + `    add u64(ret) to sizes[pid: current.tgid]
  otherwise nothing`, proof.Refuted, "bucket", 1},
		"lhist": {`tracepoint:syscalls:sys_exit_read /args->ret >= 0/ { @ = lhist(args->ret, 0, 4096, 512); }`,
			`table sizes : linear(512, 9) k_bytes` + read + `    add u64(ret) to sizes
  otherwise nothing`, proof.Verified, "", 0},
		"average": {`tracepoint:syscalls:sys_exit_read /args->ret >= 0/ { @[pid] = avg(args->ret); }`,
			`table sizes { pid: k_pid } : { calls: count, bytes: sum k_bytes }` + read + `    add { calls: 1, bytes: u64(ret) } to sizes[pid: current.tgid]
  otherwise nothing`, proof.Verified, "", 0},
		"greatest": {`tracepoint:syscalls:sys_exit_read /args->ret >= 0/ { @[pid] = max(args->ret); }`,
			`table sizes { pid: k_pid } : max k_bytes` + read + `    add u64(ret) to sizes[pid: current.tgid]
  otherwise nothing`, proof.Verified, "", 0},
		"least": {`tracepoint:syscalls:sys_enter_fsync { @[pid] = min(uid); }`,
			`table least { pid: k_pid } : min u32` + fsync + `    add current.uid to least[pid: current.tgid]
  otherwise nothing`, proof.Verified, "", 0},
		"latency": {"tracepoint:syscalls:sys_enter_fsync { @start[tid] = nsecs; }\ntracepoint:syscalls:sys_exit_fsync /@start[tid]/ { @ns = hist(nsecs - @start[tid]); delete(@start[tid]); }\nEND { clear(@start); }",
			`table took : log2 k_ns` + latency, proof.Verified, "", 0},
		"latency that forgets nothing": {"tracepoint:syscalls:sys_enter_fsync { @start[tid] = nsecs; }\ntracepoint:syscalls:sys_exit_fsync /@start[tid]/ { @ns = hist(nsecs - @start[tid]); }\nEND { clear(@start); }",
			`table took : log2 k_ns` + latency, proof.Refuted, "", 0},
		"latency in µs": {"tracepoint:syscalls:sys_enter_fsync { @start[tid] = nsecs; }\ntracepoint:syscalls:sys_exit_fsync /@start[tid]/ {\n @ns = hist((nsecs - @start[tid]) / 1000); delete(@start[tid]); }",
			`table took : log2 k_ns` + latency, proof.Refuted, "", 3},
		"printf": {"BEGIN { printf(\"pid comm fd\\n\"); }\ntracepoint:syscalls:sys_enter_fsync { printf(\"%d %s %d\\n\", pid, comm, args->fd); }",
			`event calls { pid: k_pid, comm: char[16], fd: u32 }` + fsync + `    emit calls { pid: current.tgid, comm: current.comm, fd: u32(fd) }
  otherwise nothing`, proof.Verified, "", 0},
		"printf of 32 bits": {`tracepoint:syscalls:sys_enter_fsync { printf("%d %d\n", nsecs, pid); }`,
			`event calls { time: k_time, pid: k_pid }` + fsync + `    emit calls { time: now, pid: current.tgid }
  otherwise nothing`, proof.Refuted, "time", 1},
		"printf of 64 bits": {`tracepoint:syscalls:sys_enter_fsync { printf("%llu %d\n", nsecs, pid); }`,
			`event calls { time: k_time, pid: k_pid }` + fsync + `    emit calls { time: now, pid: current.tgid }
  otherwise nothing`, proof.Verified, "", 0},
		"two printf": {"tracepoint:syscalls:sys_enter_fsync { if (uid == 0) { printf(\"%d\\n\", pid); } else { printf(\"%d %d\\n\", pid, uid); } }",
			`event root { pid: k_pid }
event other { pid: k_pid, uid: k_uid }
hook tracepoint/syscalls/sys_enter_fsync(fd)
  case root: current.uid == 0
    emit root { pid: current.tgid }
  case others: current.uid != 0
    emit other { pid: current.tgid, uid: current.uid }
  otherwise nothing`, proof.Verified, "", 0},
		"text": {`tracepoint:syscalls:sys_enter_openat { printf("%d %s\n", pid, str(args->filename)); }`,
			`event opens { pid: k_pid, path: char[64] }
hook tracepoint/syscalls/sys_enter_openat(dfd, filename)
  case opened: always
    emit opens { pid: current.tgid, path: user_text(filename, 64) }
  otherwise nothing`, proof.Verified, "", 0},
		"name compared": {`tracepoint:syscalls:sys_enter_fsync /comm == "postgres"/ { @[pid] = count(); }`,
			`table calls { pid: k_pid } : count
hook tracepoint/syscalls/sys_enter_fsync()
  case called: current.comm == "postgres"
    add 1 to calls[pid: current.tgid]
  otherwise nothing`, proof.Verified, "", 0},
		"racing": {`tracepoint:syscalls:sys_enter_fsync { @[pid]++; }`,
			`table calls { pid: k_pid } : count` + fsync + `    add 1 to calls[pid: current.tgid]
  otherwise nothing`, proof.Refuted, "atomic", 1},
		"stack": {`tracepoint:syscalls:sys_enter_fsync { @[kstack] = count(); }`,
			`table calls { pid: k_pid } : count` + fsync + `    add 1 to calls[pid: current.tgid]
  otherwise nothing`, proof.Unknown, "line 1: kstack is not mapped", 0},
		"clear": {"tracepoint:syscalls:sys_enter_fsync { @[pid] = count(); }\ninterval:s:1 { print(@); clear(@); }",
			`table calls { pid: k_pid } : count` + fsync + `    add 1 to calls[pid: current.tgid]
  otherwise nothing`, proof.Unknown, "line 2: clear() is not mapped", 0},
		"name cut off": {`tracepoint:syscalls:sys_enter_fsync { printf("%d %.3s\n", pid, comm); }`,
			`event calls { pid: k_pid, comm: char[16] }` + fsync + `    emit calls { pid: current.tgid, comm: current.comm }
  otherwise nothing`, proof.Unknown, "%.3s is not mapped", 0},
		"a digit before a number":      {printing(`printf("1%d\n", pid)`), onePid, proof.Unknown, "another number", 0},
		"a digit behind a number":      {printing(`printf("%d0\n", pid)`), onePid, proof.Unknown, "another number", 0},
		"a sign before a number":       {printing(`printf("pid: -%d\n", pid)`), onePid, proof.Unknown, "another number", 0},
		"a number that looks decimal":  {printing(`printf("%x\n", pid)`), onePid, proof.Unknown, "another number", 0},
		"a number in hexadecimal":      {printing(`printf("0x%x\n", pid)`), onePid, proof.Verified, "", 0},
		"a percentage":                 {printing(`printf("%d%% (pid)\n", pid)`), onePid, proof.Verified, "", 0},
		"a number under another name":  {printing(`printf("uid=%d\n", pid)`), onePid, proof.Unknown, "something else", 0},
		"a part of a line":             {printing(`printf("%d ", pid)`), onePid, proof.Unknown, "one whole line", 0},
		"two numbers without a gap":    {printing(`printf("%d%d\n", pid, uid)`), pidAndUser, proof.Unknown, "another number", 0},
		"two numbers":                  {printing(`printf("%d:%d\n", pid, uid)`), pidAndUser, proof.Verified, "", 0},
		"a value under another's name": {printing(`$a = pid; $b = uid; printf("user %d, pid %d\n", $a, $b)`), pidAndUser, proof.Refuted, "by its name", 0},
		"ends before it begins":        {"BEGIN { exit(); }\n" + printing(`printf("%d\n", pid)`), onePid, proof.Unknown, "exit() in BEGIN is not mapped", 0},
		"ends early":                   {"interval:s:1 { exit(); }\n" + printing(`printf("%d\n", pid)`), onePid, proof.Verified, "exit() in line 1 can end the trace", 0},
		"port in network order": {`tracepoint:sock:inet_sock_set_state { printf("%d\n", ((args->dport & 255) << 8) | (args->dport >> 8)); }`,
			`event ports { port: be16 }
hook tracepoint/sock/inet_sock_set_state(dport)
  case changed: always
    emit ports { port: htons(dport) }
  otherwise nothing`, proof.Refuted, "a value for port", 0},
		"printed each second": {"tracepoint:syscalls:sys_enter_fsync { @[pid] = count(); }\ninterval:s:1 { time(\"%H:%M:%S\\n\"); print(@); }",
			`table calls { pid: k_pid } : count` + fsync + `    add 1 to calls[pid: current.tgid]
  otherwise nothing`, proof.Verified, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := bpftrace.Parse([]byte(tt.script))
			if err != nil {
				t.Fatal(err)
			}
			o, err := tool.Translate(t.Context(), s, facts)
			if err != nil {
				t.Fatal(err)
			}
			m, err := program.Build(o, program.Options{Name: "x", Title: "x", Script: &program.Script{Language: bpftrace.Language, Text: s.Text, Requires: s.Requires.String(), By: release.String()}})
			if err != nil {
				t.Fatal(err)
			}
			c, err := contract.Parse("contract \"" + name + "\"\n" + tt.contract)
			if err != nil {
				t.Fatal(err)
			}
			r, err := prover.Prove(t.Context(), facts, o, m, c)
			if err != nil {
				t.Fatal(err)
			}
			if text := r.Text(); r.Verdict != tt.verdict || !strings.Contains(text, tt.why) {
				t.Errorf("%v, want %v and %q:\n%s", r.Verdict, tt.verdict, tt.why, text)
			}
			if r.Verdict == proof.Refuted && tt.line > 0 && (r.Counterexample.Line == nil || r.Counterexample.Line.Number != tt.line) {
				t.Errorf("line %v, want %d: %+v", r.Counterexample.Line, tt.line, r.Counterexample)
			}
		})
	}
}
