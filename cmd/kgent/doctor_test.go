package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/executor"
	"kgent/executor/bus"
	"kgent/executor/output"
	"kgent/executor/render/text"
)

// A node that is well, one that lacks things, and one that is not there.
func TestExamineNode(t *testing.T) {
	all := bus.NodeInfo{Name: "a", Kernel: "6.1.0", Arch: "x86_64", Version: "devel", BTF: strings.Repeat("ab", 32), Facts: "f", Bpftrace: "0.17.0",
		Kinds: map[string]string{"tracepoint": "", "fentry": "this host forbids it"}}
	for _, c := range tracingCapabilities {
		all.Capabilities = append(all.Capabilities, c.name)
	}
	poor := bus.NodeInfo{Name: "b", Kernel: "5.4.0", Drained: "in maintenance since today", Capabilities: []string{"CAP_BPF", "CAP_PERFMON"}}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for node, want := range map[string]map[string]string{
		"a": {"executor": stateOK, "BTF": stateOK, "privileges": stateOK, "tracepoint": stateOK, "fentry": stateOptional, "bpftrace": stateOK, "maintenance": "", "facts": "", "clock": ""},
		"b": {"executor": stateOK, "maintenance": stateOptional, "BTF": stateMissing, "facts": stateOptional, "privileges": stateOptional, "bpftrace": stateOptional},
		"c": {"executor": stateMissing},
	} {
		got := map[string]finding{}
		for _, f := range examineNode([]bus.NodeInfo{all, poor}, node, now) {
			got[f.Name] = f
			if f.State != stateOK && f.Detail == "" {
				t.Errorf("%s: %s is %s, and does not say why", node, f.Name, f.State)
			}
		}
		for name, state := range want {
			if got[name].State != state {
				t.Errorf("%s: %s is %+v, want %q", node, name, got[name], state)
			}
		}
	}
	if f := examineNode([]bus.NodeInfo{all, poor}, "c", now)[0]; !strings.Contains(f.Advice, "announced are: a, b") {
		t.Errorf("%+v", f)
	}
}

// A node whose clock is off refuses what is approved: doctor says so before.
func TestExamineClock(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for off, want := range map[time.Duration]string{
		0:                 stateOK + " not more than 15s",
		-14 * time.Second: stateOK + " not more than 15s",
		-20 * time.Second: stateOptional + " 5s or more behind",
		10 * time.Second:  stateOptional + " 10s or more ahead",
		-time.Minute:      stateMissing + " 45s or more behind",
		time.Hour:         stateMissing + " 1h0m0s or more ahead",
	} {
		f, ok := clockFinding(bus.NodeInfo{Name: "a", At: now.Add(off)}, now)
		if !ok || !strings.HasPrefix(f.State+" "+f.Detail, want) || (f.State != stateOK) != (f.Advice != "") {
			t.Errorf("%v: %+v, want %q", off, f, want)
		}
	}
}

// What kgent executor status says of a node that Redis has lost, and of a program that is kept out.
func TestPrintStatus(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	st := executor.Status{Node: bus.NodeInfo{Name: "a"}, Started: now.Add(-time.Hour), Heard: now.Add(-2 * time.Second)}
	said := func() string {
		t.Helper()
		var b strings.Builder
		if err := printStatus(system{out: &b}, st, now); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if s := said(); !strings.Contains(s, "a: takes jobs") || !strings.Contains(s, "Redis was reached 2s ago") || strings.Contains(s, "kept out") {
		t.Error(s)
	}
	st.Heard = now.Add(-time.Minute)
	st.KeptOut = []executor.Crash{{Program: strings.Repeat("ab", 32), Name: "opens", Crashes: 2, Until: now.Add(90 * time.Second)}}
	if s := said(); !strings.Contains(s, "a: waits for Redis") || !strings.Contains(s, "out of reach, last reached 1m0s ago") || !strings.Contains(s, "kept out: opens (program abababababab), for 1m30s: the executor died while it was loaded, in a row: 2") {
		t.Error(s)
	}
	st.Heard = time.Time{}
	if s := said(); !strings.Contains(s, "a: waits for Redis") || !strings.Contains(s, "has not been reached yet") {
		t.Error(s)
	}
}

// onTerminal returns what is printed on a terminal of 80 columns.
func onTerminal(t *testing.T, print func(sys system) error) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals: %v", err)
	}
	defer master.Close()
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0), unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	printed := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(master) // EIO, when nobody has it open any more
		printed <- b
	}()
	err = print(system{out: slave, err: slave, getenv: func(string) string { return "" }})
	if err := errors.Join(err, slave.Close()); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(<-printed), "\r", "")
}

// On a terminal what an operator reads fits its width, with nothing left out.
func TestEightyColumns(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	why := "a new disk in slot 4, ticket OPS-1234, call Ada before you bring it back " + strings.Repeat("or else ", 12)
	node := bus.NodeInfo{Name: "db-1", Kernel: "6.12.48+deb13-cloud-amd64", Version: "devel 0123456789abcdef", Labels: map[string]string{"role": "db"}, Drained: "in maintenance since 2026-01-02T03:04:05Z, by root: " + why, Kinds: map[string]string{"fentry": "this host forbids fentry programs altogether (kernel lockdown is integrity); use another kind of hook, or another host"}}
	st := executor.Status{
		Node: node, Started: now.Add(-time.Hour), Heard: now, Drained: &executor.Drain{Since: now, By: "root", Why: why},
		Runs:   []executor.RunStatus{{Run: "kq3v5x7ynabcdefghij", Digest: strings.Repeat("ab", 32), Requester: "ada.lovelace@slack", Tier: "observe-sensitive", Attached: now.Add(-time.Minute), Deadline: now.Add(time.Minute)}},
		Totals: executor.Totals{Events: output.Counters{Produced: 1_234_567_890, Delivered: 1_234_000_000, KernelLost: 500_000, Dropped: 67_890}, Jobs: map[string]uint64{"deadline": 30, "stopped": 12, "refused: drained": 4, "refused: replay": 1, "failed": 2}},
	}
	for what, print := range map[string]func(sys system) error{
		"status": func(sys system) error { return printStatus(sys, st, now) },
		"list":   func(sys system) error { return printNodes(sys, []bus.NodeInfo{node, {Name: "db-2"}}) },
		"doctor": func(sys system) error { return printFindings(sys, examineNode([]bus.NodeInfo{node}, "db-1", now)) },
	} {
		var plain strings.Builder
		if err := print(system{out: &plain}); err != nil {
			t.Fatal(err)
		}
		got := onTerminal(t, print)
		for line := range strings.Lines(got) {
			if line = strings.TrimSuffix(line, "\n"); text.Width(line) > 80 || strings.TrimRight(line, " ") != line {
				t.Errorf("%s: %d columns: %q", what, text.Width(line), line)
			}
		}
		if words := strings.Fields(got); !slices.Equal(words, strings.Fields(plain.String())) || !strings.Contains(strings.Join(words, " "), strings.TrimSpace(why)) {
			t.Errorf("%s: other words than in a pipe:\n%s\n%s", what, got, plain.String())
		}
		if strings.Count(plain.String(), "\n") >= strings.Count(got, "\n") {
			t.Errorf("%s is folded in a pipe:\n%s", what, plain.String())
		}
	}
	var out, said strings.Builder
	if err := printNodes(system{out: &out, err: &said}, nil); err != nil || out.Len() > 0 || !strings.Contains(said.String(), "kgent executor status") {
		t.Errorf("a list of no nodes: %v, %q, %q", err, &out, &said)
	}
}
