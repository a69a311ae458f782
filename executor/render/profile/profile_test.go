package profile

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kgent/executor/output"
	"kgent/executor/render/chart"
)

func key(pid, comm string) output.Fields {
	return output.Fields{{Name: "pid", Value: json.Number(pid)}, {Name: "comm", Value: comm}}
}

// sample is a profile of two nodes.
func sample() *Profile {
	p := New("samples", "count")
	for _, s := range []output.Stack{
		{Node: "a", Key: key("7", "burn"), Frames: []string{"inner+0xc (burn)", "main+0x37 (burn)", "__libc_start_call_main+0x7a (libc.so.6)"}, Count: 40},
		{Node: "b", Key: key("7", "burn"), Frames: []string{"inner+0x10 (burn)", "main+0x37 (burn)", "__libc_start_call_main+0x7a (libc.so.6)"}, Count: 2},
		{Node: "a", Key: key("9", "burn"), Frames: []string{"nf_hook+0x4 [nf_tables]", "do_syscall_64+0x7", "[libx.so+0x1180]", "main+0x30 (burn)"}, Kernel: 2, Count: 5},
		{Node: "a", Key: key("0", "swapper/0"), Frames: []string{"[no stack]"}, Count: 1},
		{Node: "a", Key: key("1", "a;b\x1b"), Frames: []string{"[unknown] 0x7f00 (exited)"}, Count: 3},
		{Node: "a", Key: key("1", "never"), Frames: []string{"f"}},
	} {
		p.Add(s)
	}
	return p
}

func TestFolded(t *testing.T) {
	want := `burn;__libc_start_call_main;main;inner 42
burn;main;[libx.so];do_syscall_64_[k];nf_hook_[k] 5
a:b\x1b;[unknown] 3
swapper/0;[no stack] 1
`
	if got := string(sample().Folded()); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := sample().Total(); got != 51 {
		t.Errorf("%d in all, want 51", got)
	}
}

func TestParseFrame(t *testing.T) {
	for in, want := range map[string]Frame{
		"malloc+0x1c (libc.so.6)":                   {Name: "malloc", Module: "libc.so.6", Known: true},
		"a/b.(*T).F+0x1 (my prog)":                  {Name: "a/b.(*T).F", Module: "my prog", Known: true},
		"std::function<void (int)>::f()+0x9 (x.so)": {Name: "std::function<void (int)>::f()", Module: "x.so", Known: true},
		"operator+": {Name: "operator+", Known: true},
		"main+25":   {Name: "main", Known: true},
		"[unknown] 0x55d0 (burn, which cannot be read)": {Name: "[unknown]", Module: "burn, which cannot be read"},
		"[burn+0x118c]":                       {Name: "[burn]", Module: "burn"},
		"0x7f0010":                            {Name: "[unknown]"},
		"[stack lost: the stack map is full]": {Name: "[stack lost: the stack map is full]"},
		"":                                    {Name: "[unknown]"},
	} {
		if got := ParseFrame(in, false); got != want {
			t.Errorf("%s: %+v, want %+v", in, got, want)
		}
	}
	if got, want := ParseFrame("nf_hook+0x4 [nf_tables]", true), (Frame{Name: "nf_hook", Module: "nf_tables", Kernel: true, Known: true}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// What pprof itself reads out of a profile is what was put into it.
func TestPprofReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cpu.pb.gz")
	b, err := sample().Pprof(When{Start: time.Unix(1_700_000_000, 0), Took: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute) // it may have to be built first
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "tool", "pprof", "-symbolize=none", "-raw", path)
	cmd.Env = append(os.Environ(), "PPROF_TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go tool pprof: %v\n%s", err, out)
	}
	raw := strings.Join(strings.Fields(string(out)), " ")
	for _, want := range []string{"samples/count", "Duration: 30", "42: 1 2 3", "comm:[burn] pid:[7]", "1: 0x0 M=1 inner burn:0", "3: 0x0 M=2 __libc_start_call_main", "nf_hook", "[no stack]", "libc.so.6", "[kernel]"} {
		if !strings.Contains(raw, want) {
			t.Errorf("no %q in what pprof read:\n%s", want, out)
		}
	}
}

func TestFlame(t *testing.T) {
	p := sample()
	f := p.Flame(chart.Heading{Title: "samples"})
	if f.Total() != p.Total() {
		t.Errorf("%d in the picture, %d counted", f.Total(), p.Total())
	}
	hot := f.Hottest(2)
	if len(hot) != 2 || hot[0] != (chart.Hot{Function: chart.Function{Name: "inner", Module: "burn", Kind: chart.Program}, Self: 42}) || hot[1].Kind != chart.Kernel {
		t.Errorf("hottest %+v", hot)
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add("malloc+0x1c (libc.so.6)", true)
	f.Add("[x+0x1]", false)
	f.Fuzz(func(t *testing.T, s string, kernel bool) {
		p := New("m", "count")
		p.Add(output.Stack{Frames: []string{s}, Kernel: 1, Count: 2})
		p.Add(output.Stack{Key: output.Fields{{Name: "comm", Value: s}}, Frames: []string{s, s}, Count: 3})
		if got := p.Total(); got != 5 {
			t.Errorf("%d counted, want 5", got)
		}
		for line := range strings.Lines(string(p.Folded())) {
			if strings.Count(line, ";") > 2 || !strings.HasSuffix(line, "\n") {
				t.Errorf("folded line %q", line)
			}
		}
	})
}
