package notes

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// eventLine is a line of a trace: who ran, the flags, the event. The third flag is h or
// H in an interrupt, s in a softirq.
var eventLine = regexp.MustCompile(`^\s*(\S.*)-\d+\s+\[\d+\]\s+..(.)\S*\s+[\d.]+: (\w+):`)

// loopLine is a request of a loop device, which a thread carries out: tests that run beside
// this one make some.
var loopLine = regexp.MustCompile(`: block_\w+: 7,\d+ `)

// TestContext traces what happens on this machine, and what the test makes happen: events
// whose notes say that the current task is the doer must not come from an interrupt, and
// most of those that are said to be in interrupts must come from one: a device driver in
// threads, say, completes requests there.
func TestContext(t *testing.T) {
	const tracefs = "/sys/kernel/tracing"
	instance := filepath.Join(tracefs, "instances", fmt.Sprintf("kgent-test-%d", os.Getpid()))
	if err := os.Mkdir(instance, 0o755); err != nil {
		t.Skipf("needs root and a tracefs that can be written: %v", err)
	}
	defer func() {
		if err := os.Remove(instance); err != nil {
			t.Error(err)
		}
	}()
	claimed := map[string]*Note{}
	var names []string
	for _, n := range All() {
		if n.Kind != Tracepoint || n.Rate > Medium || n.Task != Own && n.Task != Interrupted {
			continue
		}
		if _, err := os.Stat(filepath.Join(tracefs, "events", n.Name)); err != nil {
			continue
		}
		_, event, _ := strings.Cut(n.Name, "/")
		claimed[event] = n
		names = append(names, strings.Replace(n.Name, "/", ":", 1))
	}
	write := func(file, text string) {
		if err := os.WriteFile(filepath.Join(instance, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("buffer_size_kb", "4096")
	write("set_event", strings.Join(names, "\n")+"\n")
	workload(t)
	write("tracing_on", "0")
	write("set_event", "\n")
	trace, err := os.ReadFile(filepath.Join(instance, "trace"))
	if err != nil {
		t.Fatal(err)
	}
	seen, interrupted := map[string]int{}, map[string]int{}
	for line := range strings.Lines(string(trace)) {
		m := eventLine.FindStringSubmatch(line)
		if m == nil || loopLine.MatchString(line) {
			continue
		}
		n := claimed[m[3]]
		if n == nil {
			continue
		}
		seen[m[3]]++
		if m[2] != "." {
			interrupted[m[3]]++
			if n.Task == Own {
				t.Errorf("the task is said to be the doer: %s", line)
			}
		}
	}
	for event, n := range claimed {
		if n.Task == Interrupted && 2*interrupted[event] < seen[event] {
			t.Errorf("%s is said to be in an interrupt, but %d of %d are not", event, seen[event]-interrupted[event], seen[event])
		}
	}
	for _, must := range []string{"sched_process_exec", "sched_process_exit", "task_newtask", "signal_deliver", "softirq_entry"} {
		if seen[must] == 0 {
			t.Errorf("no %s was traced, so nothing was tested", must)
		}
	}
	t.Log(seen)
}

// workload makes processes, connections, refused ones, and files.
func workload(t *testing.T) {
	if err := exec.Command("true").Run(); err != nil {
		t.Fatal(err)
	}
	killed := exec.Command("sleep", "60")
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Process.Kill()
	_ = killed.Wait()
	for _, family := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", family)
		if err != nil {
			continue // a machine without IPv6
		}
		go func() {
			if c, err := l.Accept(); err == nil {
				_, _ = c.Write([]byte("hello"))
				_ = c.Close()
			}
		}()
		c, err := net.DialTimeout("tcp", l.Addr().String(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(c)
		_ = c.Close()
		_ = l.Close()
		if _, err := net.DialTimeout("tcp", l.Addr().String(), time.Minute); err == nil {
			t.Error(errors.New("a closed port was not refused"))
		}
		u, err := net.Dial("udp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = u.Write([]byte("nobody"))
		_ = u.Close()
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.Write(make([]byte, 1<<20))
	_ = f.Sync()
	_ = f.Close()
	time.Sleep(20 * time.Millisecond) // timers and RCU have their turn
}
