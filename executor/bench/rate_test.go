package bench_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"kgent/executor/output"
)

// bursts is a program that makes many events of 64 bytes at each getppid(2) of one
// process: more than a process could make calls. Linux 5.17, for bpf_loop.
const bursts = `#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";
struct hit_event { k_time time; k_pid pid; k_tid tid; char comm[TASK_COMM_LEN]; __u64 args[4]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 16 << 20); __type(value, struct hit_event); } hits SEC(".maps");
const volatile k_pid pid = 0;
static long once(__u32 i, void *x)
{
	struct hit_event *e;
	e = bpf_ringbuf_reserve(&hits, sizeof(*e), 0);
	if (!e)
		return 0;
	` + asUsual + `
	bpf_ringbuf_submit(e, 0);
	return 0;
}
SEC("tp/syscalls/sys_enter_getppid")
int hit(void *ctx)
{
	if (k_current_pid() == pid)
		bpf_loop(%d, once, NULL, 0);
	return 0;
}
`

// BenchmarkRate is how many events a second one executor takes from a program's ring buffer
// to lines of JSON at a follower in this process: of a program that makes them as fast as
// one processor can, of which the rest is lost in the kernel and counted; and at a steady
// rate of two million. Beside it the reader of cilium/ebpf, which only counts what
// comes out of the same ring. The processor time of an event is all of this process's,
// bus and follower included.
func BenchmarkRate(b *testing.B) {
	const burst = 500
	p := newPathOf(b, fmt.Sprintf(bursts, burst))
	for _, v := range []struct {
		name   string
		calls  int
		period time.Duration // between two bursts
	}{
		{name: "flat out", calls: 10_000},
		{name: "2 M a second", calls: 8_000, period: burst * time.Second / 2_000_000},
	} {
		b.Run(v.name, func(b *testing.B) {
			var took, cpu, plainTook, plainCPU time.Duration
			var produced, delivered, lost, plain uint64
			for b.Loop() {
				l, before := startPaced(b, v.calls, v.period), usage(b)
				var s output.Summary
				s, _ = p.trace(b, l.cmd.Process.Pid, func() { took += l.run(b) })
				cpu += usage(b) - before
				if !s.Balanced() || s.Produced != uint64(v.calls*burst) {
					b.Fatalf("%d events for %d calls, account %+v", s.Produced, v.calls, s.Counters)
				}
				produced += s.Produced
				delivered += s.Delivered
				lost += s.KernelLost + s.Dropped + s.BusTrimmed

				l, before = startPaced(b, v.calls, v.period), usage(b)
				n, d := plainly(b, p.object.ELF(), l)
				plain, plainTook, plainCPU = plain+n, plainTook+d, plainCPU+usage(b)-before
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(delivered)/took.Seconds(), "events/s")
			b.ReportMetric(float64(produced)/took.Seconds(), "produced/s")
			b.ReportMetric(100*float64(lost)/float64(produced), "lost-%")
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(delivered), "cpu-ns")
			b.ReportMetric(float64(plain)/plainTook.Seconds(), "plain-events/s")
			b.ReportMetric(100-100*float64(plain)/float64(produced), "plain-lost-%")
			b.ReportMetric(float64(plainCPU.Nanoseconds())/float64(plain), "plain-cpu-ns")
		})
	}
}

// plainly counts the events of a load with the reader of cilium/ebpf, and returns how
// long the load took.
func plainly(b *testing.B, elf []byte, l *loader) (n uint64, took time.Duration) {
	b.Helper()
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		b.Fatal(err)
	}
	if err := spec.Variables["pid"].Set(uint32(l.cmd.Process.Pid)); err != nil {
		b.Fatal(err)
	}
	spec.Maps["hits"].Value, spec.Maps["hits"].ValueSize = nil, 0
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	at, err := link.Tracepoint("syscalls", "sys_enter_getppid", c.Programs["hit"], nil)
	if err != nil {
		b.Fatal(err)
	}
	defer at.Close()
	r, err := ringbuf.NewReader(c.Maps["hits"])
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	ended := make(chan time.Duration, 1)
	go func() {
		took := l.run(b)
		at.Close()
		ended <- took
	}()
	var rec ringbuf.Record
	for {
		// Events do not wake it: it looks every millisecond.
		r.SetDeadline(time.Now().Add(time.Millisecond))
		for {
			err := r.ReadInto(&rec)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				b.Error(err)
				return n, 0
			}
			n++
		}
		if took == 0 {
			select {
			case took = <-ended:
				continue // once more
			default:
			}
			continue
		}
		return n, took
	}
}
