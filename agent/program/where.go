package program

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// WhereMap is the map by which a program asks whether the current task is in one of the
// containers that the run is narrowed to: control groups (BPF_MAP_TYPE_CGROUP_ARRAY), which the
// node fills in for [Manifest.Where]. No program can change such a map. kgent.bpf.h has it
// as KGENT_WHERE.
const WhereMap = NodePrefix + "where"

// maxWhere bounds how many control groups a program can be narrowed to, and so how long it takes to ask.
const maxWhere = 64

// longestWhere is how long a name of containers may be, in bytes.
const longestWhere = 256

// CheckWhere tells whether a text names containers in a form that nodes know:
//
//	container:NAME, container:ID, container:NAMESPACE/POD/NAME
//	pod:NAME, pod:NAMESPACE/NAME
//	label:KEY=VALUE
//	/PATH of a control group, below the mount of cgroup v2
func CheckWhere(where string) error {
	form, name, ok := strings.Cut(where, ":")
	switch {
	case len(where) > longestWhere || strings.ContainsFunc(where, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Errorf("%q is no name of containers: want at most %d characters without spaces", where, longestWhere)
	case strings.HasPrefix(where, "/") && path.Clean(where) == where && where != "/":
		return nil
	case ok && name != "" && (form == "container" || form == "pod" || form == "label" && strings.Index(name, "=") > 0):
		return nil
	}
	return fmt.Errorf("%q names no containers: write container:NAME, pod:NAME, pod:NAMESPACE/NAME, label:KEY=VALUE, or the path of a control group", where)
}

// WhereWords is a place as people say it: "pod shop/web-1".
func WhereWords(where string) string {
	switch form, name, _ := strings.Cut(where, ":"); form {
	case "container", "pod":
		return form + " " + name
	case "label":
		return "containers with the label " + name
	}
	return "cgroup " + where
}

// checkWhere holds what a program is narrowed to against whether it can be.
func (m *Manifest) checkWhere(o *Object) error {
	s := o.spec.Maps[WhereMap]
	switch {
	case s == nil && m.Where == "":
		return nil
	case s == nil:
		return fmt.Errorf("manifest: the program does not ask in which container a task is, so it cannot be narrowed to %s", m.Where)
	case s.Type != ebpf.CGroupArray || s.MaxEntries < 1 || s.MaxEntries > maxWhere:
		return fmt.Errorf("map %s: want a BPF_MAP_TYPE_CGROUP_ARRAY of 1 to %d entries, as KGENT_WHERE in kgent.bpf.h defines it", WhereMap, maxWhere)
	case slices.ContainsFunc(m.Maps, func(x Map) bool { return x.Name == WhereMap && x.MaxEntries != s.MaxEntries }):
		return fmt.Errorf("manifest: map %s: want %d entries, as the object has", WhereMap, s.MaxEntries)
	case m.Where == "":
		return fmt.Errorf("the program shows only what happens in the containers that a run is narrowed to, and this one names none: say which, such as %q", "in container web")
	}
	if err := CheckWhere(m.Where); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	return nil
}
