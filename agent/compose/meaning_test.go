package compose

import (
	"context"
	"errors"
	"strings"
	"testing"

	"kgent/agent/contract"
)

// TestNotWhatWasMeant asks for what could be answered by something that is nearly the same: the
// honest answer is no.
func TestNotWhatWasMeant(t *testing.T) {
	c := host(t)
	for _, text := range []string{
		"number of new processes per second",
		"count syscalls except futex per process", // processes are not called futex
		"count syscalls excluding futex and read per process",
		"failed opens except enoent",
		"signals except sigchld",
		"count irq:irq_handler_entry by name except eth0",
		"dns lookups except example.com",
		"oom kills except java", // the victim, or whose allocation failed?
		"count openat calls by user except www-data",
		"execs by every user except jenkins-ci",
		"connections that failed with ECONNREFUSED or ETIMEDOUT",
		"syscall errors by process, ignoring EAGAIN, EINTR",
		"count signals by sender, only SIGTERM and SIGKILL",
		"file opens not under /proc, /sys",
		"deleted files by nginx or by root",
		"openat calls that fail or take longer than 10ms",
		"tcp connects by nginx or slower than 100ms",
		"fsync calls slower than 10ms and faster than 5ms",
		"openat calls that return ENOENT not EACCES",
		"openat calls neither by root nor by nginx",
		"show tcp connects >> only port 443 >> not port 443",
		"count openat calls by process >> only nginx >> not nginx",
		"opens by nginx >> also by postgres",
		"opens by nginx >> and postgres",
		"tcp connects to port 443 >> also port 80",
		"openat calls with mode 644",  // which people mean in octal
		"total size of reads by user", // not of reads and writes, nor their number
		"average write size per process",
		"how many bytes are read per process per second",
	} {
		turns := strings.Split(text, " >> ")
		got, err := answered(c, request{before: turns[:len(turns)-1], text: turns[len(turns)-1]})
		if err == nil {
			t.Errorf("%s: answered by %q, %s, %v", text, got.Contract.Title, got.Origin, got.Options.Constants)
		} else if no := (*NoError)(nil); !errors.As(err, &no) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestWhatLasts: a long connection is one that lives long.
func TestWhatLasts(t *testing.T) {
	c := host(t)
	for text, origin := range map[string]string{
		"tcp connections longer than 10 minutes":  "composed from recipe tcp-life",
		"tcp connects that take longer than 10ms": "composed from recipe tcp-connect",
	} {
		if got, err := c.Compose(context.Background(), text); err != nil || got.Origin != origin {
			t.Errorf("%s: %v, %v; want %s", text, got, err, origin)
		}
	}
}

// TestLaterEnd: what is said later of how a call ends takes the place of what was said before.
func TestLaterEnd(t *testing.T) {
	c := host(t)
	got, err := c.Continue(context.Background(), []string{"count openat calls by process", "only failed"}, nil, "only successful")
	if err != nil || !strings.HasSuffix(got.Contract.Title, "(successful)") || strings.Contains(got.Contract.Title, "failed") {
		t.Errorf("%v, %v", got, err)
	}
}

// TestFlags: a flag is meant to be among those that are set; what shares bits with others is
// compared in these alone.
func TestFlags(t *testing.T) {
	c := host(t)
	for text, want := range map[string]string{
		"openat calls with flags O_CREAT":             "& O_CREAT) == O_CREAT",
		"mmap calls with prot PROT_EXEC":              "& PROT_EXEC) == PROT_EXEC",
		"openat calls with O_RDONLY":                  "& 0x3) == O_RDONLY",
		"count openat calls with O_WRONLY by process": "& 0x3) == O_WRONLY",
		"futex calls with FUTEX_WAIT":                 "& 0x7f) == FUTEX_WAIT",
		"madvise(MADV_FREE) by process":               "== MADV_FREE",
		"setsockopt with SO_REUSEPORT":                "== 1 && ",
		"lseek calls with SEEK_SET or SEEK_END":       "== SEEK_SET || ",
		"mmap calls without MAP_ANONYMOUS":            "& MAP_ANONYMOUS) != MAP_ANONYMOUS",
	} {
		got, err := c.Compose(t.Context(), text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if text := contract.Format(got.Contract); !strings.Contains(text, want) {
			t.Errorf("%s\nwant %s", text, want)
		}
	}
}

// TestForks: processes that are created are counted where that is asked for, and no threads.
func TestForks(t *testing.T) {
	c := host(t)
	for _, text := range []string{
		"count child processes each process creates",
		"how many processes does nginx create",
		"forks per process every second",
		"Something is wrong with this machine. Count forked processes by process. Threads do not count.",
	} {
		got, err := c.Compose(t.Context(), text)
		if err != nil || !strings.Contains(contract.Format(got.Contract), "created == created.group_leader") || len(got.Contract.Tables) != 1 {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if got, err := c.Compose(t.Context(), "count clone calls by process, threads do not count"); err == nil {
		t.Errorf("threads are not told from processes there: %q", got.Contract.Title)
	}
}
