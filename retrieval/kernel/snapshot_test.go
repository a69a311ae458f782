package kernel

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// liveSnapshot is of the host's facts, taken once.
var liveSnapshot = sync.OnceValues(func() ([]byte, error) {
	f, err := liveFacts()
	if err != nil {
		return nil, err
	}
	return Encode(f)
})

// both returns the host's facts and what is left of them after a journey.
func both(t testing.TB) (here, there *Facts) {
	t.Helper()
	here = host(t)
	blob, err := liveSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	there, err = Decode(blob)
	if err != nil {
		t.Fatal(err)
	}
	return here, there
}

// outcome is an error as text, empty for none.
func outcome(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

var sections = regexp.MustCompile(`SEC\("([^"]+)"\)`)

// recipeHooks are the hooks of all built-in programs, as CheckHook takes them.
func recipeHooks(t *testing.T) [][2]string {
	t.Helper()
	files, err := filepath.Glob("../../agent/recipes/*/program.bpf.c")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d recipes found, %v", len(files), err)
	}
	var hooks [][2]string
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range sections.FindAllStringSubmatch(string(source), -1) {
			kind, target, ok := strings.Cut(m[1], "/")
			switch kind {
			case "license", ".maps":
				continue
			case "tp":
				kind = KindTracepoint
			case "raw_tp":
				kind = KindRawTracepoint
			case "uprobe", "uretprobe":
				target = strings.Replace(target, "/", ":", strings.Count(target, "/"))
			}
			if kind == KindTracepoint {
				target = strings.Replace(target, "/", ":", 1)
			}
			if ok {
				hooks = append(hooks, [2]string{kind, target})
			}
		}
	}
	if len(hooks) < 30 {
		t.Fatalf("%d hooks found in the recipes", len(hooks))
	}
	return hooks
}

// A snapshot answers every question about the kernel as the kernel itself does.
func TestSnapshotAnswersAsTheKernel(t *testing.T) {
	here, there := both(t)
	if !there.Remote() || here.Remote() {
		t.Error("the facts do not know which of them are from a snapshot")
	}
	for name, pair := range map[string][2]any{
		"release": {here.Release, there.Release}, "arch": {here.Arch, there.Arch}, "BTF hash": {here.BTFHash, there.BTFHash},
		"lockdown": {here.Lockdown, there.Lockdown}, "LSMs": {here.LSMs, there.LSMs}, "capabilities": {here.Capabilities, there.Capabilities},
		"paranoid": {here.PerfEventParanoid, there.PerfEventParanoid}, "unprivileged": {here.UnprivilegedBPFDisabled, there.UnprivilegedBPFDisabled},
		"JIT": {here.BPFJIT, there.BPFJIT}, "cgroup mount": {here.CgroupMount, there.CgroupMount}, "tracefs": {here.TracefsMount, there.TracefsMount},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: %v here, %v in the snapshot", name, pair[0], pair[1])
		}
	}

	hooks := recipeHooks(t)
	events, err := here.Tracepoints()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(events); i += 7 {
		hooks = append(hooks, [2]string{KindTracepoint, events[i]})
	}
	raw, err := here.RawTracepoints()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(raw); i += 7 {
		hooks = append(hooks, [2]string{KindTPBTF, raw[i]}, [2]string{KindRawTracepoint, raw[i] + "x"})
	}
	symbols, err := here.symbols()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(symbols.names); i += len(symbols.names) / 8 {
		name := symbols.names[i]
		hooks = append(hooks, [2]string{KindKprobe, name}, [2]string{KindFentry, name}, [2]string{KindFexit, name + "_"}, [2]string{KindFmodRet, name})
	}
	hooks = append(hooks, [][2]string{
		{KindTracepoint, "sched:sched_swich"}, {KindTracepoint, "ftrace:function"}, {KindTracepoint, "../../etc:passwd"}, {KindTracepoint, ""},
		{KindKprobe, "tcp_v4_connect"}, {KindKprobe, "tcp_v4_connect+0x10"}, {KindKretprobe, "vfs_read+4"}, {KindFentry, "vfs_red"}, {KindFmodRet, "security_file_open"},
		{KindPerfEvent, "cpu-clock@99"}, {KindPerfEvent, "cpu-clock@999999999"}, {KindPerfEvent, "cycles"}, {KindPerfEvent, "sycles"},
		{KindIter, "task_file"}, {KindIter, "tasks"}, {KindLSM, "file_open"}, {KindLSM, "file_opened"}, {"kprobes", "x"},
		{KindUprobe, "nothing"}, {KindUSDT, "libc"},
	}...)
	for _, h := range hooks {
		if strings.HasPrefix(h[0], "u") && strings.Contains(h[1], ":") {
			if err := there.CheckHook(h[0], h[1]); !errors.Is(err, ErrOnNode) {
				t.Errorf("%s %s: %v in the snapshot", h[0], h[1], err)
			}
			continue
		}
		if want, got := outcome(here.CheckHook(h[0], h[1])), outcome(there.CheckHook(h[0], h[1])); got != want {
			t.Errorf("%s %s: %q here, %q in the snapshot", h[0], h[1], want, got)
		}
	}
	for _, query := range []string{"tcp connect", "who opens files", "disk latency", "signals", "memory faults", "pakcet drops"} {
		want, err := here.SearchHooks(query, 20)
		if err != nil {
			t.Fatal(err)
		}
		got, err := there.SearchHooks(query, 20)
		if err != nil || len(want) == 0 || !reflect.DeepEqual(got, want) {
			t.Errorf("search for %q: %v and %v, %v", query, want, got, err)
		}
	}
	for _, path := range []string{"struct sock.__sk_common.skc_dport", "struct task_struct.comm", "struct task_struct.com", "struct nothing.x", "struct sk_buff.mark"} {
		want, wantErr := here.Field(path)
		got, err := there.Field(path)
		if outcome(err) != outcome(wantErr) {
			t.Errorf("field %s: %v here, %v in the snapshot", path, wantErr, err)
		} else if want != nil && (got.Offset != want.Offset || got.Size != want.Size || got.TypeName != want.TypeName || got.Order != want.Order) {
			t.Errorf("field %s: %+v here, %+v in the snapshot", path, want, got)
		}
	}
	for _, name := range []string{"bpf_get_current_comm", "bpf_get_curent_comm"} {
		want, wantErr := here.Helper(name)
		if got, err := there.Helper(name); got != want || outcome(err) != outcome(wantErr) {
			t.Errorf("helper %s: %d %v, want %d %v", name, got, err, want, wantErr)
		}
	}
	want, err := here.Tracepoint("sched", "sched_switch")
	if err != nil {
		t.Fatal(err)
	}
	got, err := there.Tracepoint("sched", "sched_switch")
	if err != nil || !reflect.DeepEqual(got.Fields, want.Fields) || got.Signature() != want.Signature() || got.ID != 0 {
		t.Errorf("tracepoint: %+v, %v, want %+v without ID", got, err, want)
	}
}

// What the node's files decide is left to the node, but not more than that.
func TestSnapshotLeavesFilesToTheNode(t *testing.T) {
	f := newMachine(t).facts()
	blob, err := Encode(f)
	if err != nil {
		t.Fatal(err)
	}
	there, err := Decode(blob)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range [][2]string{
		{KindUprobe, "libc:getaddrinfo"}, {KindUretprobe, "/usr/bin/bash:readline"}, {KindUSDT, "libc:libc:setjmp"},
		{KindCgroupEgress, "/system.slice"}, {KindCgroup, ""}, {KindXDP, "eth0"},
	} {
		err := there.CheckHook(h[0], h[1])
		kindErr := there.checkKind(h[0], h[1])
		if kindErr == nil && !errors.Is(err, ErrOnNode) || kindErr != nil && outcome(err) != outcome(kindErr) {
			t.Errorf("%s %s: %v (of the kind: %v)", h[0], h[1], err, kindErr)
		}
	}
	if err := there.CheckHook(KindXDP, "eth0"); !errors.Is(err, ErrOnNode) {
		t.Errorf("interface: %v", err)
	}
	if err := there.CheckHook(KindUprobe, "libc"); err == nil || errors.Is(err, ErrOnNode) {
		t.Errorf("malformed target: %v", err)
	}
	if _, err := there.ResolveBinary("bash"); !errors.Is(err, ErrOnNode) {
		t.Errorf("binary: %v", err)
	}
	if _, err := there.USDTProbes("libc"); !errors.Is(err, ErrOnNode) {
		t.Errorf("USDT probes: %v", err)
	}
	again, err := Encode(there)
	if err != nil || SnapshotHash(again) != SnapshotHash(there.snapshot) || len(again) == 0 {
		t.Errorf("the snapshot of what came out of a snapshot is not that one: %d bytes, %v", len(again), err)
	}
}

// Machines that lack something lack it in the snapshot, too, and equal machines have
// equal snapshots.
func TestSnapshotOfOddMachines(t *testing.T) {
	hooks := [][2]string{
		{KindTracepoint, "sched:sched_switch"}, {KindTracepoint, "sched:sched_wakeup"}, {KindTracepoint, "ftrace:function"}, {KindTracepoint, "sched:none"},
		{KindKprobe, "do_work"}, {KindKprobe, "twin"}, {KindKprobe, "do_not_trace"}, {KindFentry, "do_work"}, {KindFentry, "wide_args"}, {KindFentry, "do_wrok"},
		{KindFmodRet, "security_work"}, {KindFmodRet, "do_work"}, {KindPerfEvent, "cpu-clock@2000"}, {KindPerfEvent, "cycles"}, {KindTPBTF, "sched_switch"}, {KindLSM, "file_open"}, {KindIter, "task"},
	}
	for name, change := range map[string]func(*machine){
		"whole":       func(*machine) {},
		"no tracefs":  func(m *machine) { m.write("/proc/self/mountinfo", "22 20 0:21 / /sys rw - sysfs sysfs rw\n") },
		"no symbols":  func(m *machine) { m.remove("/proc/kallsyms") },
		"no ftrace":   func(m *machine) { m.remove("/sys/kernel/tracing/available_filter_functions") },
		"no kprobes":  func(m *machine) { m.remove("/sys/kernel/tracing/kprobe_events") },
		"no devices":  func(m *machine) { m.remove("/sys/bus/event_source/devices") },
		"no limits":   func(m *machine) { m.remove("/proc/sys"); m.write("/proc/sys/kernel/osrelease", "5.4.0\n") },
		"locked down": func(m *machine) { m.write("/sys/kernel/security/lockdown", "none integrity [confidentiality]\n") },
		"no LSMs":     func(m *machine) { m.remove("/sys/kernel/security/lsm") },
		"counters":    func(m *machine) { m.write("/sys/bus/event_source/devices/cpu/type", "4\n") },
		"a module": func(m *machine) {
			m.write("/sys/kernel/btf/extra", string(moduleBTFOn(t, testBTF(t))))
		},
		"debugfs": func(m *machine) {
			m.write("/proc/self/mountinfo", "24 22 0:23 / /sys/kernel/debug rw - debugfs none rw\n")
			m.write("/sys/kernel/debug/error_injection/list", "do_work\tERRNO\n")
			m.write("/sys/kernel/debug/tracing/events/sched/sched_switch/format", switchFormat)
			m.write("/sys/kernel/debug/tracing/events/sched/sched_switch/enable", "0")
			m.write("/sys/kernel/debug/tracing/events/enable", "0")
			m.write("/sys/kernel/debug/tracing/available_events", "sched:sched_switch\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			change(m)
			here := m.facts()
			here.Refused = map[string]string{KindIter: "tried:\x1b[31m it was\nrefused", "kprobe_multi": "a kind of others"}
			blob, err := Encode(here)
			if err != nil {
				t.Fatal(err)
			}
			there, err := Decode(blob)
			if err != nil {
				t.Fatal(err)
			}
			if got := there.Refused[KindIter]; got != "tried: [31m it was refused" {
				t.Errorf("refused: %q", got)
			}
			here.Refused[KindIter] = there.Refused[KindIter]
			for _, h := range hooks {
				if want, got := strings.ReplaceAll(outcome(here.CheckHook(h[0], h[1])), m.root, ""), outcome(there.CheckHook(h[0], h[1])); got != want {
					t.Errorf("%s %s: %q here, %q in the snapshot", h[0], h[1], want, got)
				}
			}
			again := m.facts()
			again.Refused = here.Refused
			second, err := Encode(again)
			if err != nil || !bytes.Equal(second, blob) || SnapshotHash(second) != SnapshotHash(blob) {
				t.Errorf("two snapshots of one machine differ, %v", err)
			}
		})
	}
}

// IDs of tracepoints differ between boots of one kernel, which stays one kernel.
func TestSnapshotOfAnotherBoot(t *testing.T) {
	m := newMachine(t)
	first, err := Encode(m.facts())
	if err != nil {
		t.Fatal(err)
	}
	m.write("/sys/kernel/tracing/events/sched/sched_switch/format", strings.Replace(switchFormat, "ID: 372", "ID: 401", 1))
	m.write("/sys/class/net/veth0/mtu", "1500\n")
	second, err := Encode(m.facts())
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("snapshots of two boots differ, %v", err)
	}
}

func TestSnapshotIsSmall(t *testing.T) {
	host(t)
	blob, err := liveSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", len(blob))
	if len(blob) > 4<<20 {
		t.Errorf("the host's snapshot has %d bytes", len(blob))
	}
}

// pack makes a snapshot of arbitrary contents.
func pack(t testing.TB, magic string, contents []byte) []byte {
	t.Helper()
	b := bytes.NewBufferString(magic)
	w, err := flate.NewWriter(b, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(contents); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// contents are the unpacked bytes of a snapshot.
func contents(head string, files ...string) []byte {
	var b []byte
	add := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	add(head)
	b = binary.AppendUvarint(b, uint64(len(files)/2))
	for _, f := range files {
		add(f)
	}
	return b
}

const plainHead = `{"release":"6.1.0","arch":"x86_64","lockdown":"none","lsms":null,"capabilities":0,"perf_event_paranoid":0,"unprivileged_bpf_disabled":0,"bpf_jit_enable":0,"cgroup_mount":"","tracefs_mount":"/t","debugfs_mount":"","refused":{}}`

func TestDecodeMalformed(t *testing.T) {
	btf := string(testBTF(t))
	head := func(old, new string) string {
		if strings.Count(plainHead, old) != 1 {
			t.Fatalf("%q is not once in the settings", old)
		}
		return strings.Replace(plainHead, old, new, 1)
	}
	good := []string{"/sys/kernel/btf/vmlinux", btf, "/t/available_events", "sched:sched_switch"}
	if _, err := Decode(pack(t, snapshotMagic, contents(plainHead, good...))); err != nil {
		t.Fatal(err)
	}
	bad := func(head string, files ...string) []byte { return pack(t, snapshotMagic, contents(head, files...)) }
	// A megabyte of zeros shrinks to a kilobyte.
	bomb := pack(t, snapshotMagic, make([]byte, maxUnpacked+1))
	if len(bomb) > 1<<20 {
		t.Fatalf("the bomb has %d bytes", len(bomb))
	}
	for name, test := range map[string]struct {
		blob []byte
		want string
	}{
		"nothing":         {nil, "does not begin"},
		"another version": {pack(t, "kgent kernel snapshot 2\n", contents(plainHead, good...)), "does not begin"},
		"too large":       {make([]byte, MaxSnapshot+1), "at most"},
		"bomb":            {bomb, "more than"},
		"not packed":      {[]byte(snapshotMagic + "plain text"), "unpacking"},
		"after its end":   {append(bad(plainHead, good...), 'x'), "after its end"},
		"after the files": {pack(t, snapshotMagic, append(contents(plainHead, good...), 'x')), "after the last file"},
		"cut off":         {pack(t, snapshotMagic, contents(plainHead, good...)[:1000]), "length is wrong"},
		"a huge length":   {pack(t, snapshotMagic, binary.AppendUvarint(nil, 1<<63)), "length is wrong"},
		"many files":      {pack(t, snapshotMagic, binary.AppendUvarint(contents(plainHead)[:len(contents(plainHead))-1], 1<<40)), "number of files"},
		"no BTF":          {bad(plainHead, good[2:]...), "no BTF"},
		"bad BTF":         {bad(plainHead, "/sys/kernel/btf/vmlinux", "\x9f\xebnonsense of some length"), "BTF"},
		"twice":           {bad(plainHead, append(good, good[2:]...)...), "out of order"},
		"order":           {bad(plainHead, good[2], good[3], good[0], good[1]), "out of order"},
		"relative path":   {bad(plainHead, append([]string{"etc/passwd", ""}, good...)...), "malformed"},
		"path upwards":    {bad(plainHead, append([]string{"/a/../b", ""}, good...)...), "malformed"},
		"escape":          {bad(plainHead, append(good, "/t/x", "\x1b[2J")...), "not text"},
		"no events":       {bad(plainHead, good[:2]...), "listing tracepoints"},
		"bad format":      {bad(plainHead, append(good, "/t/events/a/b/format", "nonsense")...), "malformed format"},
		"bad symbols":     {bad(plainHead, append([]string{kallsyms, "nonsense"}, good...)...), "malformed line"},
		"unknown setting": {bad(head(`"refused":{}`, `"refused":{},"more":1`), good...), "unknown field"},
		"second spelling": {bad(head(`"arch":`, `"arch": `), good...), "not as Encode writes"},
		"release":         {bad(head("6.1.0", "6.1 0"), good...), "release"},
		"lockdown":        {bad(head(`"none"`, `"some"`), good...), "lockdown"},
		"LSMs":            {bad(head(`"lsms":null`, `"lsms":[""]`), good...), "security modules"},
		"refused null":    {bad(head(`"refused":{}`, `"refused":null`), good...), "refused is missing"},
		"refused kind":    {bad(head(`"refused":{}`, `"refused":{"a kind":"y"}`), good...), "kind"},
		"refused text":    {bad(head(`"refused":{}`, `"refused":{"iter":"a\u001b"}`), good...), "malformed"},
		"mount":           {bad(head(`"/t"`, `"/t/../t"`), good...), "mount point"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Decode(test.blob)
			if f != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("facts %v, error %v, want one with %q", f != nil, err, test.want)
			}
		})
	}
}

// Whatever a node sends, the answer is an error or facts that can be asked.
func FuzzDecode(f *testing.F) {
	btf := string(testBTF(f))
	f.Add(contents(plainHead, "/sys/kernel/btf/vmlinux", btf, "/t/available_events", "sched:sched_switch"))
	f.Add(contents(plainHead, "/proc/kallsyms", "0 t do_work\n", "/sys/kernel/btf/extra", string(moduleBTFOn(f, testBTF(f))), "/sys/kernel/btf/vmlinux", btf,
		"/t/available_events", "sched:sched_switch", "/t/events/sched/sched_switch/format", string(shortFormat(switchFormat))))
	f.Fuzz(func(t *testing.T, data []byte) {
		facts, err := Decode(pack(t, snapshotMagic, data))
		if err != nil {
			return
		}
		for _, kind := range Kinds() {
			if err := facts.CheckHook(kind, "sched:sched_switch"); err != nil {
				_ = err.Error()
			}
			if err := facts.CheckHook(kind, "do_work"); err != nil {
				_ = err.Error()
			}
		}
		for _, path := range []string{"struct work.a", "struct task_struct.comm"} {
			if _, err := facts.Field(path); err != nil {
				_ = err.Error()
			}
		}
		if _, err := facts.SearchHooks("work switch", 5); err != nil {
			_ = err.Error()
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	host(b)
	blob, err := liveSnapshot()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Decode(blob); err != nil {
			b.Fatal(err)
		}
	}
}

// Nodes whose kernels have the same types may have other modules and tracepoints, or say so: what
// was proved for one is not proved for the other.
func TestHash(t *testing.T) {
	facts, err := Live(t.Context())
	if err != nil {
		t.Skip(err)
	}
	var ids []string
	for _, paranoid := range []int{1, 2, 1} {
		facts.PerfEventParanoid = paranoid
		snapshot, err := Encode(facts)
		if err != nil {
			t.Fatal(err)
		}
		there, err := Decode(snapshot)
		if err != nil {
			t.Fatal(err)
		}
		if there.BTFHash != facts.BTFHash || there.Release != facts.Release {
			t.Fatal("they should have the same types")
		}
		ids = append(ids, there.Hash())
	}
	if ids[0] == ids[1] || ids[0] != ids[2] {
		t.Errorf("snapshots are known as %q", ids)
	}
}
