package alternative_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kgent/agent/verify"
	"kgent/agent/verify/proof"
	"kgent/executor/probe"
	"kgent/retrieval/kernel"
)

// denial is a contract that denies: a process may give any priority to others, and some not to itself.
const denial = `contract "Nobody takes a priority of seven to nine"
event denied { pid: k_pid, nice: s32 }
hook lsm/task_setnice(p, nice)
  case some: nice >= 7 && nice <= 9 && p.tgid == current.tgid
    emit denied { pid: current.tgid, nice: nice }
    return -13
  otherwise return 0
`

// tryDenial has a generated program for a security hook go its whole way on this kernel: its hook is found, it is
// proved against this kernel's types to keep the contract, a dry run counts what it would deny and denies nothing,
// and then it denies that and nothing else.
func tryDenial(t *testing.T, m measurement) {
	facts, err := kernel.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o, manifest := m.object(t, 0)
	if err := verify.Facts(manifest, facts); err != nil {
		t.Fatal(err)
	}
	prover := verify.Prover{Limits: proof.Limits{Time: 3 * time.Minute, Query: time.Minute}} // processors are emulated
	report, err := prover.Prove(t.Context(), facts, o, manifest, parse(t, denial))
	if err != nil {
		t.Fatal(err)
	}
	if finding, err := verify.Judged([]string{facts.Release}, []*proof.Report{report}); err != nil || finding.Verdict != proof.Verified {
		t.Fatalf("%+v, %v", finding, err)
	}
	less := parse(t, strings.Replace(denial, "nice <= 9", "nice <= 8", 1))
	if report, err := prover.Prove(t.Context(), facts, o, manifest, less); err != nil || report.Verdict != proof.Refuted {
		t.Errorf("of a contract that denies less: %+v, %v", report, err)
	}
	l := probe.NewLoader(probe.Options{})

	// One that is over and not waited for yet is another process.
	other := exec.Command("/proc/self/exe", "-test.run=^$")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	// Priorities are those of a thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	denied := []int{7, 8, 9}
	try := func(denies bool) {
		t.Helper()
		for _, nice := range []int{6, 7, 0, 8, 10, 9, -1, 0} {
			before, err := priority(0)
			if err != nil {
				t.Fatal(err)
			}
			var want error
			expected := nice
			if denies && slices.Contains(denied, nice) {
				want, expected = unix.EACCES, before
			}
			if err := unix.Setpriority(unix.PRIO_PROCESS, 0, nice); err != want {
				t.Errorf("taking the priority %d gives %v, want %v", nice, err, want)
			}
			if is, err := priority(0); err != nil || is != expected {
				t.Errorf("the priority is %d after %d, %v; want %d", is, nice, err, expected)
			}
			if err := unix.Setpriority(unix.PRIO_PROCESS, other.Process.Pid, nice); err != nil {
				t.Errorf("giving another process the priority %d: %v", nice, err)
			}
		}
	}
	// seen are the priorities that the program has reported, of this process.
	seen := func(s *probe.Set) (nice []int) {
		t.Helper()
		if err := s.Detach(); err != nil {
			t.Fatal(err)
		}
		if err := s.Rest(t.Context(), func(_ int, raw []byte) {
			if pid := binary.NativeEndian.Uint32(raw); int(pid) != os.Getpid() {
				t.Errorf("of process %d, want %d", pid, os.Getpid())
			}
			nice = append(nice, int(int32(binary.NativeEndian.Uint32(raw[4:]))))
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(nice)
		return nice
	}
	dry, err := o.DryRun()
	if err != nil {
		t.Fatal(err)
	}
	actions := dry.DryActions()
	s := attached(t, l, dry, manifest)
	try(false)
	if nice := seen(s); !slices.Equal(nice, denied) {
		t.Errorf("the dry run reported %d, want %d", nice, denied)
	}
	times, err := s.Dry(len(actions))
	if err != nil || len(actions) != 1 || times[0] != uint64(len(denied)) || actions[0].Program != "on_task_setnice" {
		t.Errorf("the dry run counted %+v, %d times, %v", actions, times, err)
	}

	s = attached(t, l, o, manifest)
	try(true)
	if nice := seen(s); !slices.Equal(nice, denied) {
		t.Errorf("it reported %d, want %d", nice, denied)
	}
	try(false) // it is detached
}

// priority is that of a process or thread, 0 is this one's: the system call returns it as 20 less it.
func priority(pid int) (int, error) {
	p, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
	return 20 - p, err
}
