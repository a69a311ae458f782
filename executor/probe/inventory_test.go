package probe_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
)

// kinds are all kinds of hook.
var kinds = []program.Kind{
	program.Tracepoint, program.RawTracepoint, program.TPBTF, program.Kprobe, program.Kretprobe,
	program.Fentry, program.Fexit, program.FmodRet, program.LSM, program.Iter, program.Uprobe, program.Uretprobe,
	program.USDT, program.PerfEvent, program.XDP, program.TCXIngress, program.TCXEgress,
	program.CgroupIngress, program.CgroupEgress, program.CgroupSock,
}

func TestInventory(t *testing.T) {
	residue.Check(t)
	start := time.Now()
	got := map[program.Kind]probe.Feature{}
	for _, f := range probe.Inventory(t.Context()) {
		if _, again := got[f.Kind]; again {
			t.Errorf("%s twice", f.Kind)
		}
		if f.OK != (f.Why == "") {
			t.Errorf("%s: OK %v, but why is %q", f.Kind, f.OK, f.Why)
		}
		got[f.Kind] = f
		t.Logf("%-18s %-5v %s", f.Kind, f.OK, f.Why)
	}
	took := time.Since(start)
	t.Logf("took %v", took)
	if took > patience {
		t.Errorf("took %v", took)
	}
	for _, k := range append(kinds, probe.FeatureBTF, probe.FeatureRingBuffer, probe.FeatureStatistics, probe.FeatureUprobeMulti, probe.FeatureKprobeMulti) {
		if _, ok := got[k]; !ok {
			t.Errorf("nothing about %s", k)
		}
	}
	// What the other tests of this package attach for real.
	for _, k := range []program.Kind{program.Tracepoint, program.RawTracepoint, program.TPBTF, program.Iter, program.Uprobe,
		program.Uretprobe, program.USDT, program.PerfEvent, program.XDP, program.TCXIngress, program.TCXEgress,
		program.CgroupIngress, program.CgroupEgress, program.CgroupSock,
		probe.FeatureBTF, probe.FeatureRingBuffer, probe.FeatureStatistics} {
		if !got[k].OK {
			t.Errorf("%s is said to be missing: %s", k, got[k].Why)
		}
	}
	if _, err := os.Stat("/sys/kernel/tracing/kprobe_events"); err != nil {
		if f := got[program.Kprobe]; f.OK || !strings.Contains(f.Why, "built without kprobes") {
			t.Errorf("kprobes: %+v, on a kernel without them", f)
		}
	}
}

func TestInventoryEndsWithContext(t *testing.T) {
	residue.Check(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, f := range probe.Inventory(ctx) {
		if f.OK || f.Why != context.Canceled.Error() {
			t.Errorf("%+v: want it not tried", f)
		}
	}
}
