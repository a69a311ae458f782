package vmlinux

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// helpers is the header that test programs use beside vmlinux.h.
const helpers = `
#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name

#define bpf_map_lookup_elem ((void *(*)(void *map, const void *key))1)
#define bpf_map_update_elem ((long (*)(void *map, const void *key, const void *value, __u64 flags))2)
#define bpf_ktime_get_ns ((__u64 (*)(void))5)
#define bpf_get_current_task ((__u64 (*)(void))35)
#define bpf_probe_read_kernel ((long (*)(void *dst, __u32 size, const void *src))113)

#define READ(p, field) ({ \
	typeof((p)->field) value; \
	bpf_probe_read_kernel((void *)&value, sizeof(value), (const void *)&(p)->field); \
	value; \
})

char LICENSE[] SEC("license") = "GPL";
__u64 out[16];
`

// programs are written the way people and models write them.
var programs = []struct {
	name   string
	source string
	types  []string // that the header must define
	no     []string // that it must not
	moves  bool     // members are elsewhere in the program's own types
	cannot string   // why the test host cannot load it
}{{
	name: "tcp state changes",
	source: `
struct conn_event { u32 pid; u16 family; u16 dport; u8 saddr[16]; };
SEC("tp_btf/inet_sock_set_state")
int on_state(u64 *ctx)
{
	const struct sock *sk = (void *)ctx[0];
	int newstate = ctx[2];
	struct conn_event e = {};

	if (newstate != TCP_SYN_SENT || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	e.family = sk->__sk_common.skc_family;
	e.dport = __builtin_bswap16(sk->__sk_common.skc_dport);
	*(__be32 *)e.saddr = sk->__sk_common.skc_rcv_saddr;
	out[0] = e.dport + sk->__sk_common.skc_net.net->ns.inum;
	out[1] = sk->__sk_common.skc_v6_daddr.in6_u.u6_addr32[0];
	return 0;
}`,
	types: []string{"struct sock", "struct sock_common", "struct net", "struct in6_addr"},
	no:    []string{"struct task_struct", "struct net_device", "struct conn_event"},
}, {
	name: "task, deep chains",
	source: `
SEC("tp_btf/sched_process_exec")
int on_exec(u64 *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *t = (void *)ctx[0];

	out[0] = READ(READ(READ(READ(task, mm), exe_file), f_inode), i_ino);
	out[1] = (u64)READ(READ(READ(task, mm), exe_file), f_path.dentry);
	out[2] = READ(READ(READ(task, nsproxy), pid_ns_for_children), ns.inum);
	out[3] = READ(READ(task, real_parent), tgid) + t->group_leader->tgid;
	out[4] = READ(READ(READ(task, signal), tty), index);
	out[5] = t->in_iowait + t->real_parent->real_parent->pid;
	out[6] = t->mm->total_vm;
	return 0;
}`,
	types: []string{"struct task_struct", "struct mm_struct", "struct file", "struct inode", "struct nsproxy", "struct pid_namespace", "struct signal_struct", "struct tty_struct"},
	no:    []string{"struct vm_area_struct", "struct request_queue"},
}, {
	name: "sched_switch tracepoint",
	source: `
struct key { u32 pid; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct key);
	__type(value, u64);
} start SEC(".maps");
SEC("tracepoint/sched/sched_switch")
int on_switch(struct trace_event_raw_sched_switch *ctx)
{
	struct key k = { .pid = ctx->next_pid };
	u64 now = bpf_ktime_get_ns(), *then = bpf_map_lookup_elem(&start, &k);
	if (then && ctx->prev_state == 0 && ctx->prev_comm[0] != 's')
		out[0] += now - *then;
	bpf_map_update_elem(&start, &k, &now, BPF_ANY);
	return 0;
}`,
	types: []string{"struct trace_event_raw_sched_switch", "enum bpf_map_type"},
	no:    []string{"struct key", "struct task_struct"},
}, {
	name: "block requests",
	source: `
SEC("tp_btf/block_rq_complete")
int on_complete(u64 *ctx)
{
	struct request *rq = (struct request *)ctx[0];
	struct bio *bio = rq->bio;
	out[0] = rq->__data_len + rq->__sector + (rq->cmd_flags & 0xff);
	out[1] = rq->q->disk->major;
	if (bio)
		out[2] = READ(bio, bi_iter.bi_size) + READ(READ(bio, bi_bdev), bd_dev);
	out[3] = rq->start_time_ns;
	return (blk_opf_t)rq->cmd_flags == REQ_OP_WRITE ? 0 : 0;
}`,
	types: []string{"struct request", "struct bio", "struct request_queue", "struct gendisk", "struct block_device", "enum req_op"},
}, {
	name: "xdp, packet headers",
	source: `
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
SEC("xdp")
int count(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct tcphdr *tcp;

	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	if (eth->h_proto == __builtin_bswap16(ETH_P_IP)) {
		if ((void *)(ip + 1) > end || ip->ihl != 5 || ip->protocol != IPPROTO_TCP)
			return XDP_PASS;
		tcp = (void *)(ip + 1);
		if ((void *)(tcp + 1) > end)
			return XDP_PASS;
		out[0] += tcp->syn && !tcp->ack;
		out[1] = tcp->dest;
		out[2] = ip->saddr;
	} else if (eth->h_proto == __builtin_bswap16(ETH_P_IPV6)) {
		if ((void *)(ip6 + 1) > end)
			return XDP_PASS;
		out[3] += ip6->nexthdr == IPPROTO_UDP;
	}
	return XDP_PASS;
}`,
	types: []string{"struct xdp_md", "struct ethhdr", "struct iphdr", "struct ipv6hdr", "struct tcphdr", "enum xdp_action"},
	no:    []string{"struct sock", "struct sk_buff"},
}, {
	name: "dropped packets, sk_buff",
	source: `
SEC("tp_btf/kfree_skb")
int on_drop(u64 *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	enum skb_drop_reason reason = ctx[2];
	unsigned char *head = skb->head;
	struct iphdr ip;
	struct ipv6hdr ip6;

	if (skb->protocol == 0x0008) {
		bpf_probe_read_kernel(&ip, sizeof(ip), head + skb->network_header);
		out[0] = ip.daddr;
	} else {
		bpf_probe_read_kernel(&ip6, sizeof(ip6), head + skb->network_header);
		out[0] = ip6.daddr.in6_u.u6_addr32[3];
	}
	out[1] = skb->dev ? skb->dev->ifindex : 0;
	out[2] = skb->pkt_type + skb->ip_summed + skb->len;
	return reason == SKB_DROP_REASON_NO_SOCKET;
}`,
	types: []string{"struct sk_buff", "struct iphdr", "struct ipv6hdr", "struct net_device", "enum skb_drop_reason"},
}, {
	name: "open files, iterator",
	source: `
SEC("iter/task_file")
int dump(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct path path;
	if (!task || !file)
		return 0;
	path = file->f_path;
	out[0] = ctx->fd + ctx->meta->seq_num;
	out[1] = file->f_path.dentry->d_parent->d_inode->i_ino;
	out[2] = file->f_inode->i_sb->s_dev;
	out[3] = (u64)READ(path.mnt, mnt_root);
	return 0;
}`,
	types: []string{"struct bpf_iter__task_file", "struct bpf_iter_meta", "struct file", "struct path", "struct dentry", "struct super_block", "struct vfsmount"},
}, {
	name: "exec, lsm",
	source: `
SEC("lsm/bprm_check_security")
int check(u64 *ctx)
{
	struct linux_binprm *bprm = (void *)ctx[0];
	out[0] = bprm->argc + bprm->cred->euid.val;
	out[1] = bprm->file->f_inode->i_mode;
	return bprm->filename[0] == 0 ? -1 : 0;
}`,
	types:  []string{"struct linux_binprm", "struct cred", "struct file", "struct inode"},
	cannot: "the host refuses LSM programs",
}, {
	name: "credentials",
	source: `
SEC("tp_btf/sched_process_fork")
int on_fork(u64 *ctx)
{
	struct task_struct *parent = (void *)ctx[0], *child = (void *)ctx[1];
	const struct cred *old = parent->cred, *new = child->real_cred;
	kuid_t uid = new->uid;
	out[0] = old->euid.val + uid.val + new->cap_effective.val;
	out[1] = new->user_ns->level;
	return 0;
}`,
	types: []string{"struct cred", "struct task_struct", "struct user_namespace"},
}, {
	name: "cgroups",
	source: `
SEC("tp_btf/sched_process_exit")
int on_exit(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	struct css_set *set = READ(task, cgroups);
	struct cgroup *cgrp = READ(set, dfl_cgrp);
	out[0] = READ(READ(cgrp, kn), id);
	out[1] = READ(cgrp, level);
	out[2] = READ(cgrp, subsys[cpu_cgrp_id]) != 0;
	return 0;
}`,
	types: []string{"struct css_set", "struct cgroup", "struct kernfs_node", "enum cgroup_subsys_id"},
}, {
	name: "tasks, iterator",
	source: `
SEC("iter/task")
int dump(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	if (!task)
		return 0;
	out[0] = task->pid + task->__state + task->thread_info.flags;
	out[1] = task->se.sum_exec_runtime + task->start_boottime;
	return 0;
}`,
	types: []string{"struct bpf_iter__task", "struct task_struct", "struct sched_entity"},
	no:    []string{"struct mm_struct"},
}, {
	name: "signals, siginfo unions",
	source: `
SEC("tp_btf/signal_generate")
int on_signal(u64 *ctx)
{
	int sig = ctx[0];
	struct kernel_siginfo *info = (void *)ctx[1];
	struct task_struct *task = (void *)ctx[2];
	kernel_siginfo_t copy;

	if (ctx[1] <= 2)
		return 0;
	bpf_probe_read_kernel(&copy, sizeof(copy), info);
	out[0] = copy._sifields._kill._pid + copy.si_code;
	out[1] = (u64)READ(info, _sifields._sigfault._addr);
	out[2] = sig + task->pid + READ(info, _sifields._sigchld._status);
	return 0;
}`,
	types: []string{"struct kernel_siginfo", "union __sifields", "struct task_struct"},
}, {
	name: "constants only",
	source: `
SEC("socket")
int filter(struct __sk_buff *skb)
{
	out[0] = BPF_F_CURRENT_CPU;
	if (skb->protocol == IPPROTO_TCP)
		return TCP_ESTABLISHED + BPF_NOEXIST;
	return skb->mark ? skb->ingress_ifindex : false;
}`,
	types: []string{"struct __sk_buff"},
	no:    []string{"struct bpf_sock", "struct sock", "struct tcp_sock"},
}, {
	name: "own types with the kernel's names",
	source: `
struct stat { __u64 calls; __u64 errors; };
struct key { __u32 pid; char name[12]; };
struct event { struct key key; struct stat stat; };
union node { __u32 a; __u8 b[4]; };
typedef struct { __u32 v; } kuid_t;
enum policy { all, possible, fail };
static struct stat total;
int regular;
SEC("tp_btf/sched_process_exit")
int on_exit(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	struct event event = { .key = { .pid = task->pid } };
	union node node = { .a = task->tgid };
	kuid_t id = { .v = node.b[1] };
	enum policy policy = possible;

	event.stat.calls = ++total.calls + policy + fail + all;
	out[0] = event.stat.calls + event.key.pid + id.v + regular;
	out[1] = task->cached_requested_key != 0;
	out[2] = task->cred->uid.val;
	return 0;
}`,
	types: []string{"struct task_struct", "struct cred"},
	no:    []string{"struct stat", "struct key", "struct event", "union node"},
}, {
	name: "own type that the kernel embeds",
	source: `
struct list_head { __u32 head; __u32 count; };
enum pid_type { FIRST, PIDTYPE_PID };
typedef struct own { long long weight; } atomic_t;
SEC("tp_btf/sched_process_exit")
int on_exit(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	struct list_head l = { task->pid, PIDTYPE_PID };
	atomic_t a = { task->signal->live.counter };
	out[0] = l.head + l.count + a.weight + (task->tasks.next != 0);
	return 0;
}`,
	types: []string{"struct task_struct", "struct list_head___kernel", "struct signal_struct"},
	no:    []string{"struct list_head"},
}, {
	name: "types by their typedefs",
	source: `
struct cpumask { u32 own; };
SEC("tp_btf/signal_generate")
int on_signal(u64 *ctx)
{
	kernel_siginfo_t *info = (void *)ctx[1];
	struct cpumask own = { info->si_signo };
	out[0] = own.own + sizeof(cpumask_t) + sizeof(possible_net_t);
	return 0;
}`,
	types: []string{"struct kernel_siginfo", "struct cpumask___kernel"},
	no:    []string{"struct cpumask", "struct net"},
}, {
	name: "own types and constants, partly the kernel's",
	source: `
union key { u32 a; u8 b[4]; };
enum mm_struct { SMALL, LARGE };
enum { SKB_DROP_REASON_NO_SOCKET = 77, REQ_OP_READ };
SEC("tp_btf/kfree_skb")
int on_drop(u64 *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	enum skb_drop_reason reason = ctx[2];
	union key key = { .a = READ(task, pid) };
	if (reason == SKB_DROP_REASON_NOT_SPECIFIED)
		out[0] = key.b[0] + LARGE + SKB_DROP_REASON_NO_SOCKET + REQ_OP_READ;
	out[1] = READ(task, mm) != 0;
	return 0;
}`,
	types: []string{"struct task_struct", "enum skb_drop_reason"},
	no:    []string{"struct key", "struct key___kernel", "struct mm_struct", "enum req_op"},
}, {
	name: "own, smaller task_struct",
	source: `
struct task_struct { int pid; int tgid; } __attribute__((preserve_access_index));
SEC("tp_btf/signal_generate")
int on_signal(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[2];
	out[0] = task->tgid;
	return 0;
}`,
	no:    []string{"struct task_struct", "struct mm_struct"},
	moves: true,
}, {
	name: "registers, uprobe",
	source: `
SEC("uprobe")
int on_call(struct pt_regs *ctx)
{
	out[0] = ((unsigned long *)ctx)[0] + bpf_ktime_get_ns();
	return 0;
}`,
	types: []string{"struct pt_regs"},
}, {
	name: "tcp_sock, retransmits",
	source: `
#define bpf_skc_to_tcp_sock ((struct tcp_sock *(*)(void *sk))137)
SEC("tp_btf/tcp_retransmit_skb")
int on_retransmit(u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct inet_sock *inet = (struct inet_sock *)sk;
	if (!tp)
		return 0;
	out[0] = tp->srtt_us + tp->snd_cwnd + tp->bytes_acked;
	out[1] = tp->inet_conn.icsk_ca_ops->name[0];
	out[2] = READ(inet, inet_saddr) + READ(inet, inet_sport);
	return 0;
}`,
	types: []string{"struct tcp_sock", "struct inet_connection_sock", "struct inet_sock", "struct tcp_congestion_ops"},
}, {
	name: "socket operations and spin locks",
	source: `
struct counter { struct bpf_spin_lock lock; u64 n; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct counter);
} counters SEC(".maps");
SEC("sockops")
int on_op(struct bpf_sock_ops *ops)
{
	u32 zero = 0;
	struct counter *c = bpf_map_lookup_elem(&counters, &zero);
	if (c && ops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		c->n += ops->remote_port;
	return 1;
}`,
	types: []string{"struct bpf_sock_ops", "struct bpf_spin_lock"},
	no:    []string{"struct sock"},
}, {
	name: "named tracepoint prototype, struct_ops",
	source: `
btf_trace_sched_switch proto;
SEC("struct_ops/ssthresh")
u32 ssthresh(u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	return sk->sk_shutdown + sk->sk_no_check_tx;
}
SEC("struct_ops/cong_avoid")
void cong_avoid(u64 *ctx) {}
SEC("struct_ops/undo_cwnd")
u32 undo_cwnd(u64 *ctx) { return 10; }
SEC(".struct_ops.link")
struct tcp_congestion_ops own_cc = {
	.ssthresh = (void *)ssthresh,
	.cong_avoid = (void *)cong_avoid,
	.undo_cwnd = (void *)undo_cwnd,
	.name = "own_cc",
};
`,
	types: []string{"struct tcp_congestion_ops", "struct sock"},
	no:    []string{"struct task_struct"},
}}

func TestHeader(t *testing.T) {
	trimmer := kernelTrimmer(t)
	spec := kernelSpec(t)
	types := tagTypes(t, spec)
	cache := btf.NewCache()

	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			header := trimmer.Header(helpers, p.source)
			for _, tag := range p.types {
				if !defines(header, tag) {
					t.Errorf("%s is not defined", tag)
				}
			}
			for _, tag := range p.no {
				if defines(header, tag) {
					t.Errorf("%s is defined", tag)
				}
			}
			object := compile(t, header, helpers+p.source)

			own := newScan(trimmer.isType)
			own.add(p.source)
			kernels := maps.Clone(types)
			for tag, k := range own.own.tags {
				tag = k.String() + " " + tag
				if typ, ok := kernels[tag]; ok {
					delete(kernels, tag)
					kernels[tag+"___kernel"] = typ
				}
			}
			compared := checkObject(t, object, kernels)
			t.Logf("%d KiB, %d types compared", len(header)>>10, len(compared))

			collection, err := ebpf.LoadCollectionSpec(object)
			if err != nil {
				t.Fatal(err)
			}
			checkRelocations(t, collection, spec, p.moves)
			if p.cannot != "" {
				return
			}
			c, err := ebpf.NewCollectionWithOptions(collection, ebpf.CollectionOptions{Cache: cache})
			if err != nil {
				var verifier *ebpf.VerifierError
				if errors.As(err, &verifier) {
					t.Fatalf("loading into the kernel: %+v", verifier)
				}
				t.Fatalf("loading into the kernel: %v", err)
			}
			c.Close()
		})
	}
}

// defines reports whether header has a body for tag.
func defines(header []byte, tag string) bool {
	return bytes.Contains(header, []byte("\n"+tag+" {"))
}

var fixup = regexp.MustCompile(`^(\w+)=(\d+)->(\d+)$`)

// checkRelocations relocates the programs against the kernel whose types they
// were compiled with: everything must be found, and where it already is, unless
// the program has a type of its own with members elsewhere.
func checkRelocations(t *testing.T, collection *ebpf.CollectionSpec, kernel *btf.Spec, moves bool) {
	t.Helper()
	var relocations []*btf.CORERelocation
	for _, prog := range collection.Programs {
		for i := range prog.Instructions {
			if r := btf.CORERelocationMetadata(&prog.Instructions[i]); r != nil {
				relocations = append(relocations, r)
			}
		}
	}
	fixups, err := btf.CORERelocate(relocations, []*btf.Spec{kernel}, collection.ByteOrder, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range fixups {
		s := fixups[i].String()
		if m := fixup.FindStringSubmatch(s); m == nil || m[2] != m[3] != moves {
			t.Errorf("%v relocates to %s", relocations[i], s)
		}
	}
	t.Logf("%d relocations", len(fixups))
}

// A program's own types must not be taken for the kernel's.
func TestOwnTypesAreNotRelocated(t *testing.T) {
	source := `
struct key { __u32 serial; __u32 own; };
SEC("tp_btf/sched_process_exit")
int on_exit(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	struct key *key = (void *)out;
	key->own = (u64)task->cached_requested_key;
	return 0;
}`
	header := kernelTrimmer(t).Header(helpers, source)
	if !bytes.Contains(header, []byte("struct key *cached_requested_key;")) {
		t.Fatal("the kernel's struct key is not mentioned, so this tests nothing")
	}
	collection, err := ebpf.LoadCollectionSpec(compile(t, header, helpers+source))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, prog := range collection.Programs {
		for i := range prog.Instructions {
			if r := btf.CORERelocationMetadata(&prog.Instructions[i]); r != nil {
				names = append(names, fmt.Sprint(r))
			}
		}
	}
	if len(names) != 1 || !strings.Contains(names[0], "task_struct") {
		t.Errorf("relocations are %v, want one for task_struct", names)
	}
}

// An enumerator of an enum with a typedef comes with the typedef, so that it is
// of that type; another comes with its enum alone, even if a struct has it.
func TestEnumerators(t *testing.T) {
	onOff := &btf.Enum{Size: 4, Values: []btf.EnumValue{{Name: "OFF"}, {Name: "ON", Value: 1}}}
	inside := &btf.Enum{Size: 4, Values: []btf.EnumValue{{Name: "INSIDE", Value: 3}}}
	trimmer, err := NewTrimmer(buildSpec(t,
		&btf.Typedef{Name: "onoff", Type: onOff},
		structOf("s", 16, member("e", inside, 0), member("o", &btf.Pointer{Target: onOff}, 8)),
		structOf("t", 4, member("e", inside, 0)),
		&btf.Enum{Name: "e", Size: 4, Values: []btf.EnumValue{{Name: "E", Value: 3}}},
	))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		source    string
		want, not []string
	}{
		{"ON", []string{"} onoff;"}, []string{"struct", "INSIDE", "enum e"}},
		{"E", []string{"enum e {\n\tE = 3,\n};"}, []string{"struct", "INSIDE", "onoff"}},
		{"INSIDE", []string{"enum {\n\tINSIDE = 3,\n};"}, []string{"struct", "onoff"}},
		{"struct s x; struct t y = { INSIDE };", []string{"\nenum {\n\tINSIDE = 3,\n};", "\t\tINSIDE___2 = 3", "\t\tINSIDE___3 = 3", "onoff *o;"}, nil},
	} {
		header := string(trimmer.Header(c.source))
		for _, w := range c.want {
			if !strings.Contains(header, w) {
				t.Errorf("%s: no %q in\n%s", c.source, w, header)
			}
		}
		for _, w := range c.not {
			if strings.Contains(header, w) {
				t.Errorf("%s: %q in\n%s", c.source, w, header)
			}
		}
		compile(t, []byte(header), "", "-fsyntax-only")
	}
}

func TestHeaderIsDeterministic(t *testing.T) {
	trimmer := kernelTrimmer(t)
	again, err := NewTrimmer(kernelSpec(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		want := trimmer.Header(helpers, p.source)
		for range 3 {
			if !bytes.Equal(trimmer.Header(helpers, p.source), want) {
				t.Errorf("%s: another header at another time", p.name)
			}
		}
		if !bytes.Equal(trimmer.Header(p.source, helpers), want) {
			t.Errorf("%s: another header in another order of sources", p.name)
		}
		if !bytes.Equal(again.Header(helpers, p.source), want) {
			t.Errorf("%s: another header from another Trimmer", p.name)
		}
	}
	spec := kernelSpec(t)
	if !bytes.Equal(full(t, spec), full(t, spec.Copy())) {
		t.Error("another full header at another time")
	}
}

func TestHeaderConcurrently(t *testing.T) {
	trimmer := kernelTrimmer(t)
	var wg sync.WaitGroup
	for _, p := range slices.Concat(programs, programs) {
		wg.Go(func() {
			if !defines(trimmer.Header(p.source, helpers), "enum bpf_map_type") && strings.Contains(p.source, "BPF_MAP_TYPE_HASH") {
				t.Errorf("%s: enum bpf_map_type is missing", p.name)
			}
		})
	}
	wg.Wait()
}

func TestHeaderWithoutSources(t *testing.T) {
	header := kernelTrimmer(t).Header()
	compile(t, header, `
_Static_assert(sizeof(__u8) + sizeof(__s16) + sizeof(__be32) + sizeof(__le64) + sizeof(bool) + sizeof(size_t) == 24, "");
u64 a; s8 b; __sum16 c; __wsum d; bool e = true;
`, "-Wextra")
}
