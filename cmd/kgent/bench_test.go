package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"kgent/bot"
	"kgent/bot/console"
)

// stopwatch stops the trace as soon as it is attached, and knows when that was.
type stopwatch struct {
	bot.Channel
	start    time.Time
	attached time.Duration
	stop     context.CancelFunc
}

func (s *stopwatch) Line(line []byte) {
	if s.attached == 0 && strings.HasPrefix(string(line), `{"type":"attached"`) {
		s.attached = time.Since(s.start)
		s.stop()
	}
}

// BenchmarkRequestToAttached is the time from a sentence to every probe being
// attached: in a process that has answered before, in a new one, and beside
// bpftrace attaching to the same tracepoints.
func BenchmarkRequestToAttached(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	bpftrace, err := exec.LookPath("bpftrace")
	if err != nil {
		b.Fatalf("the peer is missing: apt-get install bpftrace: %v", err)
	}
	sys := system{in: strings.NewReader(""), out: io.Discard, err: io.Discard, getenv: func(string) string { return "" }}
	var warm, cold, peer time.Duration
	h, err := newHost(b.Context(), sys)
	if err != nil {
		b.Fatal(err)
	}
	defer h.close()
	ask := func(h *host) time.Duration {
		ctx, stop := context.WithCancel(b.Context())
		defer stop()
		person := thisPerson()
		ch := &stopwatch{Channel: console.NewJSON(io.Discard, func(error) {}, console.Approver{Person: person, Yes: true}), start: time.Now(), stop: stop}
		outcome := h.bot.Handle(ctx, bot.Ask{ID: newID(), Text: "fsync latency as a histogram", Requester: person, Duration: 20 * time.Second}, ch)
		if outcome != bot.Ran || ch.attached == 0 {
			b.Fatalf("it did not run: outcome %d", outcome)
		}
		return ch.attached
	}
	ask(h) // reads the kernel's types
	n := 0
	for b.Loop() {
		n++
		warm += ask(h)

		start := time.Now()
		fresh, err := newHost(b.Context(), sys)
		if err != nil {
			b.Fatal(err)
		}
		ask(fresh)
		cold += time.Since(start)
		fresh.close()

		peer += timeToAttach(b, bpftrace)
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(n) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(warm), "warm-ms")
	b.ReportMetric(ms(cold), "cold-ms")
	b.ReportMetric(ms(peer), "bpftrace-ms")
	b.ReportMetric(float64(cold)/float64(peer), "cold-ratio")
}

// timeToAttach is how long bpftrace takes until its BEGIN probe speaks, which
// it lets run when all others are attached.
func timeToAttach(b *testing.B, bpftrace string) time.Duration {
	b.Helper()
	const script = `BEGIN { printf("attached\n"); }
tracepoint:syscalls:sys_enter_fsync, tracepoint:syscalls:sys_enter_fdatasync { @start[tid] = nsecs; }
tracepoint:syscalls:sys_exit_fsync, tracepoint:syscalls:sys_exit_fdatasync /@start[tid]/ { @ = hist(nsecs - @start[tid]); delete(@start[tid]); }`
	start := time.Now()
	cmd := exec.CommandContext(b.Context(), bpftrace, "-B", "line", "-e", script)
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	sc := bufio.NewScanner(out)
	for sc.Scan() && sc.Text() != "attached" {
	}
	took := time.Since(start)
	cmd.Process.Signal(os.Interrupt)
	io.Copy(io.Discard, out)
	cmd.Wait()
	return took
}
