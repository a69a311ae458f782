package executor

import (
	"bytes"
	"context"
	"os/exec"
	"sync"
	"testing"
	"time"

	"kgent/agent/program"
)

// prelude declares what the test programs need; they are complete by
// themselves so that these tests need no header but this.
const prelude = `
typedef unsigned int __u32; typedef unsigned long long __u64; typedef int __s32; typedef long long __s64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_trace_printk)(const char *fmt, __u32 size, ...) = (void *)6;
static __u64 (*const bpf_get_current_pid_tgid)(void) = (void *)14;
static long (*const bpf_redirect)(__u32 ifindex, __u64 flags) = (void *)23;
static long (*const bpf_probe_write_user)(void *dst, const void *src, __u32 len) = (void *)36;
static long (*const bpf_override_return)(void *regs, __u64 rc) = (void *)58;
static long (*const bpf_send_signal)(__u32 sig) = (void *)109;
static long (*const bpf_send_signal_thread)(__u32 sig) = (void *)117;
static void *(*const bpf_ringbuf_reserve)(void *ringbuf, __u64 size, __u64 flags) = (void *)131;
static void (*const bpf_ringbuf_submit)(void *data, __u64 flags) = (void *)132;
static long (*const bpf_from_the_future)(void) = (void *)9999;
char LICENSE[] SEC("license") = "GPL";
`

// plain counts system calls of a process into a ring buffer.
const plain = prelude + `
struct call { __u32 pid; };
struct { __uint(type, 27); __uint(max_entries, 1 << 20); __type(value, struct call); } events SEC(".maps");
const volatile __u32 pid = 0;
SEC("raw_tp/sys_enter") int on_enter(void *ctx) {
	struct call *c;
	__u32 now = bpf_get_current_pid_tgid() >> 32;
	if (pid && pid != now) return 0;
	c = bpf_ringbuf_reserve(&events, sizeof(*c), 0);
	if (!c) return 0;
	c->pid = now;
	bpf_ringbuf_submit(c, 0);
	return 0;
}`

var compiled = struct {
	sync.Mutex
	elf map[string][]byte
}{elf: map[string][]byte{}}

// compile returns the ELF of a C program.
func compile(t testing.TB, source string) []byte {
	t.Helper()
	compiled.Lock()
	defer compiled.Unlock()
	if elf, ok := compiled.elf[source]; ok {
		return elf
	}
	clang := "clang-19"
	if _, err := exec.LookPath(clang); err != nil {
		clang = "clang"
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, clang, "-target", "bpf", "-O2", "-g", "-mcpu=v3", "-Wall", "-Wno-unused", "-Werror", "-x", "c", "-c", "-", "-o", "-")
	cmd.Stdin = bytes.NewReader([]byte(source))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	elf, err := cmd.Output()
	if err != nil {
		t.Fatalf("compiling: %v\n%s", err, stderr.Bytes())
	}
	compiled.elf[source] = elf
	return elf
}

// built is a compiled program with its manifest.
func built(t testing.TB, source string, opt program.Options) (*program.Object, *program.Manifest) {
	t.Helper()
	o, err := program.Parse(compile(t, source))
	if err != nil {
		t.Fatal(err)
	}
	opt.Name = "test"
	m, err := program.Build(o, opt)
	if err != nil {
		t.Fatal(err)
	}
	return o, m
}
