// Package compile turns the C source of an eBPF program into an ELF object
// with clang.
//
// A source sees exactly two headers: kgent.bpf.h, which is embedded here, and
// the vmlinux.h that the caller's [Types] cut down to what the program
// touches. Everything else is out of its reach: sources may come from a model
// and must not be able to read files of the host into an object or an error
// message. So clang gets a file system that holds only these files, assembly is
// searched for directives that read others before it is assembled, and clang
// runs without privileges, with bounded time, memory and output, and in a
// directory of its own. Directives for other files are also refused before
// clang runs, for the sake of a better message.
package compile

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"kgent/agent/program"
)

// Header is the text of kgent.bpf.h.
//
//go:embed include/kgent.bpf.h
var Header string

// MaxSource is the longest source accepted, in bytes.
const MaxSource = 256 << 10

// timeout bounds one run of clang; a program takes 0.1 s.
const timeout = 20 * time.Second

// memory bounds the address space of clang, in bytes; a program takes 300 MiB.
const memory = 2 << 30

// handed is the directory of the sources as clang sees it. It may lie where
// clang's user may not go (a private TMPDIR): handed over open, it is reached
// through the descriptor.
const handed = "/proc/self/fd/3"

// overlay lists the files that exist for clang.
const overlay = `{"version": 0, "fallthrough": false, "roots": [{"type": "directory", "name": "` + handed + `", "contents": [
	{"type": "file", "name": "` + sourceName + `", "external-contents": "` + handed + `/` + sourceName + `"},
	{"type": "file", "name": "kgent.bpf.h", "external-contents": "` + handed + `/kgent.bpf.h"},
	{"type": "file", "name": "vmlinux.h", "external-contents": "` + handed + `/vmlinux.h"}]}]}`

// sourceName is what diagnostics call the program.
const sourceName = "program.bpf.c"

// ErrNoClang says that no usable clang is on this machine.
var ErrNoClang = errors.New("no clang that can target BPF: install one (apt-get install clang-19), or point KGENT_CLANG at it")

// Types supplies vmlinux.h for the sources that will be compiled with it.
type Types interface {
	Header(sources ...string) ([]byte, error)
}

// Compiler runs one clang. It is safe for concurrent use; of many compilations
// at once no more run than there are processors, so that what else this
// process does, such as answering people, gets its turn.
type Compiler struct {
	path    string
	version string
	flags   Flags
	slots   chan struct{}
}

// Flags are how clang translates. An empty one is the one that programs are
// built with.
type Flags struct {
	Optimize string // "1", "2" (the default) or "s", as in -O2
	CPU      string // of eBPF: "v2", "v3" (the default) or "v4", as in -mcpu=v3
}

// String writes them as clang takes them.
func (f Flags) String() string {
	return "-O" + cmp.Or(f.Optimize, "2") + " -mcpu=" + cmp.Or(f.CPU, "v3")
}

// WithFlags returns the compiler with other flags: what is said of a program
// must not depend on how it was translated, which tests hold it to.
func (c *Compiler) WithFlags(f Flags) *Compiler {
	other := *c
	other.flags = f
	return &other
}

// Find looks for clang: the value of KGENT_CLANG, else the newest clang on the
// path of at least version 14. It runs what it finds to be sure.
func Find(ctx context.Context, getenv func(string) string) (*Compiler, error) {
	if path := getenv("KGENT_CLANG"); path != "" {
		c, err := try(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("%w: KGENT_CLANG=%s: %v", ErrNoClang, path, err)
		}
		return c, nil
	}
	names := []string{"clang"}
	for v := 14; v <= 30; v++ {
		names = append(names, "clang-"+strconv.Itoa(v))
	}
	var best *Compiler
	for i := len(names) - 1; i >= 0; i-- {
		path, err := exec.LookPath(names[i])
		if err != nil {
			continue
		}
		if c, err := try(ctx, path); err == nil {
			best = c
			break
		}
	}
	if best == nil {
		return nil, ErrNoClang
	}
	return best, nil
}

func try(ctx context.Context, path string) (*Compiler, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "-target", "bpf", "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("running %s: %w", path, err)
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("%s is not clang", path)
	}
	if major, _ := strconv.Atoi(string(m[1])); major < 14 {
		return nil, fmt.Errorf("clang %s is too old: 14 or later is needed", m[1])
	}
	return &Compiler{path: path, version: string(m[0]), slots: make(chan struct{}, runtime.GOMAXPROCS(0))}, nil
}

var versionLine = regexp.MustCompile(`clang version (\d+)[^\s]*`)

// Version returns clang's own words, such as "clang version 19.1.7".
func (c *Compiler) Version() string { return c.version }

// Path returns where clang is.
func (c *Compiler) Path() string { return c.path }

// Diagnostic is one message of the compiler about the program.
type Diagnostic struct {
	Line    int    `json:"line"`   // of the program; 0 when it is about a header
	Column  int    `json:"column"` // from 1
	Error   bool   `json:"error"`  // false: a warning
	Message string `json:"message"`
	Source  string `json:"source"` // the line's text
}

func (d Diagnostic) String() string {
	if d.Line == 0 {
		return d.Message
	}
	return fmt.Sprintf("line %d: %s\n    %s", d.Line, d.Message, strings.TrimSpace(d.Source))
}

// Error says that a source does not compile.
type Error struct {
	Diagnostics []Diagnostic // at least one, errors first
}

func (e *Error) Error() string {
	s := "compiling: " + e.Diagnostics[0].String()
	if n := len(e.Diagnostics) - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more)", n)
	}
	return s
}

// Result is a compiled program.
type Result struct {
	ELF      []byte
	Warnings []Diagnostic
}

// Compile compiles a source. The error is an [*Error] when the source is at
// fault.
func (c *Compiler) Compile(ctx context.Context, source string, types Types) (*Result, error) {
	return c.compile(ctx, source, types)
}

// compile is Compile with definitions, as clang takes them.
func (c *Compiler) compile(ctx context.Context, source string, types Types, defines ...string) (*Result, error) {
	if len(source) > MaxSource {
		return nil, &Error{[]Diagnostic{{Error: true, Message: fmt.Sprintf("the source has %d bytes, at most %d are accepted", len(source), MaxSource)}}}
	}
	if d := forbidden(source); d != nil {
		return nil, &Error{[]Diagnostic{*d}}
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("compiling: %w", context.Cause(ctx))
	}
	vmlinux, err := types.Header(source, Header)
	if err != nil {
		return nil, fmt.Errorf("compiling: making vmlinux.h: %w", err)
	}
	dir, err := os.MkdirTemp("", "kgent-compile-")
	if err != nil {
		return nil, fmt.Errorf("compiling: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("compiling: %w", err)
	}
	for name, text := range map[string][]byte{sourceName: []byte(source), "kgent.bpf.h": []byte(Header), "vmlinux.h": vmlinux, "overlay.yaml": []byte(overlay)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return nil, fmt.Errorf("compiling: %w", err)
		}
	}
	if d, err := c.checkAssembly(ctx, dir, source, defines); err != nil {
		return nil, err
	} else if d != nil {
		return nil, &Error{[]Diagnostic{*d}}
	}
	elf, messages, err := c.run(ctx, dir, append(slices.Clone(defines), "-c")...)
	if err != nil {
		return nil, err
	}
	diagnostics := parseDiagnostics(messages, source)
	var faults, warnings []Diagnostic
	for _, d := range diagnostics {
		if d.Error {
			faults = append(faults, d)
		} else {
			warnings = append(warnings, d)
		}
	}
	if len(faults) > 0 {
		return nil, &Error{append(faults, warnings...)}
	}
	if len(elf) == 0 {
		return nil, fmt.Errorf("compiling: clang wrote no object and said %q", clip(messages))
	}
	return &Result{ELF: elf, Warnings: warnings}, nil
}

// checkAssembly finds assembler directives that read files, or that could be
// used to put the name of one together: the assembler reads files past the
// overlay. Strings and macros may hide a directive in the source, so what is
// searched is what the assembler would get.
func (c *Compiler) checkAssembly(ctx context.Context, dir, source string, defines []string) (*Diagnostic, error) {
	source = splice.ReplaceAllString(source, "")
	if !strings.Contains(source, "asm") && !strings.Contains(source, "##") && !strings.Contains(source, "%:%:") {
		return nil, nil // no asm statement, and none pasted together
	}
	text, _, err := c.run(ctx, dir, append(slices.Clone(defines), "-S", "-fno-integrated-as")...) // as it is written
	if err != nil {
		return nil, err
	}
	if directive := readingDirective.Find(text); directive != nil {
		return &Diagnostic{Error: true, Message: fmt.Sprintf("assembler directives that read files or define macros are not available: %q", directive)}, nil
	}
	return nil, nil
}

// splice is what joins two lines of C.
var splice = regexp.MustCompile(`\\[ \t\v\f\x00]*(\r\n|\n|\r)`)

var readingDirective = regexp.MustCompile(`(?i)\.(incbin|include|macro|altmacro|irp|rep)`)

// run executes clang in dir, to write an object (-c) or assembly (-S), with what else it is
// told. A source at fault is not an error here.
func (c *Compiler) run(ctx context.Context, dir string, mode ...string) (elf, messages []byte, err error) {
	asked := ctx
	ctx, cancel := context.WithTimeout(asked, timeout)
	defer cancel()
	open, err := os.Open(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("compiling: %w", err)
	}
	defer open.Close()
	// A few macros that call each other expand to any size: the shell bounds
	// what it then turns into clang, which comes after everything else that
	// wants to run.
	args := append([]string{"-c", fmt.Sprintf(`ulimit -v %d && exec nice -n 10 "$0" "$@"`, memory>>10), c.path,
		"-target", "bpf", "-mcpu=" + cmp.Or(c.flags.CPU, "v3"), "-O" + cmp.Or(c.flags.Optimize, "2"), "-g", "-std=gnu11", "-D__TARGET_ARCH_" + targetArch(),
		"-nostdinc", "-I" + handed + "/", "-ivfsoverlay", handed + "/overlay.yaml", "-fdebug-compilation-dir=.", "-fno-ident",
		// No two runs may differ: of one source there is one digest, and what
		// is checked is what is compiled.
		"-Wno-builtin-macro-redefined", `-D__DATE__=""`, `-D__TIME__=""`, `-D__TIMESTAMP__=""`,
		"-Wall", "-Wno-unused-function", "-Wno-unused-variable", "-Werror=implicit-function-declaration", "-Werror=int-conversion",
		"-Wno-compare-distinct-pointer-types", "-Wno-address-of-packed-member", "-Wno-missing-declarations", "-Wno-pass-failed",
		"-fno-color-diagnostics", "-fno-caret-diagnostics", "-ferror-limit=8",
		handed + "/" + sourceName, "-o", "-"}, mode...)
	cmd := exec.CommandContext(ctx, "/bin/sh", args...)
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{open}
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TMPDIR=/nonexistent"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// Another process that is being started may hold the pipes until it is: on a
	// machine that hardly gets on, for seconds.
	cmd.WaitDelay = 20 * time.Second
	out, msgs := &bounded{max: program.MaxELF}, &bounded{max: 256 << 10}
	cmd.Stdout, cmd.Stderr = out, msgs
	err = cmd.Run()
	atFault := func(format string, args ...any) ([]byte, []byte, error) {
		return nil, nil, &Error{[]Diagnostic{{Error: true, Message: fmt.Sprintf(format, args...)}}}
	}
	switch {
	case asked.Err() != nil:
		return nil, nil, fmt.Errorf("compiling: %w", context.Cause(asked))
	case ctx.Err() != nil:
		return atFault("clang takes longer than %v for this source", timeout)
	case out.over:
		return atFault("the object is larger than %d bytes", program.MaxELF)
	case err == nil:
		return out.Bytes(), msgs.Bytes(), nil
	}
	if bytes.Contains(msgs.Bytes(), []byte("LLVM ERROR: out of memory")) {
		return nil, fmt.Appendf(nil, "error: compiling it takes more than %d MiB", memory>>20), nil
	}
	var exit *exec.ExitError
	switch {
	case !errors.As(err, &exit):
	case exit.Exited() && bytes.Contains(msgs.Bytes(), []byte("error:")):
		return nil, msgs.Bytes(), nil
	case bytes.Contains(msgs.Bytes(), []byte("out of memory")), bytes.Contains(msgs.Bytes(), []byte("PLEASE submit a bug report")):
		return atFault("clang cannot cope with this source: %s", clip(msgs.Bytes()))
	}
	return nil, nil, fmt.Errorf("compiling: running %s: %w: %s", c.path, err, clip(msgs.Bytes()))
}

// nobody is the overflow user and group: no file of the host is theirs.
const nobody = 65534

func targetArch() string {
	if runtime.GOARCH == "arm64" {
		return "arm64"
	}
	return "x86"
}

// bounded keeps the first max bytes. The buffer is not embedded: its ReadFrom
// would take everything.
type bounded struct {
	buf  bytes.Buffer
	max  int
	over bool
}

func (b *bounded) Bytes() []byte { return b.buf.Bytes() }

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.max - b.buf.Len(); len(p) > room {
		b.over = true
		b.buf.Write(p[:room])
		return len(p), nil
	}
	return b.buf.Write(p)
}

var _ io.Writer = (*bounded)(nil)

func clip(b []byte) string {
	const most = 400
	if len(b) > most {
		b = b[:most]
	}
	return strings.TrimSpace(string(b))
}

var diagnosticLine = regexp.MustCompile(`^([^:\s]+):(\d+):(\d+): (fatal error|error|warning): (.*)$`)

// parseDiagnostics reads clang's messages. One about a macro of kgent.bpf.h is
// followed by notes; the note inside the program says where.
func parseDiagnostics(messages []byte, source string) []Diagnostic {
	lines := strings.Split(source, "\n")
	text := func(n int) string {
		if n >= 1 && n <= len(lines) {
			return lines[n-1]
		}
		return ""
	}
	var out []Diagnostic
	for _, l := range strings.Split(string(messages), "\n") {
		m := diagnosticLine.FindStringSubmatch(l)
		if m == nil {
			// "error: too many errors" and driver messages carry no place.
			if msg, ok := strings.CutPrefix(l, "error: "); ok {
				out = append(out, Diagnostic{Error: true, Message: msg})
			}
			continue
		}
		line, _ := strconv.Atoi(m[2])
		column, _ := strconv.Atoi(m[3])
		d := Diagnostic{Column: column, Error: m[4] != "warning", Message: m[5]}
		if filepath.Base(m[1]) == sourceName {
			d.Line, d.Source = line, text(line)
		} else {
			d.Message = fmt.Sprintf("%s:%d: %s", filepath.Base(m[1]), line, m[5])
		}
		out = append(out, d)
	}
	return out
}

// forbidden finds what a program may not contain: directives and assembly that
// pull in files.
func forbidden(source string) *Diagnostic {
	spliced := strings.NewReplacer("\\\r\n", "", "\\\n", "", "??/\n", "").Replace(source)
	for _, l := range strings.Split(stripComments(spliced), "\n") {
		directive := strings.TrimSpace(l)
		rest, ok := strings.CutPrefix(directive, "#")
		if !ok {
			rest, ok = strings.CutPrefix(directive, "%:")
		}
		if !ok {
			continue
		}
		rest = strings.TrimSpace(rest)
		for _, word := range []string{"include", "import", "embed", "include_next"} {
			arg, ok := strings.CutPrefix(rest, word)
			if !ok || arg != "" && isWord(arg[0]) {
				continue
			}
			switch strings.TrimSpace(arg) {
			case `"kgent.bpf.h"`, `"vmlinux.h"`, `<kgent.bpf.h>`, `<vmlinux.h>`:
			default:
				return &Diagnostic{Error: true, Line: lineOf(source, directive), Source: directive,
					Message: `only #include "kgent.bpf.h" is available; it brings vmlinux.h, the helpers and the usual macros`}
			}
		}
	}
	// Assembler directives that open files. The text of an asm statement may
	// be glued together from pieces, which is why clang also runs without
	// privileges.
	flat := strings.ToLower(strings.NewReplacer(`"`, "", " ", "", "\t", "", "\n", "").Replace(stripComments(spliced)))
	if strings.Contains(flat, ".incbin") || strings.Contains(flat, ".include") {
		return &Diagnostic{Error: true, Message: "assembler directives that read files are not available"}
	}
	return nil
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func lineOf(source, text string) int {
	before, _, ok := strings.Cut(source, text)
	if !ok {
		return 0
	}
	return 1 + strings.Count(before, "\n")
}

// stripComments replaces comments by a space and keeps newlines and literals.
func stripComments(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "//"):
			for i < len(s) && s[i] != '\n' {
				i++
			}
		case strings.HasPrefix(s[i:], "/*"):
			end := strings.Index(s[i+2:], "*/")
			if end < 0 {
				return b.String()
			}
			b.WriteByte(' ')
			b.WriteString(strings.Repeat("\n", strings.Count(s[i:i+2+end], "\n")))
			i += end + 4
		case s[i] == '"' || s[i] == '\'':
			j := i + 1
			for j < len(s) && s[j] != s[i] && s[j] != '\n' {
				if s[j] == '\\' {
					j++
				}
				j++
			}
			j = min(j+1, len(s))
			b.WriteString(s[i:j])
			i = j
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return b.String()
}
