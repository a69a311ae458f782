package notes

// Which calls a library makes was measured with glibc 2.36 on x86-64; arm64 and
// newer machines have none of the calls that have an …at form (open, stat, unlink, mkdir …).
const glibc = "measured: glibc 2.36 on x86-64"

// path is an argument that is a path in the process's memory.
func path(name string) Argument {
	return Argument{Name: name, Means: "a path as the program wrote it, maybe relative", User: true}
}

// call is a system call's result.
func call(means string) *Argument { return &Argument{Name: "ret", Means: means, Sign: NegErrno} }

// calls are notes on system calls, at their tracepoints.
var calls = []Note{
	{
		Kind: Syscall, Name: "openat",
		Fires: "a program opens a file: what open, fopen, opendir and most languages call",
		Task:  Own, Arguments: []Argument{{Name: "dfd", Means: "-100 (AT_FDCWD): relative to the current directory"}, path("filename"),
			{Name: "flags", Means: "the low 2 bits are the access: 0 read, 1 write, 2 both; 0x40 O_CREAT"}, {Name: "mode"}},
		Result: call("the file descriptor"),
		Rate:   High,
		Mistakes: []string{"O_RDONLY is 0: test (flags & 3) == 0, not flags & O_RDONLY",
			"the memory of filename may not be there at the entry, and a read of it then gives nothing: read it again at the exit if it matters"},
		See:     []string{"open and creat, which few programs use; openat2; the io_uring opens make no call"},
		Sources: []string{"fs/open.c:do_sys_openat2", glibc},
	},
	{
		Kind: Syscall, Name: "open",
		Fires: "a program opens a file by the old call: glibc does not use it, musl and hand-written programs do",
		Task:  Own, Arguments: []Argument{path("filename"), {Name: "flags"}, {Name: "mode"}}, Result: call("the file descriptor"),
		Needs: "x86: arm64 has no such call", Rate: Rare, Mistakes: []string{"alone it sees next to nothing: trace openat, openat2 and creat as well"},
		Sources: []string{"fs/open.c", glibc},
	},
	{
		Kind: Syscall, Name: "creat",
		Fires: "a program makes or empties a file by creat()", Task: Own, Arguments: []Argument{path("pathname")}, Result: call("the file descriptor"),
		Needs: "x86: arm64 has no such call", Rate: Rare, See: []string{"openat with O_CREAT, which is common"}, Sources: []string{"fs/open.c", glibc},
	},
	{
		Kind: Syscall, Name: "openat2",
		Fires: "a program opens a file with restrictions on how its path is resolved: container runtimes, few others", Task: Own,
		Arguments: []Argument{path("filename"), {Name: "how", Means: "a struct open_how: flags, mode, resolve, 8 bytes each", User: true}},
		Result:    call("the file descriptor"), Rate: Low, Sources: []string{"fs/open.c"},
	},
	{
		Kind: Syscall, Name: "newfstatat",
		Fires: "a program asks for a file's attributes: what stat, lstat and fstatat call since glibc 2.33, and fstat with 2.33 to 2.38", Task: Own,
		Arguments: []Argument{{Name: "dfd", Means: "for fstat the file itself, with an empty path"}, path("filename"), {Name: "flag", Means: "0x100 do not follow a link (lstat), 0x1000 empty path (fstat)"}},
		Result:    call(""), Rate: High, See: []string{"newstat, newlstat and newfstat for older libraries, statx for newer programs (ls, systemd, Rust)"},
		Sources: []string{"fs/stat.c", glibc},
	},
	{
		Kind: Syscall, Name: "newstat",
		Fires: "a program asks for a file's attributes by the old call, as libraries before glibc 2.33 do", Task: Own,
		Arguments: []Argument{path("filename")}, Result: call(""), Needs: "x86: arm64 has no such call", Rate: Medium,
		See: []string{"newfstatat, statx, newlstat"}, Sources: []string{"fs/stat.c", glibc},
	},
	{
		Kind: Syscall, Name: "statx",
		Fires: "a program asks for a file's attributes, in the newest way", Task: Own,
		Arguments: []Argument{{Name: "dfd"}, path("filename"), {Name: "flags"}, {Name: "mask"}}, Result: call(""), Rate: High,
		See: []string{"newfstatat"}, Sources: []string{"fs/stat.c", glibc},
	},
	{
		Kind: Syscall, Name: "faccessat2",
		Fires: "a program asks whether it may use a file by faccessat(); access() makes the call access", Task: Own,
		Arguments: []Argument{path("filename")}, Result: call(""), Rate: Low, See: []string{"access, faccessat"}, Sources: []string{"fs/open.c", glibc},
	},
	{
		Kind: Syscall, Name: "unlink",
		Fires: "a program removes a file: unlink() and remove()", Task: Own, Arguments: []Argument{path("pathname")}, Result: call(""),
		Needs: "x86: arm64 has no such call", Rate: Medium, Mistakes: []string{"rm and many others call unlinkat, directories go by rmdir or unlinkat with AT_REMOVEDIR (0x200): trace all three"},
		Sources: []string{"fs/namei.c", glibc},
	},
	{
		Kind: Syscall, Name: "unlinkat",
		Fires: "a program removes a file, or with AT_REMOVEDIR (0x200) a directory", Task: Own,
		Arguments: []Argument{{Name: "dfd"}, path("pathname"), {Name: "flag"}}, Result: call(""), Rate: Medium, See: []string{"unlink and rmdir"}, Sources: []string{"fs/namei.c", glibc},
	},
	{
		Kind: Syscall, Name: "renameat2",
		Fires: "a program renames a file: mv and others; rename() calls rename, renameat() and renameat2() without flags call renameat", Task: Own,
		Arguments: []Argument{path("oldname"), path("newname"), {Name: "flags", Means: "1 do not replace, 2 exchange"}}, Result: call(""), Rate: Medium,
		See: []string{"rename and renameat: trace all three; a file that is replaced is removed too"}, Sources: []string{"fs/namei.c", glibc},
	},
	{
		Kind: Syscall, Name: "execve",
		Fires: "a program asks to become another one", Task: Own,
		Arguments: []Argument{path("filename"), {Name: "argv", Means: "an array of pointers to texts", User: true}},
		Result:    call("0 in the new program; it does not return to the old one"), Rate: Medium,
		Mistakes: []string{"at the entry the comm is the old one; success is better traced by sched_process_exec",
			"a shell tries each directory of PATH: -ENOENT is common and no failure"},
		See: []string{"execveat (fexecve)"}, Sources: []string{"fs/exec.c", glibc},
	},
	{
		Kind: Syscall, Name: "clone",
		Fires: "a program makes a process or thread: fork() of glibc calls it", Task: Own,
		Arguments: []Argument{{Name: "clone_flags", Means: "0x10000 (CLONE_THREAD) for a thread; the lowest byte is the signal at its end"}},
		Result:    call("the new task's thread id; in the new task 0"), Rate: Medium,
		Mistakes: []string{"the exit fires twice: in the parent and, with 0 and without an entry, in the child", "pthread_create, posix_spawn, system and popen call clone3, vfork() calls vfork: for all together use sched_process_fork or task_newtask"},
		Sources:  []string{"kernel/fork.c", glibc},
	},
	{
		Kind: Syscall, Name: "clone3",
		Fires: "a program makes a process or thread: pthread_create, posix_spawn, system and popen of glibc 2.34 and later", Task: Own,
		Arguments: []Argument{{Name: "uargs", Means: "a struct clone_args, the flags first", User: true}},
		Result:    call("the new task's thread id; in the new task 0"), Rate: Medium,
		Mistakes: []string{"seccomp filters answer -ENOSYS, and clone follows"}, See: []string{"sched_process_fork"}, Sources: []string{"kernel/fork.c", glibc},
	},
	{
		Kind: Syscall, Name: "exit_group",
		Fires: "a process ends itself: exit(), _exit() and the return of main", Task: Own,
		Arguments: []Argument{{Name: "error_code", Means: "the low 8 bits are what the parent sees"}}, Rate: Medium,
		Mistakes: []string{"its exit does not fire; processes that are killed do not come here: use sched_process_exit"}, Sources: []string{"kernel/exit.c", glibc},
	},
	{
		Kind: Syscall, Name: "wait4",
		Fires: "a parent waits for a child: wait, waitpid, pclose; waitid() calls waitid", Task: Own,
		Arguments: []Argument{{Name: "upid", Means: "-1 any child"}}, Result: call("the child's process id; 0 for WNOHANG and none"), Rate: Medium, Sources: []string{"kernel/exit.c", glibc},
	},
	{
		Kind: Syscall, Name: "kill",
		Fires: "a program sends a signal to a process or group", Task: Own, Whose: "it is the sender",
		Arguments: []Argument{{Name: "pid", Means: "in the sender's pid namespace; 0 and below are groups"}, {Name: "sig", Means: "0 only asks whether the process is there"}},
		Result:    call(""), Rate: Low, Mistakes: []string{"raise, abort and pthread_kill call tgkill, sigqueue calls rt_sigqueueinfo, newer programs pidfd_send_signal: signal_generate sees all that are sent"},
		Sources: []string{"kernel/signal.c", glibc},
	},
	{
		Kind: Syscall, Name: "tgkill",
		Fires: "a program sends a signal to one thread: raise, abort, pthread_kill, Go's runtime (SIGURG)", Task: Own,
		Arguments: []Argument{{Name: "tgid"}, {Name: "pid", Means: "a thread id"}, {Name: "sig"}}, Result: call(""), Rate: Medium, Sources: []string{"kernel/signal.c", glibc},
	},
	{
		Kind: Syscall, Name: "connect",
		Fires: "a program connects a socket of any family", Task: Own,
		Arguments: []Argument{{Name: "fd"}, {Name: "uservaddr", Means: "a struct sockaddr: family in host order in the first 2 bytes, then the port in network order", User: true}, {Name: "addrlen"}},
		Result:    call("-EINPROGRESS is the normal answer of sockets that do not block"), Rate: Medium,
		Mistakes: []string{"AF_UNIX (1) and AF_NETLINK come here too, and UDP sockets, for which nothing is sent", "how a connect that does not block went is seen by inet_sock_set_state"},
		Sources:  []string{"net/socket.c", glibc},
	},
	{
		Kind: Syscall, Name: "accept4",
		Fires: "a server takes a connection; Go, Rust, nginx and others call this one, accept() makes the call accept", Task: Own,
		Arguments: []Argument{{Name: "fd", Means: "the listener"}, {Name: "upeer_sockaddr", Means: "where the other end's address goes; null if nobody wants it; filled at the exit", User: true}},
		Result:    call("the new socket's file descriptor"), Rate: Medium,
		Mistakes: []string{"trace accept as well", "connections taken through io_uring make no call: inet_csk_accept sees all of TCP", "-EAGAIN is common and no failure"},
		Sources:  []string{"net/socket.c", glibc},
	},
	{
		Kind: Syscall, Name: "accept",
		Fires: "a server takes a connection by accept()", Task: Own, Arguments: []Argument{{Name: "fd", Means: "the listener"}, {Name: "upeer_sockaddr", User: true, Means: "filled at the exit, if it is not null"}},
		Result: call("the new socket's file descriptor"), Rate: Medium, See: []string{"accept4"}, Sources: []string{"net/socket.c", glibc},
	},
	{
		Kind: Syscall, Name: "bind",
		Fires: "a program gives a socket its local address", Task: Own,
		Arguments: []Argument{{Name: "fd"}, {Name: "umyaddr", Means: "a struct sockaddr: the port in network order; port 0 lets the kernel choose", User: true}}, Result: call("-EADDRINUSE: taken"),
		Rate: Low, Sources: []string{"net/socket.c", glibc},
	},
	{
		Kind: Syscall, Name: "listen",
		Fires: "a socket begins to take connections", Task: Own, Arguments: []Argument{{Name: "fd"}, {Name: "backlog", Means: "cut to net.core.somaxconn"}}, Result: call(""),
		Rate: Rare, Sources: []string{"net/socket.c", glibc},
	},
	{
		Kind: Syscall, Name: "sendto",
		Fires: "a program sends: send() and sendto()", Task: Own,
		Arguments: []Argument{{Name: "fd"}, {Name: "buff", User: true, Means: "the data"}, {Name: "len", Unit: "bytes"}, {Name: "flags"}, {Name: "addr", Means: "null for send() and for connected sockets", User: true}},
		Result:    call("bytes taken"), Rate: High, Mistakes: []string{"write, writev, sendmsg, sendmmsg and sendfile send as well"}, Sources: []string{"net/socket.c", glibc},
	},
	{
		Kind: Syscall, Name: "recvfrom",
		Fires: "a program receives: recv() and recvfrom()", Task: Own,
		Arguments: []Argument{{Name: "fd"}, {Name: "ubuf", User: true, Means: "filled at the exit"}, {Name: "size", Unit: "bytes", Means: "of the buffer, not of what comes"}, {Name: "flags"}},
		Result:    call("bytes; 0 is the end of a stream"), Rate: High, Mistakes: []string{"read, readv and recvmsg receive as well", "-EAGAIN is common and no failure"}, Sources: []string{"net/socket.c", glibc},
	},
	{
		Kind: Syscall, Name: "sendmsg",
		Fires: "a program sends a message made of parts; DNS of glibc uses sendmmsg", Task: Own,
		Arguments: []Argument{{Name: "fd"}, {Name: "msg", Means: "a struct user_msghdr with pointers to the name and to parts (iovec)", User: true}}, Result: call("bytes taken"), Rate: High,
		Sources: []string{"net/socket.c", glibc},
	},
	{
		Kind: Syscall, Name: "read",
		Fires: "a program reads from a file, pipe, socket or device", Task: Own,
		Arguments: []Argument{{Name: "fd"}, {Name: "buf", User: true, Means: "filled at the exit"}, {Name: "count", Unit: "bytes", Means: "what is wanted"}},
		Result:    call("bytes; 0 is the end"), Rate: Fierce,
		Mistakes: []string{"count what came (ret > 0), not what was wanted", "readv, pread64, preadv and mapped files read as well"}, Sources: []string{"fs/read_write.c", glibc},
	},
	{
		Kind: Syscall, Name: "write",
		Fires: "a program writes to a file, pipe, socket or device", Task: Own,
		Arguments: []Argument{{Name: "fd"}, {Name: "buf", User: true, Means: "the data"}, {Name: "count", Unit: "bytes"}},
		Result:    call("bytes, which may be fewer than count"), Rate: Fierce,
		Mistakes: []string{"written means put into the page cache; the disk comes later (block_rq_issue, fsync)", "writev, pwrite64, sendfile64 and mapped files write as well"}, Sources: []string{"fs/read_write.c", glibc},
	},
	{
		Kind: Syscall, Name: "pread64",
		Fires: "a program reads at a position: pread()", Task: Own, Arguments: []Argument{{Name: "buf", User: true}, {Name: "count", Unit: "bytes"}, {Name: "pos", Unit: "bytes"}}, Result: call("bytes"), Rate: High, Sources: []string{"fs/read_write.c", glibc},
	},
	{
		Kind: Syscall, Name: "close",
		Fires: "a program closes a file descriptor", Task: Own, Arguments: []Argument{{Name: "fd"}}, Result: call("the descriptor is gone whatever it returns"), Rate: High,
		Mistakes: []string{"close_range, dup2, exec and the end of a process close as well: for the last use of a file see __fput"}, Sources: []string{"fs/open.c", glibc},
	},
	{
		Kind: Syscall, Name: "fsync",
		Fires: "a program waits until a file is on the disk", Task: Own, Arguments: []Argument{{Name: "fd"}}, Result: call(""), Rate: Medium,
		Mistakes: []string{"fdatasync, sync, syncfs, msync, sync_file_range and O_SYNC writes wait for the disk as well"}, Sources: []string{"fs/sync.c", glibc},
	},
	{
		Kind: Syscall, Name: "mmap",
		Fires: "a program maps memory or a file: large malloc, libraries, threads' stacks", Task: Own,
		Arguments: []Argument{{Name: "len", Unit: "bytes"}, {Name: "prot", Means: "1 read, 2 write, 4 execute"}, {Name: "flags", Means: "0x20 anonymous"}, {Name: "fd", Means: "-1 if anonymous"}, {Name: "off", Unit: "bytes"}},
		Result:    call("an address: as a signed number only -4095 to -1 are errors"), Rate: High, Sources: []string{"mm/mmap.c", glibc},
	},
	{
		Kind: Syscall, Name: "futex",
		Fires: "a thread waits for a user-space lock, or wakes others; a free pthread mutex makes no call", Task: Own,
		Arguments: []Argument{{Name: "uaddr", Means: "the lock's word", User: true}, {Name: "op", Means: "& 0x7f: 0 wait, 1 wake, 9 wait for bits; 0x80 is private, 0x100 a clock"}, {Name: "val"}},
		Result:    call("of a wait: 0 woken, -EAGAIN the word had changed, -ETIMEDOUT; of a wake: how many were woken"), Rate: High,
		Mistakes: []string{"waits are also for conditions and idle pools: not each is contention", "timeouts and -EAGAIN are no failures"}, Sources: []string{"kernel/futex/syscalls.c", glibc},
	},
	{
		Kind: Syscall, Name: "pselect6",
		Fires: "a program waits for file descriptors: select() and pselect()", Task: Own, Arguments: []Argument{{Name: "n"}, {Name: "tsp", User: true, Means: "a struct timespec, null for ever"}}, Result: call("how many are ready; 0 is the timeout"),
		Rate: Medium, See: []string{"poll, ppoll, epoll_wait, epoll_pwait (Go)"}, Sources: []string{"fs/select.c", glibc},
	},
	{
		Kind: Syscall, Name: "epoll_wait",
		Fires: "a program waits for events of many file descriptors", Task: Own, Arguments: []Argument{{Name: "epfd"}, {Name: "events", User: true, Means: "filled at the exit"}, {Name: "timeout", Unit: "ms", Means: "-1 for ever"}},
		Result: call("how many events"), Needs: "x86: arm64 has epoll_pwait only", Rate: High, Mistakes: []string{"time in it is idleness, not slowness: leave it out of “slow calls”", "Go, and others, call epoll_pwait"}, Sources: []string{"fs/eventpoll.c", glibc},
	},
	{
		Kind: Syscall, Name: "clock_nanosleep",
		Fires: "a program sleeps: sleep, usleep and nanosleep of glibc", Task: Own, Arguments: []Argument{{Name: "flags", Means: "1: until a time, not for one"}, {Name: "rqtp", User: true, Means: "a struct timespec"}}, Result: call("-516 if a signal interrupts it, which becomes EINTR, or it goes on"),
		Rate: Medium, See: []string{"nanosleep, for other libraries and Go"}, Sources: []string{"kernel/time/posix-timers.c", glibc},
	},
	{
		Kind: Syscall, Name: "mount",
		Fires: "a program mounts a file system; newer tools call fsopen, fsmount and move_mount instead", Task: Own,
		Arguments: []Argument{{Name: "dev_name", User: true}, {Name: "dir_name", User: true}, {Name: "type", User: true, Means: "may be null for binds and remounts"}, {Name: "flags", Means: "0x1000 bind, 0x20 remount"}}, Result: call(""),
		Rate: Rare, Mistakes: []string{"mount of util-linux 2.39 and later uses the new calls: trace move_mount too"}, Sources: []string{"fs/namespace.c", glibc},
	},
	{
		Kind: Syscall, Name: "umount",
		Fires: "a program unmounts: the tracepoint of umount2() is called umount", Task: Own, Arguments: []Argument{{Name: "name", User: true, Means: "the path"}, {Name: "flags", Means: "2 is lazy (MNT_DETACH)"}}, Result: call(""), Rate: Rare, Sources: []string{"fs/namespace.c", glibc},
	},
	{
		Kind: Syscall, Name: "setuid",
		Fires: "a thread changes its user", Task: Own, Arguments: []Argument{{Name: "uid"}}, Result: call(""), Rate: Low,
		Mistakes: []string{"seteuid() calls setresuid, setreuid() calls setreuid; an exec of a set-user-id file makes none of these: commit_creds sees all", "the library makes all threads of a process call it: expect one event for each"},
		Sources:  []string{"kernel/sys.c", glibc},
	},
	{
		Kind: Syscall, Name: "setresuid",
		Fires: "a thread changes its real, effective and saved user; seteuid() and sudo call it", Task: Own, Arguments: []Argument{{Name: "ruid", Means: "-1 (0xffffffff): as it is"}, {Name: "euid", Means: "likewise"}, {Name: "suid", Means: "likewise"}}, Result: call(""), Rate: Low, Sources: []string{"kernel/sys.c", glibc},
	},
	{
		Kind: Syscall, Name: "ptrace",
		Fires: "a debugger or tracer acts on another process", Task: Own, Whose: "it is the tracer",
		Arguments: []Argument{{Name: "request", Means: "16 attach, 0x4206 seize; many others follow an attach"}, {Name: "pid", Means: "a thread id"}, {Name: "addr"}}, Result: call(""), Rate: Low, Sources: []string{"kernel/ptrace.c"},
	},
	{
		Kind: Syscall, Name: "bpf",
		Fires: "a program uses BPF: 0 makes a map, 5 loads a program, 28 makes a link; reads of maps come here too", Task: Own,
		Arguments: []Argument{{Name: "cmd"}, {Name: "uattr", User: true, Means: "a union bpf_attr; for a load: type in bytes 0–3"}}, Result: call("a file descriptor for what makes something"), Rate: Medium,
		Mistakes: []string{"kgent itself comes here"}, Sources: []string{"kernel/bpf/syscall.c"},
	},
	{
		Kind: Syscall, Name: "ioctl",
		Fires: "a program asks a device, terminal or socket for something special", Task: Own, Arguments: []Argument{{Name: "fd"}, {Name: "cmd"}, {Name: "arg", Means: "a number or a pointer, as cmd wants"}}, Result: call(""), Rate: Medium,
		Mistakes: []string{"-ENOTTY is how programs ask whether a file is a terminal"}, Sources: []string{"fs/ioctl.c"},
	},
	{
		Kind: Syscall, Name: "io_uring_enter",
		Fires: "a program submits to an io_uring or waits for it; with SQPOLL there is no call at all", Task: Own, Arguments: []Argument{{Name: "to_submit", Means: "how many operations"}, {Name: "min_complete"}}, Result: call("how many were taken"), Rate: High,
		Mistakes: []string{"what io_uring does (open, read, connect, accept…) makes no call of its own: trace io_uring_submit_req or the functions below the calls"}, Sources: []string{"io_uring/io_uring.c"},
	},
	{
		Kind: Syscall, Name: "process_vm_readv",
		Fires: "a program reads another process's memory: debuggers, profilers, theft of secrets", Task: Own, Whose: "it is the reader", Arguments: []Argument{{Name: "pid"}}, Result: call("bytes"), Rate: Low, Sources: []string{"mm/process_vm_access.c"},
	},
	{
		Kind: Syscall, Name: "memfd_create",
		Fires: "a program makes a file without a path, which may be executed", Task: Own, Arguments: []Argument{{Name: "uname", User: true, Means: "a name for /proc"}, {Name: "flags"}}, Result: call("the file descriptor"), Rate: Low, Sources: []string{"mm/memfd.c"},
	},
	{
		Kind: Syscall, Name: "fdatasync", Fires: "a program waits until a file's data is on the disk, without times and the like", Task: Own, Arguments: []Argument{{Name: "fd"}}, Result: call(""),
		Rate: Medium, See: []string{"fsync, sync, syncfs, msync, sync_file_range"}, Sources: []string{"fs/sync.c", glibc},
	},
	{
		Kind: Syscall, Name: "sync", Fires: "a program has all that is dirty written, and waits", Task: Own, Result: call("always 0"),
		Rate: Low, See: []string{"syncfs for one file system"}, Sources: []string{"fs/sync.c", glibc},
	},
	{
		Kind: Syscall, Name: "syncfs", Fires: "a program has all that is dirty of one file system written, and waits", Task: Own, Arguments: []Argument{{Name: "fd", Means: "a file on it"}}, Result: call(""),
		Rate: Low, Sources: []string{"fs/sync.c", glibc},
	},
	{
		Kind: Syscall, Name: "msync", Fires: "a program has changes to mapped memory written", Task: Own, Arguments: []Argument{{Name: "start"}, {Name: "len", Unit: "bytes"}, {Name: "flags", Means: "4 (MS_SYNC) waits, 1 (MS_ASYNC) does nothing"}}, Result: call(""),
		Rate: Low, Sources: []string{"mm/msync.c", glibc},
	},
	{
		Kind: Syscall, Name: "rename", Fires: "a program renames a file: rename() of glibc; mv calls renameat2", Task: Own, Arguments: []Argument{path("oldname"), path("newname")}, Result: call(""), Needs: "x86: arm64 has no such call",
		Rate: Medium, See: []string{"renameat, renameat2"}, Sources: []string{"fs/namei.c", glibc},
	},
	{
		Kind: Syscall, Name: "renameat", Fires: "a program renames a file: renameat(), and renameat2() of glibc without flags", Task: Own, Arguments: []Argument{path("oldname"), path("newname")}, Result: call(""),
		Rate: Medium, See: []string{"rename, renameat2"}, Sources: []string{"fs/namei.c", glibc},
	},
	{
		Kind: Syscall, Name: "rmdir", Fires: "a program removes a directory: rmdir() and remove()", Task: Own, Arguments: []Argument{path("pathname")}, Result: call(""), Needs: "x86: arm64 has no such call",
		Rate: Low, See: []string{"unlinkat with AT_REMOVEDIR (0x200), which rm -r calls"}, Sources: []string{"fs/namei.c", glibc},
	},
	{
		Kind: Syscall, Name: "mkdir", Fires: "a program makes a directory", Task: Own, Arguments: []Argument{path("pathname"), {Name: "mode"}}, Result: call(""), Needs: "x86: arm64 has no such call",
		Rate: Low, See: []string{"mkdirat"}, Sources: []string{"fs/namei.c", glibc},
	},
	{
		Kind: Syscall, Name: "chmod", Fires: "a program changes a file's mode by its path", Task: Own, Arguments: []Argument{path("filename"), {Name: "mode"}}, Result: call(""), Needs: "x86: arm64 has no such call",
		Rate: Low, See: []string{"fchmod, fchmodat, fchmodat2 (6.6 and later)"}, Sources: []string{"fs/open.c", glibc},
	},
	{
		Kind: Syscall, Name: "fchmodat", Fires: "a program changes a file's mode by its path: chmod(1) and many others", Task: Own, Arguments: []Argument{{Name: "dfd"}, path("filename"), {Name: "mode"}}, Result: call(""),
		Rate: Low, See: []string{"chmod, fchmod"}, Sources: []string{"fs/open.c", glibc},
	},
	{
		Kind: Syscall, Name: "chown", Fires: "a program changes a file's owner by its path", Task: Own, Arguments: []Argument{path("filename"), {Name: "user", Means: "-1 (0xffffffff): as it is"}, {Name: "group", Means: "likewise"}}, Result: call(""), Needs: "x86: arm64 has no such call",
		Rate: Low, See: []string{"fchownat, lchown, fchown"}, Sources: []string{"fs/open.c", glibc},
	},
	{
		Kind: Syscall, Name: "truncate", Fires: "a program sets a file's length by its path", Task: Own, Arguments: []Argument{path("path"), {Name: "length", Unit: "bytes"}}, Result: call(""),
		Rate: Low, See: []string{"ftruncate, and open with O_TRUNC (0x200)"}, Sources: []string{"fs/open.c", glibc},
	},
	{
		Kind: Syscall, Name: "fallocate", Fires: "a program reserves or punches space in a file", Task: Own, Arguments: []Argument{{Name: "fd"}, {Name: "mode", Means: "0 reserves, 3 punches a hole"}, {Name: "offset", Unit: "bytes"}, {Name: "len", Unit: "bytes"}}, Result: call(""),
		Rate: Low, Sources: []string{"fs/open.c", glibc},
	},
	{
		Kind: Syscall, Name: "access", Fires: "a program asks whether it may use a file: access()", Task: Own, Arguments: []Argument{path("filename")}, Result: call(""), Needs: "x86: arm64 has no such call",
		Rate: Medium, Mistakes: []string{"-ENOENT and -EACCES are answers, not failures"}, See: []string{"faccessat2, faccessat"}, Sources: []string{"fs/open.c", glibc},
	},
	{
		Kind: Syscall, Name: "getdents64", Fires: "a program lists a directory", Task: Own, Arguments: []Argument{{Name: "fd"}, {Name: "dirent", Means: "filled at the exit", User: true}, {Name: "count", Unit: "bytes"}}, Result: call("bytes; 0 is the end"),
		Rate: Medium, Sources: []string{"fs/readdir.c", glibc},
	},
	{
		Kind: Syscall, Name: "readv", Fires: "a program reads into several buffers", Task: Own, Arguments: []Argument{{Name: "fd"}, {Name: "vec", Means: "an array of struct iovec", User: true}, {Name: "vlen", Means: "how many"}}, Result: call("bytes"),
		Rate: High, See: []string{"read, preadv, preadv2"}, Sources: []string{"fs/read_write.c", glibc},
	},
	{
		Kind: Syscall, Name: "writev", Fires: "a program writes from several buffers", Task: Own, Arguments: []Argument{{Name: "fd"}, {Name: "vec", Means: "an array of struct iovec", User: true}, {Name: "vlen", Means: "how many"}}, Result: call("bytes"),
		Rate: High, See: []string{"write, pwritev, pwritev2"}, Sources: []string{"fs/read_write.c", glibc},
	},
	{
		Kind: Syscall, Name: "pwrite64", Fires: "a program writes at a position: pwrite()", Task: Own, Arguments: []Argument{{Name: "buf", User: true}, {Name: "count", Unit: "bytes"}, {Name: "pos", Unit: "bytes"}}, Result: call("bytes"),
		Rate: High, See: []string{"write, pwritev"}, Sources: []string{"fs/read_write.c", glibc},
	},
	{
		Kind: Syscall, Name: "sendfile64", Fires: "the kernel copies from a file to a socket or file: sendfile()", Task: Own, Arguments: []Argument{{Name: "out_fd"}, {Name: "in_fd"}, {Name: "count", Unit: "bytes"}}, Result: call("bytes"),
		Rate: Medium, See: []string{"splice, copy_file_range"}, Sources: []string{"fs/read_write.c", glibc},
	},
	{
		Kind: Syscall, Name: "recvmsg", Fires: "a program receives a message into several buffers", Task: Own, Arguments: []Argument{{Name: "fd"}, {Name: "msg", Means: "a struct user_msghdr, filled at the exit", User: true}, {Name: "flags"}}, Result: call("bytes; 0 is the end of a stream"),
		Rate: High, Mistakes: []string{"-EAGAIN is common and no failure"}, See: []string{"recvmmsg for several at once"}, Sources: []string{"net/socket.c", glibc},
	},
	{
		Kind: Syscall, Name: "poll", Fires: "a program waits for file descriptors", Task: Own, Arguments: []Argument{{Name: "ufds", User: true}, {Name: "nfds"}, {Name: "timeout_msecs", Means: "-1 for ever", Unit: "ms"}}, Result: call("how many are ready; 0 is the timeout"), Needs: "x86: arm64 has no such call",
		Rate: Medium, Mistakes: []string{"time in it is idleness, not slowness"}, See: []string{"ppoll"}, Sources: []string{"fs/select.c", glibc},
	},
	{
		Kind: Syscall, Name: "epoll_pwait", Fires: "a program waits for events of many file descriptors: Go, Java, arm64", Task: Own, Arguments: []Argument{{Name: "epfd"}, {Name: "events", Means: "filled at the exit", User: true}, {Name: "timeout", Means: "-1 for ever", Unit: "ms"}}, Result: call("how many events"),
		Rate: High, Mistakes: []string{"time in it is idleness, not slowness"}, See: []string{"epoll_wait, epoll_pwait2"}, Sources: []string{"fs/eventpoll.c", glibc},
	},
	{
		Kind: Syscall, Name: "nanosleep", Fires: "a program sleeps: Go, musl and old libraries; glibc calls clock_nanosleep", Task: Own, Arguments: []Argument{{Name: "rqtp", Means: "a struct timespec", User: true}}, Result: call(""),
		Rate: Medium, Sources: []string{"kernel/time/hrtimer.c", glibc},
	},
	{
		Kind: Syscall, Name: "munmap", Fires: "a program unmaps memory", Task: Own, Arguments: []Argument{{Name: "addr"}, {Name: "len", Unit: "bytes"}}, Result: call(""),
		Rate: Medium, Sources: []string{"mm/mmap.c", glibc},
	},
	{
		Kind: Syscall, Name: "mprotect", Fires: "a program changes what may be done with memory", Task: Own, Arguments: []Argument{{Name: "start"}, {Name: "len", Unit: "bytes"}, {Name: "prot", Means: "1 read, 2 write, 4 execute: 6 and 7 are worth a look"}}, Result: call(""),
		Rate: Medium, Sources: []string{"mm/mprotect.c", glibc},
	},
	{
		Kind: Syscall, Name: "brk", Fires: "a program moves the end of its heap: small malloc", Task: Own, Arguments: []Argument{{Name: "brk", Means: "the end that is wanted; 0 only asks"}}, Result: &Argument{Name: "ret", Means: "the end as it is now: the old one if it failed, never an error"},
		Rate: Medium, Sources: []string{"mm/mmap.c", glibc},
	},
	{
		Kind: Syscall, Name: "vfork", Fires: "a program makes a process that borrows its memory until it executes: vfork(), Java, Python", Task: Own, Result: call("the new process id; in the new one 0, and first"), Needs: "x86: arm64 has no such call",
		Rate: Low, See: []string{"clone, clone3, sched_process_fork"}, Sources: []string{"kernel/fork.c", glibc},
	},
	{
		Kind: Syscall, Name: "execveat", Fires: "a program asks to become another one, by a file descriptor: fexecve()", Task: Own, Arguments: []Argument{{Name: "fd"}, path("filename"), {Name: "argv", Means: "an array of pointers to texts", User: true}, {Name: "flags", Means: "0x1000: the file of fd itself, with an empty path"}}, Result: call(""),
		Rate: Low, See: []string{"execve"}, Sources: []string{"fs/exec.c", glibc},
	},
	{
		Kind: Syscall, Name: "rt_sigqueueinfo", Fires: "a program sends a signal with data: sigqueue()", Task: Own, Arguments: []Argument{{Name: "pid"}, {Name: "sig"}}, Result: call(""),
		Rate: Low, See: []string{"signal_generate"}, Sources: []string{"kernel/signal.c", glibc},
	},
	{
		Kind: Syscall, Name: "setgid", Fires: "a thread changes its group", Task: Own, Arguments: []Argument{{Name: "gid"}}, Result: call(""),
		Rate: Low, See: []string{"setregid, setresgid (setegid)"}, Sources: []string{"kernel/sys.c", glibc},
	},
	{
		Kind: Syscall, Name: "setregid", Fires: "a thread changes its real and effective group", Task: Own, Arguments: []Argument{{Name: "rgid", Means: "-1 (0xffffffff): as it is"}, {Name: "egid", Means: "likewise"}}, Result: call(""),
		Rate: Low, Sources: []string{"kernel/sys.c", glibc},
	},
	{
		Kind: Syscall, Name: "setresgid", Fires: "a thread changes its real, effective and saved group; setegid() calls it", Task: Own, Arguments: []Argument{{Name: "rgid", Means: "-1 (0xffffffff): as it is"}, {Name: "egid", Means: "likewise"}, {Name: "sgid", Means: "likewise"}}, Result: call(""),
		Rate: Low, Sources: []string{"kernel/sys.c", glibc},
	},
	{
		Kind: Syscall, Name: "setreuid", Fires: "a thread changes its real and effective user", Task: Own, Arguments: []Argument{{Name: "ruid", Means: "-1 (0xffffffff): as it is"}, {Name: "euid", Means: "likewise"}}, Result: call(""),
		Rate: Low, Sources: []string{"kernel/sys.c", glibc},
	},
	{
		Kind: Syscall, Name: "setfsuid", Fires: "a thread changes its user for files: NFS servers", Task: Own, Arguments: []Argument{{Name: "uid"}}, Result: &Argument{Name: "ret", Means: "the user before, whether it worked or not: no error ever"},
		Rate: Low, Sources: []string{"kernel/sys.c", glibc},
	},
	{
		Kind: Syscall, Name: "setfsgid", Fires: "a thread changes its group for files", Task: Own, Arguments: []Argument{{Name: "gid"}}, Result: &Argument{Name: "ret", Means: "the group before, whether it worked or not: no error ever"},
		Rate: Low, Sources: []string{"kernel/sys.c", glibc},
	},
	{
		Kind: Syscall, Name: "unshare", Fires: "a process leaves namespaces: containers begin", Task: Own, Arguments: []Argument{{Name: "unshare_flags", Means: "0x20000 mount, 0x40000000 net, 0x20000000 pid, 0x10000000 user"}}, Result: call(""),
		Rate: Low, See: []string{"clone and clone3 with the same flags"}, Sources: []string{"kernel/fork.c", glibc},
	},
	{
		Kind: Syscall, Name: "setns", Fires: "a process enters a namespace: nsenter, docker exec", Task: Own, Arguments: []Argument{{Name: "fd", Means: "of the namespace, or a pidfd"}, {Name: "flags"}}, Result: call(""),
		Rate: Low, Sources: []string{"kernel/nsproxy.c", glibc},
	},
	{
		Kind: Syscall, Name: "chroot", Fires: "a process changes its root directory", Task: Own, Arguments: []Argument{path("filename")}, Result: call(""),
		Rate: Rare, See: []string{"pivot_root, which containers use"}, Sources: []string{"fs/open.c", glibc},
	},
	{
		Kind: Syscall, Name: "prctl", Fires: "a process changes something about itself: 15 its name, 22 seccomp, 38 no new privileges", Task: Own, Arguments: []Argument{{Name: "option"}, {Name: "arg2"}}, Result: call(""),
		Rate: Low, Sources: []string{"kernel/sys.c", glibc},
	},
	{
		Kind: Syscall, Name: "move_mount", Fires: "a mount that was made by fsmount or open_tree is put in its place: how newer tools mount", Task: Own, Arguments: []Argument{{Name: "from_pathname", User: true}, {Name: "to_pathname", User: true}}, Result: call(""),
		Rate: Rare, See: []string{"mount"}, Sources: []string{"fs/namespace.c", glibc},
	},
	{
		Kind: Syscall, Name: "perf_event_open", Fires: "a program opens a perf event: profilers, bpf programs that are attached the old way", Task: Own, Arguments: []Argument{{Name: "attr_uptr", Means: "a struct perf_event_attr", User: true}, {Name: "pid", Means: "-1 all"}, {Name: "cpu", Means: "-1 all"}}, Result: call("the file descriptor"),
		Rate: Low, Sources: []string{"kernel/events/core.c", glibc},
	},
}
