package bpftrace

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"kgent/agent/program"
	"kgent/agent/program/bpftrace/jail"
	"kgent/retrieval/kernel"
)

func find(t *testing.T) *Tool {
	t.Helper()
	tool, err := Find(t.Context(), os.Getenv, "/proc/self/exe", jail.Arg)
	if err != nil {
		t.Fatal(err)
	}
	return tool
}

func parse(t *testing.T, text string) *Script {
	t.Helper()
	s, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTranslate(t *testing.T) {
	tool := find(t)
	facts, err := kernel.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := parse(t, `tracepoint:syscalls:sys_enter_openat /pid != 1/ { @[comm] = count(); @h = hist(args->flags); printf("%s\n", str(args->filename)); }
interval:s:1 { print(@h); } BEGIN { printf("go\n"); } profile:hz:9 { @p[kstack] = count(); }`)
	var first []program.Facts
	for name, k := range map[string]Kernel{"this machine": nil, "a kernel known by its facts": facts} {
		o, err := tool.Translate(t.Context(), s, k)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f, err := o.Facts()
		if err != nil {
			t.Fatal(err)
		}
		if len(f) != len(s.Probes) {
			t.Errorf("%s: %d programs of %d probes", name, len(f), len(s.Probes))
		}
		if first == nil {
			first = f
		}
		if err := program.SameDoings(first, f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, x := range f {
			if x.Hook.Kind == program.Tracepoint && !slices.Contains(x.Helpers, "bpf_probe_read_user_str") && !slices.Contains(x.Helpers, "bpf_probe_read_str") {
				t.Errorf("%s: helpers %q", name, x.Helpers)
			}
		}
	}
}

// fewFacts are of the files that a bot has been sent.
type fewFacts struct{ dir string }

func (f fewFacts) RawBTF() ([]byte, error) { return os.ReadFile(KernelBTF) }

func (f fewFacts) RawFormat(_, name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(f.dir, name))
}

// A bot has no privileges, and translates for kernels of others all the same.
func TestTranslateWithoutPrivileges(t *testing.T) {
	const where = "KGENT_TEST_FORMATS"
	s := parse(t, `tracepoint:syscalls:sys_enter_openat { @[comm, str(args->filename)] = count(); }`)
	if dir := os.Getenv(where); dir != "" {
		o, err := find(t).Translate(t.Context(), s, fewFacts{dir})
		if err != nil {
			t.Fatal(err)
		}
		f, err := o.Facts()
		if err != nil || !slices.Contains(f[0].Helpers, "bpf_probe_read_str") {
			t.Errorf("%v, %v", f, err)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: only root can become somebody else")
	}
	facts, err := kernel.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := facts.RawFormat("syscalls", "sys_enter_openat")
	if err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "kgent-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	err = errors.Join(os.WriteFile(filepath.Join(dir, "sys_enter_openat"), text, 0o644), os.Chown(dir, nobody, nobody))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestTranslateWithoutPrivileges$")
	cmd.Env = []string{where + "=" + dir, "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestTranslateRefuses(t *testing.T) {
	tool := find(t)
	for name, tt := range map[string]struct{ text, why string }{
		"no such field": {`tracepoint:syscalls:sys_enter_openat { @[args->nosuch] = count(); }`, "ERROR"},
		"wrong format":  {`tracepoint:syscalls:sys_enter_openat { printf("%s %s\n", comm); }`, "ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Parse([]byte(tt.text))
			if err == nil {
				_, err = tool.Translate(t.Context(), s, nil)
			}
			if err == nil || !strings.Contains(err.Error(), tt.why) || strings.Contains(err.Error(), "/tmp/") {
				t.Errorf("%v", err)
			}
		})
	}
	later := parse(t, `tracepoint:syscalls:sys_enter_openat { @ = count(); }`)
	later.Requires = Version{9, 0, 0}
	if _, err := tool.Translate(t.Context(), later, nil); err == nil || !strings.Contains(err.Error(), "needs bpftrace 9.0.0") {
		t.Errorf("%v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tool.Translate(gone, parse(t, `tracepoint:syscalls:sys_enter_openat { @ = count(); }`), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := Find(t.Context(), func(string) string { return "/bin/true" }); !errors.Is(err, ErrNone) {
		t.Errorf("%v", err)
	}
}

// A manifest and an object that do not belong together are no program, whichever of them
// was changed; nor is a program in C that calls itself a script.
func TestOpen(t *testing.T) {
	tool := find(t)
	s := parse(t, `tracepoint:syscalls:sys_enter_openat { @ = count(); }`)
	o, err := tool.Translate(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	good, err := program.Build(o, program.Options{Name: "x", Title: "x", Script: &program.Script{Language: Language, Text: s.Text, Requires: "0.17.0", By: "0.17.0"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*program.Manifest)
		why    string
	}{
		"as it is":         {func(*program.Manifest) {}, ""},
		"no script":        {func(m *program.Manifest) { m.Script = nil }, "version 2"},
		"as if it were C":  {func(m *program.Manifest) { m.Script, m.Version = nil, 1 }, "object"},
		"an older version": {func(m *program.Manifest) { m.Version = 1 }, "version 1"},
		"another language": {func(m *program.Manifest) { x := *m.Script; x.Language = "sh"; m.Script = &x }, "knows bpftrace"},
		"another hook":     {func(m *program.Manifest) { m.Programs[0].Hook.Target = "syscalls:sys_enter_close" }, "is not the object's"},
		"a parameter":      {func(m *program.Manifest) { m.Means = map[string]string{"x": "y"} }, "neither parameters"},
		"a view":           {func(m *program.Manifest) { m.View.Top = 3 }, "neither parameters"},
	} {
		t.Run(name, func(t *testing.T) {
			m := *good
			m.Programs = slices.Clone(good.Programs)
			tt.change(&m)
			text, err := m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = program.Open(o.ELF(), text)
			if (err == nil) != (tt.why == "") || err != nil && !strings.Contains(err.Error(), tt.why) {
				t.Errorf("%v, want %q", err, tt.why)
			}
		})
	}
	// Whatever becomes of its bytes, reading it returns.
	for i := range o.ELF() {
		altered := slices.Clone(o.ELF())
		altered[i] ^= 0x41
		program.ParseScript(altered, s.points()) // must return
	}
}
