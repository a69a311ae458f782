package mutate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"kgent/agent/program"
	"kgent/agent/program/compile"
)

// Class says what became of a mutant. The zero value is none of them.
type Class string

const (
	// Uncompiled mutants are no C: the compiler finds the mistake.
	Uncompiled Class = "does not compile"
	// Unloaded mutants are refused by the kernel's verifier.
	Unloaded Class = "does not load"
	// Same mutants were compiled to what the original was: the mistake makes no
	// difference.
	Same Class = "same bytecode"
	// Repeated mutants were compiled to what an earlier one was.
	Repeated Class = "same bytecode as another"
	// Live mutants are left: it takes a proof to tell them from the original.
	Live Class = "to be judged"
)

// Classes are all of them, in the order in which a mutant is asked.
var Classes = []Class{Uncompiled, Unloaded, Same, Repeated, Live}

// Outcome is what became of one mutant.
type Outcome struct {
	// Name is the mutant's, see [Mutant.String].
	Name     string
	Operator string
	Level    Level
	Line     int // 0: not known, or of a header
	Class    Class
	// Why is what the compiler or the kernel said, of those it refused; of
	// Repeated ones, the name of the other.
	Why string
	// ELF is the object of a source mutant, nil when it did not compile. Spec
	// is what would be loaded, of either level; it is shared by no other
	// outcome.
	ELF  []byte
	Spec *ebpf.CollectionSpec
}

// Compiler compiles C for the kernel's types: see [compile.Compiler].
type Compiler func(ctx context.Context, source string) (elf []byte, err error)

// Loader has a kernel's verifier look at programs, without attaching them. It
// may change the specification. An error is a refusal, unless it wraps
// [program.ErrUntried].
type Loader func(ctx context.Context, spec *ebpf.CollectionSpec) error

// Judge sorts mutants.
type Judge struct {
	Compile Compiler
	// Load may be nil: then nothing is Unloaded.
	Load Loader
	// Workers is how many mutants are worked on at once; 0 is the number of
	// processors.
	Workers int
}

// Source compiles all mutants of a source, and sorts them. It gives one outcome
// for each, in their order. The error says that something is wrong with the
// original, the compiler or the kernel, never with a mutant.
func (j Judge) Source(ctx context.Context, source string, mutants []Mutant) ([]Outcome, error) {
	elf, err := j.Compile(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("compiling the original: %w", err)
	}
	original, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		return nil, fmt.Errorf("reading the original: %w", err)
	}
	out := make([]Outcome, len(mutants))
	prints := make([][32]byte, len(mutants))
	err = j.each(ctx, len(mutants), func(ctx context.Context, i int) error {
		m := mutants[i]
		out[i] = Outcome{Name: m.String(), Operator: m.Operator, Level: Source, Line: m.Line}
		return j.source(ctx, m, &out[i], &prints[i])
	})
	if err != nil {
		return nil, err
	}
	settle(Fingerprint(original), prints, out)
	return out, j.Ask(ctx, out)
}

// source compiles one mutant. Class is set only when that fails.
func (j Judge) source(ctx context.Context, m Mutant, o *Outcome, print *[32]byte) error {
	elf, err := j.Compile(ctx, m.Source)
	var fault *compile.Error
	switch {
	case errors.As(err, &fault):
		o.Class, o.Why = Uncompiled, fault.Error()
		return nil
	case err != nil:
		return fmt.Errorf("compiling mutant %s: %w", m, err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		// Such as a section that names no program type.
		o.Class, o.Why = Unloaded, err.Error()
		return nil
	}
	o.ELF, o.Spec, *print = elf, spec, Fingerprint(spec)
	return nil
}

// Bytecode makes all variants of all programs of an object, and sorts them.
func (j Judge) Bytecode(ctx context.Context, elf []byte) ([]Outcome, error) {
	out, err := Variants(elf)
	if err != nil {
		return nil, err
	}
	return out, j.Ask(ctx, out)
}

// Variants makes all variants of all programs of an object. Those that no kernel has
// to be asked about have their class; the others get it of [Judge.Ask].
func Variants(elf []byte) ([]Outcome, error) {
	original, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		return nil, fmt.Errorf("reading the original: %w", err)
	}
	var out []Outcome
	var prints [][32]byte
	for _, name := range slices.Sorted(maps.Keys(original.Programs)) {
		for _, v := range Mutate(original.Programs[name]) {
			spec := original.Copy()
			spec.Programs[name] = v.Program
			out = append(out, Outcome{Name: name + " " + v.String(), Operator: v.Operator, Level: Bytecode, Line: v.Line, Spec: spec})
			prints = append(prints, Fingerprint(spec))
		}
	}
	settle(Fingerprint(original), prints, out)
	return out, nil
}

// settle finds the mutants that make no difference, or none to another.
func settle(original [32]byte, prints [][32]byte, out []Outcome) {
	first := map[[32]byte]string{}
	for i := range out {
		o := &out[i]
		if o.Class != "" {
			continue
		}
		other, known := first[prints[i]]
		switch {
		case prints[i] == original:
			o.Class = Same
		case known:
			o.Class, o.Why = Repeated, other
		default:
			first[prints[i]] = o.Name
		}
	}
}

// Ask asks the kernel about the mutants that have no class yet.
func (j Judge) Ask(ctx context.Context, out []Outcome) error {
	return j.each(ctx, len(out), func(ctx context.Context, i int) error {
		o := &out[i]
		if o.Class != "" {
			return nil
		}
		o.Class = Live
		if j.Load == nil {
			return nil
		}
		switch err := j.Load(ctx, o.Spec.Copy()); {
		case errors.Is(err, program.ErrUntried), err != nil && ctx.Err() != nil:
			return fmt.Errorf("loading mutant %s: %w", o.Name, err)
		case err != nil:
			o.Class, o.Why = Unloaded, err.Error()
		}
		return nil
	})
}

// each calls f for 0 to n-1, several at once, until one fails.
func (j Judge) each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	workers := j.Workers
	if workers <= 0 {
		workers = runtime.NumCPU()
	}
	next := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				if err := f(ctx, i); err != nil {
					stop(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

// Fingerprint is a digest of all in an object that makes a difference to what
// it does: the hooks and instructions of its programs with their relocations,
// the maps with their types and contents.
func Fingerprint(s *ebpf.CollectionSpec) [32]byte {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(s.Programs)) {
		p := s.Programs[name]
		fmt.Fprintf(h, "program %s %s %v %v\n", name, p.SectionName, p.Type, p.Flags)
		for _, ins := range p.Instructions {
			writeInstruction(h, ins)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Maps)) {
		m := s.Maps[name]
		fmt.Fprintf(h, "map %s %v %d %d %d %d %v\n", name, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Flags, m.Tags)
		writeType(h, m.Key, 0)
		writeType(h, m.Value, 0)
		for _, kv := range m.Contents {
			fmt.Fprintf(h, "%v %v\n", kv.Key, kv.Value)
		}
	}
	return [32]byte(h.Sum(nil))
}

// writeInstruction writes an instruction without where it comes from.
func writeInstruction(w io.Writer, ins asm.Instruction) {
	binary.Write(w, binary.LittleEndian, []int64{int64(ins.OpCode), int64(ins.Dst), int64(ins.Src), int64(ins.Offset), ins.Constant})
	fmt.Fprintf(w, "%s %s ", ins.Symbol(), ins.Reference())
	if r := btf.CORERelocationMetadata(&ins); r != nil {
		fmt.Fprintf(w, "%v", r)
	}
	fmt.Fprintln(w)
}

// writeType writes the members of a map's key or value: by them its output is
// read. Deeper than two levels there is nothing that a mutant changes.
func writeType(w io.Writer, t btf.Type, depth int) {
	if t == nil || depth > 2 {
		return
	}
	fmt.Fprintf(w, "%T %s ", t, t.TypeName())
	s, ok := btf.UnderlyingType(t).(*btf.Struct)
	if !ok {
		return
	}
	for _, m := range s.Members {
		fmt.Fprintf(w, "%s %d %d ", m.Name, m.Offset, m.BitfieldSize)
		writeType(w, m.Type, depth+1)
	}
}
