package compose

import "strings"

// phrases are alternatives that several rules share.
var phrases = map[string][]string{
	"over": {"for more than", "for longer than", "for over", "more than", "longer than", "slower than", "over", "above", "exceeding", "greater than", "larger than", "bigger than", "higher than", ">", "of more than", "of over",
		"that take more than", "that take longer than", "that took longer than", "that took more than", "taking longer than", "taking more than", "that takes longer than", "that last longer than", "that lasted longer than",
		"that lived longer than", "that lived more than", "that lived over", "that ran longer than", "that ran for longer than", "that ran for more than", "that were open longer than", "that were open for more than", "that live longer than", "which take longer than", "that take over", "that took over", "lasting longer than", "that are slower than", "that were slower than", "that lasted more than", "that are larger than"},
	"atleast": {"at least", "for at least", "no less than", ">=", "≥", "of at least", "that take at least", "that took at least", "taking at least"},
	"under": {"less than", "for less than", "faster than", "quicker than", "shorter than", "smaller than", "below", "under", "<", "of less than", "that take less than", "that took less than", "that lived less than", "that live less than",
		"that lasted less than", "that last less than", "that lived shorter than", "lasting less than", "living less than", "of under"},
	"atmost": {"at most", "no more than", "<=", "≤"},
	"not": {"not", "except", "except for", "excluding", "other than", "without", "but not", "and not", "ignoring", "ignore", "besides", "aside from", "apart from", "that are not", "which are not", "leaving out", "leave out", "minus", "!=", "by anyone but", "by anybody but", "by everyone but", "by everybody but", "by all but", "by anyone except", "by anything but", "by everything but", "from anyone but", "skip", "skipping", "exclude", "omit", "omitting", "but exclude", "but skip", "but ignore", "and exclude", "and skip", "and ignore", "unless from", "hide", "drop those of",
		"to anything but", "to anything except", "to anything other than", "to everything but", "to everything except", "to anywhere but", "to anywhere except", "to anywhere other than", "anything but", "anything except", "anything other than", "everything but", "everything except",
		"by anything except", "by anything other than", "by anyone other than", "by everything except", "from anything but", "from anything except", "from anyone except", "from everything but", "on anything but", "on anything except", "and no", "but no", "nothing from", "nothing to", "nothing by"},
	"those":   {"those of", "those from", "those by", "those to", "those under", "those in", "those on", "those at", "those with", "the ones of", "the ones from", "the ones by", "the ones to", "of", "from", "by", "to", "on", "under", "in", "below", "the", "with", "calls of", "made by", "those made by", "from process", "of process", "by process", "anything under", "files under", "what is under"},
	"whose":   {"of", "from", "by", "those of", "those from", "those by", "the ones of", "the ones from", "calls of", "calls by", "made by", "those made by", "process", "processes", "of process", "from process", "by process", "the process", "program", "what is from", "the calls of", "in", "those in", "inside"},
	"pct":     {"p50", "p75", "p90", "p95", "p99", "p99.9", "p999", "50th percentile", "75th percentile", "90th percentile", "95th percentile", "99th percentile", "99.9th percentile", "percentile", "percentiles", "median"},
	"by":      {"by", "per", "for each", "for every", "grouped by", "group by", "broken down by", "break down by", "split by", "broken out by", "and by", "and per", "for each single", "keyed by", "in terms of each"},
	"failing": {"that fail", "that failed", "which fail", "which failed", "failing", "failed", "fail", "fails", "unsuccessful", "that return an error", "that end in an error", "that fails", "with an error", "that returned an error"},
	"calls":   {"calls", "call", "syscalls", "syscall", "system calls", "system call", "invocations", "invocation"},
	"does":    {"is", "are", "does", "do", "did", "was", "were", "has", "have"},
	"verb":    {"call", "calls", "called", "calling", "use", "uses", "used", "using", "make", "makes", "made", "making", "do", "does", "did", "issue", "issues", "issued", "cause", "causes", "trigger", "triggers", "invoke", "invokes", "run", "perform", "open", "opens", "opened", "start", "starts", "started", "send", "sends", "sent"},
	"of":      {"of", "for", "in", "to"},
}

// rule reads one kind of phrase.
type rule struct {
	patterns []string
	do       func(a *ask, v map[string]value, said string) error
	// subject: it says what is watched. own: recipes read it better where they have it.
	subject bool
	weak    bool // it says nothing that a recipe has to be told
	form    bool // it says how the answer is shown
	key     bool // it says what rows are for
	which   bool // it asks for whose they are, which a list shows as well
	exclude bool // it leaves something out, which no recipe can
	place   bool // it says in which container, which no recipe can be told
	measure bool // it says what is measured
	task    bool // it names a process or user
}

// keyWords are the words for what rows can be for, and what is meant.
var keyWords = expand(map[string]string{
	"process": "process, processes, program, programs, application, applications, app, apps, process name, command, commands, executable, caller, pid and comm, pid and name, pid, pids, process id, process and pid, task, tasks",
	"comm":    "comm, comms, command name, task name, thread name, thread names",
	"user":    "user, users, uid, uids, user id, account, accounts, username",
	"thread":  "thread, threads, tid, tids, thread id",
	"cpu":     "cpu, cpus, core, cores, processor, processors",
	"cgroup":  "cgroup, cgroups, control group, container, containers, pod, pods",
	"way":     "direction, directions",
	"port":    "port, ports, port number",
	"dport":   "destination port, destination ports, dport, remote port, remote ports, target port, target ports, peer port",
	"lport":   "local port, local ports, source port, source ports, listening port, server port",
	"address": "address, addresses, ip, ips, ip address, ip addresses, host, hosts, remote address, remote addresses, remote ip, remote host, remote hosts, destination, destinations, destination address, destination addresses, destination ip, peer, peers, remote end, client address, client addresses, client, clients",
	"laddr":   "local address, local addresses, local ip, source address, source addresses, source ip",
	"error":   "error, errors, errno, error code, error codes, errors returned, result, results, return value, return code, outcome",
	"signal":  "signal, signals, signal number",
	"path":    "path, paths, file, files, file name, filename, file names, pathname",
	"call":    "system call, syscall, system calls, syscalls",
	"event":   "event, events, tracepoint, tracepoints",
	"parent":  "parent, parent process, parent pid, ppid",
	"state":   "state, states, tcp state",
	"device":  "device, devices, disk, disks",
	"op":      "operation, operations, kind of operation",
	"sender":  "sender, senders, sending process",
	"target":  "receiver, receivers, receiving process, target process",
	"host":    "host name, hostname, hostnames, name looked up, domain, domains",
	"request": "request number, request code",
})

// expand turns meaning → words into words → meaning.
func expand(list map[string]string) map[string]string {
	out := map[string]string{}
	for meaning, words := range list {
		for w := range strings.SplitSeq(words, ",") {
			out[strings.TrimSpace(w)] = meaning
		}
	}
	return out
}

// aliases are what people call tracepoints.
var aliases = expand(map[string]string{
	"sched/sched_switch":                        "context switches, context switch, context-switches, task switches",
	"sched/sched_migrate_task":                  "task migrations, migrations of tasks, cpu migrations, migrations between cpus, thread migrations",
	"irq/irq_handler_entry":                     "hardware interrupts, hardware irqs, hard irqs, hardirqs, hardirq, device interrupts, interrupt handlers",
	"irq/softirq_entry":                         "softirqs, softirq, soft irqs, soft interrupts, software interrupts",
	"power/cpu_frequency":                       "cpu frequency changes, changes of the cpu frequency, frequency changes of cpus",
	"sched/sched_wakeup_new":                    "wakeups of new tasks",
	"filemap/mm_filemap_add_to_page_cache":      "page cache additions, additions to the page cache, pages added to the page cache, page cache inserts",
	"filemap/mm_filemap_delete_from_page_cache": "page cache evictions, removals from the page cache",
	"skb/kfree_skb":                             "dropped packets, packet drops, packets dropped by the kernel",
	"kmem/kmalloc":                              "kmallocs, kmalloc calls, kernel allocations with kmalloc",
	"kmem/kfree":                                "kfrees, kfree calls",
	"compaction/mm_compaction_begin":            "memory compactions, compaction runs",
	"vmscan/mm_vmscan_direct_reclaim_begin":     "direct reclaims, direct reclaim, runs of direct reclaim",
	"module/module_load":                        "module loads, kernel modules being loaded, modules being loaded, kernel modules that are loaded, loaded kernel modules, kernel module loads",
	"workqueue/workqueue_execute_start":         "workqueue executions, work items executed, executed work items",
	"timer/hrtimer_expire_entry":                "hrtimer expirations, high resolution timer expirations",
	"timer/timer_expire_entry":                  "timer expirations, expired timers",
	"net/net_dev_xmit":                          "transmitted frames, sent frames",
	"net/netif_receive_skb":                     "received frames",
	"napi/napi_poll":                            "napi polls",
	"block/block_rq_issue":                      "block requests issued, issued block requests, block i/o requests issued",
	"writeback/writeback_start":                 "writeback runs",
	"signal/signal_deliver":                     "delivered signals, signal deliveries",
})

// fillers are words that carry nothing where everything else is accounted for: words of
// asking, articles, and what every hook is.
var fillers = set("a an the all any each every show me list trace print log watch see give display monitor record observe report please pls can could you i want wanna  let us what which is are was were does do did be being been " +
	"its this these our my host system here call calls called calling syscall syscalls invocations kernel event events tracepoint tracepoints function fire fires fired firing happen happens happening occur occurs take takes took there's what's line lines rn atm anyone anybody sth")

// links join what is read on both sides of them; they are passed over only right before
// something that is read.
var links = set("of with and but also only just plus that which")

// refining are fillers in what changes a request before it.
var refining = set("those ones instead now make it them that again but too ok okay no yes actually then as thing the just only well also and same please")

// reserved are words that are no names.
var reserved = set("process processes program programs user users thread threads port ports not except per by of from for in to the a an all any each every and or but with without only than more less over under when while if unless then before after until " +
	"who whom what which how why where is are does do did was were count sum total average mean max min top histogram list rate number time times latency duration calls call syscall syscalls events event function tracepoint argument field value result error errors bytes size " +
	"second seconds minute minutes hour hours ms us ns day week yesterday today last past same other another one ones those them it its this that these slow fast high low long short big small large new old first second previous next group instead " +
	"everything anything everyone anyone nobody system kernel host machine cpu memory disk network file files path")

// fieldWords are reserved words that are also common names of fields.
var fieldWords = set("function group number result size")

func set(words string) map[string]bool {
	out := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		out[w] = true
	}
	return out
}
