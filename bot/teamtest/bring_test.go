package teamtest_test

import (
	"context"
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
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
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
