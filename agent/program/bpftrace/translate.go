package bpftrace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"kgent/agent/program"
	"kgent/agent/program/bpftrace/jail"
)

// ErrNone says that there is no usable bpftrace on this machine.
var ErrNone = errors.New("no bpftrace on this machine: install it (apt-get install bpftrace), or point KGENT_BPFTRACE at it")

// Bounds of one translation, which takes 0.2 s and 300 MiB.
const (
	translateTime   = 20 * time.Second
	translateMemory = 2 << 30
	maxMessages     = 64 << 10
)

// Tool is the bpftrace of this machine. It is safe for concurrent use. It is opened once:
// what is asked for its release is what translates and runs, whatever its path leads to
// later. One that is installed meanwhile is used after a restart.
type Tool struct {
	Path    string // its name, for people
	File    *os.File
	release func() (Version, error)
	// self is how this program is started again in the jail.
	self  []string
	slots chan struct{}
}

// Find looks for bpftrace, as Locate does, and asks it for its release.
func Find(ctx context.Context, getenv func(string) string, self ...string) (*Tool, error) {
	t, err := Locate(getenv, self...)
	if err != nil {
		return nil, err
	}
	if _, err := t.Release(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// Locate looks for bpftrace: the value of KGENT_BPFTRACE, else what is on the path. It
// starts nothing. self is how this program is started again to enter the jail, see
// package jail.
func Locate(getenv func(string) string, self ...string) (*Tool, error) {
	file := getenv("KGENT_BPFTRACE")
	if file == "" {
		var err error
		if file, err = exec.LookPath("bpftrace"); err != nil {
			return nil, ErrNone
		}
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("looking for bpftrace: %w", err)
	}
	opened, err := openTool(file)
	if err != nil {
		return nil, err
	}
	t := &Tool{Path: file, File: opened, self: slices.Clone(self), slots: make(chan struct{}, 2)}
	t.release = sync.OnceValues(func() (Version, error) { return releaseOf(opened) })
	return t, nil
}

// openTool opens a bpftrace. Root does not run what others can change.
func openTool(name string) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNone, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %v", ErrNone, err), f.Close())
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%w: %s is no file", ErrNone, name)
	case os.Geteuid() == 0 && (owner != 0 || info.Mode().Perm()&0o022 != 0):
		err = fmt.Errorf("%w: others than root can change %s (owner %d, %v), and kgent would run it as root: chown root, chmod go-w", ErrNone, name, owner, info.Mode().Perm())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Release is the tool's, which is asked once, when somebody wants to know.
func (t *Tool) Release(ctx context.Context) (Version, error) {
	if ctx.Err() != nil {
		return Version{}, context.Cause(ctx)
	}
	return t.release()
}

func releaseOf(tool *os.File) (Version, error) {
	ctx, cancel := context.WithTimeout(context.Background(), translateTime)
	defer cancel()
	file := tool.Name()
	cmd := exec.CommandContext(ctx, "/proc/self/fd/3", "--version") // the first of ExtraFiles
	cmd.Args[0], cmd.ExtraFiles = file, []*os.File{tool}
	cmd.Env = []string{"LC_ALL=C"}
	out := &bounded{max: 4 << 10}
	cmd.Stdout = out
	if err := cmd.Run(); err != nil {
		return Version{}, fmt.Errorf("%w: running %s --version: %v", ErrNone, file, err)
	}
	v, err := ParseVersion(out.String())
	if err != nil {
		return Version{}, fmt.Errorf("%w: %s: %v", ErrNone, file, err)
	}
	if v.Less(Oldest()) {
		return Version{}, fmt.Errorf("%w: %s is bpftrace %s, kgent works with %s and later", ErrNone, file, v, Oldest())
	}
	return v, nil
}

// Env is the environment that bpftrace gets, in translating as in running, for
// both to come to the same instructions.
func Env(btf string) []string {
	return []string{
		"LC_ALL=C", "HOME=/nonexistent", "PATH=/nonexistent", "BPFTRACE_BTF=" + btf,
		"BPFTRACE_STRLEN=64", "BPFTRACE_MAP_KEYS_MAX=4096", fmt.Sprintf("BPFTRACE_MAX_PROBES=%d", MaxProbes),
		"BPFTRACE_MAX_BPF_PROGS=64", "BPFTRACE_PERF_RB_PAGES=64", "BPFTRACE_MAX_MAP_KEYS=4096", "BPFTRACE_MAX_STRLEN=64",
	}
}

// KernelBTF is where a running kernel has its types.
const KernelBTF = "/sys/kernel/btf/vmlinux"

// Kernel is what bpftrace wants to know of a kernel; kernel.Facts is one.
type Kernel interface {
	RawBTF() ([]byte, error)
	RawFormat(category, name string) ([]byte, error)
}

// FailedError says that bpftrace does not take a script, in its own words.
type FailedError struct{ Output string }

func (e *FailedError) Error() string { return "bpftrace does not take the script: " + e.Output }

// Translate has bpftrace turn a script into instructions for a kernel, which need
// not be this machine's; nil is this machine's own. Nothing is loaded or run. The
// error is a *[FailedError] when the script is at fault.
//
// As root, bpftrace may ask the running kernel what helpers it has; without
// privileges it takes the oldest.
func (t *Tool) Translate(ctx context.Context, s *Script, k Kernel) (*program.Object, error) {
	fail := func(err error) (*program.Object, error) {
		return nil, fmt.Errorf("translating the script: %w", err)
	}
	switch v, err := t.Release(ctx); {
	case err != nil:
		return fail(err)
	case v.Less(s.Requires):
		return fail(fmt.Errorf("it needs bpftrace %s, this is %s", s.Requires, v))
	}
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return fail(context.Cause(ctx))
	}
	dir, err := os.MkdirTemp("", "kgent-bpftrace-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	spec, err := t.prepare(dir, s, k)
	if err != nil {
		return fail(err)
	}
	if err := t.run(ctx, dir, spec); err != nil {
		return fail(err)
	}
	elf, err := readBounded(filepath.Join(dir, "out", objectName), program.MaxELF)
	if err != nil {
		return fail(err)
	}
	o, err := program.ParseScript(elf, s.points())
	if err != nil {
		return fail(err)
	}
	if err := s.matches(o); err != nil {
		return fail(err)
	}
	return o, nil
}

const objectName = "program.o"

// prepare writes what bpftrace reads.
func (t *Tool) prepare(dir string, s *Script, k Kernel) (jail.Spec, error) {
	spec := jail.Spec{
		Path: t.Path, File: t.File, Memory: translateMemory, CPU: translateTime, Trace: os.Geteuid() == 0, Write: filepath.Join(dir, "out"), Bind: map[string]string{},
	}
	script, btf := filepath.Join(dir, "script.bt"), KernelBTF
	if err := os.Mkdir(spec.Write, 0o700); err != nil {
		return spec, err
	}
	if err := os.WriteFile(script, []byte(s.Text), 0o600); err != nil {
		return spec, err
	}
	if k != nil {
		raw, err := k.RawBTF()
		if err != nil {
			return spec, err
		}
		btf = filepath.Join(dir, "btf")
		if err := os.WriteFile(btf, raw, 0o600); err != nil {
			return spec, err
		}
		tracing := filepath.Join(dir, "tracing")
		if err := s.formats(tracing, k); err != nil {
			return spec, err
		}
		for _, at := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
			if _, err := os.Stat(at); err == nil {
				spec.Bind[at] = tracing
			}
		}
	}
	spec.Args = []string{"--emit-elf", filepath.Join(spec.Write, objectName), script}
	spec.Env = Env(btf)
	return spec, nil
}

// formats writes the formats of the script's tracepoints as tracefs has them.
func (s *Script) formats(tracing string, k Kernel) error {
	if err := os.Mkdir(tracing, 0o700); err != nil {
		return err
	}
	var events strings.Builder
	for _, p := range s.Probes {
		if p.Kind != "tracepoint" {
			continue
		}
		fmt.Fprintf(&events, "%s:%s\n", p.Args[0], p.Args[1])
		text, err := k.RawFormat(p.Args[0], p.Args[1])
		if err != nil {
			return &FailedError{err.Error()}
		}
		at := filepath.Join(tracing, "events", p.Args[0], p.Args[1])
		if err := os.MkdirAll(at, 0o700); err != nil {
			return err
		}
		text = append([]byte("name: "+p.Args[1]+"\n"), bytes.ReplaceAll(withoutName(text), []byte("\nfield:"), []byte("\n\tfield:"))...)
		if err := os.WriteFile(filepath.Join(at, "format"), text, 0o600); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"available_events": events.String(), "available_filter_functions": ""} {
		if err := os.WriteFile(filepath.Join(tracing, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// withoutName takes the first line, which names the tracepoint, off a format.
func withoutName(text []byte) []byte {
	if line, rest, ok := bytes.Cut(text, []byte("\n")); ok && bytes.HasPrefix(line, []byte("name:")) {
		return rest
	}
	return text
}

// run starts bpftrace in the jail and waits for it.
func (t *Tool) run(asked context.Context, dir string, spec jail.Spec) error {
	ctx, cancel := context.WithTimeout(asked, translateTime)
	defer cancel()
	cmd, err := jail.Command(t.self, spec)
	if err != nil {
		return err
	}
	said := &bounded{max: maxMessages}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting bpftrace in its jail: %w%s", err, namespaces(err))
	}
	stop := context.AfterFunc(ctx, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer stop()
	err = cmd.Wait()
	switch text := Messages(strings.ReplaceAll(said.String(), dir+"/", "")); {
	case asked.Err() != nil:
		return context.Cause(asked)
	case ctx.Err() != nil:
		return &FailedError{fmt.Sprintf("it takes longer than %v", translateTime)}
	case cmd.ProcessState.ExitCode() == ExitJail:
		return fmt.Errorf("starting bpftrace in its jail: %s", text)
	case err != nil || strings.Contains(text, "ERROR:"):
		if text == "" {
			text = err.Error()
		}
		return &FailedError{text}
	}
	return nil
}

// ExitJail is the exit status of a jail that could not be entered.
const ExitJail = 117

func namespaces(err error) string {
	if os.Geteuid() != 0 && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC)) {
		return "; this machine lets nobody but root make user namespaces: allow it (sysctl kernel.unprivileged_userns_clone=1), or ask on a node with `kgent ask`"
	}
	return ""
}

// Messages are bpftrace's words for people: without what it says on every start,
// and bounded.
func Messages(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n \t")
		if strings.Contains(line, "Unknown error -1: couldn't set RLIMIT_MEMLOCK") || strings.Contains(line, "is deprecated. Use BPFTRACE_") {
			continue
		}
		if strings.HasPrefix(line, "Error while reading traceable functions") || line == "" {
			continue
		}
		if out = append(out, line); len(out) == 12 {
			break
		}
	}
	joined := strings.Join(out, "\n")
	return joined[:min(len(joined), 2000)]
}

// points are the attach points as objects name them.
func (s *Script) points() []string {
	var out []string
	for _, p := range s.Probes {
		out = append(out, p.Name)
	}
	return out
}

// matches holds what bpftrace understood against what this package understood:
// the same attach points, no more and no fewer.
func (s *Script) matches(o *program.Object) error {
	facts, err := o.Facts()
	if err != nil {
		return err
	}
	left := map[string]bool{}
	for _, p := range s.Probes {
		left[p.Name] = false
	}
	for _, f := range facts {
		name := f.Program
		if f.Hook.Kind == program.USDT { // a program for each place of a marker
			name = fmt.Sprintf("usdt:%s:%s", f.Hook.Binary, f.Hook.Symbol)
		}
		if _, ok := left[name]; !ok {
			return fmt.Errorf("bpftrace reads it otherwise than kgent: it would probe %q", f.Program)
		}
		left[name] = true
	}
	for name, found := range left {
		if !found {
			return fmt.Errorf("bpftrace reads it otherwise than kgent: it would not probe %q", name)
		}
	}
	return nil
}

func readBounded(file string, most int64) ([]byte, error) {
	info, err := os.Lstat(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, &FailedError{"it made no program of it"}
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > most:
		return nil, &FailedError{fmt.Sprintf("what it made of it is no file of at most %d bytes", most)}
	}
	return os.ReadFile(file)
}

// bounded keeps the first max bytes.
type bounded struct {
	buf bytes.Buffer
	max int
}

func (b *bounded) Write(p []byte) (int, error) {
	b.buf.Write(p[:min(len(p), max(b.max-b.buf.Len(), 0))])
	return len(p), nil
}

func (b *bounded) String() string { return b.buf.String() }
