// Package contract is the language in which kgent writes down what a request
// asks for, before and without seeing any program. A contract speaks of inputs
// (what a hook hands over, fields of kernel objects, the clock, packet bytes,
// parameters) and of effects (events, cells of output tables, the value
// returned). It never names a variable or a map of a program, so one contract
// judges any program.
//
// There are three forms of one thing: text, for people ([Parse], [Format]);
// JSON with a strict schema, for models ([DecodeJSON], [EncodeJSON], [Schema]);
// and plain English, which is generated ([English]) and is what an approver
// reads. [Check] resolves a contract against the types of one kernel. [Machine]
// runs a checked contract on concrete inputs: it is the reference for what
// follows here.
//
// # What a contract means
//
// A contract is a machine. It has a state, its memories, which are empty at the
// start. Each time one of its hooks fires, which is called an invocation, it
// reads inputs, changes its memories and has effects. A program keeps the
// contract if, for every sequence of invocations, for all inputs and for all
// values that its parameters may have, it has the effects that the contract
// has, in each invocation the same ones, and no others. How the program
// remembers is its own affair; only effects are compared.
//
// What happens in one invocation:
//
//   - A hook has one step or several, separated by "then". Steps are done in order;
//     each sees the memories as the ones before left them.
//   - A step has cases, tried in order. The first whose condition holds applies, and
//     only that one. If none holds, what stands after "otherwise" applies:
//     either effects, or "nothing", which is also what happens where it is left out.
//   - All expressions of a case are evaluated before any of its effects: a value
//     that is reported is the value before what the same case remembers. Events
//     of one case are emitted in the order written. Later changes of the same
//     memory cell win.
//   - At hooks whose return value means something (XDP, tc, cgroup, LSM), every
//     invocation passes exactly one "return". Elsewhere the value is not compared.
//
// # Hooks and places
//
// A hook has one place or several: "hook A and B" has the same cases at each of
// them. "A or B" are alternatives: on a given kernel the first that exists
// there counts, and a program has the same choice. "if present" says that a
// kernel may lack the place, and then nothing is asked for there. The arguments
// of a place are named as the kernel names them, in any number; "sig as signo"
// gives one another name here. Where a kernel keeps no names (probes in
// binaries; tracepoints of some kernels) arguments count by position. "with
// call = fsync" binds a name to an expression for that place alone, so that
// places can share their cases.
//
//	tp_btf, raw_tracepoint, fentry, kprobe, lsm   the arguments, with the kernel's types
//	kprobe                                        of them those before a struct that takes two registers, six at most
//	fexit                                         the arguments, and ret
//	kretprobe, uretprobe                          ret alone
//	kprobe.multi/vfs_read,vfs_write               the arguments that all these functions have, by name where they agree, else arg0: u64, …
//	kretprobe.multi/vfs_*                         ret; of a pattern, or of results of different types, as u64
//	kprobe.session/vfs_read                       both: the arguments at the call, ret at its return
//	tracepoint/syscalls/sys_enter_X               the call's arguments, of the call's types (pid_t is s32, size_t u64)
//	tracepoint/syscalls/sys_exit_X                ret: s64
//	tracepoint/C/X                                the fields of the record by name
//	uprobe                                        arguments by position; u64 unless a type is given
//	xdp, tcx/..., socket, cgroup_skb/...          packet; but for xdp also skb (struct __sk_buff)
//	perf_event/cpu-clock/99                       none; the rate is a setting of the run, 99 where nothing else is said
//
// # Numbers
//
// Every number is computed in 64 bits, two's complement. An input of fewer bits
// is zero-extended if it is unsigned and sign-extended if it is signed. + - *
// wrap. / and % are unsigned unless an operand is signed (then they truncate
// towards zero); by zero, / gives 0 and % gives the dividend. << and >> take an
// amount of 0 to 63 (the checker demands a constant); >> keeps the sign of a
// signed number. A comparison compares the numbers meant: signed if an operand
// is signed. Signed numbers do not mix with unsigned ones of 64 bits; u64(x)
// and s64(x) say which is meant, and u8 to s32 cut the number to that width and
// extend it again. Where a number goes into an output or a memory, its low bits
// count, as many as the member has.
//
// A condition is no number: write x != 0. The kernel's bool is a condition (it
// is 0 or 1). Only where a condition becomes a member of type k_bool it is 1 or
// 0.
//
// A number in network byte order (be16, be32, be64, as BTF types it) is a
// different type: it can be compared with such numbers and converted (ntohs,
// ntohl, htons, htonl, be64), and nothing else.
//
// # Paths into the kernel
//
// sk.__sk_common.skc_dport reads a field of the object that sk points to; where
// a member is a pointer, the path goes on through it. A path means 0 (or the
// empty text, or null) if anything on it cannot be read: a null pointer, an
// address that faults. All reads of one invocation see one state of the kernel;
// different invocations share nothing. A member that is itself a struct denotes
// that object, to go on from or to hand to a definition. as(struct tcp_sock,
// sk) is the same address taken for another type. p[i] is element i of an array
// or of what a pointer points to; pointers to char and void can be added to, in
// bytes. Members of anonymous structs and unions are found without naming
// those. either(a.x, a.y) is the first that the kernel's types have: which one
// is decided before, not at run time.
//
// Memory of processes is read by the same paths where an address is known to be
// one of theirs, as those that system calls take are: as(struct sockaddr_in,
// uservaddr).sin_port. Each member is read by itself, and is 0 if it cannot be.
// Or by other words: user_text(p, n) is the
// NUL-terminated text at p, cut to n-1 bytes, empty if unreadable;
// user_bytes(p, n) is the block of n bytes there (at most 4096), all zero if
// any of them is unreadable; user_args(start, end) is what exec's arguments are
// shown as (k_args).
//
// # Texts, addresses, blocks
//
// A char[N] is a text: its bytes up to the first NUL, at most N; of a kernel
// object or a tracepoint's record at most N-1, for such a text is taken to end in NUL. Two texts are
// equal if these bytes are. A text of a type longer than char[N] is cut to N-1
// bytes where it goes into one; one of at most N stays as it is. In outputs
// nothing is said about bytes behind the NUL (no rubbish may be there, but that
// is asked of every program). starts(text, prefix) tells whether one begins
// with the other; every text starts with "". until(text, " ?") is what stands before the first byte that is
// one of " ?", or all of it. In quotes \n, \r and \t stand for the end of a line, a carriage return, a tab.
//
// A DNS name (k_dnsname) has 128 bytes, as messages have it: labels, each behind its length, up to a NUL.
// People are shown it with dots, and a constant that it is compared with is written so.
//
// An address (k_ip) has 16 bytes: IPv6, or IPv4 as ::ffff:a.b.c.d. ip4(be32)
// and ip6(struct in6_addr) make one; "10.0.0.5" and "::1" are written as texts;
// "::" is the address of zeroes, which parameters take for "any".
// Compared with "10.0.0.0/8" it is equal to what is in that network.
//
// A block (packet, user_bytes) is read by offset in bytes: packet.u8(14),
// packet.be16(12), .be32, .u16 .u32 .u64 (in the machine's order), .ip6(22) (an
// address of 16 bytes), .text(48, 16), .dnsname(40). Bytes behind its end are 0, and all at an offset below 0. packet.len is its length.
// .text(48, 16, n) has the first n bytes of these, for a text whose length stands before it; n is
// unsigned.
// At xdp, tcx and socket a packet begins with its Ethernet header, at cgroup_skb with its
// IP header; its length there is all of it, whatever part of it lies where.
//
// # The current task, time
//
// current.tgid is the process id, current.tid the thread's, current.uid and
// current.gid are real ids in the initial namespace, current.comm is the
// thread's name, current.cgroup its cgroup v2 id, current.task the struct
// task_struct. inside("pod:shop/web-1") is a condition: the current task is in that
// pod, or in the container or in one of those with the label (container:NAME,
// label:KEY=VALUE), or in the cgroup of that path, or in a cgroup within one; which
// cgroups these are the node finds out. A contract names one such place at most,
// and a program the same one: see [Where]. At hooks that run in interrupts the current task is whoever was
// interrupted; the checker refuses it where that is always so.
//
// now is one instant for each invocation (monotonic clock, ns); now_boot
// likewise. Later invocations have later times. random is 32 unpredictable
// bits, the same at every use in one invocation; random % 100 == 0 takes one
// sample in a hundred. cpu is the processor's number. kernel_stack and
// user_stack identify the call stack. kgent.pid is the process that must not
// trace itself, 0 if there is none; the node sets it.
//
// At kprobe.multi, kretprobe.multi and kprobe.session probe.function is the address of the
// function that was called, which is shown by its name. A session is one program at the
// calls of a function and at their returns: probe.returns tells which it is, and
// probe.call is a number that a call and its return have, and no other call: a memory by it
// is what a program keeps in bpf_session_cookie(). What it
// returns at the call decides whether it runs at the return, too (0) or not (1); what it
// returns at the return means nothing. A session takes Linux 6.10, and its program somebody has to
// write: none is generated. kprobe.multi and kretprobe.multi ask the same of two programs, with a
// memory by thread. At socket what is returned is how many bytes of the packet's copy are
// kept in a socket that nobody reads.
//
// # Memories
//
// A memory maps a key to some fields. "remember m[k] {...}" sets all fields of
// a cell and makes it known, overwriting what was there; "change m[k] {...}"
// sets some fields of a known cell, and has no effect on an unknown one;
// "forget m[k]" makes it unknown. m[k].f is read only where "known m[k]" has
// been tested (the checker insists: what happens at a missed entry has to be
// said); without it, it would be 0. Memories have no bound; that those of a
// program do is taken care of by the assumption "room".
//
// # Tables
//
// A table maps a key to aggregates. "add v to t[k]" adds one sample to the cell
// of a key, which is created empty if need be:
//
//	count            grows by v, which is 1
//	sum              grows by v (modulo 2^64)
//	min, max         the smallest, largest v so far (unsigned)
//	last             becomes v
//	stats            count, sum, smallest, largest, unsigned; read with the mean
//	log2             histogram: slot 0 counts the value 0, slot i values in [2^(i-1), 2^i), slot 63 also all above
//	linear(s, n)     histogram of n slots: slot i counts values in [s*i, s*(i+1)), the last also all above
//
// Several CPUs may keep their own cells: what is compared is their merger. "add
// {a: 1, b: x} to t[k]" adds to some members of a cell that has several; the
// others keep their values.
//
// # Names, and how a program is bound to them
//
// The names of events, tables and their members are part of what is promised:
// they are what people see. Programs that a model writes may have other names.
// The rules: an event belongs to the ring buffer of its name, a table to the
// output map of its name; if the program has exactly one ring buffer (output
// map) and the contract one event (table), these belong together whatever their
// names. Members are bound by name; a member _pad, _pad1, ... is none. The
// single unnamed member of a table ("of count") is the map's whole value; a key
// of one member may be the map's whole key; a table without key is a map with
// one fixed key. Parameters belong to the globals of their names. A member has
// to have the size of its type in the contract and, where the program's typedef
// says a meaning, the same meaning. If a name is left over on either side, that
// is a difference, not a case for guessing: the proof says which, and is not
// VERIFIED. Only an event or table that ends in "..." allows the program
// further members.
//
// # Loss
//
// Output can be lost when a ring buffer or map is full; kgent counts it and
// says so. That is the assumption "room". The list of assumptions is fixed, see
// [Assumptions]: whatever else a contract would need to assume is a reason to
// refuse it.
package contract
