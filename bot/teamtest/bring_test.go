package teamtest_test

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"kgent/bot/discord/discordd"
	"kgent/bot/slack/slackd"
	"kgent/bot/teamtest"
)

const (
	ownProgram = `#include "vmlinux.h"
struct call { k_pid pid; k_tid tid; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct call);
} calls SEC(".maps");
SEC("tp/syscalls/sys_enter_getppid")
int asked(struct trace_event_raw_sys_enter *ctx)
{
	struct call *c = bpf_ringbuf_reserve(&calls, sizeof(*c), 0);
	if (!c)
		return 0;
	c->pid = bpf_get_current_pid_tgid() >> 32;
	c->tid = bpf_get_current_pid_tgid() >> 32; // wrong
	bpf_ringbuf_submit(c, 0);
	return 0;
}
`
	countingProgram = `struct calls_key { k_pid pid; char comm[16]; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 10240);
	__type(key, struct calls_key);
	__type(value, k_count);
} calls SEC(".maps") KGENT_OUTPUT;
SEC("tracepoint/syscalls/sys_enter_getppid")
int asked(struct trace_event_raw_sys_enter *ctx)
{
	struct calls_key key = {};
	key.pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	k_count *n = k_cell(&calls, &key, k_count);
	if (n)
		(*n)++;
	return 0;
}
`
	ownContract = `contract "Calls of getppid"
event calls { pid: k_pid, tid: k_tid }
hook tracepoint/syscalls/sys_enter_getppid()
  case asked: always
    emit calls { pid: current.tgid, tid: current.tid }
  otherwise nothing
`
)

// Programs come as files, on each service as it has them: one is explained, one is refused
// with the input that shows it wrong, and why can be asked.
func bringPrograms(t *testing.T, team *teamtest.Team) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*teamtest.Patience)
	defer cancel()
	alice, err := team.Slack.As("alice")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.PostFiles(teamtest.SlackIncidents, "", team.Slack.At()+" what does this program do?", slackd.Upload{Name: "own.bpf.c", Data: []byte(ownProgram)}); err != nil {
		t.Fatal(err)
	}
	if _, err := team.Slack.Wait(ctx, teamtest.All(teamtest.Titled("What own.bpf.c does"), teamtest.Saying("Runs at the system call getppid", "no mistake was found", "Nothing was loaded or run"))); err != nil {
		t.Error(err)
	}
	root, err := alice.PostFiles(teamtest.SlackIncidents, "", team.Slack.At()+" who calls getppid on db-1", slackd.Upload{Name: "own.bpf.c", Data: []byte(ownProgram)}, slackd.Upload{Name: "own.kc", Data: []byte(ownContract)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := team.Slack.Wait(ctx, teamtest.Saying("The program was refused", "did not pass", "for this one it is wrong", "calls.tid is current.tid", "sys_enter_getppid fires with", "// wrong")); err != nil {
		t.Error(err)
	}
	if _, err := alice.Reply(root, "why was it refused?"); err != nil {
		t.Fatal(err)
	}
	if _, err := team.Slack.Wait(ctx, teamtest.All(teamtest.Titled("Why it was refused"), teamtest.Saying("The line to look at"))); err != nil {
		t.Error(err)
	}

	bob, err := team.Discord.Person("bob")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.Mention(teamtest.DiscordIncidents, "who calls getppid on db-1", discordd.File{Name: "own.bpf.c", Data: []byte(ownProgram)}); err != nil {
		t.Fatal(err)
	}
	if _, err := team.Discord.Wait(ctx, teamtest.Saying("program: file own.bpf.c", "UNPROVED", "no recipe answers the request", "0 of 2")); err != nil {
		t.Error(err)
	}
}

const (
	ownScript = `tracepoint:syscalls:sys_enter_getpgrp {
  printf("%d %d\n", pid, tid);
  @calls[pid] = count();
}
`
	scriptContract = `contract "Calls of getpgrp"
event each { pid: k_pid, tid: k_tid }
table calls { pid: k_pid } : count
hook tracepoint/syscalls/sys_enter_getpgrp()
  case asked: always
    emit each { pid: current.tgid, tid: current.tid }
    add 1 to calls[pid: current.tgid]
  otherwise nothing
`
	openScript = `tracepoint:syscalls:sys_enter_getpgrp { @[kstack] = count(); }
`
)

// A script of bpftrace goes the whole way: attached with its contract it is proved, approved
// by two people, run by the node's bpftrace, and stopped; one that can be held against no
// contract says what is in the way, and ends at its deadline. Nothing is left of either.
func runScripts(t *testing.T, team *teamtest.Team) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*teamtest.Patience)
	defer cancel()
	calls, quit := make(chan struct{}), make(chan struct{})
	go func() { // a system call that nothing else here makes: other tests flood getppid
		defer close(calls)
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-tick.C:
				syscall.Syscall(syscall.SYS_GETPGRP, 0, 0, 0)
			case <-quit:
				tick.Stop()
				return
			}
		}
	}()
	defer func() { close(quit); <-calls }()
	alice, err := team.Slack.As("alice")
	if err != nil {
		t.Fatal(err)
	}
	files := []slackd.Upload{{Name: "groups.bt", Data: []byte(ownScript)}, {Name: "groups.kc", Data: []byte(scriptContract)}}
	if _, err := alice.PostFiles(teamtest.SlackIncidents, "", team.Slack.At()+" who calls getpgrp on db-1 for 9 minutes", files...); err != nil {
		t.Fatal(err)
	}
	approved := func(chat teamtest.Chat, says ...string) {
		t.Helper()
		m, err := chat.Wait(ctx, teamtest.All(teamtest.Saying(append(says, "0 of 2")...), teamtest.Having("approve", "deny", "edit", "refine", "source", "cancel")))
		if err != nil {
			t.Fatal(err)
		}
		for _, who := range []string{"bob", "carol"} {
			if err := chat.Click(ctx, who, m, "approve"); err != nil {
				t.Fatal(err)
			}
		}
	}
	wait := func(chat teamtest.Chat, match ...func(teamtest.Message) bool) teamtest.Message {
		t.Helper()
		m, err := chat.Wait(ctx, teamtest.All(match...))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	approved(team.Slack, "program: file groups.bt", "VERIFIED", "@calls[pid] = count()")
	// When it says who called, it is attached.
	run := wait(team.Slack, teamtest.Titled("Running"), teamtest.Saying(fmt.Sprintf("%d ", os.Getpid())), teamtest.Having("stop"))
	if err := team.Slack.Click(ctx, "bob", run, "stop"); err != nil {
		t.Fatal(err)
	}
	wait(team.Slack, teamtest.Titled("Result"), teamtest.Saying("who calls getpgrp", "db-1: answered", "all delivered", "stopped"))

	asking, err := team.Discord.Person("alice")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := asking.Mention(teamtest.DiscordIncidents, "from where in the kernel is getpgrp called on db-2 for 2 seconds", discordd.File{Name: "stacks.bt", Data: []byte(openScript)}); err != nil {
		t.Fatal(err)
	}
	approved(team.Discord, "program: file stacks.bt", "UNPROVED", "line 1: kstack is not mapped")
	wait(team.Discord, teamtest.Titled("Result"), teamtest.Saying("from where in the kernel", "db-2: answered"))
}
