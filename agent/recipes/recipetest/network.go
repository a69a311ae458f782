package recipetest

import "kgent/agent/eval/workload"

// These are for workloads: see package workload.

// Isolate gives the calling goroutine a network of its own; see [workload.Isolate].
func Isolate(ipv6 ...string) error { return workload.Isolate(ipv6...) }

// Socket is a bound TCP socket; see [workload.Socket].
func Socket(local string) (int, error) { return workload.Socket(local) }

// MultipathSocket is [Socket] for multipath TCP.
func MultipathSocket(local string) (int, error) { return workload.MultipathSocket(local) }

// Listen is a [Socket] that listens; see [workload.Listen].
func Listen(local string, backlog int) (int, error) { return workload.Listen(local, backlog) }

// Connect connects a [Socket]; see [workload.Connect].
func Connect(fd int, remote string) error { return workload.Connect(fd, remote) }

// Dial is [Socket] and [Connect]; see [workload.Dial].
func Dial(local, remote string) (int, error) { return workload.Dial(local, remote) }

// Thread runs f on a new thread; see [workload.Thread].
func Thread(comm string, f func(tid int) error) error { return workload.Thread(comm, f) }

// SetUID makes the calling thread one of another user; see [workload.SetUID].
func SetUID(uid int) error { return workload.SetUID(uid) }
