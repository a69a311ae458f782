package recipetest

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The first goroutine stays on the first thread, whose name is the process's,
// so that [Thread] never renames that one.
func init() { runtime.LockOSThread() }

// InSyscall returns when a thread of a process waits in a system call.
func InSyscall(t *testing.T, pid int, tid string, nr int) {
	t.Helper()
	state := fmt.Sprintf("/proc/%d/task/%s/syscall", pid, tid)
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		b, err := os.ReadFile(state)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(b), strconv.Itoa(nr)+" ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("thread %s does not wait in system call %d: %s", tid, nr, b)
		}
	}
}
