package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"

	"kgent/retrieval/kernel"
)

// hookLine says how a program is attached to a hook and what it sees there, in
// the words a program has to use: the SEC, the type of ctx, its members.
func (a *Agent) hookLine(h kernel.Hook) (string, error) {
	switch {
	case h.Kind == kernel.KindTracepoint:
	case strings.HasPrefix(h.Signature, h.Target+"("):
		return h.Kind + "/" + h.Signature, nil
	default:
		return h.Kind + "/" + h.Target + ": " + h.Signature, nil
	}
	category, name, _ := strings.Cut(h.Target, ":")
	t, err := a.Target.Facts.Tracepoint(category, name)
	if err != nil {
		return "", fmt.Errorf("describing %s: %w", h, err)
	}
	var fields []kernel.TracepointField
	for _, f := range t.Fields {
		if !f.Common() {
			fields = append(fields, f)
		}
	}
	ctx, members, err := a.context(category, name, fields)
	if err != nil {
		return "", fmt.Errorf("describing %s: %w", h, err)
	}
	return fmt.Sprintf("tp/%s/%s, %s: %s", category, name, ctx, strings.Join(members, "; ")), nil
}

// context is the type of a tracepoint's ctx, and what to call its members.
func (a *Agent) context(category, name string, fields []kernel.TracepointField) (ctx string, members []string, err error) {
	if category == "syscalls" {
		if strings.HasPrefix(name, "sys_exit_") {
			return "struct trace_event_raw_sys_exit *ctx", []string{"long ret"}, nil
		}
		for i, f := range fields[min(1, len(fields)):] { // after the call's number
			members = append(members, fmt.Sprintf("args[%d] is %s", i, f))
		}
		return "struct trace_event_raw_sys_enter *ctx", members, nil
	}
	for _, f := range fields {
		if f.DataLoc {
			f.Name = "__data_loc_" + f.Name
		}
		members = append(members, f.String())
	}
	record, err := a.recordType(name, fields)
	if err != nil {
		return "", nil, err
	}
	if record == "" {
		return "void *ctx (its record has no type here)", members, nil
	}
	return "struct " + record + " *ctx", members, nil
}

// recordType finds the struct of a tracepoint's record. It has the
// tracepoint's own name, or that of the class of events which the tracepoint
// belongs to; tracefs does not say which, so a class of the same members at
// the same offsets is taken. Empty when there is none.
func (a *Agent) recordType(name string, fields []kernel.TracepointField) (string, error) {
	const prefix = "trace_event_raw_"
	records, err := a.records.of(a.Target.Facts.BTF)
	if err != nil {
		return "", err
	}
	if _, ok := records[recordPrefix+name]; ok {
		return recordPrefix + name, nil
	}
	for _, class := range slices.Sorted(maps.Keys(records)) {
		if sameRecord(records[class], fields) {
			return class, nil
		}
	}
	return "", nil
}

const recordPrefix = "trace_event_raw_"

// records are the types of a kernel's tracepoint records, by name. All types
// have to be looked at, which takes some tenths of a second, so it is done once.
type records struct {
	once  sync.Once
	types map[string]*btf.Struct
	err   error
}

func (r *records) of(spec *btf.Spec) (map[string]*btf.Struct, error) {
	r.once.Do(func() {
		r.types = map[string]*btf.Struct{}
		for t, err := range spec.Copy().All() { // a copy: what is decoded on the way is not kept
			if err != nil {
				r.err = fmt.Errorf("reading the kernel's types: %w", err)
				return
			}
			if s, ok := t.(*btf.Struct); ok && strings.HasPrefix(s.Name, recordPrefix) {
				r.types[s.Name] = &btf.Struct{Name: s.Name, Size: s.Size, Members: s.Members}
			}
		}
	})
	return r.types, r.err
}

// sameRecord reports whether a struct has exactly these fields, between the
// header that all records have and the data of varying length at their end.
func sameRecord(s *btf.Struct, fields []kernel.TracepointField) bool {
	var own []btf.Member
	for _, m := range s.Members {
		if m.Name != "ent" && m.Name != "__data" {
			own = append(own, m)
		}
	}
	return slices.EqualFunc(own, fields, func(m btf.Member, f kernel.TracepointField) bool {
		want := f.Name
		if f.DataLoc {
			want = "__data_loc_" + f.Name
		}
		return m.Name == want && m.Offset.Bytes() == f.Offset
	})
}
