package alternative_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kgent/agent/alternative"
	"kgent/agent/codegen"
	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify"
	"kgent/retrieval/kernel"
)

// symbols are the functions that are not in the way of a name of another.
const symbols = `0 T register_ftrace_direct
0 T vfs_read
0 T tcp_rcv_established
0 T __set_task_comm
0 T cap_capable
0 T netif_receive_skb
0 T ip_local_out
0 T __alloc_skb
0 T __x64_sys_openat
0 T vfs_write
`

const (
	release = "6.18.0-test"
	refusal = "the kernel refused to load one (EPERM)"
)

// machine is a kernel with the types of this one, that can attach to everything but some kinds of hooks.
func machine(t *testing.T, refused ...string) *kernel.Facts {
	t.Helper()
	types, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if err != nil {
		t.Skipf("needs a kernel that describes its types: %v", err)
	}
	dir := t.TempDir()
	for path, data := range map[string][]byte{
		"sys/kernel/btf/vmlinux":    types,
		"proc/sys/kernel/osrelease": []byte(release),
		"proc/self/mountinfo":       nil,
		"proc/kallsyms":             []byte(symbols),
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := kernel.Sources{Root: dir, Arch: "x86_64"}.Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.Refused = map[string]string{}
	for _, kind := range refused {
		f.Refused[kind] = refusal
	}
	return f
}

func parse(t *testing.T, text string) *contract.Contract {
	t.Helper()
	c, err := contract.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	trampolines = []string{kernel.KindFentry, kernel.KindFexit, kernel.KindFmodRet}
	breakpoints = []string{kernel.KindKprobe, kernel.KindKretprobe}
	neither     = []string{kernel.KindFentry, kernel.KindFexit, kernel.KindKprobe, kernel.KindKretprobe}
)

func TestHooks(t *testing.T) {
	counted := func(hook string) string {
		return "contract \"c\"\ntable calls : count\nhook " + hook + "\n  case called: always\n    add 1 to calls\n  otherwise nothing\n"
	}
	of := func(hook, value string) string {
		return "contract \"c\"\ntable calls { what: u32 } : count\nhook " + hook + "\n  case called: " + value + " != 0\n    add 1 to calls[what: u32(" + value + ")]\n  otherwise nothing\n"
	}
	for name, test := range map[string]struct {
		contract string
		lacks    []string
		want     []string // hooks of the contract that comes of it
		said     string   // part of what is said
	}{
		"nothing is lacking":               {counted("fentry/vfs_read()"), nil, []string{"hook fentry/vfs_read()"}, ""},
		"no trampolines":                   {counted("fentry/vfs_read()"), trampolines, []string{"hook kprobe/vfs_read()"}, "fentry/vfs_read was replaced by kprobe/vfs_read: " + refusal},
		"no trampolines, arguments":        {of("fentry/vfs_read(count)", "count"), trampolines, []string{"hook kprobe/vfs_read(count)"}, ""},
		"no breakpoints":                   {of("kprobe/vfs_read(count as n)", "n"), breakpoints, []string{"hook fentry/vfs_read(count as n)"}, "kprobe/vfs_read was replaced by fentry/vfs_read"},
		"no breakpoints, results":          {of("kretprobe/vfs_read(ret)", "ret"), breakpoints, []string{"hook fexit/vfs_read(ret)"}, ""},
		"results need no memory":           {of("fexit/vfs_read(ret)", "ret"), trampolines, []string{"hook kretprobe/vfs_read(ret)"}, ""},
		"returns need no memory":           {counted("fexit/vfs_read()"), trampolines, []string{"hook kretprobe/vfs_read()"}, ""},
		"returns of several":               {of("fexit/vfs_read(ret) and fexit/vfs_write(ret)", "ret"), trampolines, []string{"hook kretprobe/vfs_read(ret)", "and kretprobe/vfs_write(ret)"}, "fexit/vfs_write was replaced by kretprobe/vfs_write"},
		"the other of two":                 {of("kretprobe/vfs_read(ret) and fexit/vfs_write(ret)", "ret"), trampolines, []string{"hook kretprobe/vfs_read(ret)", "and kretprobe/vfs_write(ret)"}, ""},
		"arguments of several":             {of("fexit/vfs_read(count) and fexit/vfs_write(count)", "count"), trampolines, []string{"hook fexit/vfs_read(count)", "and fexit/vfs_write(count)"}, ""},
		"arguments and results":            {of("fexit/vfs_read(count, ret)", "count"), trampolines, []string{"hook kprobe/vfs_read(count)", "hook kretprobe/vfs_read(ret)"}, "by kprobe/vfs_read and kretprobe/vfs_read: " + refusal + "; of calls within calls"},
		"a tracepoint":                     {of("fentry/tcp_rcv_established(sk as s)", "s.__sk_common.skc_family"), neither, []string{"hook tp_btf/tcp_probe(sk as s)"}, "replaced by tp_btf/tcp_probe"},
		"a tracepoint, other names":        {counted("kprobe/__set_task_comm(tsk)"), neither, []string{"hook tp_btf/task_rename(task as tsk)"}, ""},
		"a tracepoint with results":        {of("fexit/cap_capable(cap, ret)", "cap"), neither, []string{"hook tp_btf/cap_capable(cap, ret)"}, "it comes after the check"},
		"types of a file":                  {counted("fentry/tcp_rcv_established()"), append(neither, kernel.KindTPBTF), []string{"hook raw_tracepoint/tcp_probe()"}, ""},
		"tp_btf":                           {of("tp_btf/tcp_probe(sk)", "sk.__sk_common.skc_family"), []string{kernel.KindTPBTF}, []string{"hook raw_tracepoint/tcp_probe(sk)"}, "tp_btf/tcp_probe was replaced by raw_tracepoint/tcp_probe"},
		"a system call":                    {counted("kprobe/__x64_sys_openat()"), neither, []string{"hook kprobe/__x64_sys_openat()"}, ""}, // no tracefs here
		"no tracepoint":                    {counted("fentry/vfs_read()"), neither, []string{"hook fentry/vfs_read()"}, ""},
		"a tracepoint without it":          {of("fentry/netif_receive_skb(skb)", "skb.len"), append(neither, kernel.KindTPBTF, kernel.KindRawTracepoint), []string{"hook fentry/netif_receive_skb(skb)"}, ""},
		"a tracepoint at the entry only":   {of("kretprobe/netif_receive_skb(ret)", "ret"), neither, []string{"hook kretprobe/netif_receive_skb(ret)"}, ""},
		"an argument it lacks":             {of("kprobe/cap_capable(opts)", "opts"), neither, []string{"hook kprobe/cap_capable(opts)"}, ""},
		"no memory by thread in softirqs":  {of("fexit/ip_local_out(skb, ret)", "ret"), trampolines, []string{"hook fexit/ip_local_out(skb, ret)"}, ""},
		"an offset is no place of another": {counted("kprobe/vfs_read+0x4()"), breakpoints, []string{"hook kprobe/vfs_read+0x4()"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := machine(t, test.lacks...)
			c := parse(t, test.contract)
			before := contract.Format(c)
			next, did, err := alternative.Hooks(c, []alternative.Kernel{{Facts: f}})
			if err != nil {
				t.Fatal(err)
			}
			if contract.Format(c) != before {
				t.Error("the contract that was given has changed")
			}
			var hooks []string
			for line := range strings.Lines(contract.Format(next)) {
				if line = strings.TrimSpace(line); strings.HasPrefix(line, "hook ") || strings.HasPrefix(line, "and ") {
					hooks = append(hooks, line)
				}
			}
			if strings.Join(hooks, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("hooks %q, want %q", hooks, test.want)
			}
			said := ""
			for _, r := range did {
				said += r.String() + "\n"
			}
			if !strings.Contains(said, test.said) || (len(did) == 0) != (next == c) {
				t.Errorf("said %q, want %q", said, test.said)
			}
			types, err := contract.NewTypes(f)
			if err != nil {
				t.Fatal(err)
			}
			if len(did) == 0 {
				return
			}
			checked, err := contract.Check(next, types)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := codegen.C(checked); err != nil {
				t.Error(err)
			}
		})
	}
}

// What all kernels have is chosen, and the one that lacks the place is named.
func TestHooksOfAll(t *testing.T) {
	c := parse(t, "contract \"c\"\ntable calls : count\nhook fentry/tcp_rcv_established(sk)\n  case called: sk.sk_protocol == IPPROTO_TCP\n    add 1 to calls\n  otherwise nothing\n")
	all := []alternative.Kernel{
		{Facts: machine(t), Name: "Linux 6.18 (a)"},
		{Facts: machine(t, trampolines...), Name: "Linux 6.1 (b, c)"},
	}
	next, did, err := alternative.Hooks(c, all)
	if err != nil {
		t.Fatal(err)
	}
	want := "fentry/tcp_rcv_established was replaced by kprobe/tcp_rcv_established: Linux 6.1 (b, c): " + refusal
	if len(did) != 1 || did[0].String() != want || next.Hooks[0].Places[0].Kind != "kprobe" {
		t.Errorf("%q, want %q", did, want)
	}
	// A third has no kprobes: there is nothing but the tracepoint that all have.
	all = append(all, alternative.Kernel{Facts: machine(t, breakpoints...), Name: "Linux 5.10 (d)"})
	next, did, err = alternative.Hooks(c, all)
	if err != nil {
		t.Fatal(err)
	}
	if len(did) != 1 || next.Hooks[0].Places[0].String() != "tp_btf/tcp_probe" {
		t.Errorf("%q", did)
	}
}

// A pair at one function shares the entry that is there already.
func TestPair(t *testing.T) {
	c := parse(t, `contract "slow reads, with their files"
event slow { time: k_time, size: k_bytes, inode: u64, took: k_ns }
memory begun { thread: k_tid } : { at: k_time }
hook fentry/vfs_read(file as f)
  case begins: f != null
    remember begun[current.tid] { at: now }
  otherwise nothing
hook fexit/vfs_read(file, count, ret)
  case slow: known begun[current.tid] && ret > 0 && now - begun[current.tid].at > 10ms
    emit slow { time: now, size: u64(ret), inode: file.f_inode.i_ino, took: now - begun[current.tid].at }
    forget begun[current.tid]
  otherwise nothing
assume returns
`)
	f := machine(t, trampolines...)
	next, did, err := alternative.Hooks(c, []alternative.Kernel{{Facts: f}})
	if err != nil {
		t.Fatal(err)
	}
	if len(did) != 2 {
		t.Fatalf("%q", did)
	}
	text := contract.Format(next)
	for _, want := range []string{
		"hook kprobe/vfs_read(file as f)",
		"memory vfs_read_call { thread: k_tid } : { arg0: k_addr }",
		"remember vfs_read_call[current.tid] { arg0: u64(f) }",
		"inode: as(struct file, vfs_read_call[current.tid].arg0).f_inode.i_ino",
		"hook kretprobe/vfs_read(ret)",
		"case returned: known vfs_read_call[current.tid]",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Count(text, "hook ") != 2 || strings.Count(text, "assume returns") != 1 {
		t.Errorf("hooks or assumptions are there twice:\n%s", text)
	}
}

// The idle tasks of all CPUs have one thread id, by which the calls of one would be taken for those of another: of a function that
// interrupts may call, theirs are left out.
func TestPairIdle(t *testing.T) {
	f := machine(t, trampolines...)
	for function, argument := range map[string]string{"vfs_read": "count", "__alloc_skb": "size"} {
		c := parse(t, "contract \"c\"\ntable calls { size: u64 } : count\nhook fexit/"+function+"("+argument+", ret)\n  case failed: u64(ret) == 0\n    add 1 to calls[size: u64("+argument+")]\n  otherwise nothing\n")
		next, did, err := alternative.Hooks(c, []alternative.Kernel{{Facts: f}})
		if err != nil || len(did) != 1 {
			t.Fatal(did, err)
		}
		own := function == "vfs_read"
		if got := strings.Contains(contract.Format(next), "case called: current.tid != 0"); got == own {
			t.Errorf("%s: idle tasks are left out: %t\n%s", function, got, contract.Format(next))
		}
		if got := strings.Contains(did[0].String(), "none in an interrupt of an idle processor"); got == own {
			t.Errorf("%s: said %q", function, did[0])
		}
	}
}

// What was written by hand is refused, with the hook that the kernel has.
func TestRefusal(t *testing.T) {
	f := machine(t, neither...)
	for _, test := range []struct{ kind, target, want string }{
		{"kprobe", "tcp_rcv_established", "; use tp_btf tcp_probe, which fires for the same calls"},
		{"fexit", "cap_capable", "; use tp_btf cap_capable, which fires for the same calls (it comes after the check)"},
	} {
		m := &program.Manifest{Programs: []program.Program{{Name: "p", Hook: program.Hook{Kind: program.Kind(test.kind), Target: test.target}}}}
		err := verify.Facts(m, f)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s: %v, want %q", test.kind, test.target, err, test.want)
		}
	}
}

// Where kernels have no ring buffers, perf buffers take their place, and for which kernels and why is said.
func TestBuffers(t *testing.T) {
	later, old := machine(t), machine(t, kernel.RingBuffer)
	if got, err := alternative.Buffers([]alternative.Kernel{{Facts: later}}); err != nil || got != nil {
		t.Errorf("all have them: %v, %v", got, err)
	}
	got, err := alternative.Buffers([]alternative.Kernel{{Facts: later, Name: "Linux 6.18 (a)"}, {Facts: old, Name: "Linux 5.4 (b)"}})
	if err != nil || got == nil {
		t.Fatalf("%v, %v", got, err)
	}
	if want := "the ring buffer of events was replaced by a perf buffer on each processor, on all nodes: Linux 5.4 (b): " + refusal + "; events of several"; !strings.HasPrefix(got.String(), want) {
		t.Errorf("%q, want %q …", got, want)
	}
}
