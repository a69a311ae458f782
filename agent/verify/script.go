package verify

import (
	"errors"
	"fmt"

	"kgent/agent/program"
	"kgent/agent/program/bpftrace"
	"kgent/agent/verify/proof"
	"kgent/agent/verify/symbolic"
	"kgent/retrieval/kernel"
)

// scriptForm says what the outputs of a script are, from its text and the release of
// bpftrace that made the object. A script is read again: the manifest alone is not
// believed.
func scriptForm(describe recordOf, o *program.Object, m *program.Manifest) (*program.Form, error) {
	s, err := bpftrace.Parse([]byte(m.Script.Text))
	if err != nil {
		return nil, err
	}
	by, err := bpftrace.ParseVersion(m.Script.By)
	if err != nil {
		return nil, err
	}
	return s.Form(o, by, func(category, name string) ([]bpftrace.Field, bool) {
		if describe == nil {
			return nil, false
		}
		list, ok := describe(category, name)
		out := make([]bpftrace.Field, len(list))
		for i, f := range list {
			text := f.Array && (f.Type == "char" || f.Type == "const char")
			out[i] = bpftrace.Field{Name: f.Name, Size: int(f.Size), Text: text, DataLoc: f.DataLoc, Elements: f.Array && !text}
		}
		return out, ok
	})
}

// recordOf describes the record of a tracepoint, as [symbolic.Kernel.Format] does.
type recordOf = func(category, name string) ([]symbolic.Field, bool)

// ScriptForm says what the outputs of a script are on a kernel. The error is a
// *[bpftrace.UnmappedError] when it cannot be held against any contract.
func ScriptForm(k *kernel.Facts, o *program.Object, m *program.Manifest) (*program.Form, error) {
	return scriptForm(func(category, name string) ([]symbolic.Field, bool) { return format(k, category, name) }, o, m)
}

// unmappedReport is UNKNOWN for a script that cannot be held against any contract, with
// what is in the way.
func unmappedReport(err error) (*proof.Report, error) {
	if bad := (*bpftrace.UnmappedError)(nil); errors.As(err, &bad) {
		return &proof.Report{Reasons: []string{fmt.Sprintf("the script cannot be held against a contract: %v", bad)}}, nil
	}
	return nil, fmt.Errorf("reading what the script shows: %w", err)
}
