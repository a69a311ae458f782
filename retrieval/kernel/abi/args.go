package abi

import "strings"

// ArgKind is how a system call takes an argument out of a register of 64 bits.
type ArgKind byte

// The kinds of arguments. The kernel looks at no more of the register than this: what a program leaves in the
// rest of it means nothing.
const (
	Arg64      ArgKind = '-' // all of it
	ArgPointer ArgKind = 'p' // an address in the process's memory
	ArgS32     ArgKind = 'i' // int, pid_t, clockid_t
	ArgU32     ArgKind = 'u' // unsigned int, uid_t
	ArgU16     ArgKind = 'h' // umode_t
)

// SyscallArgs returns the kinds of a system call's arguments, by the name that its tracepoint has. It reports false
// for a call that it does not know, and for one that takes whole registers only.
func SyscallArgs(name string) ([]ArgKind, bool) {
	_, rest, ok := strings.Cut(syscallArgs, " "+name+":")
	if !ok || name == "" {
		return nil, false
	}
	kinds, _, _ := strings.Cut(rest, " ")
	return []ArgKind(kinds), true
}

// syscallArgs are calls with the kinds of their arguments, as the kernel's tracepoints describe them.
const syscallArgs = " " +
	"accept:ipp accept4:ippi access:pi acct:p add_key:ppp-i adjtimex:p alarm:u arch_prctl:i- bind:ipi bpf:ipu cachestat:uppu capget:pp capset:pp chdir:p " +
	"chmod:ph chown:puu chroot:p clock_adjtime:ip clock_getres:ip clock_gettime:ip clock_nanosleep:iipp clock_settime:ip clone:--pp- clone3:p- close:u " +
	"close_range:uuu connect:ipi copy_file_range:ipip-u creat:ph dup:u dup2:uu dup3:uui epoll_create:i epoll_create1:i epoll_ctl:iiip epoll_pwait:ipiip- " +
	"epoll_pwait2:ipipp- epoll_wait:ipii eventfd:u eventfd2:ui execve:ppp execveat:ipppi exit:i exit_group:i faccessat:ipi faccessat2:ipii fadvise64:i--i " +
	"fallocate:ii-- fanotify_init:uu fanotify_mark:iu-ip fchdir:u fchmod:uh fchmodat:iph fchmodat2:iphu fchown:uuu fchownat:ipuui fcntl:uu- fdatasync:u " +
	"fgetxattr:ipp- file_getattr:ipp-u file_setattr:ipp-u flistxattr:ip- flock:uu fremovexattr:ip fsconfig:iuppi fsetxattr:ipp-i fsmount:iuu fsopen:pu " +
	"fspick:ipu fstatfs:up fsync:u ftruncate:u- futex:piuppu futex_requeue:puii futex_wait:p--upi futex_waitv:puupi futex_wake:p-iu futimesat:ipp " +
	"get_mempolicy:pp--- get_robust_list:ipp getcpu:ppp getcwd:p- getdents:upu getdents64:upu getgroups:ip getitimer:ip getpeername:ipp getpgid:i " +
	"getpriority:ii getrandom:p-u getresgid:ppp getresuid:ppp getrlimit:up getrusage:ip getsid:i getsockname:ipp getsockopt:iiipp gettimeofday:pp " +
	"getxattr:ppp- getxattrat:ipupp- inotify_add_watch:ipu inotify_init1:i inotify_rm_watch:ii io_cancel:-pp io_getevents:---pp io_pgetevents:---ppp " +
	"io_setup:up io_submit:--p io_uring_enter:uuuup- io_uring_register:uupu io_uring_setup:up ioctl:uu- ioperm:--i iopl:u ioprio_get:ii ioprio_set:iii " +
	"kcmp:iii-- keyctl:i---- kill:ii landlock_add_rule:iupu landlock_create_ruleset:p-u landlock_restrict_self:iu lchown:puu lgetxattr:ppp- link:pp " +
	"linkat:ipipi listen:ii listmount:pp-u listxattr:pp- listxattrat:ipup- llistxattr:pp- lremovexattr:pp lseek:u-u lsetxattr:ppp-i lsm_get_self_attr:uppu " +
	"lsm_list_modules:ppu lsm_set_self_attr:upuu madvise:--i mbind:---p-u membarrier:iui memfd_create:pu memfd_secret:u migrate_pages:i-pp mincore:--p " +
	"mkdir:ph mkdirat:iph mknod:phu mknodat:iphu mlock2:--i mlockall:i modify_ldt:ip- mount:ppp-p mount_setattr:ipup- move_mount:ipipu move_pages:i-pppi " +
	"mq_getsetattr:ipp mq_notify:ip mq_open:pihp mq_timedreceive:ip-pp mq_timedsend:ip-up mq_unlink:p msgctl:iip msgget:ii msgrcv:ip--i msgsnd:ip-i " +
	"msync:--i name_to_handle_at:ipppi nanosleep:pp newfstat:up newfstatat:ippi newlstat:pp newstat:pp newuname:p open:pih open_by_handle_at:ipi " +
	"open_tree:ipu open_tree_attr:ipup- openat:ipih openat2:ipp- perf_event_open:piii- personality:u pidfd_getfd:iiu pidfd_open:iu pidfd_send_signal:iipu " +
	"pipe:p pipe2:pi pivot_root:pp pkey_free:i pkey_mprotect:---i poll:pui ppoll:pupp- prctl:i---- pread64:up-- preadv:-p--- preadv2:-p---i prlimit64:iupp " +
	"process_madvise:ip-iu process_mrelease:iu process_vm_readv:ip-p-- process_vm_writev:ip-p-- pselect6:ippppp pwrite64:up-- pwritev:-p--- " +
	"pwritev2:-p---i quotactl:upup quotactl_fd:uuup read:up- readahead:i-- readlink:ppi readlinkat:ippi readv:-p- reboot:iiup recvfrom:ip-upp " +
	"recvmmsg:ipuup recvmsg:ipu removexattr:pp removexattrat:ipup rename:pp renameat:ipip renameat2:ipipu request_key:pppi rmdir:p rseq:puiu " +
	"rt_sigaction:ipp- rt_sigpending:p- rt_sigprocmask:ipp- rt_sigqueueinfo:iip rt_sigsuspend:p- rt_sigtimedwait:ppp- rt_tgsigqueueinfo:iiip " +
	"sched_get_priority_max:i sched_get_priority_min:i sched_getaffinity:iup sched_getattr:ipuu sched_getparam:ip sched_getscheduler:i " +
	"sched_rr_get_interval:ip sched_setaffinity:iup sched_setattr:ipu sched_setparam:ip sched_setscheduler:iip seccomp:uup select:ipppp semctl:iii- " +
	"semget:iii semop:ipu semtimedop:ipup sendfile64:iip- sendmmsg:ipuu sendmsg:ipu sendto:ip-upi set_mempolicy:ip- set_robust_list:p- set_tid_address:p " +
	"setdomainname:pi setfsgid:u setfsuid:u setgid:u setgroups:ip sethostname:pi setitimer:ipp setns:ii setpgid:ii setpriority:iii setregid:uu " +
	"setresgid:uuu setresuid:uuu setreuid:uu setrlimit:up setsockopt:iiipi settimeofday:pp setuid:u setxattr:ppp-i setxattrat:ipupp- shmat:ipi shmctl:iip " +
	"shmdt:p shmget:i-i shutdown:ii sigaltstack:pp signalfd:ip- signalfd4:ip-i socket:iii socketpair:iiip splice:ipip-u statfs:pp statmount:pp-u " +
	"statx:ipuup swapoff:p swapon:pi symlink:pp symlinkat:pip sync_file_range:i--u syncfs:i sysfs:i-- sysinfo:p syslog:ipi tee:ii-u tgkill:iii time:p " +
	"timer_create:ipp timer_delete:i timer_getoverrun:i timer_gettime:ip timer_settime:iipp timerfd_create:ii timerfd_gettime:ip timerfd_settime:iipp " +
	"times:p tkill:ii truncate:p- umask:i umount:pi unlink:p unlinkat:ipi userfaultfd:i ustat:up utime:pp utimensat:ippi utimes:pp vmsplice:ip-u " +
	"wait4:ipip waitid:iipip write:up- writev:-p- "
