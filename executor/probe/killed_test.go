package probe_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"kgent/agent/program"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
)

// killedEnv makes the test binary attach to an interface and a cgroup, say what,
// and wait to be killed.
const killedEnv = "KGENT_PROBE_TEST_KILLED"

// heldSet is what the process that is killed says of itself.
type heldSet struct {
	Hooks          []string
	Programs, Maps []uint32
}

func attachAndWait(arg string) error {
	f := strings.Split(arg, ",")
	l := probe.NewLoader(probe.Options{Cgroups: cgroupMount()})
	var all heldSet
	for _, file := range f[2:] {
		elf, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		o, err := program.Parse(elf)
		if err != nil {
			return err
		}
		m, err := program.Build(o, program.Options{Name: "test", Interface: f[0], Cgroup: f[1]})
		if err != nil {
			return err
		}
		s, err := l.Load(context.Background(), o, m)
		if err != nil {
			return err
		}
		hooks, err := s.Attach(context.Background())
		if err != nil {
			return err
		}
		programs, err := s.ProgramIDs()
		if err != nil {
			return err
		}
		ids, err := s.MapIDs()
		if err != nil {
			return err
		}
		all.Hooks = append(all.Hooks, hooks...)
		all.Programs = append(all.Programs, programs...)
		all.Maps = append(all.Maps, ids...)
	}
	if err := json.NewEncoder(os.Stdout).Encode(all); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// Of a process that is killed nothing stays on interfaces, by the driver or by
// the generic path, and on cgroups; what others have attached there does.
func TestKilled(t *testing.T) {
	if !alone(t) {
		return
	}
	residue.Check(t)
	a, b := veth(t)
	ifc, err := net.InterfaceByName(a)
	if err != nil {
		t.Fatal(err)
	}
	group, err := os.MkdirTemp(cgroupMount(), "kgent-killed-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(group) })
	dir := t.TempDir()
	var files []string
	for _, name := range []string{"xdp.bpf.c", "tcx.bpf.c", "cgroup.bpf.c"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, object(t, name, "").ELF(), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}

	// Somebody else's.
	other := func(typ ebpf.ProgramType, verdict int32) *ebpf.Program {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: typ, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	attached := func(l link.Link, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	skb, tc, xdp := other(ebpf.CGroupSKB, 1), other(ebpf.SchedCLS, -1), other(ebpf.XDP, 2)
	attached(link.AttachCgroup(link.CgroupOptions{Path: group, Attach: ebpf.AttachCGroupInetEgress, Program: skb}))
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifc.Index, Attach: ebpf.AttachTCXIngress, Program: tc})
	if errors.Is(err, link.ErrNotSupported) {
		t.Skip("needs tcx, Linux 6.6")
	}
	attached(l, err)
	peer, err := net.InterfaceByName(b)
	if err != nil {
		t.Fatal(err)
	}
	attached(link.AttachXDP(link.XDPOptions{Interface: peer.Index, Program: xdp, Flags: link.XDPDriverMode}))

	on := func(q link.QueryOptions) (ids []ebpf.ProgramID) {
		t.Helper()
		r, err := link.QueryPrograms(q)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.Programs {
			ids = append(ids, p.ID)
		}
		return ids
	}
	dirFD, err := os.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	defer dirFD.Close()
	places := map[string]link.QueryOptions{
		"egress of the cgroup":     {Target: int(dirFD.Fd()), Attach: ebpf.AttachCGroupInetEgress},
		"ingress of the cgroup":    {Target: int(dirFD.Fd()), Attach: ebpf.AttachCGroupInetIngress},
		"ingress of the interface": {Target: ifc.Index, Attach: ebpf.AttachTCXIngress},
		"egress of the interface":  {Target: ifc.Index, Attach: ebpf.AttachTCXEgress},
	}
	before := map[string][]ebpf.ProgramID{}
	for name, q := range places {
		before[name] = on(q)
	}

	for _, test := range []struct{ ifc, hook string }{
		{a, "xdp " + a + " (native)"},
		{"lo", "xdp lo (generic)"},
	} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s,/%s,%s", killedEnv, test.ifc, filepath.Base(group), strings.Join(files, ",")))
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var held heldSet
		err = json.NewDecoder(out).Decode(&held)
		more := len(on(places["egress of the cgroup"])) > len(before["egress of the cgroup"])
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		in.Close()
		if err != nil || !slices.Contains(held.Hooks, test.hook) || len(held.Programs) < 4 || !more {
			t.Fatalf("%s: it attached %q, %v", test.ifc, held.Hooks, err)
		}
		residue.Gone(t, held.Programs, held.Maps)
		for name, q := range places {
			if got := on(q); !slices.Equal(got, before[name]) {
				t.Errorf("%s: programs %v, want those of the others, %v", name, got, before[name])
			}
		}
		// The place is free again, and what was there is still there.
		free, err := link.AttachXDP(link.XDPOptions{Interface: ifc.Index, Program: xdp, Flags: link.XDPDriverMode})
		if err != nil {
			t.Fatalf("%s is not free: %v", a, err)
		}
		free.Close()
		if l, err := link.AttachXDP(link.XDPOptions{Interface: peer.Index, Program: xdp, Flags: link.XDPDriverMode}); err == nil {
			l.Close()
			t.Errorf("the program of somebody else on %s is gone", b)
		}
	}
}
