package verify

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/recipes"
	"kgent/agent/verify/mutate"
	"kgent/agent/verify/mutate/mutatetest"
	"kgent/agent/verify/proof"
)

// The mutation score: wrong variants of the recipes are held against the
// recipes' contracts. One that is VERIFIED, a survivor, must do what the original does:
// either that is shown (see equality), or survivors.txt lists it with the reason.
//
// KGENT_SOAK judges all recipes: a mutant of each bytecode operator, and of a third
// of the source operators, another third on each recipe. KGENT_MUTANTS=N judges N mutants of
// each operator on each recipe, KGENT_MUTANTS=all all of them, which takes many hours.
// KGENT_MUTANTS_OF=source or bytecode leaves the others out.

// survivorsFile lists the survivors that are right to survive.
const survivorsFile = "testdata/survivors.txt"

// mutantTime bounds the proof of one mutant. Those of a recipe whose own proof takes long
// get a multiple of that instead: an UNKNOWN for want of time says nothing.
const mutantTime = 15 * time.Second

// scored is a recipe whose mutants are judged.
type scored struct {
	name     string
	source   string
	object   *program.Object
	manifest *program.Manifest
	contract *contract.Contract
	limits   proof.Limits
}

// verdict is what became of one mutant of a recipe.
type verdict struct {
	recipe string
	mutate.Outcome
	verdict proof.Verdict
	why     string
	took    time.Duration
	same    bool   // a survivor that was shown to do what the original does
	differs string // why that was not shown
}

// scorer judges mutants on this machine.
type scorer struct {
	kernel *ProofKernel
	judge  mutate.Judge
}

func newScorer(t testing.TB) *scorer {
	t.Helper()
	judge, tools := mutatetest.Judge(t), programtest.Here(t)
	k, err := KernelOf(tools.Facts)
	if err != nil {
		t.Fatal(err)
	}
	return &scorer{k, judge}
}

// recipe proves a recipe. An original that is not VERIFIED is an error of the
// test: its mutants would be caught for no reason of theirs.
func (s *scorer) recipe(t *testing.T, r *recipes.Recipe) *scored {
	t.Helper()
	x := &scored{name: r.Name, source: string(r.Source), object: programtest.Object(t, string(r.Source)), contract: r.Contract}
	var err error
	if x.manifest, err = program.Build(x.object, scoredOptions); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	report, err := s.prove(t.Context(), x, x.object, x.manifest, patient)
	if err != nil {
		t.Fatal(err)
	}
	if report.Verdict != proof.Verified {
		t.Fatalf("the recipe itself is %v: %.300s", report.Verdict, strings.Join(report.Reasons, "; "))
	}
	x.limits.Time = max(mutantTime, 4*time.Since(began))
	return x
}

var scoredOptions = program.Options{Name: "mutant", Title: "a mutant", Interface: "lo"}

func (s *scorer) prove(ctx context.Context, x *scored, o *program.Object, m *program.Manifest, l proof.Limits) (*proof.Report, error) {
	return proof.Verify(ctx, proof.Input{Object: o, Manifest: m, Contract: x.contract, Kernel: s.kernel.linked, Types: s.kernel.types, Limits: l})
}

// hold holds a mutant against the recipe's contract.
func (s *scorer) hold(ctx context.Context, x *scored, m mutate.Outcome) (v verdict) {
	v = verdict{recipe: x.name, Outcome: m}
	began := time.Now()
	defer func() { v.took = time.Since(began) }()
	object, manifest, err := variant(x, m)
	if err != nil {
		v.verdict, v.why = proof.Refuted, "it makes no manifest: "+err.Error()
		return v
	}
	r, err := s.prove(ctx, x, object, manifest, x.limits)
	if err != nil { // it cannot be linked, or has other hooks than the contract
		v.verdict, v.why = proof.Refuted, err.Error()
		return v
	}
	v.verdict = r.Verdict
	if len(r.Reasons) > 0 {
		v.why = r.Reasons[0]
	}
	if v.verdict == proof.Verified {
		v.same, v.differs = s.equal(ctx, x, object, manifest)
	}
	return v
}

// variant is a mutant as a proof takes it.
func variant(x *scored, m mutate.Outcome) (*program.Object, *program.Manifest, error) {
	if m.Level == mutate.Source {
		o, err := program.Parse(m.ELF)
		if err != nil {
			return nil, nil, err
		}
		manifest, err := program.Build(o, scoredOptions)
		return o, manifest, err
	}
	code := map[string]asm.Instructions{}
	for name, p := range m.Spec.Programs {
		code[name] = p.Instructions
	}
	o, err := x.object.Altered(code)
	return o, x.manifest, err
}

// sampled, for a number of mutants, is one of each operator, and of the source's only
// some operators.
const sampled = -1

// mutants makes the mutants of a recipe that a proof has to judge: n of each
// operator, or all if n is 0. The rest it gives back with the reason.
func (s *scorer) mutants(t *testing.T, x *scored, n int, levels ...mutate.Level) (judged, dropped []mutate.Outcome) {
	t.Helper()
	var all []mutate.Outcome
	if slices.Contains(levels, mutate.Bytecode) {
		code, err := mutate.Variants(x.object.ELF())
		if err != nil {
			t.Fatal(err)
		}
		// Some of them the kernel refuses.
		code = some(code, 3*max(n, -n), func(o mutate.Outcome) (string, string) { return o.Operator, o.Name })
		if err := s.judge.Ask(t.Context(), code); err != nil {
			t.Fatal(err)
		}
		all = append(all, code...)
	}
	if slices.Contains(levels, mutate.Source) {
		ms := mutate.Mutants(x.source)
		if n == sampled {
			ms = slices.DeleteFunc(ms, func(m mutate.Mutant) bool { return rank(x.name+m.Operator)%3 != 0 })
		}
		ms = some(ms, n, func(m mutate.Mutant) (string, string) { return m.Operator, m.String() })
		source, err := s.judge.Source(t.Context(), x.source, ms)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, source...)
	}
	for _, o := range all {
		if o.Class == mutate.Live {
			judged = append(judged, o)
		} else {
			dropped = append(dropped, o)
		}
	}
	return some(judged, n, func(o mutate.Outcome) (string, string) { return o.Operator, o.Name }), dropped
}

// rank is a number that says nothing about a name, and is always the same.
func rank(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32()
}

// some keeps n mutants of each operator, all if n is 0, one if it is sampled: the same in every run, and those
// whose neighbours changed stay what they were.
func some[M any](all []M, n int, name func(M) (operator, name string)) []M {
	if n == 0 {
		return all
	}
	of := func(m M) uint32 { _, name := name(m); return rank(name) }
	left := map[string]int{}
	var out []M
	for _, m := range slices.SortedFunc(slices.Values(all), func(a, b M) int { return cmp.Compare(of(a), of(b)) }) {
		if operator, _ := name(m); left[operator] < max(n, -n) {
			left[operator]++
			out = append(out, m)
		}
	}
	return out
}

// all judges mutants, several at once.
func (s *scorer) all(t *testing.T, x *scored, ms []mutate.Outcome) []verdict {
	t.Helper()
	out := make([]verdict, len(ms))
	next := make(chan int)
	var wg sync.WaitGroup
	for range runtime.NumCPU() {
		wg.Go(func() {
			for i := range next {
				out[i] = s.hold(t.Context(), x, ms[i])
			}
		})
	}
	for i := range ms {
		next <- i
	}
	close(next)
	wg.Wait()
	return out
}

// numbers are what a bytecode mutant's name has of places that change with
// every edit.
var numbers = regexp.MustCompile(`^(\S+ )?([a-z-]+):\d+: (\d+: )?(.*?)(; \d+: .*)?$`)

// id is what survivors.txt calls a mutant: without the numbers of lines and
// instructions, but with the line of the source that the instruction comes from.
func (v verdict) id() string {
	name := v.Name
	if m := numbers.FindStringSubmatch(name); m != nil {
		name = m[2] + ": " + m[4] + m[5]
		if v.Level == mutate.Bytecode {
			name = m[1] + name + " @ " + v.text()
		}
	}
	return v.recipe + ": " + name
}

// text is the line of the source that a bytecode mutant's first changed
// instruction was compiled from.
func (v verdict) text() string {
	m := numbers.FindStringSubmatch(v.Name)
	if m == nil || m[3] == "" {
		return ""
	}
	at, _ := strconv.Atoi(strings.TrimSuffix(m[3], ": "))
	code := v.Spec.Programs[strings.TrimSpace(m[1])].Instructions
	for ; at >= 0; at-- {
		if l, ok := code[at].Source().(*btf.Line); ok {
			return strings.TrimSpace(l.Line())
		}
	}
	return ""
}

// listed reads the patterns of survivors that are right to survive.
func listed(t testing.TB) []*regexp.Regexp {
	t.Helper()
	text, err := os.ReadFile(survivorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var out []*regexp.Regexp
	reason := false
	for i, line := range strings.Split(string(text), "\n") {
		switch line = strings.TrimSpace(line); {
		case line == "":
			reason = false
		case strings.HasPrefix(line, "#"):
			reason = true
		case !reason:
			t.Errorf("%s:%d: a survivor without a reason", survivorsFile, i+1)
		default:
			any := strings.ReplaceAll(regexp.QuoteMeta(line), `\*`, ".*")
			out = append(out, regexp.MustCompile("^"+any+"$"))
		}
	}
	return out
}

// count is how many mutants came to what.
type count struct {
	dropped map[mutate.Class]int
	by      map[proof.Verdict]int
	equal   int // VERIFIED, and shown to be equal or listed
	took    time.Duration
}

type counts map[string]*count

func (c counts) of(name string) *count {
	if c[name] == nil {
		c[name] = &count{dropped: map[mutate.Class]int{}, by: map[proof.Verdict]int{}}
	}
	return c[name]
}

// score is what a run counted, by operator and by recipe.
type score struct {
	operators, recipes, all counts
	known                   []*regexp.Regexp // of survivors.txt
}

func newScore(t testing.TB) *score {
	return &score{counts{}, counts{}, counts{}, listed(t)}
}

func (s *score) drop(recipe string, o mutate.Outcome) {
	for _, c := range []*count{s.operators.of(o.Operator), s.recipes.of(recipe), s.all.of("all")} {
		c.dropped[o.Class]++
	}
}

// add counts a verdict. A survivor that is not listed fails the test.
func (s *score) add(t testing.TB, v verdict) {
	t.Helper()
	equal := v.same || slices.ContainsFunc(s.known, func(r *regexp.Regexp) bool { return r.MatchString(v.id()) })
	for _, c := range []*count{s.operators.of(v.Operator), s.recipes.of(v.recipe), s.all.of("all")} {
		c.by[v.verdict]++
		c.took += v.took
		if v.verdict == proof.Verified && equal {
			c.equal++
		}
	}
	if v.verdict == proof.Verified && !equal {
		t.Errorf("a mutant keeps the contract (%s):\n%s\n\tline %d, %s", v.differs, v.id(), v.Line, v.Name)
	}
}

// String is a table: what was judged and what came of it; of those that differ from
// the original how many were caught, and how many refuted, in percent.
func (c counts) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-26s %8s %8s %8s %8s | %8s %8s %8s %8s %8s | %7s %8s %9s", "", "no C", "no load", "same", "repeated",
		"VERIFIED", "(equal)", "REFUTED", "VACUOUS", "UNKNOWN", "caught", "refuted", "time")
	for _, name := range slices.Sorted(maps.Keys(c)) {
		n := c[name]
		judged := -n.equal
		for _, k := range n.by {
			judged += k
		}
		percent := func(k int) string {
			if judged == 0 {
				return "-"
			}
			return fmt.Sprintf("%.1f%%", 100*float64(k)/float64(judged))
		}
		fmt.Fprintf(&b, "\n%-26s %8d %8d %8d %8d | %8d %8d %8d %8d %8d | %7s %8s %9s", name,
			n.dropped[mutate.Uncompiled], n.dropped[mutate.Unloaded], n.dropped[mutate.Same], n.dropped[mutate.Repeated],
			n.by[proof.Verified], n.equal, n.by[proof.Refuted], n.by[proof.Vacuous], n.by[proof.Unknown],
			percent(judged-n.by[proof.Verified]+n.equal), percent(n.by[proof.Refuted]), n.took.Round(time.Second))
	}
	return b.String()
}

// log writes the tables.
func (s *score) log(t *testing.T) {
	t.Logf("by operator\n%v", s.operators)
	t.Logf("by recipe\n%v", s.recipes)
	t.Logf("all\n%v", s.all)
}

// TestMutation is the whole.
func TestMutation(t *testing.T) {
	if os.Getenv("KGENT_SOAK") == "" {
		t.Skip("takes a quarter of an hour: make mutation")
	}
	n, levels := sampled, []mutate.Level{mutate.Bytecode, mutate.Source}
	if s := os.Getenv("KGENT_MUTANTS"); s == "all" {
		n = 0
	} else if s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 {
			t.Fatalf("KGENT_MUTANTS=%s: want a number of mutants for each operator and recipe, or all", s)
		}
	}
	if s := os.Getenv("KGENT_MUTANTS_OF"); s != "" {
		levels = []mutate.Level{mutate.Level(s)}
	}
	s, sum := newScorer(t), newScore(t)
	for _, r := range library(t) {
		t.Run(r.Name, func(t *testing.T) { s.run(t, sum, r, n, levels...) })
	}
	sum.log(t)
	if refuted := sum.all.of("all").by[proof.Refuted]; refuted == 0 {
		t.Error("no mutant was refuted")
	}
}

// run judges the mutants of a recipe.
func (s *scorer) run(t *testing.T, sum *score, r *recipes.Recipe, n int, levels ...mutate.Level) (x *scored, out []verdict) {
	t.Helper()
	x = s.recipe(t, r)
	judged, dropped := s.mutants(t, x, n, levels...)
	for _, o := range dropped {
		sum.drop(r.Name, o)
	}
	began := time.Now()
	out = s.all(t, x, judged)
	for _, v := range out {
		sum.add(t, v)
		if v.verdict == proof.Unknown {
			t.Logf("UNKNOWN %5.1fs %s: %.160s", v.took.Seconds(), v.id(), v.why)
		}
	}
	t.Logf("%d mutants in %v", len(judged), time.Since(began).Round(time.Second))
	return x, out
}

func library(t testing.TB) []*recipes.Recipe {
	t.Helper()
	l, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	return l.Recipes()
}

// quick are recipes whose proofs take little time.
var quick = []string{"bash-commands", "cgroup-bytes", "slow-syscalls", "syscall-errors", "tcp-retransmits"}

// TestMutationSample is the short form: a bytecode mutant of each operator of quick
// recipes. None is both refuted and equal to the original.
func TestMutationSample(t *testing.T) {
	s, sum := newScorer(t), newScore(t)
	judged := 0
	for _, r := range library(t) {
		if !slices.Contains(quick, r.Name) {
			continue
		}
		x, out := s.run(t, sum, r, 1, mutate.Bytecode)
		for _, v := range out {
			judged++
			if r.Name != quick[0] || v.verdict != proof.Refuted {
				continue
			}
			object, manifest, err := variant(x, v.Outcome)
			if err != nil {
				t.Fatal(err)
			}
			if same, _ := s.equal(t.Context(), x, object, manifest); same {
				t.Errorf("%s is refuted, and does what the original does", v.id())
			}
		}
	}
	sum.log(t)
	if refuted := sum.all.of("all").by[proof.Refuted]; judged < 50 || refuted < judged/4 {
		t.Errorf("%d mutants were judged, %d refuted: the sample says nothing", judged, refuted)
	}
}

// TestSurvivorsFile holds that the list takes what it is for, and nothing else.
func TestSurvivorsFile(t *testing.T) {
	known := listed(t)
	for id, want := range map[string]bool{
		"block-latency: block_complete code-compare: JLTImm dst: r0 off: 1 imm: 2 => JLEImm dst: r0 off: 1 imm: 2 @ n += v >= 2 ? 2 : v;": true,
		"block-latency: block_complete code-compare: JLTImm dst: r0 off: 1 imm: 2 => JLEImm dst: r0 off: 1 imm: 2 @ if (v < threshold)":   false,
		"block-latency: ": false,
	} {
		if got := slices.ContainsFunc(known, func(r *regexp.Regexp) bool { return r.MatchString(id) }); got != want {
			t.Errorf("%s: listed %v, want %v", id, got, want)
		}
	}
}
