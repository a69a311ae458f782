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
func (a *Agent) hookLine(k *kernel.Facts, h kernel.Hook) (string, error) {
	switch {
	case h.Kind == kernel.KindTracepoint:
	case strings.HasPrefix(h.Signature, h.Target+"("):
		return h.Kind + "/" + h.Signature, nil
	default:
		return h.Kind + "/" + h.Target + ": " + h.Signature, nil
	}
	category, name, _ := strings.Cut(h.Target, ":")
	t, err := k.Tracepoint(category, name)
	if err != nil {
		return "", fmt.Errorf("describing %s: %w", h, err)
	}
	var fields []kernel.TracepointField
	for _, f := range t.Fields {
		if !f.Common() {
			fields = append(fields, f)
		}
	}
	ctx, members, err := a.context(k, category, name, fields)
	if err != nil {
		return "", fmt.Errorf("describing %s: %w", h, err)
	}
	return fmt.Sprintf("tp/%s/%s, %s: %s", category, name, ctx, strings.Join(members, "; ")), nil
}

// context is the type of a tracepoint's ctx, and what to call its members.
func (a *Agent) context(k *kernel.Facts, category, name string, fields []kernel.TracepointField) (ctx string, members []string, err error) {
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
	record, err := a.recordType(k, name, fields)
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
func (a *Agent) recordType(k *kernel.Facts, name string, fields []kernel.TracepointField) (string, error) {
	const prefix = "trace_event_raw_"
	known := a.Records
	if known == nil {
		known = &a.records
	}
	records, err := known.of(k)
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

// Records are the types of tracepoint records, by name, of each kernel by the
// hash of its BTF. All types of a kernel have to be looked at, which takes some
// tenths of a second, so it is done once; agents may share one. The zero value
// is empty.
type Records struct {
	mu      sync.Mutex
	kernels map[string]map[string]*btf.Struct
}

// maxKernels is how many kernels are remembered: more than a fleet has at a time.
const maxKernels = 16

func (r *Records) of(k *kernel.Facts) (map[string]*btf.Struct, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if types, ok := r.kernels[k.BTFHash]; ok {
		return types, nil
	}
	types := map[string]*btf.Struct{}
	for t, err := range k.BTF.Copy().All() { // a copy: what is decoded on the way is not kept
		if err != nil {
			return nil, fmt.Errorf("reading the kernel's types: %w", err)
		}
		if s, ok := t.(*btf.Struct); ok && strings.HasPrefix(s.Name, recordPrefix) {
			types[s.Name] = &btf.Struct{Name: s.Name, Size: s.Size, Members: s.Members}
		}
	}
	if r.kernels == nil || len(r.kernels) >= maxKernels {
		r.kernels = map[string]map[string]*btf.Struct{}
	}
	r.kernels[k.BTFHash] = types
	return types, nil
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
