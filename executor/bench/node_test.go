package bench_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kgent/agent/program/programtest"
	"kgent/executor/bus"
	"kgent/executor/bus/rdb/rdbtest"
)

// BenchmarkNode measures kgent executor as operators run it, a process of its own at a Redis server:
// what memory it takes, idle and while a flood of events passes; how long it is from a signed grant to the
// first event, when it has just started and, in the median of nine, when it has run a program; and which share of a core it takes
// idle, for ten seconds.
func BenchmarkNode(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	const calls = 2_000_000
	source, err := os.ReadFile(filepath.Join("testdata", "hit.bpf.c"))
	if err != nil {
		b.Fatal(err)
	}
	o := programtest.Object(b, string(source))
	dir := b.TempDir()
	kgent := filepath.Join(dir, "kgent")
	must(b, exec.Command("go", "build", "-o", kgent, "kgent/cmd/kgent"))
	must(b, exec.Command(kgent, "keys", "new", "--dir", filepath.Join(dir, "keys")))
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte("cpu:\n  per_run: 0%\n  all_runs: 0%\nevents_per_second: 0\nlines_per_second: 0\nbytes_per_second: 2000MiB\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	var idle, flooded, cold, warm, share float64
	n := 0
	for b.Loop() {
		n++
		server := rdbtest.Start(b, rdbtest.Unix())
		p := &path{object: o, key: signingKey(b, filepath.Join(dir, "keys", "signing.key")), bus: bus.NewRedis(server.Client())}
		cmd := exec.Command(kgent, "executor", "--node-name", "bench", "--keys", filepath.Join(dir, "keys", "trusted"),
			"--state", b.TempDir(), "--policy", policy)
		cmd.Env = append(os.Environ(), "REDIS_URL="+server.URL())
		var log bytes.Buffer
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			nodes, err := bus.NewRedis(server.Client()).Nodes(b.Context())
			if err == nil && len(nodes) == 1 {
				break
			}
			if time.Now().After(deadline) {
				b.Fatalf("the executor did not announce itself: %v\n%s", err, &log)
			}
		}
		cold += milliseconds(p.first(b))
		again := make([]float64, 9)
		for i := range again {
			again[i] = milliseconds(p.first(b))
		}
		slices.Sort(again)
		warm += again[len(again)/2]
		begun, before := time.Now(), cpuOf(b, cmd.Process.Pid)
		time.Sleep(10 * time.Second)
		share += 100 * float64(cpuOf(b, cmd.Process.Pid)-before) / float64(time.Since(begun))
		idle = max(idle, resident(b, cmd.Process.Pid))

		l, most := startLoad(b, calls), 0.0
		s, _ := p.trace(b, l.cmd.Process.Pid, func() {
			watching, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for {
					most = max(most, resident(b, cmd.Process.Pid))
					select {
					case <-watching:
						return
					case <-time.After(10 * time.Millisecond):
					}
				}
			}()
			l.run(b)
			close(watching)
			<-done
		})
		if s.Produced != calls || !s.Balanced() {
			b.Fatalf("%d events for %d calls, account %+v, %s\n%s", s.Produced, calls, s.Counters, s.Reason, &log)
		}
		flooded = max(flooded, most)
		cmd.Process.Signal(os.Interrupt)
		if err := <-ended; err != nil {
			b.Fatalf("%v\n%s", err, &log)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(idle, "idle-MB")
	b.ReportMetric(flooded, "flooded-MB")
	b.ReportMetric(share/float64(n), "idle-cpu-%")
	b.ReportMetric(cold/float64(n), "first-event-ms")
	b.ReportMetric(warm/float64(n), "first-event-again-ms")
}

// first is the time from a signed grant to the first event at the follower, of a
// process that makes a call every millisecond.
func (p *path) first(b *testing.B) (took time.Duration) {
	b.Helper()
	l := startPaced(b, 1<<40, time.Millisecond)
	defer func() {
		l.cmd.Process.Kill()
		l.cmd.Wait()
	}()
	if _, err := l.in.Write([]byte("\n")); err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	start := time.Now()
	s := p.follow(ctx, b, l.cmd.Process.Pid, func(line []byte) {
		if took == 0 && strings.HasPrefix(string(line), `{"type":"event"`) {
			took = time.Since(start)
			stop()
		}
	})
	if took == 0 || !s.Balanced() {
		b.Fatalf("no event, or an account that is wrong: %+v", s)
	}
	return took
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func must(b *testing.B, cmd *exec.Cmd) {
	b.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

// signingKey reads what kgent keys new has made.
func signingKey(b *testing.B, path string) ed25519.PrivateKey {
	b.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		b.Fatalf("%s is no PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		b.Fatal(err)
	}
	return key.(ed25519.PrivateKey)
}

// resident is the memory of a process, in MB: what it has made and the pages of
// its program that it has touched.
func resident(b *testing.B, pid int) float64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		b.Error(err)
		return 0
	}
	pages, err := strconv.ParseUint(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		b.Error(err)
	}
	return float64(pages) * float64(os.Getpagesize()) / 1e6
}
