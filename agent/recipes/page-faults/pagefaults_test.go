package pagefaults_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"fault": fault})
}

// How many pages fault touches itself, and how many the kernel touches for it.
const (
	userPages   = 3000
	kernelPages = 1700
)

// slack is how many more faults of each kind the Go runtime may need; less than
// the difference of the two above.
const slack = 600

// fault touches memory in a second thread when the test says so, under the real
// user id in its first argument. It says how many faults the kernel counted.
func fault(args []string) error {
	uid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	page := os.Getpagesize()
	mem, err := unix.Mmap(-1, 0, (userPages+kernelPages)*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	// One page, one fault.
	if err := unix.Madvise(mem, unix.MADV_NOHUGEPAGE); err != nil && err != unix.EINVAL {
		return err
	}
	zero, err := unix.Open("/dev/zero", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Setresuid(uid, -1, -1); err != nil {
		return err
	}
	if _, err := recipetest.Hear(); err != nil {
		return err
	}
	return recipetest.Thread("rt-fault-thread", func(int) error {
		var before, after unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &before); err != nil {
			return err
		}
		for i := range userPages {
			mem[i*page] = 1
		}
		for rest := mem[userPages*page:]; len(rest) > 0; {
			n, err := unix.Read(zero, rest)
			if err != nil {
				return err
			}
			rest = rest[n:]
		}
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &after); err != nil {
			return err
		}
		recipetest.Say(after.Minflt + after.Majflt - before.Minflt - before.Majflt)
		return nil
	})
}

func TestFaults(t *testing.T) {
	const uid = "65533"
	for _, tc := range []struct {
		name, request string
		decoyComm     string
		decoyUID      string
	}{
		{"process", "page faults of rt-fault", "rt-fault-other", uid},
		{"pid", "how many page faults does pid %d take?", "rt-fault", uid},
		{"user", "memory page faults of user " + uid, "rt-fault", "65532"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, decoy := recipetest.Start(t, "rt-fault", "fault", uid), recipetest.Start(t, tc.decoyComm, "fault", tc.decoyUID)
			request := tc.request
			if tc.name == "pid" {
				request = fmt.Sprintf(request, p.Pid)
			}
			var counted int64
			result := recipetest.Run(t, request, func(*recipetest.Live) {
				for _, p := range []*recipetest.Process{decoy, p} {
					p.Tell("go")
					var err error
					if counted, err = strconv.ParseInt(p.Hear(), 10, 64); err != nil {
						t.Error(err)
					}
					p.Wait()
				}
			})
			rows := result.Rows("faults", recipetest.Want{"pid": p.Pid})
			if len(rows) != 1 {
				t.Fatalf("%d rows of process %d, want one: %v", len(rows), p.Pid, result.Rows("faults", nil))
			}
			if comm, _ := rows[0].Key.Get("comm"); comm != "rt-fault" {
				t.Errorf("the process is named %v", comm)
			}
			v := rows[0].Value
			all, user, kernel := recipetest.Number(t, v, "faults"), recipetest.Number(t, v, "user"), recipetest.Number(t, v, "kernel")
			if all != user+kernel || all < counted {
				t.Errorf("%d faults are not %d in user mode and %d in the kernel, of which the kernel counted %d", all, user, kernel, counted)
			}
			if user < userPages || user > userPages+slack {
				t.Errorf("%d faults in user mode, the process touched %d pages", user, userPages)
			}
			if kernel < kernelPages || kernel > kernelPages+slack {
				t.Errorf("%d faults in the kernel, which touched %d pages", kernel, kernelPages)
			}
			if rows := result.Rows("faults", recipetest.Want{"pid": decoy.Pid}); len(rows) > 0 {
				t.Errorf("the other process: %v", rows)
			}
		})
	}
}
