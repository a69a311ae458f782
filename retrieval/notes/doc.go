// Package notes holds what is known about hooks beyond their signature: what it means
// when one fires, whose task is running then, which arguments hold what their names
// say and when, in which byte order and unit, which variant libc really calls, what a
// hook was called on other kernels, and how often it fires.
//
// A kernel's BTF says that inet_sock_set_state hands over a struct sock; it does not
// say that most changes of state happen in softirq, where the current task is whoever
// was interrupted, nor that the socket has no local port yet at TCP_SYN_SENT. Programs
// that get such things wrong load, run and show plausible nonsense.
//
// There is one source for two readers: [Prompt] is what a model is told about a
// hook, and the typed facts ([Note.Task], [Note.Lapses], [Argument.Order]) are what
// contracts are checked against.
//
// # What a note may say
//
// Each note names the kernel code that it was read from, or how it was measured. Names
// are held against the BTF and tracefs of the kernel that the tests run on: a hook,
// argument, field or member that is not there fails the test, unless the note says on
// which versions it exists or what it needs. "Measured" in a source means observed by
// tracing a workload on Linux 6.18, x86-64.
//
// A hook without a note is not a hook without pitfalls.
package notes
