package main

import (
	"strings"
	"testing"
	"time"

	"kgent/executor"
	"kgent/executor/bus"
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
		if err := printStatus(&b, st, now); err != nil {
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
