package kernel

import (
	"bytes"
	"errors"
	"io/fs"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestSymbols(t *testing.T) {
	f := host(t)
	symbols, err := f.symbols()
	if err != nil {
		t.Fatal(err)
	}
	// The same question, put to other programs.
	out, err := exec.Command("awk", `$2 ~ /^[tTwW]$/ && $4 != "[bpf]" && $4 !~ /^\[__builtin__/ {print $3}`, "/proc/kallsyms").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for name := range strings.FieldsSeq(string(out)) {
		want[name]++
	}
	if len(symbols.names) != len(want) {
		t.Errorf("%d functions, awk counts %d", len(symbols.names), len(want))
	}
	if !slices.IsSorted(symbols.names) {
		t.Error("the names are not sorted")
	}
	for name, n := range want {
		if !symbols.has(name) {
			t.Errorf("%s is missing", name)
		}
		if n > 1 && symbols.many[name] != n || n == 1 && symbols.many[name] != 0 {
			t.Errorf("%s occurs %d times, want %d", name, symbols.many[name], n)
		}
	}
	for _, name := range []string{"", "jiffies", "tcp_v4_connec", "zzzzzz"} {
		if symbols.has(name) {
			t.Errorf("there is a function %q", name)
		}
	}
	if ok, err := f.HasSymbol("tcp_v4_connect"); err != nil || !ok {
		t.Errorf("HasSymbol returned %t, %v", ok, err)
	}
}

func TestParseKallsyms(t *testing.T) {
	set, err := parseKallsyms(strings.NewReader("0 T b\n\n0 t a\n0 d c\n0 W b\n0 t m\t[mod]\n0 t p\t[bpf]\n0 t q\t[__builtin__ftrace]\n0 t b\n0 w last"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "last", "m"}; !slices.Equal(set.names, want) {
		t.Errorf("names are %q, want %q", set.names, want)
	}
	if len(set.many) != 1 || set.many["b"] != 3 {
		t.Errorf("many are %v", set.many)
	}
	for _, text := range []string{"0\n", "0 t\n", "0 t \n", "0 ty x\n", "0 t \t[m]\n", "x", "0 t " + strings.Repeat("x", 1<<17)} {
		if set, err := parseKallsyms(strings.NewReader(text)); err == nil {
			t.Errorf("%.40q gives %.40q", text, set.names)
		}
	}
}

func TestNoKallsyms(t *testing.T) {
	m := newMachine(t)
	m.remove("/proc/kallsyms")
	f := m.facts()
	if _, err := f.HasSymbol("do_work"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "CONFIG_KALLSYMS") {
		t.Errorf("HasSymbol returned %v", err)
	}
	if err := f.CheckHook(KindKprobe, "do_work"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("kprobe: %v", err)
	}
}

func FuzzParseKallsyms(f *testing.F) {
	f.Add([]byte("ffffffff81000000 T _stext\n0000 t a\t[m]\n"))
	f.Add([]byte("0 t a\n0 t a\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := parseKallsyms(bytes.NewReader(text))
		if err != nil {
			return
		}
		if !slices.IsSorted(set.names) || len(slices.Compact(slices.Clone(set.names))) != len(set.names) {
			t.Fatalf("names are %q", set.names)
		}
		for _, name := range set.names {
			if name == "" || strings.ContainsAny(name, "\n\t") || !set.has(name) {
				t.Fatalf("there is the name %q", name)
			}
		}
		for name, n := range set.many {
			if n < 2 || !set.has(name) {
				t.Fatalf("%q occurs %d times", name, n)
			}
		}
	})
}

func BenchmarkKallsyms(b *testing.B) {
	f := host(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.readSymbols(); err != nil {
			b.Fatal(err)
		}
	}
}
