package jail

import "golang.org/x/sys/unix"

// neverHere are system calls that not every architecture has.
var neverHere = []uint32{unix.SYS_KEXEC_FILE_LOAD}
