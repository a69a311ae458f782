package setuidcalls_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kgent/agent/recipes/recipetest"
)

func TestMain(m *testing.M) {
	recipetest.Main(m, map[string]func([]string) error{"change": change, "many": many, "ask": ask})
}

// none is an id that stands for no change.
const none = 1<<32 - 1

// beyond is an id that is negative where ids are taken for signed.
const beyond = 3_000_000_001

type call struct {
	name string
	nr   uintptr
	args [3]uintptr
	want string // the event, from the user before
	errs unix.Errno
}

// script is what one thread does, which begins as root.
var script = []call{
	{"setfsuid", unix.SYS_SETFSUID, [3]uintptr{beyond}, "0 setfsuid 3000000001 -1 -1 OK", 0},
	{"setfsgid", unix.SYS_SETFSGID, [3]uintptr{17}, "0 setfsgid 17 -1 -1 OK", 0},
	{"setresgid", unix.SYS_SETRESGID, [3]uintptr{none, 1000, none}, "0 setresgid -1 1000 -1 OK", 0},
	{"setregid", unix.SYS_SETREGID, [3]uintptr{none, 1001}, "0 setregid -1 1001 -1 OK", 0},
	{"setgid", unix.SYS_SETGID, [3]uintptr{1002}, "0 setgid 1002 -1 -1 OK", 0},
	{"setreuid", unix.SYS_SETREUID, [3]uintptr{1005, none}, "0 setreuid 1005 -1 -1 OK", 0},
	{"setresuid", unix.SYS_SETRESUID, [3]uintptr{1001, 1002, 1003}, "1005 setresuid 1001 1002 1003 OK", 0},
	// From here on without privileges.
	{"setuid", unix.SYS_SETUID, [3]uintptr{0}, "1001 setuid 0 -1 -1 EPERM", unix.EPERM},
	{"setresgid", unix.SYS_SETRESGID, [3]uintptr{5, 6, 7}, "1001 setresgid 5 6 7 EPERM", unix.EPERM},
	{"setfsuid", unix.SYS_SETFSUID, [3]uintptr{0}, "1001 setfsuid 0 -1 -1 EPERM", 0},
	{"setfsgid", unix.SYS_SETFSGID, [3]uintptr{0}, "1001 setfsgid 0 -1 -1 EPERM", 0},
	{"setfsuid", unix.SYS_SETFSUID, [3]uintptr{1003}, "1001 setfsuid 1003 -1 -1 OK", 0},
	{"setfsuid", unix.SYS_SETFSUID, [3]uintptr{1003}, "1001 setfsuid 1003 -1 -1 OK", 0},
	{"setfsuid", unix.SYS_SETFSUID, [3]uintptr{none}, "1001 setfsuid -1 -1 -1 OK", 0},
	{"setreuid", unix.SYS_SETREUID, [3]uintptr{1002, 1001}, "1001 setreuid 1002 1001 -1 OK", 0},
	{"setuid", unix.SYS_SETUID, [3]uintptr{1002}, "1002 setuid 1002 -1 -1 OK", 0},
}

// change calls in a thread: the kernel's users and groups are a thread's.
func change([]string) error {
	return recipetest.Thread("rt-ids-thread", func(int) error {
		for _, c := range script {
			_, _, errno := unix.RawSyscall(c.nr, c.args[0], c.args[1], c.args[2])
			// setfsuid and setfsgid return the id before; one beyond 2^31 or -1 looks like no error either.
			if c.name != "setfsuid" && c.name != "setfsgid" && errno != c.errs {
				return fmt.Errorf("%s %v: %v", c.name, c.args, errno)
			}
		}
		return nil
	})
}

// calls is how often each of the threads of many calls.
const calls = 100

// many changes ids in two threads at once.
func many([]string) error {
	errs := make(chan error, 2)
	for i, nr := range []uintptr{unix.SYS_SETFSUID, unix.SYS_SETFSGID} {
		go func() {
			errs <- recipetest.Thread("rt-ids-thread", func(int) error {
				for n := range uintptr(calls) {
					unix.RawSyscall(nr, uintptr(i*1000)+n, 0, 0)
				}
				return nil
			})
		}()
	}
	if err := <-errs; err != nil {
		return err
	}
	return <-errs
}

// ask changes nothing of what is traced.
func ask([]string) error {
	unix.Getuid()
	unix.Getresuid()
	return unix.Setgroups([]int{1, 2})
}

func TestChanges(t *testing.T) {
	var pid, threads, decoy int
	result := recipetest.Run(t, "trace setuid calls", func(a *recipetest.Live) {
		pid = a.Child("rt-ids", "change")
		threads = a.Child("rt-ids-many", "many")
		decoy = a.Child("rt-ids-decoy", "ask")
	})
	var got, want []string
	for _, ev := range result.Events("setids", recipetest.Want{"pid": pid, "comm": "rt-ids"}) {
		var line []string
		for _, name := range []string{"uid_before", "call", "arg0", "arg1", "arg2", "result"} {
			v, _ := ev.Get(name)
			line = append(line, fmt.Sprint(v))
		}
		got = append(got, strings.Join(line, " "))
	}
	for _, c := range script {
		want = append(want, c.want)
	}
	if !slices.Equal(got, want) {
		t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for i, name := range []string{"setfsuid", "setfsgid"} {
		for n := range calls {
			result.Event("setids", recipetest.Want{"pid": threads, "comm": "rt-ids-many", "call": name, "arg0": i*1000 + n, "result": "OK"})
		}
	}
	if n := len(result.Events("setids", recipetest.Want{"pid": threads})); n != 2*calls {
		t.Errorf("%d events of two threads, want %d", n, 2*calls)
	}
	result.NoEvent("setids", recipetest.Want{"pid": decoy})
}
