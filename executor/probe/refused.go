package probe

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"kgent/agent/program"
)

// LoadError says why the kernel did not take a program or a map.
type LoadError struct {
	// Program is the refused program, Map the refused map; at most one is set.
	Program, Map string
	// Reason says in words what is wrong, and what to do.
	Reason string
	// Source is the place in the C source that the kernel objects to, as far as
	// the object's line information tells.
	Source *SourceLine
	// Log is the end of the verifier's log: the last instruction it looked at,
	// and what it said. Empty when the verifier was never asked.
	Log []string
	// Err is the kernel's error.
	Err error
}

// SourceLine is a line of a program's source.
type SourceLine struct {
	File string // without its folder
	Line int    // from 1
	Text string
}

func (e *LoadError) Error() string {
	var b strings.Builder
	switch {
	case e.Program != "":
		fmt.Fprintf(&b, "loading program %s: %s", e.Program, e.Reason)
	case e.Map != "":
		fmt.Fprintf(&b, "creating map %s: %s", e.Map, e.Reason)
	default:
		fmt.Fprintf(&b, "loading the programs: %s", e.Reason)
	}
	if e.Source != nil {
		fmt.Fprintf(&b, " (%s:%d: %s)", e.Source.File, e.Source.Line, e.Source.Text)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return printable(b.String())
}

func (e *LoadError) Unwrap() error { return e.Err }

// explainLoad turns the library's error into a LoadError.
func (h host) explainLoad(ctx context.Context, err error, spec *ebpf.CollectionSpec, m *program.Manifest) error {
	e := &LoadError{Err: err}
	for _, p := range m.Programs {
		if strings.HasPrefix(err.Error(), "program "+p.Name+": ") {
			e.Program = p.Name
			var verifier *ebpf.VerifierError
			if errors.As(err, &verifier) && len(meaningful(verifier.Log)) > 0 {
				e.explainVerifier(verifier, spec.Programs[p.Name], spec.Types)
			} else {
				h.explainProgram(ctx, e, spec.Programs[p.Name], p.Hook)
			}
			return e
		}
	}
	for name, ms := range spec.Maps {
		if strings.HasPrefix(err.Error(), "map "+name+": ") {
			e.Map = name
			h.explainMap(ctx, e, ms)
			return e
		}
	}
	e.Reason = "the kernel refused them"
	return e
}

// explainProgram explains an error that came before the verifier looked at a
// single instruction.
func (h host) explainProgram(ctx context.Context, e *LoadError, p *ebpf.ProgramSpec, hook program.Hook) {
	err := e.Err
	e.Err = errno(err)
	switch {
	case forbidden(err):
		facts, _ := h.facts(ctx) // only the suspects would be lost
		e.Reason = fmt.Sprintf("this host forbids %s programs altogether%s; use another kind of hook, or another host", hook.Kind, suspects(facts, hook.Kind))
	case errors.Is(err, unix.E2BIG):
		e.Reason = fmt.Sprintf("it is too large for this kernel (%d instructions)", len(p.Instructions))
	case errors.Is(err, unix.EINVAL):
		e.Reason = fmt.Sprintf("this kernel (%s) does not know %s programs of this form; they need a newer one", release(), hook.Kind)
	case errors.Is(err, unix.ENOMEM):
		e.Reason = "the kernel has no memory for it"
	default:
		var r *refusal
		errors.As(h.explain(ctx, hook, err), &r)
		e.Reason, e.Err = r.reason, r.err
	}
}

func (e *LoadError) explainVerifier(v *ebpf.VerifierError, p *ebpf.ProgramSpec, types *btf.Spec) {
	e.Log = meaningful(v.Log)
	e.Source = sourceOf(v, p)
	said := e.Log[len(e.Log)-1]
	e.Err = errno(v.Cause)
	switch {
	case poisoned(v):
		e.Reason = "it uses " + absent(v.Log, p, types) + " that this kernel does not have"
		e.Log = nil // of the instruction put in its place; it misleads
	case errors.Is(v.Cause, unix.E2BIG):
		e.Reason = "it is too complex for the verifier: " + said
	default:
		e.Reason = "the verifier refused it: " + said
	}
}

// errno reduces the library's chain to the kernel's own error: what surrounds
// it is advice that does not fit here.
func errno(err error) error {
	var no unix.Errno
	if errors.As(err, &no) {
		return no
	}
	return err
}

var (
	logInsn   = regexp.MustCompile(`^\d+: \([0-9a-f]{2}\) `)
	logNoise  = regexp.MustCompile(`^(processed \d+ insns|verification time |stack depth |mark_precise: |from \d+ to \d+|max_states_per_insn|func#\d+ @)`)
	logRegs   = regexp.MustCompile(`^(\d+: )?R\d+(_w)?=`)
	maxLogged = 4

	logProcessed = regexp.MustCompile(`^processed (\d+) insns`)
)

// meaningful returns the end of a verifier log: the last instruction and what
// follows it, without states and statistics, at most four lines.
func meaningful(log []string) []string {
	var out []string
	for _, line := range log {
		line = strings.TrimSpace(line)
		if len(line) > 300 {
			line = line[:300] + "…"
		}
		switch {
		case line == "" || line[0] == ';' || logNoise.MatchString(line) || logRegs.MatchString(line):
		case logInsn.MatchString(line):
			// The register states stand behind the instruction.
			line, _, _ = strings.Cut(line, " ; R")
			out = append(out[:0], printable(strings.TrimSpace(line)))
		default:
			out = append(out, printable(line))
		}
	}
	if len(out) > maxLogged {
		out = append(out[:1], out[len(out)-maxLogged+1:]...)
	}
	return out
}

// worthTracing reports whether the verifier refused a program after so few
// instructions that a log of all of them is cheap.
func worthTracing(err error) bool {
	var v *ebpf.VerifierError
	if !errors.As(err, &v) {
		return false
	}
	const cheap = 20_000
	for _, line := range v.Log {
		if m := logProcessed.FindStringSubmatch(line); m != nil {
			n, err := strconv.Atoi(m[1])
			return err == nil && n <= cheap
		}
	}
	return false
}

// poisoned reports whether the verifier met an instruction that stands for
// something the kernel's type information lacks.
func poisoned(v *ebpf.VerifierError) bool { return strings.Contains(v.Cause.Error(), "CO-RE") }

// lastInsn returns the offset of the last instruction in the log.
func lastInsn(log []string) (asm.RawInstructionOffset, bool) {
	for _, line := range slices.Backward(log) {
		if logInsn.MatchString(line) {
			n, _, _ := strings.Cut(line, ":")
			offset, err := strconv.ParseUint(n, 10, 32)
			return asm.RawInstructionOffset(offset), err == nil
		}
	}
	return 0, false
}

// sourceOf finds the source line of the last instruction in the log.
func sourceOf(v *ebpf.VerifierError, p *ebpf.ProgramSpec) *SourceLine {
	last, ok := lastInsn(v.Log)
	if !ok {
		return nil
	}
	// Line information stands at the first instruction of each line. clang
	// puts the offset of a field before the line that uses it.
	var at *btf.Line
	it := p.Instructions.Iterate()
	for it.Next() {
		if it.Offset > last && (!poisoned(v) || at != nil) {
			break
		}
		if poisoned(v) && it.Offset < last {
			continue
		}
		if l, ok := it.Ins.Source().(*btf.Line); ok {
			at = l
		}
	}
	if at == nil || at.LineNumber() == 0 {
		return nil
	}
	return &SourceLine{
		File: printable(path.Base(at.FileName())),
		Line: int(at.LineNumber()),
		Text: printable(strings.TrimSpace(at.Line())),
	}
}

// absent names what the last instruction in the log stands for.
func absent(log []string, p *ebpf.ProgramSpec, types *btf.Spec) string {
	const unknown = "a kernel type, field or enumerator"
	last, ok := lastInsn(log)
	if !ok {
		return unknown
	}
	it := p.Instructions.Iterate()
	for it.Next() {
		if it.Offset == last {
			if what, ok := program.Relocated(btf.CORERelocationMetadata(it.Ins), types); ok {
				return what
			}
		}
	}
	return unknown
}

func (h host) explainMap(ctx context.Context, e *LoadError, m *ebpf.MapSpec) {
	err := errno(e.Err)
	e.Err = err
	switch err {
	case unix.EPERM:
		facts, _ := h.facts(ctx) // only the suspects would be lost
		e.Reason = "this host forbids creating it" + suspects(facts, "")
	case unix.ENOMEM:
		e.Reason = fmt.Sprintf("the kernel has no memory for a %s of %d entries; ask for fewer", m.Type, m.MaxEntries)
	case unix.EINVAL:
		e.Reason = fmt.Sprintf("this kernel (%s) does not know maps of type %s in this form", release(), m.Type)
		if m.Type == ebpf.RingBuf {
			e.Reason = fmt.Sprintf("the program hands over events in ring buffers, which need Linux 5.8, and this kernel (%s) has none: have it prepared anew for this node, so that perf buffers take their place", release())
		}
	case unix.E2BIG:
		e.Reason = fmt.Sprintf("a %s of %d entries is larger than this kernel allows; ask for fewer", m.Type, m.MaxEntries)
	default:
		e.Reason = "the kernel refused it"
	}
}

// release is the kernel's version as uname gives it.
func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "of unknown version"
	}
	return printable(unix.ByteSliceToString(u.Release[:]))
}

// printable escapes what must not reach a terminal: names and log lines come
// out of an object file.
func printable(s string) string {
	q := strconv.Quote(s)
	q = q[1 : len(q)-1]
	q = strings.ReplaceAll(q, `\"`, `"`)
	return strings.ReplaceAll(q, `\\`, `\`)
}
