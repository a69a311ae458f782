package bench_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkProducers is what an event costs the threads that make it, in their own
// processor time, when several do so into one ring: each is kept on one processor, and
// those that are more than there are take turns on them. call-ns is of the same threads
// without a program for them.
func BenchmarkProducers(b *testing.B) {
	const calls = 400_000
	p := newPath(b)
	for _, threads := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprint(threads), func(b *testing.B) {
			var bare, traced, took time.Duration
			var lost, made uint64
			for b.Loop() {
				l := startThreads(b, calls/threads, threads)
				p.trace(b, 1, func() { l.run(b) })
				bare += l.cpu

				l = startThreads(b, calls/threads, threads)
				s, _ := p.trace(b, l.cmd.Process.Pid, func() { took += l.run(b) })
				traced += l.cpu
				if !s.Balanced() || s.Produced != calls {
					b.Fatalf("%d events for %d calls, account %+v", s.Produced, calls, s.Counters)
				}
				made += s.Produced
				lost += s.KernelLost + s.Dropped + s.BusTrimmed
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(bare.Nanoseconds())/float64(made), "call-ns")
			b.ReportMetric(float64((traced-bare).Nanoseconds())/float64(made), "added-ns")
			b.ReportMetric(float64(made)/took.Seconds(), "events/s")
			b.ReportMetric(100*float64(lost)/float64(made), "lost-%")
		})
	}
}

// BenchmarkRuns is what a call costs a process at whose hook several runs have their
// programs, in its own processor time: that are about another process, and of which one is
// about it and reports every call; and the memory of this process for each run.
func BenchmarkRuns(b *testing.B) {
	const calls = 300_000
	p := newPath(b)
	for _, runs := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprint(runs), func(b *testing.B) {
			var others, one time.Duration
			for b.Loop() {
				l := startLoad(b, calls)
				p.beside(b, runs, func() { l.run(b) })
				others += l.cpu
				l = startLoad(b, calls)
				p.beside(b, runs-1, func() {
					s, _ := p.trace(b, l.cmd.Process.Pid, func() { l.run(b) })
					if !s.Balanced() || s.Produced != calls {
						b.Errorf("%d events for %d calls, account %+v", s.Produced, calls, s.Counters)
					}
				})
				one += l.cpu
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(others.Nanoseconds())/float64(b.N*calls), "call-ns")
			b.ReportMetric(float64(one.Nanoseconds())/float64(b.N*calls), "reported-ns")
		})
	}
}

// beside calls do while so many runs are attached that are about another process.
func (p *path) beside(b *testing.B, runs int, do func()) {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	var all sync.WaitGroup
	attached := make(chan struct{}, runs)
	for range runs {
		all.Go(func() {
			p.follow(ctx, b, 1, func(line []byte) {
				if strings.HasPrefix(string(line), `{"type":"attached"`) {
					attached <- struct{}{}
				}
			})
		})
	}
	for range runs {
		select {
		case <-attached:
		case <-time.After(time.Minute):
			b.Error("a run was not attached")
		}
	}
	do()
	stop()
	all.Wait()
}

// BenchmarkPrograms is the time from a signed grant to programs that are attached, of an
// object with several, each at its own system call.
func BenchmarkPrograms(b *testing.B) {
	for _, programs := range []int{1, 4, 16, 64} {
		b.Run(fmt.Sprint(programs), func(b *testing.B) {
			var source strings.Builder
			source.WriteString(`#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, k_count); } calls KGENT_OUTPUT SEC(".maps");
const volatile k_pid pid = 0;
`)
			for i := range programs {
				fmt.Fprintf(&source, `SEC("tp/syscalls/sys_%s_%s") int p%d(void *ctx) {
	__u32 k = 0; k_count *n;
	if (k_current_pid() != pid) return 0;
	n = bpf_map_lookup_elem(&calls, &k);
	if (n) __sync_fetch_and_add(n, 1);
	return 0;
}
`, []string{"enter", "exit"}[i%2], systemCalls[i/2], i)
			}
			p := newPathOf(b, source.String())
			var attach float64
			n := 0
			for b.Loop() {
				s, _ := p.trace(b, 1, func() {})
				attach += s.Nodes[0].Overhead.AttachMS
				n++
			}
			b.ReportMetric(attach/float64(n), "attach-ms")
		})
	}
}

var systemCalls = strings.Fields(`getppid getpid gettid getuid geteuid getgid getegid getpgid getsid read write openat close
	socket connect accept4 bind listen sendto recvfrom mmap munmap mprotect brk futex dup dup3 pipe2 fcntl ioctl fsync unlinkat`)

// BenchmarkMap is what it costs in processor time to show a hash map that is the answer, for
// each of its entries, from the kernel to the record that a follower has read.
func BenchmarkMap(b *testing.B) {
	for _, entries := range []int{100, 1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			p := newPathOf(b, fmt.Sprintf(`#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";
struct key { k_pid pid; __u32 n; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, %d); __type(key, struct key); __type(value, k_count); } calls KGENT_OUTPUT SEC(".maps");
const volatile k_pid pid = 0;
static long once(__u32 i, void *x)
{
	struct key key = {1, i};
	k_count n = 1;
	bpf_map_update_elem(&calls, &key, &n, 0);
	return 0;
}
SEC("tp/syscalls/sys_enter_getppid") int p(void *ctx)
{
	if (k_current_pid() == pid)
		bpf_loop(%d, once, NULL, 0);
	return 0;
}
`, entries, entries))
			var cpu time.Duration
			shown := ""
			for b.Loop() {
				l := startLoad(b, 1)
				ctx, stop := context.WithCancel(b.Context())
				var before time.Duration
				begun := false
				p.follow(ctx, b, l.cmd.Process.Pid, func(line []byte) {
					if !begun && strings.HasPrefix(string(line), `{"type":"attached"`) {
						begun = true
						go func() {
							defer stop()
							l.run(b)
							before = usage(b)
						}()
					}
					if strings.HasPrefix(string(line), `{"type":"map"`) {
						_, shown, _ = strings.Cut(string(line), `"total":`)
					}
				})
				cpu += usage(b) - before
			}
			if !strings.HasPrefix(shown, fmt.Sprintf("%d,", entries)) {
				b.Fatalf("not %d entries but %.10s", entries, shown)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N*entries), "cpu-ns/entry")
		})
	}
}
