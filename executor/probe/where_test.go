package probe_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kgent/agent/program"
	"kgent/executor/probe"
	"kgent/executor/probe/residue"
)

// callIn makes calls from a process that is started in a cgroup, as process 1 of a pid namespace of
// its own, and returns its id on the node.
func callIn(t *testing.T, dir string, mark, calls uint64) int {
	t.Helper()
	group, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{fmt.Sprintf("%s=%d:%d:1", floodEnv, mark, calls)} // and no machine's: there process 1 is its own
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd()), Cloneflags: syscall.CLONE_NEWPID}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return cmd.Process.Pid
}

// remade takes a cgroup away and makes it anew, as when a container is started again.
func remade(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

// tryWhere narrows a program to a container: what is started in it, or in a cgroup within it, while
// the run goes on is seen, also when the container is started anew; other containers are not.
func tryWhere(t *testing.T, k kind) {
	residue.Check(t)
	mark := newMark()
	id, other := fmt.Sprintf("%064x", mark), fmt.Sprintf("%064x", mark+1)
	_, dir := cgroupCalled(t, "docker-"+id+".scope")
	_, decoy := cgroupCalled(t, "docker-"+other+".scope")
	o := k.object(t)
	s := load(t, loader(), o, manifest(t, o, program.Options{Where: "container:" + id, Constants: map[string]string{"mark": fmt.Sprint(mark)}}))
	attach(t, s)
	want := fmt.Sprintf("container %s (cgroup /docker-%s.scope)", id[:12], id)
	if got := s.Narrowed(); len(got) != 1 || got[0] != want {
		t.Errorf("narrowed to %q, want %q", got, want)
	}
	r := drain(t, s)
	callIn(t, decoy, mark, 7)
	callIn(t, cgroupMount(), mark, 7)
	first := callIn(t, dir, mark, 2)
	inner := filepath.Join(dir, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	second := callIn(t, inner, mark, 1)
	if err := os.Remove(inner); err != nil {
		t.Fatal(err)
	}
	for i, e := range r.wait(3) {
		pid := first
		if i == 2 {
			pid = second
		}
		if e.u32(0) != uint32(pid) || e.u32(4) != 1 {
			t.Errorf("event %d is of process %d, %d in its container; want %d, 1", i, e.u32(0), e.u32(4), pid)
		}
	}
	remade(t, dir)
	// It is looked for every now and then; until then nothing of it is seen.
	third := 0
	last := r.until("what happens in the container that is started anew", func(all []record) bool {
		if len(all) == 3 {
			third = callIn(t, dir, mark, 1)
		}
		return len(all) > 3
	})[3]
	if last.u32(0) != uint32(third) && third == 0 {
		t.Errorf("the last event is of process %d, want %d", last.u32(0), third)
	}
	if said := s.Followed(); len(said) != 1 || !strings.HasPrefix(said[0], want+" was started while the run went on, and is seen since ") {
		t.Errorf("said of the container that was started anew: %q", said)
	}
	callIn(t, decoy, mark, 7)
	all, counts := r.finish()
	if counts.Lost != 0 || len(all) < 4 {
		t.Errorf("%d events, %d lost", len(all), counts.Lost)
	}
	for _, e := range all {
		if e.u64(8) > 1 {
			t.Errorf("a call of a decoy is seen: %d", e.u64(8))
		}
	}
}

// dockerNode is a directory for the files of docker's containers on a node, by name and labels.
func dockerNode(t *testing.T, names map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for id, config := range names {
		dir := filepath.Join(root, "var/lib/docker/containers", id)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.v2.json"), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// A label stands for all containers that have it, also those that are started later; one that none
// has, or too many have, is refused before anything is attached.
func TestWhereLabel(t *testing.T) {
	residue.Check(t)
	mark := newMark()
	names := map[string]string{}
	id := func(i uint64) string { return fmt.Sprintf("%064x", mark+i) }
	for i := range uint64(10) {
		names[id(i)] = fmt.Sprintf(`{"Name":"/shop-%d","Config":{"Labels":{"app":"shop","part":"%d"}}}`, i, i/2)
	}
	names[id(20)] = `{"Name":"/bank","Config":{"Labels":{"app":"bank"}}}`
	make := func(i uint64) string {
		_, dir := cgroupCalled(t, "docker-"+id(i)+".scope")
		return dir
	}
	a, bank := make(0), make(20)
	o := object(t, "where.bpf.c", "")
	l := probe.NewLoader(probe.Options{Cgroups: cgroupMount(), Root: dockerNode(t, names), Follow: 50 * time.Millisecond})
	set := func(where string) *probe.Set {
		return load(t, l, o, manifest(t, o, program.Options{Where: where, Constants: map[string]string{"mark": fmt.Sprint(mark)}}))
	}
	s := set("label:part=0")
	attach(t, s)
	r := drain(t, s)
	callIn(t, bank, mark, 1)
	callIn(t, a, mark, 1)
	r.wait(1)
	b := make(1)
	r.until("what happens in the second container", func(all []record) bool {
		if len(all) == 1 {
			callIn(t, b, mark, 1)
		}
		return len(all) > 1
	})
	callIn(t, a, mark, 1) // and still in the first
	r.wait(3)
	r.finish()
	if said := s.Followed(); len(said) != 1 || !strings.Contains(said[0], "container shop-1") {
		t.Errorf("said of the second container: %q", said)
	}
	full := set("label:app=shop")
	attach(t, full)
	for i := range uint64(7) {
		make(2 + i)
	}
	for len(full.Followed()) == 0 || !strings.Contains(strings.Join(full.Followed(), "\n"), "not all of containers with the label app=shop is seen: 9 of this node are meant") {
		select {
		case <-t.Context().Done():
			t.Fatalf("said of too many containers: %q", full.Followed())
		case <-time.After(10 * time.Millisecond):
		}
	}
	if err := full.Close(); err != nil {
		t.Fatal(err)
	}
	for where, want := range map[string]string{
		"label:app=shop":   "9 of this node are meant, and a program can be narrowed to 8",
		"label:app=none":   "no container of this node has the label app=none",
		"container:none":   `this node has no container "none"; it has `,
		"pod:a/b":          `this node has no pod "a/b"`,
		"/no/such.service": "this node has no cgroup /no/such.service",
	} {
		_, err := set(where).Attach(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", where, err, want)
		}
	}
}

// A program that can be narrowed, and a run that does not say to what, is refused.
func TestWhereUnsaid(t *testing.T) {
	o := object(t, "where.bpf.c", "")
	for where, want := range map[string]string{
		"":               "names none: say which",
		"web":            `"web" names no containers: write container:NAME`,
		"container:a b":  "is no name of containers",
		"/a/../b":        "names no containers",
		"label:x":        "names no containers",
		"node:x":         "names no containers",
		"container:":     "names no containers",
		"/":              "names no containers",
		"pod:a\x1b[2Jb":  "is no name of containers",
		"label:=x":       "names no containers",
		"/system.slice/": "names no containers",
	} {
		if _, err := program.Build(o, program.Options{Name: "test", Where: where}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", where, err, want)
		}
	}
}
