package agent

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"kgent/agent/contract"
	"kgent/retrieval/kernel"
)

// placeLine says how a contract names a hook and what it may use there, by the
// names that it has to use.
func placeLine(k *kernel.Facts, h kernel.Hook) (line string, structs []string, err error) {
	at := h.Kind + "/" + strings.Replace(h.Target, ":", "/", 1)
	var args []string
	arg := func(name, ctype string) {
		if name != "" {
			args = append(args, name+" ("+ctype+")")
			structs = append(structs, structOf(ctype)...)
		}
	}
	switch h.Kind {
	case kernel.KindTracepoint:
		category, name, _ := strings.Cut(h.Target, ":")
		t, err := k.Tracepoint(category, name)
		if err != nil {
			return "", nil, fmt.Errorf("describing %s: %w", h, err)
		}
		for i, f := range t.Fields {
			switch {
			case f.Common():
			case category == "syscalls" && strings.HasPrefix(name, "sys_exit_"):
				if f.Name == "ret" {
					arg("ret", "s64")
				}
			case category == "syscalls" && f.Name == "__syscall_nr" && i <= 4: // the call's number
			case f.Array:
				arg(f.Name, fieldType(f))
			default:
				arg(f.Name, f.Type)
			}
		}
	case "tp_btf", "raw_tracepoint":
		t, err := k.RawTracepoint(h.Target)
		if err != nil {
			return "", nil, fmt.Errorf("describing %s: %w", h, err)
		}
		for _, p := range t.Params {
			arg(p.Name, p.CType())
		}
	case "kprobe", "fentry", "fexit", "kretprobe", "lsm":
		f, err := k.Function(h.Target)
		if err != nil {
			return "", nil, fmt.Errorf("describing %s: %w", h, err)
		}
		if h.Kind != "kretprobe" {
			for _, p := range f.Proto.Params {
				arg(p.Name, kernel.Param{Name: p.Name, Type: p.Type}.CType())
			}
		}
		if h.Kind == "fexit" || h.Kind == "kretprobe" {
			arg("ret", kernel.Param{Type: f.Proto.Return}.CType())
		}
	default:
		return at + ": " + h.Signature, nil, nil
	}
	if len(args) == 0 {
		return at + ": no arguments", nil, nil
	}
	return at + ": " + strings.Join(args, ", "), structs, nil
}

// fieldType is what a contract makes of an array in a record: of char it is a text.
func fieldType(f kernel.TracepointField) string {
	if strings.Contains(f.Type, "char") && (f.DataLoc || f.Count > 0) {
		return "text"
	}
	return f.Type + " array"
}

// structOf finds the struct that a pointer of C points to.
func structOf(ctype string) []string {
	words := strings.Fields(strings.TrimPrefix(ctype, "const "))
	if len(words) >= 3 && words[0] == "struct" && words[len(words)-1] == "*" {
		return []string{"struct " + words[1]}
	}
	return nil
}

//go:embed prompt/fields.txt
var fieldsText string

// usefulFields are the fields that requests are mostly about, by the struct;
// those that a kernel lacks are left out.
var usefulFields = func() map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(fieldsText) {
		if name, fields, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") {
			out[name] = strings.Fields(fields)
		}
	}
	return out
}()

// fieldLines says what the structs that hooks hand over hold: what is mostly asked
// for, and whatever else a word of the request is the name of.
func fieldLines(k *kernel.Facts, structs []string, text string) ([]string, error) {
	var words []string
	for _, w := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
		if len(w) >= 4 {
			words = append(words, strings.TrimSuffix(w, "s"))
		}
	}
	var lines []string
	var seen []string
	for _, s := range structs {
		if slices.Contains(seen, s) || len(lines) == maxStructs {
			continue
		}
		seen = append(seen, s)
		paths := slices.Clone(usefulFields[s])
		for _, name := range memberNames(k, s) {
			low := strings.ToLower(name)
			if !slices.Contains(paths, name) && slices.ContainsFunc(words, func(w string) bool { return strings.Contains(low, w) }) && len(paths) < maxFields {
				paths = append(paths, name)
			}
		}
		var fields []string
		for _, path := range paths {
			f, err := k.Field(s + "." + path)
			var missing *kernel.NotFoundError
			switch {
			case errors.As(err, &missing), errors.Is(err, kernel.ErrPointer), errors.Is(err, kernel.ErrAmbiguous):
				continue
			case err != nil:
				return nil, fmt.Errorf("describing %s: %w", s, err)
			}
			fields = append(fields, path+" ("+f.TypeName+")")
		}
		if len(fields) > 0 {
			lines = append(lines, s+": "+strings.Join(fields, ", "))
		}
	}
	return lines, nil
}

const (
	maxStructs = 6  // described in a question
	maxFields  = 24 // of one
)

// memberNames are the members of a struct of the kernel itself; none when there is
// no such struct.
func memberNames(k *kernel.Facts, name string) []string {
	var s *btf.Struct
	if k.BTF.TypeByName(strings.TrimPrefix(name, "struct "), &s) != nil {
		return nil
	}
	var names []string
	for _, m := range s.Members {
		if m.Name != "" {
			names = append(names, m.Name)
		}
	}
	return names
}

// withArguments completes the arguments of system calls: they count by position, because not every
// kernel keeps their names, so those before the ones used have to be there too.
func withArguments(c *contract.Contract, k *kernel.Facts) {
	for _, h := range c.Hooks {
		for _, p := range h.Places {
			call, ok := strings.CutPrefix(p.Target, "syscalls/")
			if p.Kind != "tracepoint" || !ok || !strings.HasPrefix(call, "sys_enter_") {
				continue
			}
			if t, err := k.Tracepoint("syscalls", call); err == nil {
				completed(c, p, t.Fields)
			}
		}
	}
}

// completed puts the arguments of one place in order, with those that are skipped. What cannot be
// found stays as it is, for the check to say so.
func completed(c *contract.Contract, p *contract.Place, fields []kernel.TracepointField) {
	fields = slices.DeleteFunc(slices.Clone(fields), func(f kernel.TracepointField) bool { return f.Common() || f.Name == "__syscall_nr" })
	last := -1
	for _, a := range p.Args {
		i := slices.IndexFunc(fields, func(f kernel.TracepointField) bool { return f.Name == a.Name })
		if i < 0 {
			return
		}
		last = max(last, i)
	}
	var out []contract.Arg
	for _, f := range fields[:last+1] {
		i := slices.IndexFunc(p.Args, func(a contract.Arg) bool { return a.Name == f.Name })
		if i >= 0 {
			out = append(out, p.Args[i])
			continue
		}
		a := contract.Arg{Name: f.Name}
		// It is not used, so its name must be in nobody's way.
		taken := func(as string) bool { return as == f.Name }
		if slices.ContainsFunc(c.Params, func(x *contract.Param) bool { return taken(x.Name) }) ||
			slices.ContainsFunc(c.Defines, func(x *contract.Define) bool { return taken(x.Name) }) ||
			slices.ContainsFunc(p.Args, func(x contract.Arg) bool { return taken(x.Local()) }) ||
			slices.ContainsFunc(p.With, func(x contract.Field) bool { return taken(x.Name) }) {
			a.As = "unused_" + f.Name
		}
		out = append(out, a)
	}
	p.Args = out
}
