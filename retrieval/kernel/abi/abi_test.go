package abi

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

func TestErrno(t *testing.T) {
	for name, want := range map[string]int{"EPERM": 1, "enoent": 2, "ECONNREFUSED": 111, "EWOULDBLOCK": 11, "EAGAIN": 11, "ENOTSUP": 95, "EOPNOTSUPP": 95,
		"EDEADLOCK": 35, "EHWPOISON": 133, "ERESTARTSYS": 512} {
		if n, ok := Errno(name); n != want || !ok {
			t.Errorf("%s is %d, %v, want %d", name, n, ok, want)
		}
	}
	for _, name := range []string{"", "E", "ENOSUCH", "errno 41", "111", " EPERM"} {
		if n, ok := Errno(name); ok {
			t.Errorf("%q is %d", name, n)
		}
	}
	named := 0
	for n := int64(1); n <= 600; n++ {
		name := ErrnoName(n)
		if ErrnoName(-n) != name {
			t.Errorf("%d is %s, but %d is %s", n, name, -n, ErrnoName(-n))
		}
		if strings.HasPrefix(name, "errno ") {
			if name != "errno "+strconv.FormatInt(n, 10) {
				t.Errorf("%d is %s", n, name)
			}
			continue
		}
		named++
		if back, ok := Errno(name); int64(back) != n || !ok {
			t.Errorf("%d is %s, which is %d", n, name, back)
		}
	}
	if named < 131+len(internalErrnos) {
		t.Errorf("only %d errors have a name", named)
	}
	for n, want := range map[int64]string{0: "errno 0", 4095: "errno 4095", 5000: "errno 5000", -1 << 63: "errno -9223372036854775808"} {
		if got := ErrnoName(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestSignals(t *testing.T) {
	for name, want := range map[string]int{"SIGKILL": 9, "kill": 9, "Term": 15, "SIGRTMIN": 34, "rtmin+3": 37, "SIGRTMIN+30": 64, "SIGRTMAX": 64, "rtmax-2": 62,
		"SIGIOT": 6, "SIGPOLL": 29, "SIGCLD": 17, "SIGSTKFLT": 16} {
		if n, ok := Signal(name); n != want || !ok {
			t.Errorf("%s is %d, %v, want %d", name, n, ok, want)
		}
	}
	for _, name := range []string{"", "SIG", "SIGNOTHING", "SIGRTMIN3", "SIGRTMIN+", "SIGRTMIN+-1", "SIGRTMIN+31", "SIGRTMIN++1", "SIGRTMAX+1", "SIGRTMAX-31", "9", "signal 32"} {
		if n, ok := Signal(name); ok {
			t.Errorf("%q is %d", name, n)
		}
	}
	for n := int64(1); n <= 64; n++ {
		name := SignalName(n)
		if n == 32 || n == 33 { // libc keeps them to itself
			if name != "signal "+strconv.FormatInt(n, 10) {
				t.Errorf("%d is %s", n, name)
			}
			continue
		}
		if back, ok := Signal(name); int64(back) != n || !ok {
			t.Errorf("%d is %s, which is %d", n, name, back)
		}
	}
	for n, want := range map[int64]string{0: "signal 0", -1: "signal -1", 65: "signal 65", 36: "SIGRTMIN+2"} {
		if got := SignalName(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestSyscalls(t *testing.T) {
	if !sort.SliceIsSorted(syscallsByName[:], func(i, j int) bool { return syscallsByName[i].name < syscallsByName[j].name }) {
		t.Error("the names are out of order")
	}
	for _, s := range syscallsByName {
		if n, ok := Syscall(s.name); n != s.nr || !ok {
			t.Errorf("%s is %d, %v, want %d", s.name, n, ok, s.nr)
		}
		if name := SyscallName(int64(s.nr)); name != s.name {
			t.Errorf("%d is %s, want %s", s.nr, name, s.name)
		}
	}
	for nr, name := range syscallNames {
		if n, ok := Syscall(name); name != "" && (n != nr || !ok) {
			t.Errorf("%d is %s, which is %d", nr, name, n)
		}
	}
	for name, want := range map[string]int{"openat": unix.SYS_OPENAT, "OpenAt()": unix.SYS_OPENAT, "bpf": unix.SYS_BPF, "read": unix.SYS_READ} {
		if n, ok := Syscall(name); n != want || !ok {
			t.Errorf("%s is %d, %v, want %d", name, n, ok, want)
		}
	}
	for _, name := range []string{"", "()", "zzz", "openat2x", "syscall 0"} {
		if n, ok := Syscall(name); ok {
			t.Errorf("%q is %d", name, n)
		}
	}
	for n, want := range map[int64]string{-1: "syscall -1", 99999: "syscall 99999"} {
		if got := SyscallName(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestCapabilities(t *testing.T) {
	for name, want := range map[string]int{"CAP_CHOWN": 0, "net_admin": 12, "CAP_SYS_ADMIN": 21, "cap_bpf": 39, "CAP_CHECKPOINT_RESTORE": 40} {
		if n, ok := Capability(name); n != want || !ok {
			t.Errorf("%s is %d, %v, want %d", name, n, ok, want)
		}
	}
	for _, name := range []string{"", "CAP_", "CAP_NOTHING"} {
		if n, ok := Capability(name); ok {
			t.Errorf("%q is %d", name, n)
		}
	}
	for n := range capabilities {
		if back, ok := Capability(CapabilityName(int64(n))); back != n || !ok {
			t.Errorf("%d is %s, which is %d", n, CapabilityName(int64(n)), back)
		}
	}
	if got := CapabilityName(64); got != "capability 64" {
		t.Errorf("64 is %q", got)
	}
	b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		t.Fatal(err)
	}
	last, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if last >= len(capabilities) {
		t.Errorf("this kernel has capabilities up to %d, the table ends at %d", last, len(capabilities)-1)
	}
}

// The names are the kernel's own where its types have them.
func TestAgainstKernelTypes(t *testing.T) {
	spec, err := btf.LoadKernelSpec()
	if errors.Is(err, btf.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		t.Skip("needs a kernel with BTF (CONFIG_DEBUG_INFO_BTF)")
	}
	if err != nil {
		t.Fatal(err)
	}
	// enumerators returns all of the enums that have one of this name.
	enumerators := func(one string) map[string]uint64 {
		out := map[string]uint64{}
		for typ, err := range spec.All() {
			if err != nil {
				t.Fatal(err)
			}
			e, ok := typ.(*btf.Enum)
			if !ok {
				continue
			}
			for _, v := range e.Values {
				if v.Name == one {
					for _, v := range e.Values {
						out[v.Name] = v.Value
					}
				}
			}
		}
		if len(out) == 0 {
			t.Errorf("this kernel has no %s", one)
		}
		return out
	}

	for name, n := range enumerators("BPF_PROG_TYPE_XDP") {
		short := strings.ToLower(strings.TrimPrefix(name, "BPF_PROG_TYPE_"))
		if strings.HasPrefix(short, "__max") {
			continue
		}
		if got := BPFProgTypeName(int64(n)); got != short {
			t.Errorf("%s (%d) is %q", name, n, got)
		}
	}
	for name, n := range enumerators("TCP_ESTABLISHED") {
		short, ok := strings.CutPrefix(name, "TCP_")
		if !ok || strings.HasPrefix(short, "MAX_") {
			continue
		}
		if got := TCPStateName(int64(n)); got != short {
			t.Errorf("%s (%d) is %q", name, n, got)
		}
	}
	known := map[string]string{"IPPROTO_IP": "HOPOPT"} // two names for 0
	for name, n := range enumerators("IPPROTO_TCP") {
		want := strings.TrimPrefix(name, "IPPROTO_")
		if other, ok := known[name]; ok {
			want = other
		}
		if got, ok := ipProtos[int64(n)]; ok && got != want && !(want == "BEETPH" || want == "RAW") {
			t.Errorf("%s (%d) is %q", name, n, got)
		}
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{TCPStateName(1), "ESTABLISHED"}, {TCPStateName(0), "state 0"}, {TCPStateName(99), "state 99"}, {TCPStateName(-1), "state -1"},
		{FamilyName(2), "AF_INET"}, {FamilyName(10), "AF_INET6"}, {FamilyName(0), "AF_UNSPEC"}, {FamilyName(1), "AF_UNIX"}, {FamilyName(16), "AF_NETLINK"},
		{FamilyName(17), "AF_PACKET"}, {FamilyName(40), "AF_VSOCK"}, {FamilyName(44), "AF_XDP"}, {FamilyName(99), "family 99"},
		{IPProtoName(6), "TCP"}, {IPProtoName(17), "UDP"}, {IPProtoName(58), "ICMPV6"}, {IPProtoName(200), "protocol 200"},
		{EtherTypeName(0x0800), "IPV4"}, {EtherTypeName(0x86dd), "IPV6"}, {EtherTypeName(0x0806), "ARP"}, {EtherTypeName(0x1234), "0x1234"},
		{TCPFlagNames(0), "0"}, {TCPFlagNames(18), "SYN|ACK"}, {TCPFlagNames(0x1ff), "FIN|SYN|RST|PSH|ACK|URG|ECE|CWR|0x100"},
		{OpenFlagNames(unix.O_RDONLY), "O_RDONLY"}, {OpenFlagNames(unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC), "O_WRONLY|O_CREAT|O_TRUNC"},
		{OpenFlagNames(unix.O_RDWR | unix.O_SYNC), "O_RDWR|O_SYNC"}, {OpenFlagNames(unix.O_DSYNC), "O_RDONLY|O_DSYNC"},
		{OpenFlagNames(unix.O_RDWR | unix.O_TMPFILE), "O_RDWR|O_TMPFILE"}, {OpenFlagNames(unix.O_DIRECTORY | unix.O_CLOEXEC), "O_RDONLY|O_DIRECTORY|O_CLOEXEC"},
		{OpenFlagNames(unix.O_NOFOLLOW), "O_RDONLY|O_NOFOLLOW"}, {OpenFlagNames(largeFile), "O_RDONLY|O_LARGEFILE"}, {OpenFlagNames(3), "O_ACCMODE"},
		{OpenFlagNames(unix.O_PATH | 1<<30), "O_RDONLY|O_PATH|0x40000000"},
		{MountFlagNames(0), "0"}, {MountFlagNames(unix.MS_RDONLY | unix.MS_NOSUID), "MS_RDONLY|MS_NOSUID"}, {MountFlagNames(unix.MS_BIND | unix.MS_REC), "MS_BIND|MS_REC"},
		{MountFlagNames(unix.MS_NOSYMFOLLOW), "MS_NOSYMFOLLOW"}, {MountFlagNames(1 << 22), "0x400000"}, {MountFlagNames(-1 << 63), "0x8000000000000000"},
		{BPFProgTypeName(6), "xdp"}, {BPFProgTypeName(99), "type 99"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
	if largeFile == 0 {
		t.Errorf("O_LARGEFILE of %s is not known", runtime.GOARCH)
	}
}

// The kinds of arguments are what the kernel's own tracepoints say.
func TestSyscallArgs(t *testing.T) {
	kinds := map[string]ArgKind{"int": ArgS32, "pid_t": ArgS32, "const clockid_t": ArgS32, "unsigned int": ArgU32, "u32": ArgU32, "uid_t": ArgU32, "umode_t": ArgU16,
		"unsigned long": Arg64, "size_t": Arg64, "long": Arg64, "loff_t": Arg64}
	formats, err := filepath.Glob("/sys/kernel/tracing/events/syscalls/sys_enter_*/format")
	if err != nil {
		t.Fatal(err)
	}
	if len(formats) == 0 {
		t.Skip("needs tracefs at /sys/kernel/tracing, and CONFIG_FTRACE_SYSCALLS")
	}
	compared := 0
	for _, path := range formats {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		call := strings.TrimPrefix(filepath.Base(filepath.Dir(path)), "sys_enter_")
		have, known := SyscallArgs(call)
		i := 0
		for line := range strings.Lines(string(text)) {
			field, ok := strings.CutPrefix(strings.TrimSpace(line), "field:")
			field, _, _ = strings.Cut(field, ";")
			at := strings.LastIndexAny(field, " *")
			if !ok || at < 0 || strings.HasPrefix(field[at+1:], "common_") || field[at+1:] == "__syscall_nr" {
				continue
			}
			typ := strings.TrimSpace(field[:at+1])
			want, is := kinds[typ]
			if strings.HasSuffix(typ, "*") {
				want, is = ArgPointer, true
			}
			if is && !known && want != Arg64 || is && known && (i >= len(have) || have[i] != want) {
				t.Errorf("%s: argument %d, %s, is %q", call, i, field, have)
			}
			compared++
			i++
		}
	}
	if compared < 500 {
		t.Errorf("only %d arguments were compared", compared)
	}
	for _, name := range []string{"", ":", "no_such_call", "kill:"} {
		if have, ok := SyscallArgs(name); ok {
			t.Errorf("%q takes %q", name, have)
		}
	}
}
