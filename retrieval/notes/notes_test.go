package notes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cilium/ebpf/btf"

	"kgent/retrieval/kernel"
	"kgent/retrieval/kernel/abi"
)

// Every note says what a reader needs, briefly.
func TestComplete(t *testing.T) {
	seen := map[key]bool{}
	for _, n := range All() {
		t.Run(n.Name, func(t *testing.T) {
			if k := (key{n.Kind, n.Name}); seen[k] {
				t.Errorf("there are two notes on it")
			} else {
				seen[k] = true
			}
			if n.Kind == 0 || n.Fires == "" || n.Rate == 0 || n.Task == 0 || len(n.Sources) == 0 {
				t.Errorf("kind, Fires, Task, Rate or Sources are missing")
			}
			if !n.Task.Means() && n.Whose == "" {
				t.Errorf("why the current task means nothing is missing")
			}
			text := n.Text()
			if strings.Contains(text, "  ") || strings.Contains(text, ": \n") || !utf8.ValidString(text) {
				t.Errorf("malformed:\n%s", text)
			}
			if len(text) > 3000 {
				t.Errorf("%d bytes are too long for a prompt", len(text))
			}
			for _, s := range n.texts() {
				if strings.HasSuffix(s, ".") || strings.HasPrefix(s, " ") || strings.ContainsAny(s, "\n\t") {
					t.Errorf("%q is not in the form of the others", s)
				}
			}
			if n.OwnWhen.Argument != "" && !slices.ContainsFunc(n.Arguments, func(a Argument) bool { return a.Name == n.OwnWhen.Argument }) {
				t.Errorf("OwnWhen names %s, which is no argument", n.OwnWhen.Argument)
			}
		})
	}
}

// texts are all sentences of a note.
func (n *Note) texts() []string {
	list := append([]string{n.Fires, n.Whose, n.Gone}, n.Mistakes...)
	for _, a := range slices.Concat(n.Arguments, n.Record) {
		list = append(list, a.Means)
	}
	for _, l := range n.Lapses {
		list = append(list, l.Why, l.Use)
	}
	for _, v := range n.Versions {
		list = append(list, v.Says)
	}
	return append(list, n.See...)
}

// Names are those of the running kernel.
func TestThisKernel(t *testing.T) {
	_ = kernel.EnsureMounts(context.Background()) // without root there is no tracefs, and less is checked
	f, err := kernel.Live(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	checkKernel(t, f)
}

// And of those whose BTF the directory KGENT_TEST_BTF has, as RELEASE.btf.
func TestOtherKernels(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(os.Getenv("KGENT_TEST_BTF"), "*.btf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		release := strings.TrimSuffix(filepath.Base(file), ".btf")
		t.Run(release, func(t *testing.T) {
			types, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			for path, content := range map[string][]byte{"sys/kernel/btf/vmlinux": types, "proc/sys/kernel/osrelease": []byte(release)} {
				if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(root, path), content, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			f, err := kernel.Sources{Root: root, Arch: "x86_64"}.Facts(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			checkKernel(t, f)
		})
	}
}

func checkKernel(t *testing.T, f *kernel.Facts) {
	checkMembers(t, f)
	for _, n := range All() {
		t.Run(n.Name, func(t *testing.T) {
			exists, params, record, err := look(f, n)
			if err != nil {
				t.Fatal(err)
			}
			if !exists {
				if n.Exists(f.Release) && n.Needs == "" {
					t.Errorf("kernel %s does not have it", f.Release)
				}
				return
			}
			if !n.Exists(f.Release) {
				t.Errorf("kernel %s has it, which the note denies", f.Release)
			}
			checkArguments(t, f.Release, n.Arguments, params)
			checkArguments(t, f.Release, n.Record, record)
			checkLapses(t, f, n, params, record)
		})
	}
}

// Members are in the kernel's types, in the byte order that the types say if they say one.
func checkMembers(t *testing.T, f *kernel.Facts) {
	for _, m := range Members() {
		field, err := f.Field(m.Struct + "." + m.Path)
		switch {
		case !holds(m.Since, m.Until, f.Release):
			if err == nil {
				t.Errorf("kernel %s has %s.%s, which the note denies", f.Release, m.Struct, m.Path)
			}
		case err != nil:
			t.Error(err)
		case field.Order == kernel.OrderBig && m.Order != Network:
			t.Errorf("%s.%s is in network order", m.Struct, m.Path)
		case m.Order == Network && field.Order != kernel.OrderBig && !strings.HasPrefix(m.Struct, "struct __sk_") && !strings.HasPrefix(m.Struct, "struct bpf_"):
			t.Errorf("%s.%s is %s", m.Struct, m.Path, field.TypeName)
		}
		if m.Means == "" {
			t.Errorf("%s.%s: what it means is missing", m.Struct, m.Path)
		}
	}
}

// offer is an argument that the kernel has.
type offer struct {
	typ   btf.Type // nil for fields of records
	ctype string
}

// look finds a hook on a kernel. The maps are nil where the kernel's facts do not
// tell what it hands over.
func look(f *kernel.Facts, n *Note) (exists bool, params, record map[string]offer, err error) {
	missing := func(err error) bool {
		var not *kernel.NotFoundError
		return errors.As(err, &not)
	}
	of := func(list []kernel.Param) map[string]offer {
		m := map[string]offer{}
		for _, p := range list {
			name, _, _ := strings.Cut(p.Name, "__nullable")
			m[name] = offer{p.Type, p.CType()}
		}
		if m[""].ctype != "" {
			return nil // the kernel keeps no names of this one
		}
		return m
	}
	fields := func(category, name string) (map[string]offer, error) {
		tp, err := f.Tracepoint(category, name)
		if errors.Is(err, kernel.ErrNoTracefs) {
			return recordType(f, name)
		} else if err != nil {
			return nil, err
		}
		m := map[string]offer{}
		for _, field := range tp.Fields {
			m[field.Name] = offer{ctype: field.Type}
		}
		return m, nil
	}
	switch n.Kind {
	case Tracepoint:
		category, name, _ := strings.Cut(n.Name, "/")
		raw, err := f.RawTracepoint(name)
		if missing(err) {
			return false, nil, nil, nil
		} else if err != nil {
			return false, nil, nil, err
		}
		record, err := fields(category, name)
		return true, of(raw.Params), record, err
	case Function, LSM:
		name := n.Name
		if n.Kind == LSM {
			name = "bpf_lsm_" + name
		}
		fn, err := f.Function(name)
		if missing(err) {
			return false, nil, nil, nil
		} else if err != nil {
			return false, nil, nil, err
		}
		return true, of(fn.Params()), nil, nil
	case Library, USDT:
		if f.Remote() || f.TracefsMount == "" {
			return n.Exists(f.Release), nil, nil, nil
		}
		err := f.CheckHook(map[Kind]string{Library: kernel.KindUprobe, USDT: kernel.KindUSDT}[n.Kind], n.Name)
		if missing(err) {
			return false, nil, nil, nil
		}
		return err == nil, nil, nil, err
	case Syscall:
		if f.TracefsMount == "" {
			// BTF leaves out functions that the compiler changed.
			known := slices.ContainsFunc([]string{"__x64_sys_", "__do_sys_", "__se_sys_", "__ia32_sys_"}, func(prefix string) bool {
				_, err := f.Function(prefix + n.Name)
				return err == nil
			})
			_, listed := abi.Syscall(n.Name)
			return known || listed && n.Exists(f.Release), nil, nil, nil
		}
		record, err := fields("syscalls", "sys_enter_"+n.Name)
		if missing(err) {
			return false, nil, nil, nil
		}
		return err == nil, record, nil, err
	}
	return attachTypes(f, n), nil, nil, nil
}

// attachTypes tells whether the kernel's list of attach types has what a note is about, as far as the list has it.
func attachTypes(f *kernel.Facts, n *Note) bool {
	want := map[string]string{"xdp": "BPF_XDP", "tcx/ingress": "BPF_TCX_INGRESS", "tcx/egress": "BPF_TCX_EGRESS", "cgroup_skb/ingress": "BPF_CGROUP_INET_INGRESS",
		"cgroup_skb/egress": "BPF_CGROUP_INET_EGRESS", "connect4": "BPF_CGROUP_INET4_CONNECT", "connect6": "BPF_CGROUP_INET6_CONNECT", "bind4": "BPF_CGROUP_INET4_BIND", "bind6": "BPF_CGROUP_INET6_BIND",
		"sendmsg4": "BPF_CGROUP_UDP4_SENDMSG", "sendmsg6": "BPF_CGROUP_UDP6_SENDMSG", "sock_create": "BPF_CGROUP_INET_SOCK_CREATE", "sock_release": "BPF_CGROUP_INET_SOCK_RELEASE"}[n.Name]
	var list *btf.Enum
	if want == "" || f.BTF.TypeByName("bpf_attach_type", &list) != nil {
		return true
	}
	return slices.ContainsFunc(list.Values, func(v btf.EnumValue) bool { return v.Name == want })
}

// recordType reads the fields of a record from the kernel's types; nil if it shares a type with
// others.
func recordType(f *kernel.Facts, name string) (map[string]offer, error) {
	var s *btf.Struct
	if err := f.BTF.TypeByName("trace_event_raw_"+name, &s); err != nil {
		return nil, nil
	}
	m := map[string]offer{}
	for _, member := range s.Members {
		m[strings.TrimPrefix(member.Name, "__data_loc_")] = offer{member.Type, fmt.Sprint(member.Type)}
	}
	return m, nil
}

func checkArguments(t *testing.T, release string, noted []Argument, offers map[string]offer) {
	if offers == nil {
		return
	}
	var names []string
	for name := range offers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, a := range noted {
		o, found := offers[a.Name]
		switch should := holds(a.Since, a.Until, release); {
		case should && !found:
			t.Errorf("kernel %s has no argument %s, but %s", release, a.Name, strings.Join(names, ", "))
		case !should && found:
			t.Errorf("kernel %s has the argument %s, which the note denies", release, a.Name)
		case found && a.Order == Host && strings.Contains(o.ctype, "__be"):
			t.Errorf("%s is %s and not in host order", a.Name, o.ctype)
		case found && a.User && !strings.Contains(o.ctype, "*") && !strings.Contains(o.ctype, "long"):
			t.Errorf("%s is %s and no pointer", a.Name, o.ctype)
		}
	}
}

// checkLapses holds the paths of a note against the kernel's types.
func checkLapses(t *testing.T, f *kernel.Facts, n *Note, params, record map[string]offer) {
	for _, l := range n.Lapses {
		if !holds(l.Since, l.Until, f.Release) {
			continue
		}
		name, path, deep := strings.Cut(l.Member, ".")
		o, found := params[name]
		if !found {
			if _, found = record[name]; params != nil && (record != nil || n.Kind != Tracepoint) && (deep || !found) {
				t.Errorf("%s: there is no argument %s", l.Member, name)
			}
			continue
		}
		if deep {
			if err := follow(f, o.typ, path); err != nil {
				t.Errorf("%s: %v", l.Member, err)
			}
		}
		if a := l.When.Argument; a != "" && params[a].typ == nil && record[a].ctype == "" {
			t.Errorf("%s: there is no argument %s", l.Member, a)
		}
	}
}

// follow walks a path from a pointer on, through pointers on the way.
func follow(f *kernel.Facts, from btf.Type, path string) error {
	pointer, ok := btf.UnderlyingType(from).(*btf.Pointer)
	if !ok {
		return fmt.Errorf("%v is no pointer", from)
	}
	at, ok := btf.UnderlyingType(pointer.Target).(*btf.Struct)
	if !ok {
		return fmt.Errorf("%v leads to no struct", from)
	}
	for {
		field, err := f.Field("struct " + at.Name + "." + path)
		if err == nil {
			_ = field
			return nil
		}
		if !errors.Is(err, kernel.ErrPointer) {
			return err
		}
		// Go on behind the first pointer.
		steps := strings.Split(path, ".")
		for i := 1; ; i++ {
			field, err := f.Field("struct " + at.Name + "." + strings.Join(steps[:i], "."))
			if err != nil {
				return err
			}
			p, ok := btf.UnderlyingType(field.Type).(*btf.Pointer)
			if !ok {
				continue
			}
			if at, ok = btf.UnderlyingType(p.Target).(*btf.Struct); !ok {
				return fmt.Errorf("%s leads to no struct", field.Path)
			}
			path = strings.Join(steps[i:], ".")
			break
		}
	}
}

func TestOf(t *testing.T) {
	for _, tt := range []struct{ kind, target, want string }{
		{"tracepoint", "sched/sched_switch", "sched/sched_switch"},
		{"tracepoint", "sched:sched_switch", "sched/sched_switch"},
		{"tp_btf", "sched_switch", "sched/sched_switch"},
		{"raw_tracepoint", "sched_switch", "sched/sched_switch"},
		{"kprobe", "sched_switch", ""},
		{"tp_btf", "no_such_thing", ""},
		{"tracepoint", "", ""},
		{"", "", ""},
	} {
		name := ""
		if n := Of(tt.kind, tt.target); n != nil {
			name = n.Name
		}
		if name != tt.want {
			t.Errorf("Of(%q, %q) is %q, not %q", tt.kind, tt.target, name, tt.want)
		}
	}
}

func TestHolds(t *testing.T) {
	for _, tt := range []struct {
		since, until, release string
		want                  bool
	}{
		{"", "", "6.1.0", true}, {"6.2", "", "6.1.99-cloud", false}, {"6.1", "", "6.1.0", true}, {"5.16", "", "5.9.1", false},
		{"", "6.1", "6.1.0", false}, {"", "6.1", "5.19.2", true}, {"5.10", "6.1", "6.0-rc1", true}, {"9.9", "", "", true}, {"6.10", "", "6.9", false},
	} {
		if got := holds(tt.since, tt.until, tt.release); got != tt.want {
			t.Errorf("%s in [%s, %s) is %t", tt.release, tt.since, tt.until, got)
		}
	}
}
