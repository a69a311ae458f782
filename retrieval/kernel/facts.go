package kernel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// Unknown is the value of a numeric setting that the kernel does not show.
const Unknown = math.MinInt32

// Lockdown is how far the kernel protects itself against root.
type Lockdown string

// The lockdown modes. In integrity mode programs may read kernel memory but not
// write to a process's; in confidentiality mode kprobes and the helpers that read
// kernel memory are refused too.
const (
	LockdownNone            Lockdown = "none"
	LockdownIntegrity       Lockdown = "integrity"
	LockdownConfidentiality Lockdown = "confidentiality"
	// LockdownUnknown: securityfs is not mounted or may not be read.
	LockdownUnknown Lockdown = "unknown"
)

// Facts is what is known about one kernel. Make one with [Live] or [Sources.Facts];
// it must not be copied. The exported fields are set then and are not to be changed
// afterwards, except [Facts.Refused].
type Facts struct {
	// Release is what `uname -r` prints: "6.18.44-amd64".
	Release string
	// Arch is what `uname -m` prints: "x86_64".
	Arch string
	// BTF describes the types and functions of the kernel, without its modules.
	// Types obtained from it must not be modified.
	BTF *btf.Spec
	// BTFHash is the SHA-256 of the raw BTF, in hex. Nodes with the same hash have
	// the same types, functions and raw tracepoints.
	BTFHash string
	// Lockdown is the lockdown mode.
	Lockdown Lockdown
	// LSMs are the active security modules, in order. Nil if that is not known.
	LSMs []string
	// Capabilities are the effective capabilities of the process that read the facts.
	Capabilities Capabilities
	// PerfEventParanoid is kernel.perf_event_paranoid, or Unknown.
	PerfEventParanoid int
	// UnprivilegedBPFDisabled is kernel.unprivileged_bpf_disabled, or Unknown.
	UnprivilegedBPFDisabled int
	// BPFJIT is net.core.bpf_jit_enable: 0 off, 1 on, 2 on with debug output, or Unknown.
	BPFJIT int
	// BTFFile is the file that the types were read from because the kernel does not
	// describe them itself; empty when it does.
	BTFFile string
	// CgroupMount is where the cgroup v2 hierarchy is mounted, empty if it is not.
	CgroupMount string
	// TracefsMount is where tracefs is mounted, empty if it is not.
	TracefsMount string
	// Refused tells why hook kinds ([KindFentry] and so on) cannot be used although
	// everything that can be read says they can: a trial on this kernel was refused.
	// Reading never fills it. Whoever makes trials sets it before the Facts are
	// shared between goroutines; CheckHook and SearchHooks then respect it.
	Refused map[string]string

	src Sources
	// snapshot is what the facts were decoded from; nil for a live kernel. hash names it.
	snapshot []byte
	hash     string
	debugfs  string // where debugfs is mounted, empty if it is not

	kernelTypes func() (*typesOf, error)
	moduleTypes func() ([]*typesOf, error)
	moduleLock  sync.Mutex
	symbols     func() (*symbolSet, error)
	events      func() ([]string, error)
	traceable   func() (*traceableSet, error)
	hooks       func() (*hookIndex, error)
	formats     sync.Map // "category:name" → *Tracepoint
}

// Live reads the facts of the running kernel. It returns [ErrNoBTF] if the kernel
// does not describe its types. It changes nothing on the host; see [EnsureMounts].
// Requires Linux 5.4 for BTF.
func Live(ctx context.Context) (*Facts, error) {
	return Sources{}.Facts(ctx)
}

// Sources says where the facts of a kernel are read from.
type Sources struct {
	// Root is the directory that stands for "/", with sys, proc, etc and so on below
	// it. Empty is the running host. Only sys/kernel/btf/vmlinux and
	// proc/sys/kernel/osrelease have to be there; facts whose files are absent are
	// unknown. Mount points are read from proc/self/mountinfo below Root and are
	// taken to lie below Root as well.
	Root string
	// Arch is what `uname -m` prints on the machine that Root was taken from.
	// Empty is the architecture of this machine.
	Arch string

	archive archive // instead of Root, of a snapshot
}

// Facts reads the facts that Sources leads to. See [Live].
func (s Sources) Facts(ctx context.Context) (*Facts, error) {
	f := &Facts{src: s, Arch: s.Arch}
	if f.Arch == "" {
		var uts unix.Utsname
		if err := unix.Uname(&uts); err != nil {
			return nil, fmt.Errorf("reading the machine's architecture: %w", err)
		}
		f.Arch = unix.ByteSliceToString(uts.Machine[:])
	}
	release, err := s.readSmall("/proc/sys/kernel/osrelease")
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's release: %w", err)
	}
	f.Release = strings.TrimSpace(release)

	raw, err := s.readBTF()
	if errors.Is(err, ErrNoBTF) {
		f.BTFFile, raw, err = s.readBTFFile(f.Release, err)
	}
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading the facts of kernel %s: %w", f.Release, err)
	}
	sum := sha256.Sum256(raw)
	f.BTFHash = hex.EncodeToString(sum[:])
	if f.BTF, err = btf.LoadSpecFromReader(bytes.NewReader(raw)); err != nil {
		return nil, fmt.Errorf("reading the BTF of kernel %s: %w", f.Release, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading the facts of kernel %s: %w", f.Release, err)
	}

	if err := f.readSettings(); err != nil {
		return nil, fmt.Errorf("reading the settings of kernel %s: %w", f.Release, err)
	}
	f.readLater()
	return f, nil
}

// readSettings reads everything that is small.
func (f *Facts) readSettings() error {
	s := f.src
	mounts, err := s.readMounts()
	if err != nil {
		return err
	}
	f.CgroupMount = mounts.first("cgroup2")
	f.TracefsMount = mounts.first("tracefs")
	f.debugfs = mounts.first("debugfs")
	// Debugfs mounts tracefs by itself the moment somebody looks into it.
	if f.TracefsMount == "" && f.debugfs != "" && s.exists(f.debugfs+"/tracing/events") {
		f.TracefsMount = f.debugfs + "/tracing"
	}
	if f.Lockdown, f.LSMs, err = s.readSecurity(mounts.first("securityfs")); err != nil {
		return err
	}
	if f.Capabilities, err = s.readCapabilities(); err != nil {
		return err
	}
	for path, to := range map[string]*int{
		"/proc/sys/kernel/perf_event_paranoid":       &f.PerfEventParanoid,
		"/proc/sys/kernel/unprivileged_bpf_disabled": &f.UnprivilegedBPFDisabled,
		"/proc/sys/net/core/bpf_jit_enable":          &f.BPFJIT,
	} {
		if *to, err = s.readNumber(path); err != nil {
			return err
		}
	}
	return nil
}

// path returns where a path of the described machine lies on this one.
func (s Sources) path(p string) string {
	if s.Root == "" {
		return p
	}
	return filepath.Join(s.Root, p)
}

func (s Sources) exists(p string) bool {
	if s.archive != nil {
		return s.archive.exists(p)
	}
	_, err := os.Stat(s.path(p))
	return err == nil
}

// has tells whether a file exists.
func (s Sources) has(p string) (bool, error) {
	if s.archive != nil {
		return s.archive.exists(p), nil
	}
	_, err := os.Stat(s.path(p))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// open opens a file of any size.
func (s Sources) open(p string) (io.ReadCloser, error) {
	if s.archive != nil {
		data, err := s.archive.read(p)
		return io.NopCloser(bytes.NewReader(data)), err
	}
	return os.Open(s.path(p))
}

// maxSmallFile bounds what readSmall takes in, in bytes. The mount table of a node
// with many containers is the largest, a few MiB.
const maxSmallFile = 16 << 20

// readSmall reads a whole file of the kernel's, of at most 16 MiB.
func (s Sources) readSmall(p string) (string, error) {
	if s.archive != nil {
		data, err := s.archive.read(p)
		return string(data), err
	}
	file, err := os.Open(s.path(p))
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSmallFile+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSmallFile {
		return "", fmt.Errorf("%s is larger than %d bytes", p, maxSmallFile)
	}
	return string(text), nil
}

// readNumber reads a file that holds one number. A file that is absent or may not
// be read gives Unknown.
func (s Sources) readNumber(p string) (int, error) {
	text, err := s.readSmall(p)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return Unknown, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return 0, fmt.Errorf("reading %s: %q is not a number", p, strings.TrimSpace(text))
	}
	return n, nil
}

// readFile reads a whole file of the kernel's that can be of any size.
func (s Sources) readFile(p string) ([]byte, error) {
	if s.archive != nil {
		return s.archive.read(p)
	}
	return os.ReadFile(s.path(p))
}

const btfDir = "/sys/kernel/btf"

// readBTF reads the raw BTF of the kernel.
func (s Sources) readBTF() ([]byte, error) {
	raw, err := s.readFile(btfDir + "/vmlinux")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (%s/vmlinux does not exist)", ErrNoBTF, btfDir)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's BTF: %w", err)
	}
	return raw, nil
}

// BTFFiles is the directory in which the types of kernels are looked for that do not
// describe them themselves: RELEASE.btf, with what uname -r prints.
const BTFFiles = "/var/lib/kgent/btf"

// btfFile is where the types of a kernel are that does not describe them itself.
func btfFile(release string) string { return BTFFiles + "/" + release + ".btf" }

// rawBTF reads the kernel's types from where they are.
func (f *Facts) rawBTF() ([]byte, error) {
	if f.BTFFile != "" {
		return f.src.readFile(f.BTFFile)
	}
	return f.src.readBTF()
}

// readBTFFile reads the types of a kernel that has none itself. It returns none, the
// error of [Sources.readBTF], when there is no such file.
func (s Sources) readBTFFile(release string, none error) (file string, raw []byte, err error) {
	if strings.ContainsRune(release, '/') {
		return "", nil, none
	}
	file = btfFile(release)
	raw, err = s.readFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil, fmt.Errorf("%w, or put its types into %s", none, file)
	case err != nil:
		return "", nil, fmt.Errorf("reading the kernel's types from %s: %w", file, err)
	}
	return file, raw, nil
}

// moduleBTF is the BTF of one kernel module.
type moduleBTF struct {
	name string
	raw  []byte
}

// readModuleBTF reads the raw BTF of all loaded modules, sorted by name.
func (s Sources) readModuleBTF() ([]moduleBTF, error) {
	names, err := s.readDir(btfDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a kernel that does not describe its modules either
	}
	if err != nil {
		return nil, fmt.Errorf("listing the BTF of modules: %w", err)
	}
	var modules []moduleBTF
	for _, name := range names {
		if name == "vmlinux" {
			continue
		}
		raw, err := s.readFile(btfDir + "/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // unloaded since the listing
		}
		if err != nil {
			return nil, fmt.Errorf("reading the BTF of module %s: %w", visible(name), err)
		}
		modules = append(modules, moduleBTF{name, raw})
	}
	return modules, nil
}

// readSecurity reads the lockdown mode and the active security modules from
// securityfs, mounted at dir.
func (s Sources) readSecurity(dir string) (Lockdown, []string, error) {
	if dir == "" {
		return LockdownUnknown, nil, nil
	}
	mode := LockdownUnknown
	text, err := s.readSmall(dir + "/lockdown")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		mode = LockdownNone // the kernel has no lockdown
	case errors.Is(err, fs.ErrPermission):
	case err != nil:
		return "", nil, err
	default:
		if mode, err = parseLockdown(text); err != nil {
			return "", nil, err
		}
	}
	list, err := s.readSmall(dir + "/lsm")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return mode, nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	lsms := []string{}
	for name := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		if name != "" {
			lsms = append(lsms, name)
		}
	}
	return mode, lsms, nil
}

// parseLockdown reads "none [integrity] confidentiality": the mode in brackets holds.
func parseLockdown(text string) (Lockdown, error) {
	for word := range strings.FieldsSeq(text) {
		name, ok := strings.CutPrefix(word, "[")
		if !ok {
			continue
		}
		switch mode := Lockdown(strings.TrimSuffix(name, "]")); mode {
		case LockdownNone, LockdownIntegrity, LockdownConfidentiality:
			return mode, nil
		}
	}
	return "", fmt.Errorf("reading the lockdown mode: %q names no known mode", strings.TrimSpace(text))
}

// Capabilities is a set of Linux capabilities; bit n is capability n.
type Capabilities uint64

// Has tells whether the set holds a capability, such as unix.CAP_BPF.
func (c Capabilities) Has(capability int) bool {
	return capability >= 0 && capability < 64 && c>>capability&1 == 1
}

// String lists the capabilities by name: "CAP_SYS_ADMIN,CAP_BPF".
func (c Capabilities) String() string {
	var names []string
	for n := range 64 {
		switch {
		case !c.Has(n):
		case n < len(capabilityNames):
			names = append(names, "CAP_"+capabilityNames[n])
		default:
			names = append(names, "CAP_"+strconv.Itoa(n))
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ",")
}

// capabilityNames are the names of capabilities 0 to 40, in order.
var capabilityNames = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
	"SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
	"IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
	"SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
	"LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
	"WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
}

// readCapabilities reads the effective capabilities of this process. Without
// proc/self/status (the facts of another machine) there are none.
func (s Sources) readCapabilities() (Capabilities, error) {
	text, err := s.readSmall("/proc/self/status")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		value, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the effective capabilities: %w", err)
		}
		return Capabilities(set), nil
	}
	return 0, errors.New("reading the effective capabilities: no CapEff line in /proc/self/status")
}

// HasLSM tells whether a security module ("bpf", "selinux") is active. It is false
// when the list is not known.
func (f *Facts) HasLSM(name string) bool { return slices.Contains(f.LSMs, name) }

// notFound makes the error for a name that this kernel does not have.
func (f *Facts) notFound(kind, name string, among []string) error {
	return &NotFoundError{Kind: kind, Name: name, Where: "on kernel " + f.Release, Suggestions: suggest(name, among)}
}

// OwnTypes are the kernel's types when they came from a file, which a loader of
// programs then has to be given; nil when it can ask the kernel.
func (f *Facts) OwnTypes() *btf.Spec {
	if f.BTFFile == "" {
		return nil
	}
	return f.BTF
}
