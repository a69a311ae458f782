package bpftrace

import (
	"os"
	"testing"

	"kgent/agent/program/bpftrace/jail"
	"kgent/retrieval/kernel"
)

func find(t *testing.T) *Tool {
	t.Helper()
	tool, err := Find(t.Context(), func(string) string { return "" }, "/proc/self/exe", jail.Arg)
	if err != nil {
		t.Fatal(err)
	}
	return tool
}

func parse(t *testing.T, text string) *Script {
	t.Helper()
	s, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTranslate(t *testing.T) {
	tool := find(t)
	facts, err := kernel.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := parse(t, `tracepoint:syscalls:sys_enter_openat /pid != 1/ { @[comm] = count(); @h = hist(args->flags); printf("%s\n", str(args->filename)); }
interval:s:1 { print(@h); } BEGIN { printf("go\n"); } profile:hz:9 { @p[kstack] = count(); }`)
	for name, k := range map[string]Kernel{"this machine": nil, "a kernel known by its facts": facts} {
		o, err := tool.Translate(t.Context(), s, k)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f, err := o.Facts()
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range f {
			t.Logf("%+v", x)
		}
	}
	_ = os.Args
}
