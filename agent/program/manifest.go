package program

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// ManifestVersion is the version of the manifest format this code writes and
// the only one it reads.
const ManifestVersion = 1

// Bounds of what a manifest may ask for.
const (
	MinRing       = 1 << 20   // bytes; smaller ring buffers are enlarged to this, as are perf buffers, all processors' together
	MaxRing       = 64 << 20  // bytes
	MaxMapEntries = 1_000_000 // of any other map
	MaxTop        = 1000
)

// Manifest is everything the loader needs that the ELF does not say. Together
// with the ELF it is covered by the digest people approve, so it is written
// once (by [Build] and [Manifest.Encode]) and from then on travels as bytes.
type Manifest struct {
	Version int `json:"version"`
	// Name is a short identifier, such as a recipe's name: letters, digits and
	// dashes.
	Name string `json:"name"`
	// Title says in one line what the program shows.
	Title     string     `json:"title"`
	Programs  []Program  `json:"programs"`
	Constants []Constant `json:"constants"`
	// Means says what parameters do, by name, for people who change them. It
	// does not change what is loaded.
	Means map[string]string `json:"means,omitempty"`
	Maps  []Map             `json:"maps"`
	View  View              `json:"view"`
	// Where is the containers or pods that a program with the map [WhereMap] is
	// narrowed to, in one of the forms of [CheckWhere]. The node finds out which
	// control groups that are.
	Where string `json:"where,omitempty"`
	// Script, if set, is what is run; the object is what it was judged by. Version
	// is then [ScriptManifestVersion].
	Script *Script `json:"script,omitempty"`
}

// Program is one program of the object and where it is attached.
type Program struct {
	Name string `json:"name"`
	Hook Hook   `json:"hook"`
}

// Constant is the value of one parameter, as a person would write it; see
// [EncodeValue] for the forms.
type Constant struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Map is the size and role of one map.
type Map struct {
	Name       string `json:"name"`
	Role       Role   `json:"role"`
	MaxEntries uint32 `json:"max_entries"`
}

// View is how the node presents output maps.
type View struct {
	// Top keeps only the N largest rows of a table; 0 shows all.
	Top int `json:"top,omitempty"`
	// Interval between outputs of the maps, each counting since the last one;
	// 0 shows them once, at the end.
	Interval time.Duration `json:"interval_ns,omitempty"`
	// Whole is not part of the manifest: an executor sets it for a run on several
	// nodes. What is read at the end has then the rows beyond Top, too, at most
	// [MaxTop], since sums over nodes are wrong without them.
	Whole bool `json:"-"`
}

// Options are the choices of a request that are not in the ELF.
type Options struct {
	Name, Title string
	// Constants sets parameters by name; the others keep their defaults.
	Constants map[string]string
	// Means says what parameters do, by name.
	Means map[string]string
	// Interface is the target of xdp and tcx programs.
	Interface string
	// Cgroup is the target of cgroup programs, relative to the cgroup2 mount;
	// empty is its root.
	Cgroup string
	// Where is what the map [WhereMap] is filled with, in a program that has it.
	Where string
	// Hz, if not 0, overrides the rate of perf_event programs.
	Hz   int
	View View
	// Script is what the object came of, if [ParseScript] read it.
	Script *Script
}

// Build derives the manifest of an object. It fails with an error that says
// what to change when the object breaks a convention.
func Build(o *Object, opt Options) (*Manifest, error) {
	m := &Manifest{Version: ManifestVersion, Name: opt.Name, Title: opt.Title, View: opt.View, Means: maps.Clone(opt.Means),
		Programs: []Program{}, Constants: []Constant{}, Maps: []Map{}, Script: opt.Script}
	if opt.Script != nil {
		m.Version = ScriptManifestVersion
	}
	for _, p := range o.Programs() {
		h, err := HookOf(p)
		if err != nil {
			return nil, err
		}
		switch {
		case h.Kind.NeedsInterface():
			h.Target = opt.Interface
		case h.Kind.NeedsCgroup():
			h.Target = opt.Cgroup
		case h.Kind == PerfEvent && opt.Hz != 0:
			h.Hz = opt.Hz
		}
		m.Programs = append(m.Programs, Program{Name: p.Name, Hook: h})
	}
	if o.spec.Maps[WhereMap] != nil {
		m.Where = opt.Where
	}
	for _, info := range o.Maps() {
		entries := info.MaxEntries
		if carriesEvents(info.Type) {
			entries = max(entries, MinRing)
		}
		m.Maps = append(m.Maps, Map{Name: info.Name, Role: info.Role, MaxEntries: entries})
	}
	names := make([]string, 0, len(opt.Constants))
	for name := range opt.Constants {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		m.Constants = append(m.Constants, Constant{Name: name, Value: opt.Constants[name]})
	}
	if err := m.Check(o); err != nil {
		return nil, err
	}
	return m, nil
}

// Encode returns the bytes of the manifest that a digest covers.
func (m *Manifest) Encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding manifest: %w", err)
	}
	return b, nil
}

// DecodeManifest reads what [Manifest.Encode] wrote. Unknown fields, trailing
// data and other versions are errors: a node must understand all of what was
// approved.
func DecodeManifest(b []byte) (*Manifest, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var m Manifest
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("decoding manifest: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("decoding manifest: data after its end")
	}
	if m.Version != ManifestVersion && (m.Version != ScriptManifestVersion || m.Script == nil) || m.Version == ManifestVersion && m.Script != nil {
		return nil, fmt.Errorf("decoding manifest: version %d, this kgent reads version %d: use the same release of kgent on both sides", m.Version, ManifestVersion)
	}
	return &m, nil
}

// Check holds a manifest against its object: every program and map of the
// object exactly once, hooks that their sections allow, parameters that exist
// and values that fit.
func (m *Manifest) Check(o *Object) error {
	if !validName(m.Name) {
		return fmt.Errorf("manifest: name %q: want 1 to 64 letters, digits, dashes or underscores", m.Name)
	}
	if m.View.Top < 0 || m.View.Top > MaxTop {
		return fmt.Errorf("manifest: top %d: want 0 to %d", m.View.Top, MaxTop)
	}
	if m.View.Interval != 0 && (m.View.Interval < 100*time.Millisecond || m.View.Interval > time.Hour) {
		return fmt.Errorf("manifest: interval %v: want 100ms to 1h", m.View.Interval)
	}
	if err := m.checkScript(o); err != nil {
		return err
	}
	if err := m.checkPrograms(o); err != nil {
		return err
	}
	if err := m.checkMaps(o); err != nil {
		return err
	}
	if err := m.checkMeans(o); err != nil {
		return err
	}
	if err := m.checkWhere(o); err != nil {
		return err
	}
	return m.checkConstants(o)
}

func (m *Manifest) checkPrograms(o *Object) error {
	programs := o.Programs()
	if len(m.Programs) != len(programs) {
		return fmt.Errorf("manifest: %d programs, the object has %d", len(m.Programs), len(programs))
	}
	for i, p := range programs {
		got := m.Programs[i]
		if got.Name != p.Name {
			return fmt.Errorf("manifest: program %d is %q, the object's is %q", i, got.Name, p.Name)
		}
		want, err := HookOf(p)
		if err != nil {
			return err
		}
		// Only what a section cannot say may differ from it.
		fixed := got.Hook
		switch {
		case want.Kind.NeedsInterface():
			if fixed.Target == "" || len(fixed.Target) > 15 || strings.ContainsAny(fixed.Target, "/ \t\n\x00") {
				return fmt.Errorf("manifest: program %s: %q is no network interface: name one, such as \"on eth0\"", p.Name, fixed.Target)
			}
			fixed.Target = ""
		case want.Kind.NeedsCgroup():
			if slices.Contains(strings.Split(fixed.Target, "/"), "..") {
				return fmt.Errorf("manifest: program %s: cgroup %q leaves the cgroup tree", p.Name, fixed.Target)
			}
			fixed.Target = ""
		case want.Kind == PerfEvent:
			if fixed.Hz < 1 || fixed.Hz > 10_000 {
				return fmt.Errorf("manifest: program %s: %d samples a second: want 1 to 10000", p.Name, fixed.Hz)
			}
			fixed.Hz = want.Hz
		}
		if fixed != want {
			return fmt.Errorf("manifest: program %s: hook %s is not the object's %s", p.Name, got.Hook, want)
		}
	}
	return nil
}

// mapTypes are those that hold a program's own data. What is missing holds
// things of the kernel, and some of those are changed by being in a map: a
// socket in a sockmap gets other operations.
var mapTypes = []ebpf.MapType{
	ebpf.Hash, ebpf.Array, ebpf.PerCPUHash, ebpf.PerCPUArray, ebpf.LRUHash, ebpf.LRUCPUHash, ebpf.LPMTrie, ebpf.Queue, ebpf.Stack,
	ebpf.BloomFilter, ebpf.StackTrace, ebpf.RingBuf, ebpf.UserRingbuf, ebpf.ProgramArray, ebpf.ArrayOfMaps, ebpf.HashOfMaps,
	ebpf.CGroupStorage, ebpf.PerCPUCGroupStorage, ebpf.SkStorage, ebpf.InodeStorage, ebpf.TaskStorage, ebpf.CgroupStorage, ebpf.Arena,
}

func (m *Manifest) checkMaps(o *Object) error {
	infos := o.Maps()
	if len(m.Maps) != len(infos) {
		return fmt.Errorf("manifest: %d maps, the object has %d", len(m.Maps), len(infos))
	}
	for i, info := range infos {
		got := m.Maps[i]
		if got.Name != info.Name || got.Role != info.Role {
			return fmt.Errorf("manifest: map %d is %s (%s), the object's is %s (%s)", i, got.Name, got.Role, info.Name, info.Role)
		}
		types := []ebpf.MapType{info.Type}
		if inner := o.spec.Maps[info.Name].InnerMap; inner != nil {
			types = append(types, inner.Type)
		}
		for _, t := range types {
			switch {
			case isPerf(t) && info.Type == t && o.PerfBuffers(): // what kgent.bpf.h makes of ring buffers
			case isPerf(t):
				return fmt.Errorf("map %s: perf buffers are not read by kgent but in the place of ring buffers; use a BPF_MAP_TYPE_RINGBUF with __type(value, struct …)", info.Name)
			case t == ebpf.CGroupArray && info.Name == WhereMap && info.Type == t: // see checkWhere
			case !slices.Contains(mapTypes, t):
				return fmt.Errorf("map %s: kgent loads no %s maps: they hold more than the program's own data", info.Name, t)
			}
		}
		switch {
		case carriesEvents(info.Type):
			if got.MaxEntries < MinRing || got.MaxEntries > MaxRing || got.MaxEntries&(got.MaxEntries-1) != 0 {
				return fmt.Errorf("manifest: ring buffer %s: %d bytes: want a power of two from %d to %d", info.Name, got.MaxEntries, MinRing, MaxRing)
			}
			if info.Role != RoleEvents {
				return fmt.Errorf("map %s: a ring buffer needs __type(value, struct …) so that its events can be shown", info.Name)
			}
		case info.Name == RecordsMap && got.MaxEntries != info.MaxEntries:
			return fmt.Errorf("manifest: map %s: %d entries, want one for each buffer: %d", info.Name, got.MaxEntries, info.MaxEntries)
		case got.MaxEntries > MaxMapEntries:
			return fmt.Errorf("manifest: map %s: %d entries, at most %d", info.Name, got.MaxEntries, MaxMapEntries)
		}
		if info.Role == RoleOutput && (info.Key == nil || info.Value == nil) {
			return fmt.Errorf("map %s: an output map needs __type(key, …) and __type(value, …) so that it can be shown", info.Name)
		}
	}
	return nil
}

func (m *Manifest) checkConstants(o *Object) error {
	params := o.Params()
	seen := make(map[string]bool)
	for _, c := range m.Constants {
		i := slices.IndexFunc(params, func(p Param) bool { return p.Name == c.Name })
		if i < 0 {
			names := make([]string, len(params))
			for i, p := range params {
				names[i] = p.Name
			}
			return fmt.Errorf("manifest: the program has no parameter %q; it has: %s", c.Name, orNone(names))
		}
		if seen[c.Name] {
			return fmt.Errorf("manifest: parameter %q is set twice", c.Name)
		}
		seen[c.Name] = true
		if _, err := EncodeValue(params[i].Type, c.Value); err != nil {
			return fmt.Errorf("parameter %s: %w", c.Name, err)
		}
	}
	return nil
}

// Collection returns the specification to load: the object with the
// manifest's sizes and constants. node supplies the parameters whose names
// start with [NodePrefix]; those the program does not have are ignored.
func (o *Object) Collection(m *Manifest, node map[string]string) (*ebpf.CollectionSpec, error) {
	if err := m.Check(o); err != nil {
		return nil, err
	}
	spec := o.spec.Copy()
	for _, mm := range m.Maps {
		s := spec.Maps[mm.Name]
		s.MaxEntries = mm.MaxEntries
		if carriesEvents(s.Type) {
			// The type is for the reader of the output; the kernel wants a
			// ring buffer without key and value.
			s.KeySize, s.ValueSize, s.Key, s.Value = 0, 0, nil, nil
		}
	}
	for _, c := range m.Constants {
		if err := setVariable(spec, c.Name, c.Value); err != nil {
			return nil, err
		}
	}
	for name, value := range node {
		if _, ok := spec.Variables[name]; !ok || !isNodeSupplied(name) {
			continue
		}
		if err := setVariable(spec, name, value); err != nil {
			return nil, err
		}
	}
	return spec, nil
}

func setVariable(spec *ebpf.CollectionSpec, name, value string) error {
	v := spec.Variables[name]
	if v == nil || v.Type == nil {
		return fmt.Errorf("parameter %s: the object does not say its type: compile it with -g", name)
	}
	b, err := EncodeValue(v.Type.Type, value)
	if err != nil {
		return fmt.Errorf("parameter %s: %w", name, err)
	}
	if err := v.Set(b); err != nil {
		return fmt.Errorf("setting parameter %s: %w", name, err)
	}
	return nil
}

// PerfBuffers tells whether the object is one in which perf buffers take the place of ring
// buffers: it has the records that events are put together in, one for each buffer and as large as
// an event of any, and every buffer says what its events are.
func (o *Object) PerfBuffers() bool {
	records := o.spec.Maps[RecordsMap]
	if records == nil || records.Type != ebpf.PerCPUArray || records.KeySize != 4 || records.InnerMap != nil {
		return false
	}
	buffers := uint32(0)
	for _, m := range o.spec.Maps {
		switch {
		case isRing(m.Type):
			return false
		case isPerf(m.Type):
			buffers++
			if m.Value == nil {
				return false
			}
			if size, err := btf.Sizeof(m.Value); err != nil || size == 0 || size > MaxPerfEvent || uint32(size)+recordHead > records.ValueSize {
				return false
			}
		}
	}
	return buffers > 0 && buffers == records.MaxEntries
}

// recordHead is what an element of [RecordsMap] has before the event, in bytes.
const recordHead = 8

// PerfBytes is how much memory each processor's perf buffer has where all of them together
// are to have so many bytes: a power of two, and enough for the largest event.
func PerfBytes(all uint32, cpus int) int {
	const least = 64 << 10
	per := least
	for per*2*max(cpus, 1) <= int(all) {
		per *= 2
	}
	return per
}

// EventType returns the struct that a ring buffer carries.
func (i MapInfo) EventType() (*btf.Struct, bool) {
	if i.Role != RoleEvents {
		return nil, false
	}
	s, ok := btf.UnderlyingType(i.Value).(*btf.Struct)
	return s, ok
}

func validName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, r := range s {
		if !(r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return false
		}
	}
	return true
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
