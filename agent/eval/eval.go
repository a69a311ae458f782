// Package eval measures kgent: requests as people write them, each with a real
// workload and an oracle that tells a right answer from a wrong one by what
// the program shows while the workload runs.
//
// A [Case] is a folder of cases/: see cases/README.md, which is all that one
// has to read to write one. Its oracle is free of format: it says which values
// must appear together in one record, in whatever stream and under whatever
// field names, which must not (for every filter there is a decoy), and in which
// ranges counts, sums and histograms must lie. That an oracle can tell is proven
// by programs: the right one must pass, and each of the plausible wrong ones
// must fail, really loaded and run ([Bench.Check], `kgent eval check`).
//
// A [Mode] is a way from a request to a program: without a model (recipes),
// the model alone (direct), in the manner of the original Kgent (paper), or
// kgent as it is (full). [Run] takes every request through one of them, runs
// the program that was accepted, and judges what it showed. [Gate] needs no
// requests: it holds right, wrong and mutated programs against contract and
// proof, which must tell them apart as the oracle does.
//
// Requests of cases are kept out of everything that a prompt or an index is
// made from: what is measured with them must not have been learnt from them.
//
// The package is the only one below agent that loads programs.
package eval

import (
	"io/fs"
	"time"

	"kgent/agent/program"
)

// Category is what a request is about.
type Category string

const (
	Tracing  Category = "tracing"  // processes, files, scheduling, system calls
	Security Category = "security" // who gains, changes or abuses what
	Network  Category = "network"  // sockets, packets, protocols
	Refusal  Category = "refusal"  // impossible, dangerous or ambiguous: there is no right program
)

// Categories are all of them, in the order of reports.
var categories = [...]Category{Tracing, Security, Network, Refusal}

// Case is one folder of cases/.
type Case struct {
	// Name is the folder's.
	Name     string   `yaml:"-"`
	Title    string   `yaml:"title"`
	Category Category `yaml:"category"`
	// Hard requests need state over several hooks, attribution across threads
	// or softirq, the parsing of a protocol, or a program of 100 lines and more.
	Hard bool `yaml:"hard"`
	// Light cases are checked by `make test`: they take less than two seconds and
	// nothing but loopback and the file system.
	Light bool `yaml:"light"`
	// Requests are the same wish in different words. They may contain facts ($pid)
	// of workloads that start before.
	Requests []string `yaml:"requests"`
	// Workloads make happen what is asked for, and what must not be taken for it.
	Workloads []Workload `yaml:"workloads"`
	Right     Program    `yaml:"right"`
	Wrong     []Program  `yaml:"wrong"`
	// Oracle must hold, every check of it.
	Oracle []Check `yaml:"oracle"`
	// Accept are outcomes that are right, too, although nothing ran; of a refusal
	// they are all there are.
	Accept []Outcome `yaml:"accept"`
	// Notes say what a reader should know of the case. Nothing is made of them.
	Notes string `yaml:"notes"`

	files fs.FS // the folder
}

// Workload is one process that does known things.
type Workload struct {
	// ID names its facts: $ID.name. The one without is the main one: $name.
	ID string `yaml:"id"`
	// As is the process's name (comm), at most 15 bytes. Workloads may share one.
	As string `yaml:"as"`
	// Do is the workload's function, one of package workload. Empty is "steps".
	Do string `yaml:"do"`
	// Args are for the function. They may contain facts of workloads that come
	// before it in the list and have ended, or started before.
	Args []string `yaml:"args"`
	// Steps are the arguments of the function "steps".
	Steps []string `yaml:"steps"`
	// Before says that it starts before anything is asked or attached, says its
	// facts, and goes on when the trace is attached.
	Before bool `yaml:"before"`
	// Beside says that the next one in the list does not wait for its end.
	Beside bool `yaml:"beside"`
}

// Program is one that answers a case's request, rightly or not.
type Program struct {
	// Name and Why are of wrong ones: Why says what somebody who writes it gets
	// wrong.
	Name string `yaml:"name"`
	Why  string `yaml:"why"`
	// Recipe is a built-in program. Otherwise File is a C file of the folder, and
	// Contract its contract. A wrong program that has neither is the right one,
	// changed.
	Recipe   string `yaml:"recipe"`
	File     string `yaml:"file"`
	Contract string `yaml:"contract"`
	// Edits are made in the source, one after the other.
	Edits []Edit `yaml:"edit"`
	// Set gives parameters values, as a person writes them. They may contain
	// facts of workloads that start before. Of a wrong program they are added to
	// the right one's.
	Set map[string]string `yaml:"set"`
	// Interface, Cgroup, Hz and Top are the choices of a request that are not in
	// a program: see [program.Options].
	Interface string `yaml:"interface"`
	Cgroup    string `yaml:"cgroup"`
	Hz        int    `yaml:"hz"`
	Top       int    `yaml:"top"`
}

// Edit replaces a passage that is in the source exactly once.
type Edit struct {
	Replace string `yaml:"replace"`
	With    string `yaml:"with"`
	// All replaces it everywhere instead; it must be there.
	All bool `yaml:"all"`
}

// Outcome is what became of a request.
type Outcome string

const (
	// Answered means that a program was accepted.
	Answered Outcome = "answered"
	// Refused means that kgent said that it has no program for it.
	Refused Outcome = "refused"
	// Asks means that kgent asked back.
	Asks Outcome = "asks"
	// NotOffered means that there is a program, which kgent's own policy for a
	// single host does not let anybody approve: one that changes something.
	NotOffered Outcome = "not-offered"
	// Rejected means that programs were written, and none passed the gates.
	Rejected Outcome = "rejected"
	// Faulty means that the model could not be asked, or a fault of this machine:
	// nothing was measured.
	Faulty Outcome = "fault"
)

// Bounds of a run of one program.
const (
	// runLimit bounds attaching and workloads together.
	runLimit = 60 * time.Second
	// maxRecords is how many records a run may bring, which is more than any
	// workload makes; the rest is dropped, counted, and fails the oracle.
	maxRecords = 200_000
)

// options are those of a program.
func (p *Program) options(constants map[string]string) program.Options {
	return program.Options{Name: "eval", Title: "evaluation", Constants: constants,
		Interface: p.Interface, Cgroup: p.Cgroup, Hz: p.Hz, View: program.View{Top: p.Top}}
}
