package compose

import "kgent/agent/contract"

// thing is what people ask for by a name of its own, and what is neither a recipe nor one
// system call or tracepoint: its list.
type thing struct {
	about    string // for messages
	watched  string // for the card
	contract string
}

// base is a list of everything that a thing is.
func (t thing) base() (*contract.Contract, error) { return contract.Parse(t.contract) }

var things = map[string]thing{
	"forks": {
		about:   "the creation of processes",
		watched: "watched: every process that another one creates; threads are none, and whether it starts a program is not looked at",
		contract: "contract \"Processes that are created\"\n\n" + filterParams + `
event forks { time: k_time, pid: k_pid, uid: k_uid, comm: char[16], child: k_pid }

hook tp_btf/sched_process_fork(child as created)
  case process: created == created.group_leader && task_wanted(pid, comm, uid)
    emit forks { time: now, pid: current.tgid, uid: current.uid, comm: process_comm(current.task), child: created.tgid }
  otherwise nothing
`,
	},
}
