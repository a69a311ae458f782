package main

import (
	"strings"
	"testing"

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
	for node, want := range map[string]map[string]string{
		"a": {"executor": stateOK, "BTF": stateOK, "privileges": stateOK, "tracepoint": stateOK, "fentry": stateOptional, "bpftrace": stateOK, "maintenance": "", "facts": ""},
		"b": {"executor": stateOK, "maintenance": stateOptional, "BTF": stateMissing, "facts": stateOptional, "privileges": stateOptional, "bpftrace": stateOptional},
		"c": {"executor": stateMissing},
	} {
		got := map[string]finding{}
		for _, f := range examineNode([]bus.NodeInfo{all, poor}, node) {
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
	if f := examineNode([]bus.NodeInfo{all, poor}, "c")[0]; !strings.Contains(f.Advice, "announced are: a, b") {
		t.Errorf("%+v", f)
	}
}
