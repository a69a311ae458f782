package compose

import (
	"context"
	"errors"
	"maps"
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
		"syscall errors by process, ignoring EAGAIN, EINTR",
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
		"openat calls with mode 644", // which people mean in octal
		// what "which" asks for is in no column
		"which signal do processes die of with a core dump, per parent",
		"which exit code do processes end with, per user",
		"count connects per process, which port",
		"how many connects per process and to which address",
		"count file opens per process, which files",
		"which error do opens fail with, per process",
		"which host names are looked up, per process",
		"count tcp resets, which side sends them",
		"count execs per user with arguments", // which single ones have
		"count openat calls by process, with their arguments",
		// the node, which is no process
		"count opens by node", "openat calls by node", "process exits by node", "count openat calls per node",
		"fsync latency by node", "how many opens by process and node",
		// words that are programs as well
		"does a process make a file", "who makes files", "what files does a program cat",
		"file opens of processes that watch directories",
		"who runs find", "which user runs find", "who sends signals to go", "who killed find", "programs that make runs",
		"file opens that find does", "file opens node causes",
		"profile node",                                // the process, or all?
		"udp traffic by process", "tcp bytes by user", // sent, or received?
		"tcp bytes sent and received by process", "sent and received udp bytes per process",
		"tcp traffic in container web",
		"packets by port", "packets by address", "packets by nginx", "packets by process",
		"tcp resets received by port", // of either end
		"tcp resets from 10.0.0.0/8",  // which end is it?
		"files created and deleted again", "bytes sent per url by nginx",
		"execs, last 5 min",
		"udp bytes sent to port 53 by process", "udp bytes received from 10.0.0.0/8", // the other end is not known
		"bytes sent over udp by process and destination port", "udp bytes sent by remote address", "udp bytes received by source port", "udp bytes sent by port",
		"which files does the system create",
		"tcp bytes sent on port 443 by process", "tcp bytes sent by process larger than 1MB", "opens by bash, which and how often",
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

// Who is asked about alone is shown.
func TestCreatedBy(t *testing.T) {
	got, err := answered(host(t), request{text: "which files does nginx create"})
	if err != nil || got.Options.Constants["comm"] != "nginx" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestSeveralValues: of several values of one thing any will do, or none where they are left out.
func TestSeveralValues(t *testing.T) {
	c := host(t)
	for text, want := range map[string]string{
		"connects to port 443 or 8443, with pid and comm":                   "remote_port(sk) == 443 || remote_port(sk) == 8443",
		"tcp connects not to ports 80 and 443":                              "!(remote_port(sk) == 80 || remote_port(sk) == 443)",
		"tcp connects to 10.0.0.1, 10.0.0.2 or 10.0.0.3":                    `remote_ip(sk) == "10.0.0.3"`,
		"connections that are NOT to localhost":                             `!(remote_ip(sk) == "127.0.0.0/8" || remote_ip(sk) == "::1")`,
		"connections that failed with ECONNREFUSED or ETIMEDOUT":            "in {ECONNREFUSED, ETIMEDOUT, -ECONNREFUSED, -ETIMEDOUT}",
		"count signals by sender, only SIGTERM and SIGKILL":                 "== SIGTERM ||",
		"tcp bytes sent to port 443 by process":                             "remote_port(sk) == 443",
		"tcp bytes sent from port 443 by process":                           "local_port(sk) == 443",
		"tcp bytes received from port 443 by process":                       "remote_port(sk) == 443",
		"tcp bytes received from 10.0.0.0/8 by user":                        `remote_ip(sk) == "10.0.0.0/8"`,
		"packets to localhost by destination port":                          `packet.ip6(24) == "::1"`,
		"packets not from 10.0.0.1 by source address":                       `!(ip4(packet.be32(12)) == "10.0.0.1")`,
		"udp bytes sent from port 53 by process":                            "local_port(sk) == 53",
		"file opens not under /proc and /sys":                               "not under /proc or /sys",
		"epoll_wait calls longer than 2s except in systemd and dbus-daemon": `current.comm != "dbus-daemon"`,
	} {
		got, err := answered(c, request{text: text})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if k := contract.Format(got.Contract); !strings.Contains(k, want) {
			t.Errorf("%s:\n%s\nwant %s", text, k, want)
		}
	}
}

// TestReadings: what a request is narrowed to is all that it says, and as it says it.
func TestReadings(t *testing.T) {
	c := host(t)
	for text, title := range map[string]string{
		"tcp connection lifetimes over 10 minutes":         "TCP connections that end, with their duration and bytes (duration >= 600s)",
		"tcp states: only ESTABLISHED to CLOSE_WAIT":       "TCP state changes of every socket (only changes from TCP_ESTABLISHED, only changes to TCP_CLOSE_WAIT)",
		"tcp state changes from SYN_SENT to CLOSE":         "TCP state changes of every socket (only changes from TCP_SYN_SENT, only changes to TCP_CLOSE)",
		"tcp state changes out of TIME_WAIT":               "TCP state changes of every socket (only changes from TCP_TIME_WAIT)",
		"recvfrom calls bigger than 1500 bytes":            "Calls of recvfrom (bytes > 1500B)",
		"writes bigger than 64k by rsync":                  "Calls of write, pwrite64, writev, pwritev, pwritev2 (bytes > 64KiB)",
		"dns lookups slower than 200ms by java or python3": "Host name lookups, with their latency (only java or python3)",
		"dns lookups for example.com":                      "Host name lookups, with their latency (host == example.com)",
		"unlink calls by pid 900 or 901":                   "Calls of unlink, unlinkat (pid == 900 or 901)",
		"connects by nginx or haproxy to port 443 or 80":   "New outgoing TCP connections, with process and both ends (only nginx or haproxy, port == 443 or 80)",
		"top 10 processes by cpu time":                     "Where CPU time goes: how many by pid, comm",
		"hardirq time by irq name":                         "From irq:irq_handler_entry to irq:irq_handler_exit: histogram of the latency by name",
		"p99 of openat latency by process":                 "Calls of openat: histogram of the latency by pid, comm",
		"how long does fsync take on average":              "Calls of fsync: statistics of the duration",
		"trace failing connects every 10 seconds":          "New outgoing TCP connections, with process and both ends: how many (failed)",
		"getdents64 calls per process, top 3, not find":    "Calls of getdents64: how many by pid, comm (not find)",
		"sleep calls shorter than 1ms":                     "Calls of nanosleep, clock_nanosleep (duration < 1ms)",
		"execs of user 1001, except bash and sh":           "Programs that start, with their full arguments (not bash, not sh)",
		"page faults by user, top 5":                       "Page faults by uid",
		"java syscalls >1s, which and how often":           "System calls that take longer than a threshold: how many by syscall",
		"clone calls from dockerd or containerd":           "Calls of clone, clone3 (only dockerd or containerd)",
		"how often does sshd fork":                         "Processes that are created: how many",
		"fork calls by process":                            "Calls of fork: how many by pid, comm",
		"tcp bytes sent by process and destination port":   "What processes send by TCP: sum of the bytes by pid, comm, rport",
		"tcp bytes received by source address":             "What processes receive by TCP: sum of the bytes by raddr",
		"tcp bytes received by destination port":           "What processes receive by TCP: sum of the bytes by lport",
		"tcp bytes sent by peer":                           "What processes send by TCP: sum of the bytes by raddr",
		"udp bytes sent by local port":                     "What processes send by UDP: sum of the bytes by lport",
		"udp bytes received by destination port":           "What processes receive by UDP: sum of the bytes by lport",
		"which files does nginx create in container web":   "Files that are created (in container web)",
		"which files does a program create":                "Files that are created",
		"what files did every process create":              "Files that are created",
		"which files do processes make":                    "Files that are created",
		"tcp resets received by remote port":               "TCP resets, sent and received: how many by rport (only resets that this host receives)",
		"tcp bytes sent per proc pls, 2 min":               "What processes send by TCP: sum of the bytes by pid, comm",
		"udp bytes received in container web by user":      "What processes receive by UDP: sum of the bytes by uid (in container web)",
		"procs off cpu for more than 500ms, by process":    "Time spent off the CPU, by process (duration >= 500ms)",
		"setuid calls by users that arent root":            "Calls of setuid: how many by uid (user != 0)",
		"kubelet or containerd opens w/ EMFILE":            "File opens that fail, with the error (only kubelet or containerd)",
		"epoll_wait calls that return 0 by process":        "Calls of epoll_wait, epoll_pwait, epoll_pwait2: how many by pid, comm (result == 0)",
		"total size of reads by user":                      "Calls of read, pread64, readv, preadv, preadv2: sum of the bytes by uid",
		"average write size per process":                   "Calls of write, pwrite64, writev, pwritev, pwritev2: statistics of the bytes by pid, comm",
		"how many bytes are read per process per second":   "Calls of read, pread64, readv, preadv, preadv2: sum of the bytes by pid, comm",
		"read calls on fd 0 by bash":                       "Calls of read (fd == 0)",
		"count accept errors by errno":                     "Calls of accept, accept4: how many by result (failed)",
		"count core dumps per user":                        "Processes that end, with exit code or signal: how many by uid (only processes that dump core)",
		"processes that crash with a core dump":            "Processes that end, with exit code or signal (only processes that dump core, only processes that end with another exit code than 0, or by a signal)",
		"process exits, with exit code and core dump":      "Processes that end, with exit code or signal",
		"short lived processes (less than 100 ms)":         "Processes that end, with exit code or signal (duration < 100ms)",
	} {
		if got, err := answered(c, request{text: text}); err != nil || got.Contract.Title != title {
			t.Errorf("%s: %v, %v; want %s", text, got, err, title)
		}
	}
	for _, text := range []string{
		"kill pid 4242",
		"largest fsyncs",
		"fsync and fdatasync slower than 20ms",
		"run queue latency over 10ms, with the process",
		"kernel functions called most often",
	} {
		if got, err := answered(c, request{text: text}); err == nil {
			t.Errorf("%s: answered by %q", text, got.Contract.Title)
		}
	}
}

// TestAlike: system calls that do the same are watched together, unless the one is said to be meant, or
// an argument that the others have not.
func TestAlike(t *testing.T) {
	c := host(t)
	for text, title := range map[string]string{
		"open calls that return ENOENT by path, top 20": "Calls of open, openat, openat2: how many by filename (error == ENOENT)",
		"accept latency of nginx as histogram":          "Calls of accept, accept4: histogram of the latency",
		"who calls chmod":                               "Calls of chmod, fchmodat, fchmodat2",
		"count open calls by process":                   "Calls of open, openat, openat2: how many by pid, comm",
		"durations of the system call chmod by user":    "Calls of chmod: histogram of the latency by uid",
		"openat calls by process":                       "Calls of openat: how many by pid, comm",
		"open calls with O_DIRECT":                      "Calls of open (O_DIRECT)",
	} {
		if got, err := answered(c, request{text: text}); err != nil || got.Contract.Title != title {
			t.Errorf("%s: %v, %v; want %s", text, got, err, title)
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

// TestWordsAndPrograms: what is a word as well as a program is a process where the sentence says so, and else none.
func TestWordsAndPrograms(t *testing.T) {
	c := host(t)
	for text, want := range map[string]map[string]string{
		"file opens by make":                 {"comm": "make"},
		"file opens of process node":         {"comm": "node"},
		"opens done by node":                 {"comm": "node"},
		`file opens by "node"`:               {"comm": "node"},
		"does the process node open files":   {"comm": "node"},
		"what does find open":                {"comm": "find"},
		"does the process make open files":   {"comm": "make"},
		"who sends SIGKILL to node":          {"target_comm": "node", "sig": "SIGKILL"},
		"signals to node from bash":          {"target_comm": "node", "comm": "bash"},
		"file opens that watch causes":       {"comm": "watch"},
		"does any process touch files":       {},
		"which command make connections":     {},
		"who does touch /etc/passwd":         {"path": "/etc/passwd"},
		"which processes make connections":   {},
		"i want to find failing opens":       {},
		"fsync latency on every node":        {},
		"which processes make system calls":  {},
		"failing opens on the node by nginx": {"comm": "nginx"},
	} {
		got, err := answered(c, request{text: text})
		if err != nil || !maps.Equal(got.Options.Constants, want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
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
