package mutate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"kgent/agent/program"
	"kgent/agent/verify/mutate"
	"kgent/agent/verify/mutate/mutatetest"
)

// tally counts outcomes by operator and class.
type tally map[string]map[mutate.Class]int

func (n tally) add(t *testing.T, recipe string, outcomes []mutate.Outcome) {
	t.Helper()
	names, live := map[string]bool{}, 0
	for _, o := range outcomes {
		if n[o.Operator] == nil {
			n[o.Operator] = map[mutate.Class]int{}
		}
		n[o.Operator][o.Class]++
		if names[o.Name] {
			t.Errorf("two mutants are called %s", o.Name)
		}
		names[o.Name] = true
		if o.Class == mutate.Live {
			live++
		}
		if o.Class == "" || o.Class == mutate.Live && o.Spec == nil || (o.Class == mutate.Uncompiled || o.Class == mutate.Unloaded) && o.Why == "" {
			t.Errorf("%s: class %q, reason %q", o.Name, o.Class, o.Why)
		}
	}
	t.Logf("%-24s %4d mutants, %4d to be judged", recipe, len(outcomes), live)
}

func (n tally) log(t *testing.T) {
	t.Helper()
	sum := map[mutate.Class]int{}
	var b strings.Builder
	fmt.Fprintf(&b, "%-20s", "")
	for _, c := range mutate.Classes {
		fmt.Fprintf(&b, " %24s", c)
	}
	for _, o := range mutate.Operators() {
		if n[o.Name] == nil {
			continue
		}
		fmt.Fprintf(&b, "\n%-20s", o.Name)
		for _, c := range mutate.Classes {
			fmt.Fprintf(&b, " %24d", n[o.Name][c])
			sum[c] += n[o.Name][c]
		}
	}
	fmt.Fprintf(&b, "\n%-20s", "all")
	for _, c := range mutate.Classes {
		fmt.Fprintf(&b, " %24d", sum[c])
	}
	t.Log(b.String())
}

// sample keeps one of n mutants of each operator, the same in every run.
func sample[M fmt.Stringer](all []M, n uint32) []M {
	var out []M
	for _, m := range all {
		h := fnv.New32a()
		h.Write([]byte(m.String()))
		if h.Sum32()%n == 0 {
			out = append(out, m)
		}
	}
	return out
}

// TestJudgeSource sorts a sample of the mutants of some recipes; with KGENT_SOAK
// in the environment all of all, which takes minutes.
func TestJudgeSource(t *testing.T) {
	j, n := mutatetest.Judge(t), tally{}
	soak := os.Getenv("KGENT_SOAK") != ""
	for i, r := range library(t) {
		ms := mutate.Mutants(string(r.Source))
		if !soak {
			if i%6 != 1 {
				continue
			}
			ms = sample(ms, 20)
		}
		out, err := j.Source(t.Context(), string(r.Source), ms)
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		if len(out) != len(ms) {
			t.Fatalf("%s: %d outcomes for %d mutants", r.Name, len(out), len(ms))
		}
		n.add(t, r.Name, out)
	}
	n.log(t)
	live(t, n, soak, mutate.Source)
}

// TestJudgeBytecode does the same on the instructions: of some recipes, or of
// all.
func TestJudgeBytecode(t *testing.T) {
	j, n := mutatetest.Judge(t), tally{}
	soak := os.Getenv("KGENT_SOAK") != ""
	for _, r := range library(t) {
		if !soak && r.Name != "cgroup-bytes" && r.Name != "syscall-counts" {
			continue
		}
		elf, err := j.Compile(t.Context(), string(r.Source))
		if err != nil {
			t.Fatal(err)
		}
		out, err := j.Bytecode(t.Context(), elf)
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		n.add(t, r.Name, out)
	}
	n.log(t)
	live(t, n, soak, mutate.Bytecode)
}

// live holds that enough mutants are left; of every operator, when all were
// made.
func live(t *testing.T, n tally, all bool, level mutate.Level) {
	t.Helper()
	sum := 0
	for _, o := range mutate.Operators() {
		if o.Level != level {
			continue
		}
		sum += n[o.Name][mutate.Live]
		if all && n[o.Name][mutate.Live] == 0 && !strings.Contains(nowhere, " "+o.Name+" ") {
			t.Errorf("operator %s makes no program that a kernel takes and that differs", o.Name)
		}
	}
	if sum < 10 {
		t.Errorf("%d mutants are left to be judged", sum)
	}
}

// nowhere lists the operators that have no place in the recipes; TestOperators
// has a program for them.
const nowhere = " order-twin atomic-drop wrong-map "

// TestJudgeErrors holds that what is no mutant's fault is an error.
func TestJudgeErrors(t *testing.T) {
	j := mutatetest.Judge(t)
	if _, err := j.Source(t.Context(), "int main(", nil); err == nil {
		t.Error("an original that does not compile is no error")
	}
	if _, err := j.Bytecode(t.Context(), []byte("no ELF")); err == nil {
		t.Error("an original that is no ELF is no error")
	}
	broken := errors.New("no clang today")
	k := j
	src := string(library(t)[0].Source)
	k.Compile = func(ctx context.Context, s string) ([]byte, error) {
		if s == src {
			return j.Compile(ctx, s)
		}
		return nil, broken
	}
	if _, err := k.Source(t.Context(), src, mutate.Mutants(src)[:3]); !errors.Is(err, broken) {
		t.Errorf("a compiler that is broken: %v", err)
	}
	k = j
	k.Load = func(context.Context, *ebpf.CollectionSpec) error { return program.ErrUntried }
	if _, err := k.Source(t.Context(), src, mutate.Mutants(src)[:3]); !errors.Is(err, program.ErrUntried) {
		t.Errorf("a kernel that cannot be asked: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Source(ctx, src, mutate.Mutants(src)); err == nil {
		t.Error("a context that ended is no error")
	}
}

// TestFingerprint holds that the same source gives the same fingerprint, and
// that lines and comments are no part of it.
func TestFingerprint(t *testing.T) {
	j := mutatetest.Judge(t)
	src := string(library(t)[0].Source)
	print := func(s string) [32]byte {
		elf, err := j.Compile(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(elf))
		if err != nil {
			t.Fatal(err)
		}
		return mutate.Fingerprint(spec)
	}
	elf, err := j.Compile(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		t.Fatal(err)
	}
	before := mutate.Fingerprint(whole)
	for _, p := range whole.Programs {
		mutate.Mutate(p)
	}
	if mutate.Fingerprint(whole) != before {
		t.Error("making variants changes the original")
	}
	if print(src) != print("/* another */\n\n"+src) {
		t.Error("a comment makes a difference")
	}
	if print(src) == print(strings.Replace(src, "400", "401", 1)) {
		t.Error("the size of a member makes no difference")
	}
}
