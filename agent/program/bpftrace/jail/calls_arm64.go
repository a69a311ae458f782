package jail

import "golang.org/x/sys/unix"

// System calls that only this architecture has.
var (
	neverHere   = []uint32{unix.SYS_KEXEC_FILE_LOAD}
	changesHere = []uint32{unix.SYS_RENAMEAT}
	// opens are further ways to open files, and which argument has the flags.
	opens = map[uint32]uint32{}
)
