package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"kgent/agent/recipes/recipetest"
	"kgent/executor/probe/residue"
)

// It says where the pages are once everything runs, and leaves nothing.
func TestTry(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	residue.Check(t)
	t.Setenv("TMPDIR", t.TempDir())
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	in, out := io.Pipe()
	var log bytes.Buffer
	done := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"--kgent", recipetest.Binary(t), "--slack", "127.0.0.1:0", "--discord", "127.0.0.1:0"}, out, &log)
		out.Close()
		done <- err
	}()
	urls := regexp.MustCompile(`(Slack|Discord): +(http://\S+)`)
	seen := 0
	for lines := bufio.NewScanner(in); lines.Scan(); {
		line := lines.Text()
		if m := urls.FindStringSubmatch(line); m != nil {
			seen++
			resp, err := http.Get(m[2])
			if err != nil {
				t.Error(err)
				continue
			}
			page, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || !bytes.Contains(page, []byte("<script")) {
				t.Errorf("%s: %d, %v", m[2], resp.StatusCode, err)
			}
		}
		if strings.HasPrefix(line, "Ctrl-C") {
			// One that asks another program something has a moment to do so.
			if left := settled(t, 4); len(left) != 4 {
				t.Errorf("%d processes run, want Redis, two executors and a bot: %q", len(left), left)
			}
			interrupt()
		}
	}
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	if seen != 2 {
		t.Errorf("it told of %d pages, want 2\n%s", seen, log.String())
	}
	if left := ofThisTest(t); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
	if entries, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(entries) > 0 {
		t.Errorf("files are left: %v, %v", entries, err)
	}
}

// A page that others could reach, and a part that does not start, end it.
func TestRefused(t *testing.T) {
	for name, args := range map[string][]string{
		"reachable page": {"--slack", "0.0.0.0:0"},
		"argument":       {"more"},
		"no kgent":       {"--kgent", "/nonexistent", "--slack", "127.0.0.1:0", "--discord", "127.0.0.1:0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
				t.Error("it ran")
			}
			if entries, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(entries) > 0 {
				t.Errorf("files are left: %v, %v", entries, err)
			}
		})
	}
}

// Whoever reads that a port is busy can do what it says, with make.
func TestBusyPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	busy := l.Addr().String()
	for want, at := range map[string][2]string{"SLACK=": {busy, "127.0.0.1:0"}, "DISCORD=": {"127.0.0.1:0", busy}} {
		if _, _, err := services(at[0], at[1]); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "make try") {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	out, err := exec.Command("make", "-n", "-C", "../..", "try", "SLACK=127.0.0.1:1", "DISCORD=127.0.0.1:2").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--slack '127.0.0.1:1' --discord '127.0.0.1:2'") {
		t.Errorf("make: %v\n%s", err, out)
	}
}

// patience bounds every wait for something that must happen: far longer than it takes on
// a busy host.
const patience = 2 * time.Minute

// settled is ofThisTest once there are n of them, or when that does not come.
func settled(t *testing.T, n int) []string {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if left := ofThisTest(t); len(left) == n || time.Now().After(end) {
			return left
		}
	}
}

// ofThisTest are the command lines of the processes that work in this test's
// directory.
func ofThisTest(t *testing.T) []string {
	t.Helper()
	var out []string
	paths, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		if dir, err := os.Readlink(p); err != nil || !strings.HasPrefix(dir, os.Getenv("TMPDIR")) {
			continue
		}
		line, err := os.ReadFile(filepath.Join(filepath.Dir(p), "cmdline"))
		if err == nil && len(line) > 0 {
			out = append(out, string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return out
}
