package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"kgent/agent/eval/workload"
	"kgent/agent/recipes/recipetest"
	"kgent/executor/output"
)

func TestMain(m *testing.M) {
	workload.Main() // a process that a script's `kgent eval` has started
	if recipetest.IsWorkload() {
		recipetest.Main(m, map[string]func([]string) error{"flood": flood})
	}
	os.Exit(m.Run())
}

// flood makes as many system calls as it is told, as fast as it can.
func flood(args []string) error {
	calls, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	for range calls {
		syscall.Getppid()
	}
	return nil
}

// A program that says more than anybody can read: every event is accounted
// for, whether it was shown, dropped over the rate, or lost in the kernel.
func TestFlood(t *testing.T) {
	const calls = 300_000
	run := recipetest.RunArgs(t, []string{"--rate", "5000"}, "system calls slower than 1ns by rt-flood", func(l *recipetest.Live) {
		l.Child("rt-flood", "flood", strconv.Itoa(calls))
	})
	s := run.Summary
	if s.Produced < calls {
		t.Errorf("%d events of %d calls: %+v", s.Produced, calls, s.Counters)
	}
	if s.Dropped == 0 || s.Delivered == 0 {
		t.Errorf("at 5000 a second some must have been shown and some dropped: %+v", s.Counters)
	}
	if s.BusTrimmed != 0 {
		t.Errorf("in one process nothing can be lost between node and here: %+v", s.Counters)
	}
}

// TestScripts specifies the command's behaviour: anyone can read
// testdata/script and add a case.
func TestScripts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	path := scriptPath(t)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", path)
			// Whoever runs the tests may have a model configured.
			env.Setenv("OPENAI_API_KEY", "")
			env.Setenv("OPENAI_BASE_URL", "")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"records": cmdRecords,
			"exits":   cmdExits,
		},
	})
}

// scriptPath is a PATH on which kgent is what users run: the race detector, under which a proof takes
// fifteen times as long, watches the packages in their own tests.
func scriptPath(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	if err := os.Symlink(recipetest.Binary(t), filepath.Join(bin, "kgent")); err != nil {
		t.Fatal(err)
	}
	return bin + string(os.PathListSeparator) + os.Getenv("PATH")
}

// exits CODE COMMAND...: the command must end with exactly this code.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// records FILE TYPE...: the file holds records, each of the types appears, in
// this order where first seen, and the summary is last and balances.
func cmdRecords(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: records FILE TYPE ...")
	}
	var first []string
	var last output.Record
	for _, line := range strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n") {
		rec, err := output.Decode([]byte(line))
		if err != nil {
			ts.Fatalf("%v in %q", err, line)
		}
		var head struct{ Type string }
		ts.Check(json.Unmarshal([]byte(line), &head))
		seen := false
		for _, t := range first {
			seen = seen || t == head.Type
		}
		if !seen {
			first = append(first, head.Type)
		}
		last = rec
	}
	i := 0
	for _, t := range first {
		if i < len(args)-1 && t == args[1+i] {
			i++
		}
	}
	if i != len(args)-1 {
		ts.Fatalf("records of the types %v, want %v in this order", first, args[1:])
	}
	s, ok := last.(output.Summary)
	if !ok || !s.Balanced() {
		ts.Fatalf("the last record is %+v, want a summary that balances", last)
	}
}

// asked starts kgent ask as a process of its own.
func asked(t *testing.T, args ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	cmd := exec.CommandContext(t.Context(), recipetest.Binary(t), append([]string{"ask", "--output", "json"}, args...)...)
	cmd.Env = append(os.Environ(), "OPENAI_API_KEY=", "OPENAI_BASE_URL=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && stderr.Len() > 0 {
			t.Logf("stderr: %s", stderr.String())
		}
	})
	sc := bufio.NewScanner(out)
	sc.Buffer(nil, output.MaxLine)
	return cmd, sc
}

// until reads records until want says so; it returns the last, or nil at the
// end of the output.
func until(t *testing.T, sc *bufio.Scanner, want func(output.Record) bool) output.Record {
	t.Helper()
	for sc.Scan() {
		rec, err := output.Decode(sc.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if want(rec) {
			return rec
		}
	}
	return nil
}

func isAttached(r output.Record) bool { _, ok := r.(output.Attached); return ok }
func isSummary(r output.Record) bool  { _, ok := r.(output.Summary); return ok }

// A signal ends a trace in order.
func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd, sc := asked(t, "--yes", "--duration", "50s", "fsync latency as a histogram")
			a, ok := until(t, sc, isAttached).(output.Attached)
			if !ok {
				t.Fatal("never attached")
			}
			cmd.Process.Signal(sig)
			s, ok := until(t, sc, isSummary).(output.Summary)
			if !ok || s.Reason != output.ReasonInterrupted || !s.Balanced() {
				t.Errorf("summary %+v, want interrupted", s)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("exit: %v", err)
			}
			recipetest.Gone(t, a)
		})
	}
}

// Even SIGKILL leaves nothing in the kernel.
func TestKill(t *testing.T) {
	cmd, sc := asked(t, "--yes", "--duration", "50s", "who sends signals to whom")
	a, ok := until(t, sc, isAttached).(output.Attached)
	if !ok {
		t.Fatal("never attached")
	}
	cmd.Process.Kill()
	until(t, sc, isSummary)
	cmd.Wait()
	recipetest.Gone(t, a)
}

// A signal in any phase before the trace ends without one: nothing runs.
func TestSignalBefore(t *testing.T) {
	for _, phase := range []string{"match", "compile", "load", "approve"} {
		t.Run(phase, func(t *testing.T) {
			cmd, sc := asked(t, "--duration", "50s", "fsync latency as a histogram")
			// Nobody answers: an open pipe that says nothing.
			began := until(t, sc, func(r output.Record) bool {
				s, ok := r.(output.Stage)
				return ok && s.Name == phase && s.State == "start"
			})
			if began == nil {
				t.Fatalf("stage %s never began", phase)
			}
			cmd.Process.Signal(syscall.SIGINT)
			s, ok := until(t, sc, isSummary).(output.Summary)
			if !ok || len(s.Nodes) != 0 {
				t.Errorf("summary %+v, want one of no node", s)
			}
			err := cmd.Wait()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != exitDenied {
				t.Errorf("ended with %v, want exit code %d", err, exitDenied)
			}
		})
	}
}

// When nobody reads the output any more the trace ends by itself, long before its time.
func TestClosedPipe(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), recipetest.Binary(t), "ask", "--yes", "--output", "json", "--duration", (2 * patience).String(), "how many system calls does every process make, every second")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, output.MaxLine)
	a, ok := until(t, sc, isAttached).(output.Attached)
	if !ok {
		t.Fatal("never attached")
	}
	r.Close()
	start := time.Now()
	err = cmd.Wait()
	if time.Since(start) > patience {
		t.Errorf("it went on for %v without a reader", time.Since(start))
	}
	if cmd.ProcessState.ExitCode() < 0 {
		t.Errorf("it died instead of ending: %v", err)
	}
	recipetest.Gone(t, a)
}

// Approval by answering, and by a pipe that ends without an answer.
func TestAnswers(t *testing.T) {
	for _, tc := range []struct {
		answer string
		code   int
	}{
		{"y\n", exitOK}, {"n\n", exitDenied}, {"what?\ns\nno\n", exitDenied}, {"", exitDenied},
	} {
		t.Run(fmt.Sprintf("%q", tc.answer), func(t *testing.T) {
			if os.Geteuid() != 0 {
				t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
			}
			cmd := exec.CommandContext(t.Context(), recipetest.Binary(t), "ask", "--output", "json", "--duration", "100ms", "fsync latency as a histogram")
			cmd.Stdin = strings.NewReader(tc.answer)
			out, _ := cmd.Output()
			if cmd.ProcessState.ExitCode() != tc.code {
				t.Errorf("exit code %d, want %d\n%s", cmd.ProcessState.ExitCode(), tc.code, out)
			}
			ran := bytes.Contains(out, []byte(`{"type":"attached"`))
			if ran != (tc.code == exitOK) {
				t.Errorf("ran: %v", ran)
			}
		})
	}
}

// A full disk for --save means that nothing runs.
func TestSaveFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounting a small file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Fatalf("mounting a small file system: %v", err)
	}
	defer syscall.Unmount(dir, 0)
	cmd := exec.CommandContext(t.Context(), recipetest.Binary(t), "ask", "--yes", "--output", "json", "--duration", "1s", "--save", filepath.Join(dir, "out"), "fsync latency as a histogram")
	out, err := cmd.Output()
	if err == nil || bytes.Contains(out, []byte(`{"type":"attached"`)) {
		t.Errorf("it ran without being saved: %v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("no space left on device")) {
		t.Errorf("it does not say why:\n%s", out)
	}
	left, err := filepath.Glob(filepath.Join(dir, "out", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// In a directory of somebody else's, links lead --save to no other file.
func TestSaveFollowsNoLinks(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"program.bpf.c", "program.o", "manifest.json", "card.txt", "record.json"} {
		for _, link := range []string{name, "." + name + ".new"} {
			if err := os.Symlink(victim, filepath.Join(out, link)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if msg, err := exec.CommandContext(t.Context(), recipetest.Binary(t), "ask", "--show", "--save", out, "fsync latency as a histogram").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, msg)
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "untouched" {
		t.Errorf("the file that links led to holds %d bytes now, %v", len(b), err)
	}
	if st, err := os.Lstat(filepath.Join(out, "program.o")); err != nil || st.Mode() != 0o644 {
		t.Errorf("program.o: %v, %v, want a file of its own", st, err)
	}
}

// What is quoted from the command line does not reach the terminal raw.
func TestUsageErrorIsClean(t *testing.T) {
	var errs bytes.Buffer
	sys := system{in: strings.NewReader(""), out: io.Discard, err: &errs, getenv: func(string) string { return "" }}
	if code := run(t.Context(), []string{"--\x1b[2Jclear"}, sys); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	if want := `kgent: unknown flag: --\x1b[2Jclear` + "\nSee kgent help.\n"; errs.String() != want {
		t.Errorf("%q, want %q", errs.String(), want)
	}
}

// The request of `make demo` arrives as it was written: neither make nor the
// shell runs what is in it.
func TestMakeRequest(t *testing.T) {
	dir := t.TempDir()
	for _, request := range []string{"$(shell touch " + dir + "/made)", "\"; touch " + dir + "/ran; \"", "'; touch " + dir + "/ran; '", "`touch " + dir + "/ran`", "$HOME is $(DURATION) away 5$"} {
		for how, set := range map[string]func(*exec.Cmd){
			"argument":    func(c *exec.Cmd) { c.Args = append(c.Args, "REQUEST="+request) },
			"environment": func(c *exec.Cmd) { c.Env = append(os.Environ(), "REQUEST="+request) },
		} {
			cmd := exec.CommandContext(t.Context(), "make", "-s", "-C", "../..", "--eval", "print: ; @printf %s \"$$REQUEST\"", "print")
			set(cmd)
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("running make (needs the package make): %v", err)
			}
			if string(out) != request {
				t.Errorf("%s %q arrives as %q", how, request, out)
			}
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it ran: %v, %v", left, err)
	}
}
