package notes

// Functions of hooks whose name is another than security_ and the hook's.
var securityFunctions = map[string]string{"bprm_check_security": "security_bprm_check"}

// verdict is what an LSM program answers with.
func verdict() *Argument {
	return &Argument{Name: "ret", Means: "0 lets it happen; what an earlier program said comes in as ret: hand it on", Sign: NegErrno}
}

const bpfLSM = "CONFIG_BPF_LSM and bpf in the list of security modules (lsm=…,bpf); without, use the function by kprobe, to watch only"

// security are notes on the hooks of security modules.
var security = []Note{
	{
		Kind: Tracepoint, Name: "capability/cap_capable", Fires: "the kernel has answered whether credentials have a capability", Task: Own, Whose: "it is the one that needs it, mostly with its own credentials",
		Arguments: []Argument{{Name: "cred", Means: "the credentials that are asked about"}, {Name: "target_ns", Means: "the user namespace for which"}, {Name: "capable_ns", Means: "the one that answered"}, {Name: "cap"}, {Name: "ret", Means: "0 granted, -EPERM refused", Sign: NegErrno}},
		Since:     "6.14", Gone: "use cap_capable by kprobe", Rate: High,
		Mistakes: []string{"each fork and mmap asks for CAP_SYS_ADMIN (21), to see about reserves: a refusal is mostly no failure", "it does not say whether the kernel only asked (opts of the function)"},
		Sources:  []string{"security/commoncap.c:cap_capable", "include/trace/events/capability.h", "measured"},
	},
	{
		Kind: LSM, Name: "file_open", Fires: "a file that was found, and that the permissions allow, is about to be opened", Task: Own,
		Arguments: []Argument{{Name: "file", Means: "f_path is where, f_flags the flags; bpf_d_path gives the path here"}}, Result: verdict(), Needs: bpfLSM, Rate: High,
		Mistakes: []string{"opens that the mode bits refuse do not come here, nor do those of files that are not there"}, Sources: []string{"security/security.c:security_file_open", "fs/open.c:do_dentry_open"},
	},
	{
		Kind: LSM, Name: "bprm_check_security", Fires: "a program is about to be executed; for a script again for its interpreter", Task: Own, Whose: "it is the one that executes, still as before: old comm and memory",
		Arguments: []Argument{{Name: "bprm", Means: "filename is the path as given, file the file, interp the interpreter"}}, Result: verdict(), Needs: bpfLSM, Rate: Medium, Sources: []string{"security/security.c:security_bprm_check", "fs/exec.c:search_binary_handler"},
	},
	{
		Kind: LSM, Name: "bprm_committed_creds", Fires: "an exec has got its new credentials; it can no longer be refused", Task: Own,
		Arguments: []Argument{{Name: "bprm"}}, Needs: bpfLSM, Rate: Medium, Sources: []string{"security/security.c:security_bprm_committed_creds"},
	},
	{
		Kind: LSM, Name: "socket_create", Fires: "a socket is about to be made", Task: Own,
		Arguments: []Argument{{Name: "family"}, {Name: "type"}, {Name: "protocol"}, {Name: "kern", Means: "1: by the kernel for itself"}}, Result: verdict(), Needs: bpfLSM, Rate: Medium, Sources: []string{"net/socket.c:__sock_create"},
	},
	{
		Kind: LSM, Name: "socket_connect", Fires: "a socket of any family is about to be connected", Task: Own,
		Arguments: []Argument{{Name: "sock"}, {Name: "address", Means: "where to, already in the memory of the kernel; the port in network order"}, {Name: "addrlen", Unit: "bytes"}}, Result: verdict(), Needs: bpfLSM, Rate: Medium,
		Mistakes: []string{"look at address.sa_family before it is taken for IPv4 or IPv6", "it is asked, not done: how it went is seen by the return of connect and by inet_sock_set_state"},
		Sources:  []string{"net/socket.c:__sys_connect_file"},
	},
	{
		Kind: LSM, Name: "socket_bind", Fires: "a socket is about to get its local address", Task: Own,
		Arguments: []Argument{{Name: "sock"}, {Name: "address", Means: "in the memory of the kernel; the port in network order, 0 lets the kernel choose"}}, Result: verdict(), Needs: bpfLSM, Rate: Low, Sources: []string{"net/socket.c:__sys_bind_socket"},
	},
	{
		Kind: LSM, Name: "socket_listen", Fires: "a socket is about to take connections", Task: Own, Arguments: []Argument{{Name: "sock"}, {Name: "backlog"}}, Result: verdict(), Needs: bpfLSM, Rate: Rare, Sources: []string{"net/socket.c:__sys_listen_socket"},
	},
	{
		Kind: LSM, Name: "socket_accept", Fires: "a connection is about to be taken; there may be none yet", Task: Own, Arguments: []Argument{{Name: "sock", Means: "the listener"}, {Name: "newsock", Means: "has no connection yet: who calls is not known"}}, Result: verdict(), Needs: bpfLSM, Rate: Medium, Sources: []string{"net/socket.c:do_accept"},
	},
	{
		Kind: LSM, Name: "socket_sendmsg", Fires: "a message is about to be sent by a socket", Task: Own, Arguments: []Argument{{Name: "sock"}, {Name: "msg"}, {Name: "size", Unit: "bytes"}}, Result: verdict(), Needs: bpfLSM, Rate: High, Sources: []string{"net/socket.c:__sock_sendmsg"},
	},
	{
		Kind: LSM, Name: "inode_create", Fires: "a regular file is about to be made in a directory, also by open with O_CREAT", Task: Own, Arguments: []Argument{{Name: "dir"}, {Name: "dentry", Means: "d_name is its name; it has no inode yet"}, {Name: "mode"}}, Result: verdict(), Needs: bpfLSM, Rate: Medium, Sources: []string{"fs/namei.c:lookup_open"},
	},
	{
		Kind: LSM, Name: "inode_unlink", Fires: "a file is about to be removed from a directory", Task: Own, Arguments: []Argument{{Name: "dir"}, {Name: "dentry", Means: "d_name is its name, without directories"}}, Result: verdict(), Needs: bpfLSM, Rate: Medium, See: []string{"inode_rmdir for directories, inode_rename for files that are replaced"}, Sources: []string{"fs/namei.c:vfs_unlink"},
	},
	{
		Kind: LSM, Name: "inode_rename", Fires: "a file is about to be renamed", Task: Own, Arguments: []Argument{{Name: "old_dir"}, {Name: "old_dentry"}, {Name: "new_dir"}, {Name: "new_dentry", Means: "has an inode if one is replaced"}}, Result: verdict(), Needs: bpfLSM, Rate: Medium, Sources: []string{"fs/namei.c:vfs_rename"},
	},
	{
		Kind: LSM, Name: "inode_setattr", Fires: "a file's mode, owner, size or times are about to change", Task: Own, Arguments: []Argument{{Name: "dentry"}, {Name: "attr", Means: "ia_valid says what changes: 1 mode, 2 user, 4 group, 8 size"}}, Result: verdict(), Needs: bpfLSM, Rate: Medium, Sources: []string{"fs/attr.c:notify_change"},
	},
	{
		Kind: LSM, Name: "file_permission", Fires: "an open file is about to be read, written or listed", Task: Own, Arguments: []Argument{{Name: "file"}, {Name: "mask", Means: "4 read, 2 write, 8 append"}}, Result: verdict(), Needs: bpfLSM, Rate: Fierce, Mistakes: []string{"mapped files are read and written without it"}, Sources: []string{"fs/read_write.c:rw_verify_area"},
	},
	{
		Kind: LSM, Name: "mmap_file", Fires: "memory is about to be mapped, of a file or anonymous", Task: Own, Arguments: []Argument{{Name: "file", Means: "null if anonymous"}, {Name: "reqprot"}, {Name: "prot", Means: "4 execute"}, {Name: "flags"}}, Result: verdict(), Needs: bpfLSM, Rate: High, Sources: []string{"mm/util.c:vm_mmap_pgoff"},
	},
	{
		Kind: LSM, Name: "task_kill", Fires: "a signal is about to be sent by a task", Task: Own, Whose: "it is the sender", Arguments: []Argument{{Name: "p", Means: "the receiver"}, {Name: "sig", Means: "0 only asks"}, {Name: "cred", Means: "null: those of the sender"}}, Result: verdict(), Needs: bpfLSM, Rate: Low, Mistakes: []string{"the OOM killer's signals and those of the kernel do not come here"}, Sources: []string{"kernel/signal.c:check_kill_permission"},
	},
	{
		Kind: LSM, Name: "ptrace_access_check", Fires: "a task is about to look into another: ptrace, /proc/…/mem, environ, maps, process_vm_readv", Task: Own, Whose: "it is the one that looks", Arguments: []Argument{{Name: "child", Means: "the one that is looked into"}, {Name: "mode", Means: "1 read, 2 attach"}}, Result: verdict(), Needs: bpfLSM, Rate: Medium, Mistakes: []string{"ps and top come here for each process"}, Sources: []string{"kernel/ptrace.c:__ptrace_may_access"},
	},
	{
		Kind: LSM, Name: "task_fix_setuid", Fires: "a task is about to change its user by a set…uid call", Task: Own, Arguments: []Argument{{Name: "new"}, {Name: "old"}, {Name: "flags"}}, Result: verdict(), Needs: bpfLSM, Rate: Low, Mistakes: []string{"an exec of a set-user-id file does not come here"}, Sources: []string{"kernel/sys.c:__sys_setuid"},
	},
	{
		Kind: LSM, Name: "capable", Fires: "the kernel asks whether a task has a capability", Task: Own, Arguments: []Argument{{Name: "cred"}, {Name: "cap"}, {Name: "opts", Means: "2: only asked"}}, Result: verdict(), Needs: bpfLSM, Rate: High, Sources: []string{"security/security.c:security_capable"},
	},
	{
		Kind: LSM, Name: "bpf", Fires: "a program makes the system call bpf", Task: Own, Arguments: []Argument{{Name: "cmd"}, {Name: "attr", Means: "in the memory of the kernel"}, {Name: "size"}}, Result: verdict(), Needs: bpfLSM, Rate: Medium, Mistakes: []string{"to refuse here can lock kgent itself out"}, Sources: []string{"kernel/bpf/syscall.c:__sys_bpf"},
	},
	{
		Kind: LSM, Name: "sb_mount", Fires: "mount() is about to mount, bind or change a mount", Task: Own, Arguments: []Argument{{Name: "dev_name", Means: "may be null"}, {Name: "path"}, {Name: "type", Means: "may be null"}, {Name: "flags"}}, Result: verdict(), Needs: bpfLSM, Rate: Rare, Mistakes: []string{"the new calls (fsmount, move_mount) come to move_mount instead"}, Sources: []string{"fs/namespace.c:path_mount"},
	},
	{
		Kind: LSM, Name: "kernel_read_file", Fires: "the kernel is about to read a file for itself: a module, firmware, a policy", Task: Own, Arguments: []Argument{{Name: "file"}, {Name: "id", Means: "of enum kernel_read_file_id: 2 is a module"}}, Result: verdict(), Needs: bpfLSM, Rate: Rare, Mistakes: []string{"init_module(), which has the module in memory, comes to kernel_load_data instead"}, Sources: []string{"fs/kernel_read_file.c:kernel_read_file"},
	},
}
