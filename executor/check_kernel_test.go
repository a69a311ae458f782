package executor

import (
	"crypto/ed25519"
	"os"
	"strings"
	"testing"

	"kgent/agent/program"
	"kgent/executor/bus"
	"kgent/executor/job"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
	"kgent/executor/render"
	"kgent/retrieval/kernel"
)

// This machine's own kernel says what it takes, why it does not take the rest,
// and keeps nothing.
func TestCheckByKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: loading eBPF programs takes CAP_BPF and CAP_PERFMON")
	}
	residue.Check(t)
	facts, err := kernel.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, key: key, bus: &faultyBus{Bus: bus.NewMemory()}}
	e := b.executor("n1")
	e.Kernel = NewKernel("n1", probe.NewLoader(probe.Options{}), render.NewEnv())
	e.Hooks = facts
	end := b.start(e)
	defer end()
	for name, test := range map[string]struct{ source, rule, detail string }{
		"taken":     {prelude + `SEC("raw_tp/sys_enter") int p(void *ctx) { return 0; }`, "", ""},
		"refused":   {prelude + `SEC("raw_tp/sys_enter") int p(void *ctx) { return *(volatile int *)(bpf_get_current_pid_tgid() + 8); }`, "kernel", "loading program p: the verifier refused it"},
		"elsewhere": {prelude + `SEC("raw_tp/no_such_thing") int p(void *ctx) { return 0; }`, "hook", "no raw tracepoint no_such_thing"},
	} {
		elf := compile(t, test.source)
		_, m := built(t, test.source, program.Options{})
		manifest, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		b.prog = job.Program{ELF: elf, Manifest: manifest}
		c := b.check("n1")[0]
		if !c.Answered || c.OK != (test.rule == "") || c.Rule != test.rule || !strings.Contains(c.Detail, test.detail) {
			t.Errorf("%s: %+v", name, c)
		}
		if c.OK && (len(c.Programs) != 1 || c.Programs[0].Processed == 0) {
			t.Errorf("%s: %+v", name, c.Programs)
		}
	}
}
