package proof

import (
	"strings"
	"testing"
)

// What is remembered under what another memory has: what a call was given, when it returns.
const spins = preamble + `
struct spins_event { k_pid pid; __u32 fd; k_count vain; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct spins_event);
} spins SEC(".maps");

struct handle { k_pid pid; __u16 pad; __u32 fd; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct handle);
	__type(value, __u64);
} vain SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct handle);
} reading SEC(".maps");

SEC("tp/syscalls/sys_enter_read")
int asks(struct trace_event_raw_sys_enter *ctx)
{
	struct handle h;
	__u32 tid = k_current_tid();

	__builtin_memset(&h, 0, sizeof(h));
	h.pid = k_current_pid();
	h.fd = ctx->args[0];
	k_put(&reading, &tid, &h);
	return 0;
}

SEC("tp/syscalls/sys_exit_read")
int answered(struct trace_event_raw_sys_exit *ctx)
{
	__u32 tid = k_current_tid();
	struct handle *asked = bpf_map_lookup_elem(&reading, &tid), key;
	__u64 *n, one = 1;
	struct spins_event *ev;

	if (!asked)
		return 0;
	key = *asked;
	bpf_map_delete_elem(&reading, &tid);
	n = bpf_map_lookup_elem(&vain, &key);
	if (ctx->ret == -EAGAIN) {
		if (n)
			__sync_fetch_and_add(n, 1);
		else
			k_put(&vain, &key, &one);
		return 0;
	}
	if (ctx->ret <= 0 || !n)
		return 0;
	ev = bpf_ringbuf_reserve(&spins, sizeof(*ev), 0);
	if (ev) {
		__builtin_memset(ev, 0, sizeof(*ev));
		ev->pid = key.pid;
		ev->fd = key.fd;
		ev->vain = *n;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&vain, &key);
	return 0;
}
`

const spinsContract = `contract "Reads in vain"
event spins { pid: k_pid, fd: u32, vain: k_count }
memory reading { thread: k_tid } : { pid: k_pid, fd: u32 }
memory vain { process: k_pid, fd: u32 } : { n: u64 }
hook tracepoint/syscalls/sys_enter_read(fd as number)
  case asks: always
    remember reading[current.tid] { pid: current.tgid, fd: u32(number) }
  otherwise nothing
hook tracepoint/syscalls/sys_exit_read(ret)
  case again: known reading[current.tid] && ret == -EAGAIN && known vain[reading[current.tid].pid, reading[current.tid].fd]
    change vain[reading[current.tid].pid, reading[current.tid].fd] { n: vain[reading[current.tid].pid, reading[current.tid].fd].n + 1 }
    forget reading[current.tid]
  case first: known reading[current.tid] && ret == -EAGAIN
    remember vain[reading[current.tid].pid, reading[current.tid].fd] { n: 1 }
    forget reading[current.tid]
  case data: known reading[current.tid] && ret > 0 && known vain[reading[current.tid].pid, reading[current.tid].fd]
    emit spins { pid: reading[current.tid].pid, fd: reading[current.tid].fd, vain: vain[reading[current.tid].pid, reading[current.tid].fd].n }
    forget vain[reading[current.tid].pid, reading[current.tid].fd]
    forget reading[current.tid]
  case other: known reading[current.tid]
    forget reading[current.tid]
  otherwise nothing
`

func TestKeyThatIsRemembered(t *testing.T) {
	short := patient
	short.Scenario = 2 // it matters that nothing wrong is proved, not how long a search for examples would be
	if r := verify(t, spins, spinsContract, patient); r.Verdict != Verified {
		t.Errorf("%s\n%s", r.Verdict, strings.Join(r.Reasons, "\n"))
	}
	for name, edit := range map[string][2]string{
		"the key of another thread":       {"key = *asked;", "key = *asked; key.pid = tid;"},
		"filling that is not always zero": {"h.pid = k_current_pid();", "h.pid = k_current_pid(); h.pad = tid;"},
		"it is never forgotten":           {"\tbpf_map_delete_elem(&vain, &key);\n", ""},
		"what came before is lost":        {"__sync_fetch_and_add(n, 1);", "k_put(&vain, &key, &one);"},
	} {
		wrong := strings.Replace(spins, edit[0], edit[1], 1)
		if wrong == spins {
			t.Fatalf("%s: nothing was changed", name)
		}
		if r := verify(t, wrong, spinsContract, short); r.Verdict == Verified {
			t.Errorf("%s, and it is verified", name)
		}
	}
}

// Equal texts are one key, whatever lies behind their NUL.
func TestTextAsKey(t *testing.T) {
	const program = preamble + `
struct name { char path[48]; };
struct made_event { char path[48]; k_ns lived; };
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct made_event);
} gone SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct name);
	__type(value, __u64);
} made SEC(".maps");

SEC("tp/syscalls/sys_enter_creat")
int makes(struct trace_event_raw_sys_enter *ctx)
{
	struct name n = {};
	__u64 now = bpf_ktime_get_ns();

	bpf_probe_read_user_str(n.path, sizeof(n.path), (void *)ctx->args[0]);
	k_put(&made, &n, &now);
	return 0;
}

SEC("tp/syscalls/sys_enter_unlink")
int removes(struct trace_event_raw_sys_enter *ctx)
{
	struct name n = {};
	struct made_event *ev;
	__u64 *since;

	bpf_probe_read_user_str(n.path, sizeof(n.path), (void *)ctx->args[0]);
	since = bpf_map_lookup_elem(&made, &n);
	if (!since)
		return 0;
	ev = bpf_ringbuf_reserve(&gone, sizeof(*ev), 0);
	if (ev) {
		__builtin_memcpy(ev->path, n.path, sizeof(ev->path));
		ev->lived = bpf_ktime_get_ns() - *since;
		bpf_ringbuf_submit(ev, 0);
	}
	bpf_map_delete_elem(&made, &n);
	return 0;
}
`
	const text = `contract "Files that are made and removed"
event gone { path: char[48], lived: k_ns }
memory made { path: char[48] } : { at: k_time }
hook tracepoint/syscalls/sys_enter_creat(pathname)
  case made: always
    remember made[user_text(pathname, 48)] { at: now }
  otherwise nothing
hook tracepoint/syscalls/sys_enter_unlink(pathname)
  case removed: known made[user_text(pathname, 48)]
    emit gone { path: user_text(pathname, 48), lived: now - made[user_text(pathname, 48)].at }
    forget made[user_text(pathname, 48)]
  otherwise nothing
`
	if r := verify(t, program, text, patient); r.Verdict != Verified {
		t.Errorf("%s\n%s", r.Verdict, strings.Join(r.Reasons, "\n"))
	}
	for name, edit := range map[string][2]string{
		"what lies behind the NUL is part of the key": {"struct name n = {};\n\t__u64", "struct name n = {};\n\t*(__u64 *)(n.path + 40) = bpf_get_current_pid_tgid();\n\t__u64"},
		"bytes are read, not a text":                  {"bpf_probe_read_user_str(n.path", "bpf_probe_read_user(n.path"},
		"only the start is the key":                   {"bpf_probe_read_user_str(n.path, sizeof(n.path)", "bpf_probe_read_user_str(n.path, 40"},
	} {
		wrong := strings.Replace(program, edit[0], edit[1], 1)
		if wrong == program {
			t.Fatalf("%s: nothing was changed", name)
		}
		if r := verify(t, wrong, text, patient); r.Verdict == Verified {
			t.Errorf("%s, and it is verified", name)
		}
	}
}
