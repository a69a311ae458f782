package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/program/vmlinux"
	"kgent/agent/recipes"
	"kgent/agent/verify/proof"
	"kgent/retrieval/kernel"
)

// The recipes on kernels other than this one, of which nothing but the types is
// there. A recipe that the gate facts lets through must be VERIFIED; where it
// refuses one, the reason must be the one that kernelsFile has.

// kernelsFile lists what recipes need and old kernels do not have.
const kernelsFile = "testdata/kernels.txt"

// onlyBTF answers for a kernel of which the types are known and no more:
// tracepoints are those that BTF has a record or a prototype of.
type onlyBTF struct{ *kernel.Facts }

func (k onlyBTF) CheckHook(kind, target string) error {
	err := k.Facts.CheckHook(kind, target)
	if !errors.Is(err, kernel.ErrNoTracefs) {
		return err
	}
	category, name, _ := strings.Cut(target, ":")
	if category != "syscalls" {
		_, err = k.RawTracepoint(name)
		return err
	}
	// Those of system calls share a record; there is one where there is the call.
	call := strings.TrimPrefix(strings.TrimPrefix(name, "sys_enter_"), "sys_exit_")
	for _, arch := range []string{"__x64_sys_", "__arm64_sys_"} {
		if ok, _ := k.HasSymbol(arch + call); ok {
			return nil
		}
		if _, err = k.Function(arch + call); err == nil {
			return nil
		}
	}
	return &kernel.NotFoundError{Kind: "tracepoint", Name: target}
}

// otherKernel is one that recipes are held against.
type otherKernel struct {
	release string
	facts   onlyBTF
	proof   *ProofKernel
	types   *vmlinux.Types // for compiling there
}

// newOtherKernel makes one of its raw BTF.
func newOtherKernel(ctx context.Context, release string, raw []byte, dir string) (*otherKernel, error) {
	files := map[string][]byte{
		"sys/kernel/btf/vmlinux":     raw,
		"proc/sys/kernel/osrelease":  []byte(release),
		"proc/self/mountinfo":        []byte("24 1 0:20 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"), // as systemd mounts it
		"sys/fs/cgroup/cgroup.procs": nil,
	}
	for path, data := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return nil, err
		}
	}
	read, err := kernel.Sources{Root: dir, Arch: "x86_64"}.Facts(ctx)
	if err != nil {
		return nil, err
	}
	// As of another machine: its files are not to be looked for here.
	snapshot, err := kernel.Encode(read)
	if err != nil {
		return nil, err
	}
	facts, err := kernel.Decode(snapshot)
	if err != nil {
		return nil, err
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	k := &otherKernel{release: release, facts: onlyBTF{facts}}
	if k.proof, err = KernelOfBTF(release, facts.BTFHash, spec); err != nil {
		return nil, err
	}
	k.types, err = vmlinux.NewTypes(spec)
	return k, err
}

// missing is what the gate facts says that a kernel lacks for a program, each
// thing once and without what to use instead; nothing where it can run.
func (k *otherKernel) missing(o *program.Object, m *program.Manifest) []string {
	var out []string
	var walk func(error)
	walk = func(err error) {
		var several interface{ Unwrap() []error }
		var absent *kernel.NotFoundError
		what := err.Error()
		switch {
		case errors.As(err, &several):
			for _, err := range several.Unwrap() {
				walk(err)
			}
			return
		case errors.As(err, &absent):
			what = "no " + absent.Kind + " " + absent.Name
		default:
			if _, after, ok := strings.Cut(what, " does not have: "); ok {
				what = "no " + after
			}
		}
		if !slices.Contains(out, what) {
			out = append(out, what)
		}
	}
	for _, err := range []error{Facts(m, k.facts), Types(o, k.facts.Facts)} {
		if err != nil {
			walk(err)
		}
	}
	return out
}

// series are the first two numbers of a release, as one that can be compared.
func series(t *testing.T, release string) int {
	t.Helper()
	parts := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) >= 2 {
		major, _ := strconv.Atoi(parts[0])
		minor, err := strconv.Atoi(parts[1])
		if err == nil {
			return major*1000 + minor
		}
	}
	t.Fatalf("%q is no kernel's release", release)
	return 0
}

// lacking is a line of kernelsFile.
type lacking struct {
	recipe string
	before int // the series that has it
	what   string
}

func readLacking(t *testing.T) []lacking {
	t.Helper()
	text, err := os.ReadFile(kernelsFile)
	if err != nil {
		t.Fatal(err)
	}
	var out []lacking
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		recipe, rest, _ := strings.Cut(line, " before ")
		release, what, ok := strings.Cut(rest, ": ")
		if !ok {
			t.Fatalf("%s: %q is not: RECIPE before RELEASE: no WHAT", kernelsFile, line)
		}
		out = append(out, lacking{recipe, series(t, release), what})
	}
	return out
}

// expected is what a recipe is known to lack on a kernel.
func expected(t *testing.T, known []lacking, recipe, release string) []string {
	var out []string
	for _, l := range known {
		if l.recipe == recipe && series(t, release) < l.before {
			out = append(out, l.what)
		}
	}
	return out
}

// on holds one recipe against a kernel, compiled with the types of this machine,
// as a team's bot does, or with that kernel's own, as on a machine that runs it.
// It returns a word for the table.
func (k *otherKernel) on(t *testing.T, r *recipes.Recipe, known []lacking, prove, own bool) string {
	tools := programtest.Here(t)
	types := tools.Types
	if own {
		types = k.types
	}
	want := expected(t, known, r.Name, k.release)
	res, err := tools.Compiler.Compile(t.Context(), string(r.Source), types)
	if err != nil {
		if own && len(want) > 0 {
			return strings.Join(want, "; ") // what is not there cannot be named either
		}
		t.Errorf("%s, for %s: %v", r.Name, k.release, err)
		return "does not compile"
	}
	o, err := program.Parse(res.ELF)
	if err != nil {
		t.Fatal(err)
	}
	m, err := program.Build(o, program.Options{Name: r.Name, Title: r.Title, Interface: "lo"})
	if err != nil {
		t.Fatal(err)
	}
	missing := k.missing(o, m)
	if !slices.Equal(missing, want) {
		t.Errorf("%s on %s: it lacks %q; %s says %q", r.Name, k.release, missing, kernelsFile, want)
	}
	if len(missing) > 0 {
		return strings.Join(missing, "; ")
	}
	if !prove {
		return "can run"
	}
	report := proved(t, k.proof, o, r)
	if report.Verdict != proof.Verified {
		t.Errorf("%s on %s: %s: %s", r.Name, k.release, report.Verdict, strings.Join(report.Reasons, "\n"))
	}
	return report.Verdict.String()
}

// Every recipe is VERIFIED on every kernel of which KGENT_KERNELS, a directory, has a
// file RELEASE.btf, or it is known what the kernel lacks. The file table.txt there
// is written with the outcome.
func TestKernels(t *testing.T) {
	dir := os.Getenv("KGENT_KERNELS")
	if dir == "" {
		t.Skip("KGENT_KERNELS names no directory with the BTF of kernels: make proof-kernels fetches some")
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.btf"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s has no RELEASE.btf: %v", dir, err)
	}
	var kernels []*otherKernel
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		k, err := newOtherKernel(t.Context(), strings.TrimSuffix(filepath.Base(path), ".btf"), raw, t.TempDir())
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		kernels = append(kernels, k)
	}
	slices.SortFunc(kernels, func(a, b *otherKernel) int { return series(t, a.release) - series(t, b.release) })
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	known := readLacking(t)
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "recipe")
	for _, k := range kernels {
		fmt.Fprintf(w, "\t%s", k.release)
	}
	verified, lacks := 0, 0
	var reasons []string
	for _, r := range library.Recipes() {
		fmt.Fprintf(w, "\n%s", r.Name)
		for _, k := range kernels {
			word := "-"
			t.Run(r.Name+"/"+k.release, func(t *testing.T) {
				word = "failed"
				word = k.on(t, r, known, true, false)
				if own := k.on(t, r, known, true, true); own != word {
					word += ", compiled there " + own
				}
			})
			switch {
			case word == proof.Verified.String():
				verified++
			case strings.HasPrefix(word, "no "):
				lacks++
				reasons = append(reasons, fmt.Sprintf("%s on %s: %s", r.Name, k.release, word))
				word = "cannot run"
			}
			fmt.Fprintf(w, "\t%s", word)
		}
	}
	w.Flush()
	fmt.Fprintf(&table, "\n\n%s\n\n%d recipes on %s: %d VERIFIED, %d cannot run there\n", strings.Join(reasons, "\n"), len(library.Recipes()), plural(len(kernels), "kernel"), verified, lacks)
	if err := os.WriteFile(filepath.Join(dir, "table.txt"), table.Bytes(), 0o644); err != nil {
		t.Error(err)
	}
}

// touched are the recipes that [older] makes a difference to.
var touched = []string{"block-latency", "block-latency-by-process", "capability-use", "oom-kills", "run-queue-latency"}

// Without other kernels at hand, the types of this one are changed back to what
// Linux 5.10 had, where it matters to recipes: they prove to run there, or to
// lack what kernelsFile says. Everything else is as new as this kernel, so it is no
// substitute for TestKernels.
func TestOlderTypes(t *testing.T) {
	k, err := newOtherKernel(t.Context(), "5.10.0-made-of-this-kernel", older(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	known := readLacking(t)
	for _, l := range known {
		if !slices.Contains(touched, l.recipe) {
			t.Errorf("what %s lacks is not tried here", l.recipe)
		}
	}
	for _, name := range touched {
		r, ok := library.Lookup(name)
		if !ok {
			t.Fatalf("there is no recipe %s", name)
		}
		for _, own := range []bool{false, true} {
			// One proof is enough of those that take long.
			prove := name != "run-queue-latency" || own && os.Getenv("KGENT_SOAK") != ""
			t.Logf("%s: %s", name, k.on(t, r, known, prove, own))
		}
	}
}

// older is this kernel's BTF with fields, records and tracepoints as they were.
func older(t *testing.T) []byte {
	t.Helper()
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var types []btf.Type
	var long btf.Type
	var disk *btf.Struct
	for typ, err := range spec.All() {
		if err != nil {
			t.Fatal(err)
		}
		if typ, ok := typ.(*btf.Int); ok && typ.Name == "long int" {
			long = typ
		}
		if typ, ok := typ.(*btf.Struct); ok && typ.Name == "gendisk" {
			disk = typ
		}
		types = append(types, typ)
	}
	changes := 0
	for _, typ := range types {
		switch typ := typ.(type) {
		case *btf.Typedef: // tracepoints that there were not
			if typ.Name == "btf_trace_cap_capable" || typ.Name == "btf_trace_block_io_start" {
				typ.Name = "later_" + typ.Name
				changes++
			}
		case *btf.Struct:
			switch typ.Name {
			case "trace_event_raw_mark_victim": // it had no more than the process id
				typ.Members = typ.Members[:2]
				changes++
			case "task_struct": // what lies where half of the state was
				typ.Members = slices.DeleteFunc(typ.Members, func(m btf.Member) bool { return m.Name == "saved_state" })
			case "request_queue":
				typ.Members = slices.DeleteFunc(typ.Members, func(m btf.Member) bool { return m.Name == "disk" })
				changes++
			}
			for i := range typ.Members {
				m := &typ.Members[i]
				switch {
				case typ.Name == "task_struct" && m.Name == "__state":
					m.Name, m.Type = "state", &btf.Volatile{Type: long}
					changes++
				case typ.Name == "request" && m.Name == "part": // a pointer as well
					m.Name, m.Type = "rq_disk", &btf.Pointer{Target: disk}
					changes++
				}
			}
		}
	}
	if changes != 6 {
		t.Skipf("this kernel is itself older, or newer than what is known here: %d of 6 changes apply", changes)
	}
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
