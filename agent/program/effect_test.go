package program

import (
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// Every helper of the running kernel is judged, and nothing is judged that no
// kernel has.
func TestCallsAreTheKernels(t *testing.T) {
	spec, ids := kernelHelpers(t)
	real := map[string]bool{}
	for _, v := range ids.Values {
		if name, ok := strings.CutPrefix(v.Name, "BPF_FUNC_"); ok && name != "unspec" {
			real["bpf_"+name] = true
		}
	}
	if len(real) < 200 {
		t.Fatalf("only %d helpers in the kernel's enum", len(real))
	}
	for name := range real {
		if _, ok := calls[name]; !ok {
			t.Errorf("helper %s is in no list", name)
		}
	}
	for name := range calls {
		if real[name] {
			continue
		}
		var f *btf.Func
		if err := spec.TypeByName(name, &f); err != nil || !slices.Contains(f.Tags, "bpf_kfunc") {
			t.Errorf("%s is listed, but this kernel has neither such a helper nor such a kfunc (%v)", name, err)
		}
	}
}

// No name stands in two lists, of which the later one would win.
func TestCallsAreListedOnce(t *testing.T) {
	seen := map[string]string{}
	for _, g := range callGroups {
		if g.effect != Observes && g.does == "" {
			t.Errorf("%.30s… has no words", g.names)
		}
		for _, name := range strings.Fields(g.names) {
			if other, ok := seen[name]; ok {
				t.Errorf("%s is listed as %q and as %q", name, other, g.does)
			}
			seen[name] = g.does
		}
	}
	if len(seen) != len(calls) {
		t.Errorf("%d names, %d calls", len(seen), len(calls))
	}
}

// Callers that forget to ask whether a call is known must err on the safe side.
func TestUnknownCallsAct(t *testing.T) {
	for _, name := range []string{"", "bpf_kfunc_of_tomorrow", "send_signal", "bpf_iter_", "bpf_iter_tomorrow_new", "bpf_cpumask_set_cpu"} {
		if e, _, known := EffectOf(name); e != Acts || known {
			t.Errorf("%q: effect %d, known %v", name, e, known)
		}
	}
}
