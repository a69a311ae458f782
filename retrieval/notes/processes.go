package notes

// What libraries have was looked at in Debian 12: glibc 2.36, OpenSSL 3.0.

// processes are notes on functions of libraries and programs, for uprobes. Arguments
// are named as in the manual, in order.
var processes = []Note{
	{
		Kind: Library, Name: "libc.so.6:getaddrinfo", Fires: "a program looks a host name up; at the return it has the answer", Task: Own,
		Arguments: []Argument{{Name: "node", User: true, Means: "the name; may be null"}, {Name: "service", User: true}, {Name: "hints", User: true}, {Name: "res", User: true, Means: "where the list goes"}},
		Result:    &Argument{Name: "ret", Means: "0, or an EAI_… code below 0 (-2 NONAME, -3 AGAIN, -4 FAIL, -11 SYSTEM), which is no errno"}, Rate: Low,
		Mistakes: []string{"Go, Java, musl and programs that are linked statically do not come here: for all, look at packets to port 53", "its duration includes all tries and search domains"},
		Sources:  []string{"getaddrinfo(3)", "glibc:nss/getaddrinfo.c"},
	},
	{
		Kind: Library, Name: "libc.so.6:gethostbyname", Fires: "an old program looks a host name up", Task: Own, Arguments: []Argument{{Name: "name", User: true}},
		Result: &Argument{Name: "ret", Means: "null: not found"}, Rate: Rare, See: []string{"getaddrinfo, which most programs use"}, Sources: []string{"gethostbyname(3)"},
	},
	{
		Kind: Library, Name: "libc.so.6:malloc", Fires: "a program asks for memory", Task: Own, Arguments: []Argument{{Name: "size", Unit: "bytes"}}, Result: &Argument{Name: "ret", Means: "null: none"}, Rate: Fierce,
		Mistakes: []string{"calloc, realloc, posix_memalign, aligned_alloc and mmap give memory too, realloc frees too", "each call costs a trap of about a microsecond: only one process, and not for long", "jemalloc, tcmalloc and Go have their own", "at the entry there is no address yet: remember the size by thread"},
		Sources:  []string{"malloc(3)"},
	},
	{
		Kind: Library, Name: "libc.so.6:free", Fires: "a program gives memory back", Task: Own, Arguments: []Argument{{Name: "ptr", User: true, Means: "null is allowed and does nothing"}}, Rate: Fierce, Sources: []string{"free(3)"},
	},
	{
		Kind: Library, Name: "libc.so.6:realloc", Fires: "a program changes the size of a piece of memory", Task: Own, Arguments: []Argument{{Name: "ptr", User: true, Means: "null: as malloc"}, {Name: "size", Unit: "bytes"}}, Result: &Argument{Name: "ret", Means: "the new place: the old one is freed; null: nothing has changed"}, Rate: High, Sources: []string{"realloc(3)"},
	},
	{
		Kind: Library, Name: "libc.so.6:pthread_mutex_lock", Fires: "a thread wants a lock; at the return it has it", Task: Own, Arguments: []Argument{{Name: "mutex", User: true, Means: "its address names the lock"}}, Result: &Argument{Name: "ret", Means: "0, or an errno above 0", Sign: PosErrno}, Rate: Fierce,
		Mistakes: []string{"calls within glibc do not pass the symbol", "before glibc 2.34 it is in libpthread.so.0", "Go's and Java's locks do not come here: see the system call futex"},
		Sources:  []string{"pthread_mutex_lock(3)"},
	},
	{
		Kind: Library, Name: "libc.so.6:pthread_create", Fires: "a program makes a thread", Task: Own, Arguments: []Argument{{Name: "thread", User: true}, {Name: "attr", User: true}, {Name: "start_routine", User: true, Means: "the function that it will run"}, {Name: "arg", User: true}}, Result: &Argument{Name: "ret", Means: "0, or an errno above 0", Sign: PosErrno}, Rate: Low,
		Mistakes: []string{"before glibc 2.34 it is in libpthread.so.0"}, Sources: []string{"pthread_create(3)"},
	},
	{
		Kind: Library, Name: "libc.so.6:open64", Fires: "a program calls open(): in most programs it is this symbol", Task: Own, Arguments: []Argument{{Name: "pathname", User: true}, {Name: "flags"}}, Result: &Argument{Name: "ret", Means: "the file descriptor", Sign: LibcErrno}, Rate: Medium,
		Mistakes: []string{"opens within the library (fopen) do not pass it: the system call openat sees all", "the result is an int: look at 32 bits"}, Sources: []string{"open(2)"},
	},
	{
		Kind: Library, Name: "libc.so.6:system", Fires: "a program runs a command by the shell and waits for it", Task: Own, Arguments: []Argument{{Name: "command", User: true}}, Result: &Argument{Name: "ret", Means: "as of wait(); -1 on failure"}, Rate: Rare, Sources: []string{"system(3)"},
	},
	{
		Kind: Library, Name: "libc.so.6:exit", Fires: "a program ends itself in order", Task: Own, Arguments: []Argument{{Name: "status", Means: "the low 8 bits are what the parent sees"}}, Rate: Low, Mistakes: []string{"it never returns; _exit() and death by signals pass it by: see sched_process_exit"}, Sources: []string{"exit(3)"},
	},
	{
		Kind: Library, Name: "libssl.so.3:SSL_write", Fires: "a program hands plain text to TLS", Task: Own, Arguments: []Argument{{Name: "ssl", User: true, Means: "names the connection"}, {Name: "buf", User: true, Means: "the plain text"}, {Name: "num", Unit: "bytes"}}, Result: &Argument{Name: "ret", Means: "bytes; 0 or less is no success and no errno"}, Needs: "a program that uses OpenSSL's library", Rate: High,
		Mistakes: []string{"SSL_write_ex as well: it returns 1 and puts the length where its fourth argument points", "Go, Java, Rust (rustls), GnuTLS and NSS have their own", "plain text is sensitive: show lengths unless more is asked for"},
		Sources:  []string{"SSL_write(3)"},
	},
	{
		Kind: Library, Name: "libssl.so.3:SSL_read", Fires: "a program asks TLS for plain text; at the return it is there", Task: Own, Arguments: []Argument{{Name: "ssl", User: true}, {Name: "buf", User: true, Means: "filled at the return: remember it at the entry, by thread"}, {Name: "num", Unit: "bytes", Means: "of the buffer"}}, Result: &Argument{Name: "ret", Means: "bytes; 0 or less is no success and no errno"}, Needs: "a program that uses OpenSSL's library", Rate: High,
		Mistakes: []string{"SSL_read_ex as well", "at the entry the buffer has old data"}, Sources: []string{"SSL_read(3)"},
	},
	{
		Kind: Library, Name: "libssl.so.3:SSL_do_handshake", Fires: "a TLS handshake begins or goes on", Task: Own, Arguments: []Argument{{Name: "ssl", User: true}}, Result: &Argument{Name: "ret", Means: "1 done; else SSL_get_error says why: with sockets that do not block it is called several times"}, Needs: "a program that uses OpenSSL's library", Rate: Medium, Sources: []string{"SSL_do_handshake(3)"},
	},
	{
		Kind: Library, Name: "bash:readline", Fires: "an interactive shell has read a line", Task: Own, Arguments: []Argument{{Name: "prompt", User: true}}, Result: &Argument{Name: "ret", User: true, Means: "the line; null at the end of input"}, Needs: "bash with readline in it, as Debian builds it; else it is in libreadline.so.8", Rate: Rare,
		Mistakes: []string{"the line is only there at the return", "scripts and bash -c do not come here: see sched_process_exec"}, Sources: []string{"bash: parse.y"},
	},
	{
		Kind: Library, Name: "libpthread.so.0:pthread_mutex_lock", Fires: "a thread wants a lock, with glibc before 2.34", Task: Own, Arguments: []Argument{{Name: "mutex", User: true}}, Needs: "glibc before 2.34: later it is in libc.so.6", Rate: Fierce, Sources: []string{"glibc 2.34 release notes"},
	},
	{
		Kind: USDT, Name: "libc.so.6:libc:memory_mallopt", Fires: "a program changes how malloc works", Task: Own, Needs: "a glibc with its probes (--enable-systemtap), as Debian and Fedora build it", Rate: Rare, Sources: []string{"glibc manual: Internal Probes"},
	},
	{
		Kind: USDT, Name: "libc.so.6:libc:memory_sbrk_more", Fires: "malloc has got more memory from the kernel by brk", Task: Own, Arguments: []Argument{{Name: "arg1", User: true, Means: "where the new memory begins"}, {Name: "arg2", Unit: "bytes", Means: "how much"}}, Needs: "a glibc with its probes (--enable-systemtap), as Debian and Fedora build it", Rate: Low, Sources: []string{"glibc:malloc/malloc.c:sysmalloc"},
	},
}
