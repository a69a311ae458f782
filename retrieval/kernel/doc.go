// Package kernel holds the facts of one kernel: which hooks exist and what
// they hand to a program, how its types are laid out, which helpers it has, and
// which of the settings that decide over tracing are on.
//
// It is what everything else is checked against. Whoever writes a program looks
// up signatures and fields here first; whoever receives one asks [Facts.CheckHook]
// and [Facts.Field] before a compiler or the kernel is bothered. A name that does
// not exist gives a [NotFoundError] that says what was probably meant, because a
// wrong name is the most common fault of a program written from memory.
//
// # One kernel, one value
//
// [Facts] describes one kernel at one moment. [Live] reads the running one. All
// that is read are files, so [Sources] can read another kernel's facts from a
// copy of those files: a node's inventory, or nothing but the BTF taken out of a
// kernel image. A file that is absent leaves its facts unknown and the look-ups
// that need it say so; only BTF is indispensable ([ErrNoBTF]).
//
// Reading is all this package does: it makes no bpf(2) call and attaches
// nothing. What only a trial can tell (a security policy that refuses a program
// type, say) is put into [Facts.Refused] by whoever makes the trial.
//
// # Facts that travel
//
// [Encode] writes the facts of a node's kernel as a few megabytes that [Decode] turns
// into Facts again where there is neither that kernel nor root. Only questions about the
// files of the node stay with it ([ErrOnNode]).
//
// Reading up front takes about 30 ms; larger parts (function names, symbols,
// the search index) are read when first asked for and kept. All methods are safe
// for concurrent use.
//
// # Mounts
//
// Tracepoints are read from tracefs, the lockdown mode and the active security
// modules from securityfs. Neither is mounted behind anybody's back: a program
// that runs as root calls [EnsureMounts] before [Live].
package kernel
