package tracer

import "golang.org/x/sys/unix"

// epoll are the system calls that wait for events.
var epoll = []int{unix.SYS_EPOLL_WAIT, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2}
