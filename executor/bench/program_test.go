package bench_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"kgent/agent/program/programtest"
)

// ringed is a program that makes an event of 64 bytes many times in one run: what a hook
// costs before it calls a program is no part of what is measured.
const ringed = `#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";
struct hit_event { k_time time; k_pid pid; k_tid tid; char comm[TASK_COMM_LEN]; __u64 args[4]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 16 << 20); __type(value, struct hit_event); } hits SEC(".maps");
static long once(__u32 i, void *x)
{
	struct hit_event *e;
	%s
	return 0;
}
SEC("raw_tp/sys_enter")
int hits_made(void *ctx)
{
	bpf_loop(%d, once, NULL, 0);
	return 0;
}
`

const (
	constants = `e->time = 1; e->pid = 1; e->tid = 1; __builtin_memset(e->comm, 0, 48);`
	asUsual   = `e->time = bpf_ktime_get_ns(); e->pid = k_current_pid(); e->tid = k_current_tid(); bpf_get_current_comm(e->comm, sizeof(e->comm)); __builtin_memset(e->args, 0, sizeof(e->args));`
)

// BenchmarkProgram is what an event of 64 bytes costs the thread that makes it, without the
// hook: submitted by the kernel's helpers alone, without a wake-up, as a reader on cilium/ebpf
// might have it; with kgent's account of events and losses; and with the time, the ids and the name
// of the task in it. It is the least of many runs, as others use this machine too. Linux 5.17, for bpf_loop.
func BenchmarkProgram(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	const events = 5000
	var null float64
	for _, v := range []struct{ name, body string }{
		{"nothing", ``},
		{"plain", `e = kgent_ringbuf_reserve(&hits, 64, 0); if (!e) return 0; ` + constants + ` kgent_ringbuf_submit(e, KGENT_RB_NO_WAKEUP);`},
		{"accounted", `e = bpf_ringbuf_reserve(&hits, 64, 0); if (!e) return 0; ` + constants + ` bpf_ringbuf_submit(e, 0);`},
		{"accounted, filled", `e = bpf_ringbuf_reserve(&hits, 64, 0); if (!e) return 0; ` + asUsual + ` bpf_ringbuf_submit(e, 0);`},
		{"plain, filled", `e = kgent_ringbuf_reserve(&hits, 64, 0); if (!e) return 0; ` + asUsual + ` kgent_ringbuf_submit(e, KGENT_RB_NO_WAKEUP);`},
	} {
		b.Run(v.name, func(b *testing.B) {
			o := programtest.Object(b, fmt.Sprintf(ringed, v.body, events))
			spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(o.ELF()))
			if err != nil {
				b.Fatal(err)
			}
			c, err := ebpf.NewCollection(spec)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			least, read, seen, rounds := time.Duration(1<<62), time.Duration(1<<62), 0, 0
			for b.Loop() {
				for range 60 {
					start := time.Now()
					if _, err := c.Programs["hits_made"].Run(&ebpf.RunOptions{}); err != nil {
						b.Fatal(err)
					}
					least = min(least, time.Since(start))
					rounds++
					n, took := emptied(b, c.Maps["hits"])
					seen, read = seen+n, min(read, took)
				}
			}
			if v.body != "" && seen != rounds*events {
				b.Fatalf("%d events in %d runs of %d", seen, rounds, events)
			}
			each := float64(least.Nanoseconds()) / events
			if v.body == "" {
				null = each
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(each-null, "added-ns")
			if v.body != "" {
				b.ReportMetric(float64(read.Nanoseconds())/events, "plain-reader-ns")
			}
		})
	}
}

// emptied reads all that a ring buffer has as a plain reader on cilium/ebpf does, and counts it.
func emptied(b *testing.B, m *ebpf.Map) (n int, took time.Duration) {
	b.Helper()
	r, err := ringbuf.NewReader(m)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	r.SetDeadline(time.Unix(1, 0))
	var rec ringbuf.Record
	start := time.Now()
	for r.ReadInto(&rec) == nil {
		n++
	}
	return n, time.Since(start)
}
