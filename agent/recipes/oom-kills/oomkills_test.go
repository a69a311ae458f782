package oomkills_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"hold": hold, "take": take})
}

const (
	mib = 1 << 20
	// limit is what the victim and the process that sets the killer off may
	// have together.
	limit = 64 * mib
	// The victim's memory, of two kinds.
	anonymous = 24 * mib
	shared    = 5 * mib
	// reserved is memory that the victim has asked for and never touched.
	reserved = 200 * mib
	// score makes the victim the one to be killed.
	score = 987
	// nobody is the victim's user.
	nobody = 65533
)

// touched returns so much memory, all of it in use.
func touched(size, kind int) error {
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|kind)
	if err != nil {
		return err
	}
	for i := 0; i < size; i += os.Getpagesize() {
		mem[i] = 1
	}
	return nil
}

// hold takes its memory when it is in the group, and waits to be killed.
func hold([]string) error {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(score)), 0o644); err != nil {
		return err
	}
	if err := unix.Setresuid(nobody, -1, -1); err != nil {
		return err
	}
	recipetest.Say("ready")
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	if _, err := unix.Mmap(-1, 0, reserved, unix.PROT_READ, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE); err != nil {
		return err
	}
	if err := touched(anonymous, unix.MAP_PRIVATE); err != nil {
		return err
	}
	if err := touched(shared, unix.MAP_SHARED); err != nil {
		return err
	}
	recipetest.Say("holding")
	_, err := recipetest.Hear()
	return err
}

// take takes, in a second thread, what is left of the limit and more, but not
// more than the limit.
func take([]string) error {
	recipetest.Say("ready")
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	return recipetest.Thread("rt-oom-thread", func(int) error {
		return touched(limit-anonymous, unix.MAP_PRIVATE)
	})
}

// group makes a memory cgroup with the limit, which ends with the test, and
// returns its directory.
func group(t *testing.T) string {
	t.Helper()
	root, file := controller(t)
	dir, err := os.MkdirTemp(root, "rt-oom-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Its processes have ended, but the kernel may not be done with them.
		var err error
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if err = unix.Rmdir(dir); err != unix.EBUSY {
				break
			}
		}
		if err != nil {
			t.Errorf("removing %s: %v", dir, err)
		}
	})
	write(t, filepath.Join(dir, file), strconv.Itoa(limit))
	// Swap would take what is beyond the limit.
	for _, name := range []string{"memory.swap.max", "memory.swappiness"} {
		if path := filepath.Join(dir, name); exists(path) {
			write(t, path, "0")
		}
	}
	return dir
}

// controller finds where memory cgroups are made, and the name of the file
// with their limit.
func controller(t *testing.T) (root, file string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		dir, kind, options := f[1], f[2], strings.Split(f[3], ",")
		switch {
		case kind == "cgroup" && slices.Contains(options, "memory"):
			return dir, "memory.limit_in_bytes"
		case kind == "cgroup2":
			b, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
			if err == nil && slices.Contains(strings.Fields(string(b)), "memory") {
				return dir, "memory.max"
			}
		}
	}
	t.Skip("needs a memory cgroup: neither cgroup v1 nor v2 has the memory controller here (CONFIG_MEMCG)")
	return "", ""
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestKill(t *testing.T) {
	procs := filepath.Join(group(t), "cgroup.procs")
	victim, decoy, by := recipetest.Start(t, "rt-oom-victim", "hold"), recipetest.Start(t, "rt-oom-decoy", "hold"), recipetest.Start(t, "rt-oom-by", "take")
	for _, p := range []*recipetest.Process{victim, decoy, by} {
		p.Hear()
	}
	var byStatus unix.WaitStatus
	result := recipetest.Run(t, "show OOM kills", func(a *recipetest.Live) {
		write(a.T, procs, strconv.Itoa(victim.Pid))
		victim.Tell("hold")
		victim.Hear()
		// Killed as well, but not for memory.
		if err := unix.Kill(decoy.Pid, unix.SIGKILL); err != nil {
			t.Error(err)
		}
		if ended(a.T, decoy.Pid).Signal() != unix.SIGKILL {
			t.Error("the decoy was not killed")
		}
		write(a.T, procs, strconv.Itoa(by.Pid))
		by.Tell("take")
		byStatus = ended(a.T, by.Pid)
		if ended(a.T, victim.Pid).Signal() != unix.SIGKILL {
			t.Error("the victim was not killed")
		}
	})
	ev := result.Event("kills", recipetest.Want{"victim_pid": victim.Pid, "victim": "rt-oom-victim", "victim_uid": nobody,
		"oom_score_adj": score, "by_pid": by.Pid, "by": "rt-oom-by"})
	// A running Go program has some memory of its own, and the kernel's counts
	// may lag by some pages for each processor.
	for _, m := range []struct {
		name           string
		least, exceeds int64
	}{
		{"virtual", reserved + anonymous + shared, 4096 * mib},
		{"anonymous", anonymous - mib, anonymous + 16*mib},
		{"shared", shared - mib, shared + mib},
		{"file", 1, 16 * mib},
	} {
		if n := recipetest.Number(t, ev, m.name); n < m.least || n > m.exceeds {
			t.Errorf("%s memory of the victim: %d bytes, want %d to %d", m.name, n, m.least, m.exceeds)
		}
	}
	result.NoEvent("kills", recipetest.Want{"victim_pid": decoy.Pid})
	// Usually it lives on; but the kernel kills it too when it is slow to get
	// the victim's memory back.
	if byStatus.Signaled() {
		result.Event("kills", recipetest.Want{"victim_pid": by.Pid, "victim": "rt-oom-by", "victim_uid": 0, "oom_score_adj": 0})
	} else {
		result.NoEvent("kills", recipetest.Want{"victim_pid": by.Pid})
	}
}

// ended waits for the end of a child.
func ended(t *testing.T, pid int) unix.WaitStatus {
	t.Helper()
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		t.Errorf("waiting for process %d: %v", pid, err)
	}
	return status
}
