package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/spf13/cobra"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/program/compile"
	"kgent/agent/program/vmlinux"
	"kgent/agent/verify"
	"kgent/agent/verify/compare"
	"kgent/agent/verify/proof"
	"kgent/agent/verify/smt"
	"kgent/executor/render/text"
	"kgent/retrieval/kernel"
)

// Exit codes of kgent verify: they tell verdicts, so that a script can.
const (
	verifyVerified = 0
	verifyRefuted  = 1
	verifyVacuous  = 2
	verifyUnknown  = 3
	verifyInput    = 4
)

// verifyCodes has every verdict. What is not in it is an input error's code.
var verifyCodes = map[proof.Verdict]int{
	proof.Verified: verifyVerified, proof.Refuted: verifyRefuted, proof.Vacuous: verifyVacuous, proof.Unknown: verifyUnknown,
}

// verification is what kgent verify is asked to do.
type verification struct {
	sys      system
	program  string
	contract string
	same     string
	btf      []string
	json     bool
	solver   string
	budget   time.Duration
}

func verifyCommand(sys system) *cobra.Command {
	v := verification{sys: sys}
	cmd := &cobra.Command{
		Use:   "verify PROGRAM.bpf.c|PROGRAM.o [flags]",
		Short: "hold a program against a contract, for all inputs",
		Long: `verify explores every path of a program's bytecode, as a kernel would relocate
it, and holds what it does against a contract. Nothing is loaded or attached.

Without --contract only what needs none is checked: no bytes that were never
written and no kernel addresses in the output, byte order, units, sizes, memory
read by the right helper. That alone never makes a program VERIFIED.

With --same-as, two programs are held against each other: whether they show the
same for the same input, else an input that tells them apart. The exit codes are
then 0 for SAME (the result says for how long sequences of events), 1 for
DIFFERENT and 3 for UNKNOWN.

Exit codes:
  0  VERIFIED  the program keeps the contract, for every input, on every kernel named
  1  REFUTED   there is an input for which it does not; it is printed
  2  VACUOUS   the contract cannot be broken, or a part of it cannot
  3  UNKNOWN   neither could be shown; the reason is printed
  4  the program, the contract or the command line cannot be read`,
		Example: `  kgent verify connects.bpf.c --contract connects.kc
  kgent verify connects.o --contract connects.kc --btf debian-6.1.btf --btf debian-6.12.btf --json
  kgent verify connects.bpf.c --same-as other.bpf.c`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return v.wrong(fmt.Errorf("want one program; got %d arguments", len(args)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			v.program = args[0]
			return v.run(cmd.Context())
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return v.wrong(err) })
	f := cmd.Flags()
	f.StringVar(&v.contract, "contract", "", "the contract; see kgent contract")
	f.StringVar(&v.same, "same-as", "", "another program: whether both show the same, instead of a proof")
	f.StringArrayVar(&v.btf, "btf", nil, "types of a kernel to prove it for, a BTF file or an ELF file that has some; may be repeated (default this kernel)")
	f.BoolVar(&v.json, "json", false, "print a JSON object for each kernel")
	f.StringVar(&v.solver, "solver", "builtin", "what answers the questions: builtin, z3, or both, which must agree")
	f.DurationVar(&v.budget, "budget", proof.Defaults.Time, "how long a proof may take")
	return cmd
}

// wrong says what is wrong with the input, and ends with the code for that.
func (v *verification) wrong(err error) error {
	fmt.Fprintf(v.sys.err, "kgent verify: %s\n", harmless(err))
	return exitError(verifyInput)
}

// refuse is wrong for errors of which the details may have been printed.
func (v *verification) refuse(err error) error {
	var said exitError
	if errors.As(err, &said) {
		return exitError(verifyInput)
	}
	return v.wrong(err)
}

func (v *verification) run(ctx context.Context) error {
	solver, done, err := solverNamed(v.solver, v.budget)
	if err != nil {
		return v.wrong(err)
	}
	defer done()
	if v.budget <= 0 {
		return v.wrong(fmt.Errorf("--budget %v: want more than nothing, such as 10s", v.budget))
	}
	if v.same != "" && v.contract != "" {
		return v.wrong(errors.New("--same-as and --contract: want one of them; hold each program against the contract on its own"))
	}
	var c *contract.Contract
	if v.contract != "" {
		if c, err = readContract(v.sys, v.contract); err != nil {
			return v.refuse(err)
		}
	}
	kernels, types, err := v.kernels(ctx)
	if err != nil {
		return v.wrong(err)
	}
	object, manifest, err := v.read(ctx, v.program, types, c)
	if err != nil {
		return v.wrong(err)
	}
	prover := &verify.Prover{Limits: proof.Limits{Time: v.budget}, Solver: solver}
	if v.same != "" {
		return v.compare(ctx, prover, kernels, types, compare.Program{Name: v.program, Object: object, Manifest: manifest})
	}
	worst := verifyVerified
	for _, k := range kernels {
		r, err := prover.ProveOn(ctx, k, object, manifest, c)
		if err != nil {
			return v.wrong(fmt.Errorf("on %s: %w", k, err))
		}
		if strings.HasSuffix(v.program, ".c") {
			r = r.Named(v.program)
		}
		if err := v.print(k, r); err != nil {
			return err
		}
		worst = graver(worst, verifyCodes[r.Verdict])
	}
	if worst != verifyVerified {
		return exitError(worst)
	}
	return nil
}

// read reads a program, and builds the manifest that it would have.
func (v *verification) read(ctx context.Context, path string, types compile.Types, c *contract.Contract) (*program.Object, *program.Manifest, error) {
	object, err := readProgram(ctx, path, types, v.sys.getenv)
	if err != nil {
		return nil, nil, err
	}
	name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".o"), ".bpf.c")
	// Interface and cgroup are where it would be attached, which no proof is about. To which containers it
	// is narrowed is said by the contract.
	where := "container:any"
	if c != nil {
		where = contract.Where(c)
	}
	manifest, err := program.Build(object, program.Options{Name: "program", Title: name, Interface: "lo", Where: where})
	return object, manifest, err
}

// graver is the code that a run with both verdicts ends with: what is wrong
// comes before what is not known.
func graver(a, b int) int {
	order := []int{verifyVerified, verifyUnknown, verifyVacuous, verifyRefuted}
	for i := len(order) - 1; i >= 0; i-- {
		if a == order[i] || b == order[i] {
			return order[i]
		}
	}
	return verifyUnknown
}

func (v *verification) print(k *verify.ProofKernel, r *proof.Report) error {
	if v.json {
		b, err := json.Marshal(struct {
			Kernel string `json:"kernel"`
			*proof.Report
		}{k.String(), r})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(v.sys.out, "%s\n", b)
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s\n", v.program, k)
	for _, line := range strings.Split(strings.TrimRight(r.Text(), "\n"), "\n") {
		b.WriteString(text.Clean(line) + "\n")
	}
	_, err := io.WriteString(v.sys.out, b.String())
	return err
}

// kernels are those to prove for, and the types that sources are compiled with.
func (v *verification) kernels(ctx context.Context) ([]*verify.ProofKernel, compile.Types, error) {
	if len(v.btf) == 0 {
		facts, err := kernel.Live(ctx)
		if err != nil {
			return nil, nil, err
		}
		k, err := verify.KernelOf(facts)
		return []*verify.ProofKernel{k}, vmlinux.LazyTypes(facts.BTF), err
	}
	var kernels []*verify.ProofKernel
	var types compile.Types
	for _, path := range v.btf {
		spec, hash, err := readBTF(path)
		if err != nil {
			return nil, nil, err
		}
		k, err := verify.KernelOfBTF(filepath.Base(path), hash, spec)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		kernels = append(kernels, k)
		if types == nil {
			if types, err = vmlinux.NewTypes(spec); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return kernels, types, nil
}

// maxBTF is more than the types of any kernel have, in bytes.
const maxBTF = 512 << 20

// readBTF reads the types in a file, raw BTF or an ELF file with it, and the
// SHA-256 of the file, in hexadecimal.
func readBTF(path string) (*btf.Spec, string, error) {
	raw, err := readFile(path, maxBTF)
	if err != nil {
		return nil, "", err
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		return nil, "", fmt.Errorf("%s has no BTF that can be read: %w", path, err)
	}
	return spec, fmt.Sprintf("%x", sha256.Sum256(raw)), nil
}

func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, most)
	}
	return b, nil
}

// readProgram reads an object, or compiles a source.
func readProgram(ctx context.Context, path string, types compile.Types, getenv func(string) string) (*program.Object, error) {
	if !strings.HasSuffix(path, ".c") {
		elf, err := readFile(path, program.MaxELF)
		if err != nil {
			return nil, err
		}
		o, err := program.Parse(elf)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return o, nil
	}
	source, err := readFile(path, program.MaxELF)
	if err != nil {
		return nil, err
	}
	clang, err := compile.Find(ctx, getenv)
	if err != nil {
		return nil, err
	}
	res, err := clang.Compile(ctx, string(source), types)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return program.Parse(res.ELF)
}

// solverNamed returns what makes the solver of a proof, and what ends it.
func solverNamed(name string, budget time.Duration) (func(*smt.Builder) smt.Solver, func(), error) {
	if name == "builtin" {
		return nil, func() {}, nil
	}
	if name != "z3" && name != "both" {
		return nil, nil, fmt.Errorf("--solver %q: want builtin, z3 or both", name)
	}
	path, err := exec.LookPath("z3")
	if err != nil {
		return nil, nil, errors.New("--solver " + name + ": there is no z3 on this machine; run: apt-get install z3")
	}
	z3 := smt.NewProcess(smt.Limits{Time: budget}, path, "-in", "-smt2")
	return func(b *smt.Builder) smt.Solver {
		if name == "z3" {
			return z3
		}
		return smt.CrossCheck(smt.NewBuiltin(b, smt.Limits{}), z3)
	}, func() { z3.Close() }, nil
}
