package executor

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"kgent/agent/program"
	"kgent/executor/probe/residue"
)

// unitsCapabilities are those that the executor's unit leaves it, as setpriv calls them.
func unitsCapabilities(t *testing.T) (all []string) {
	t.Helper()
	unit, err := os.ReadFile("../deploy/systemd/kgent-executor.service")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(unit)) {
		if set, ok := strings.CutPrefix(line, "CapabilityBoundingSet="); ok {
			for _, name := range strings.Fields(set) {
				all = append(all, strings.ToLower(strings.TrimPrefix(name, "CAP_")))
			}
		}
	}
	if len(all) == 0 {
		t.Fatal("the unit has no CapabilityBoundingSet")
	}
	return all
}

// A process with the unit's capabilities and no others attaches every kind of program
// that this kernel has. What a capability is for is what fails without it, in words.
func TestUnitsCapabilities(t *testing.T) {
	needsCapabilities(t)
	residue.Check(t)
	n := newNeighbour(t)
	type kind struct {
		source string
		opt    program.Options
	}
	kinds := map[string]kind{
		"xdp":       {prelude + `SEC("xdp") int p(void *ctx) { return 2; }`, program.Options{Interface: n.ifc}},
		"socket":    {prelude + `SEC("socket") int p(void *ctx) { return 0; }`, program.Options{Interface: n.ifc}},
		"sock_addr": {prelude + `SEC("cgroup/connect4") int p(void *ctx) { return 1; }`, program.Options{}},
		"iter":      {prelude + `SEC("iter/task") int p(void *ctx) { return 0; }`, program.Options{}},
		"tp_btf":    {prelude + `SEC("tp_btf/sched_process_exit") int p(void *ctx) { return 0; }`, program.Options{}},
		"uretprobe": {prelude + `SEC("uretprobe/libc.so.6:malloc") int p(void *ctx) { return 0; }`, program.Options{}},
	}
	for name, h := range held {
		kinds[name] = h
	}
	unit := unitsCapabilities(t)
	hold := func(without []string, names ...string) error {
		t.Helper()
		dir := t.TempDir()
		for _, name := range names {
			hand(t, dir, name, kinds[name].source, kinds[name].opt)
		}
		set := "-all"
		for _, c := range unit {
			if !slices.Contains(without, c) {
				set += ",+" + c
			}
		}
		h, err := tryHolding(t, dir, "setpriv", "--bounding-set="+set, "--inh-caps=-all", "--no-new-privs")
		if err != nil {
			return err
		}
		h.cmd.Process.Kill()
		h.cmd.Wait()
		if got := len(slices.Compact(h.programs)); got != len(names) {
			t.Errorf("%d programs were attached, want %d", got, len(names))
		}
		residue.Gone(t, h.programs, h.maps)
		return nil
	}
	if err := hold(nil, slices.Sorted(maps.Keys(kinds))...); err != nil {
		t.Errorf("with the unit's capabilities: %v", err)
	}
	for _, test := range []struct{ without, kind, said string }{
		{"net_raw", "socket", "CAP_NET_RAW"},
		{"sys_admin perfmon", "tracepoint", "CAP_PERFMON"},
		{"sys_admin net_admin", "xdp", "CAP_NET_ADMIN"},
		{"sys_admin net_admin", "sock_addr", "CAP_NET_ADMIN"},
		{"sys_admin net_admin", "cgroup", "CAP_NET_ADMIN"},
	} {
		if err := hold(strings.Fields(test.without), test.kind); err == nil || !strings.Contains(err.Error(), test.said) {
			t.Errorf("%s without %s: %v", test.kind, test.without, err)
		}
	}
	// Without the greatest of them: what is left to it are user probes of older kernels
	// and the measuring of costs.
	if err := hold([]string{"sys_admin"}, "tracepoint", "raw", "tp_btf", "perf", "cgroup", "xdp"); err != nil {
		t.Errorf("without CAP_SYS_ADMIN: %v", err)
	}
}
