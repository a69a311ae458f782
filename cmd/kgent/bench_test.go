package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"kgent/approvals"
	"kgent/approvals/policy"
	"kgent/bot"
	"kgent/bot/console"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb/rdbtest"
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

// BenchmarkLabels is what it costs to look up who may drain hundreds of nodes, by the labels
// that they announce in Redis; every decision about a request looks them up, too.
func BenchmarkLabels(b *testing.B) {
	line, names := announcedFleet(b, 500)
	rules, err := policy.Parse("policy.yaml", []byte(fleetPolicy), policy.Options{Labels: labelsOf(line), Now: time.Now})
	if rules == nil {
		b.Fatal(err)
	}
	by := approvals.Person{ID: "ada", Surface: approvals.Terminal, Account: "terminal:here/ada", Human: true}
	for b.Loop() {
		if _, err := rules.MayMaintain(b.Context(), by, names, false); err != nil {
			b.Fatal(err)
		}
	}
}

const fleetPolicy = `
version: 1
tenants: [terminal:here]
people:
  ada: [terminal:here/ada]
maintenance:
  - nodes: env=prod
    by: {people: [ada]}
rules:
  - name: all
    tiers: [observe]
    quorum: 1
    approvers: {anyone: true}
    requesters: {anyone: true}
    max_duration: 5m
    max_events: 100
    expiry: 10m
`

// announcedFleet is a bus at which that many nodes have announced themselves.
func announcedFleet(t testing.TB, n int) (*bus.Redis, []string) {
	t.Helper()
	line := bus.NewRedis(rdbtest.Start(t, rdbtest.Unix()).Client())
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("node-%d", i))
		info := bus.NodeInfo{Name: names[i], Kernel: "6.18.0", Arch: "amd64", Labels: map[string]string{"env": "prod", "number": strconv.Itoa(i)}}
		if err := line.Announce(t.Context(), info, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	return line, names
}
