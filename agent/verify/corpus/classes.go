package corpus

// Catcher is what keeps a wrong program of a class from people.
type Catcher string

const (
	// Proof: the engine by itself, or by the contract. There is a bad and a
	// good program for each class of it.
	Proof Catcher = "proof"
	// Elsewhere is where no proof is needed.
	Compiler Catcher = "compiler"
	Verifier Catcher = "the kernel's verifier"
	Facts    Catcher = "the gate facts"
	Attach   Catcher = "attaching it"
	Reader   Catcher = "the reader of the output, by the types of its members"
)

// Class is a kind of mistake that people and models make in programs that
// compile.
type Class struct {
	Mistake string
	By      Catcher
	// Cases are the names of those of the class; none where no proof is needed.
	Cases []string
}

// Classes are the kinds of mistakes that are known, from the bugs of tools that are
// in use and from what models write. A case can be of several.
var Classes = []Class{
	{"network byte order shown or compared as if it were host order", Proof, []string{"network-order", "filter-in-network-order", "half-of-a-word"}},
	{"host byte order swapped", Proof, []string{"host-order-swapped", "tracepoint-order-swapped"}},
	{"IPv6 forgotten, or read as IPv4", Proof, []string{"v6-forgotten", "v4-address-of-v6-socket"}},
	{"a field read before the kernel sets it", Proof, []string{"read-too-early"}},
	{"a field read after the kernel cleared it", Proof, []string{"cleared-before-read"}},
	{"another object than the one meant", Proof, []string{"listener-for-connection"}},
	{"source and destination exchanged", Proof, []string{"ends-swapped", "packet-source-for-destination", "filter-on-other-end"}},
	{"entry and exit joined by process instead of thread", Proof, []string{"process-key"}},
	{"thread and process id confused", Proof, []string{"thread-as-process", "namespace-pid"}},
	{"scratch space shared by threads or CPUs", Proof, []string{"shared-scratch", "per-cpu-scratch"}},
	{"what was remembered not forgotten, or found by another", Proof, []string{"leak-on-error", "never-forgotten", "missed-entry"}},
	{"a failure shown as success", Proof, []string{"failed-shown", "minus-one-for-failure"}},
	{"errors added up as amounts", Proof, []string{"errors-summed"}},
	{"a hook that loads and is not the one asked for", Proof, []string{"wrong-hook", "entry-for-return", "ingress-for-egress"}},
	{"a hook that never or rarely fires", Proof, []string{"hook-that-rarely-fires"}},
	{"a function that is inlined, renamed or gone", Facts, nil},
	{"a failure to attach taken for success", Attach, nil},
	{"the wrong argument of a hook", Proof, []string{"wrong-argument"}},
	{"arguments as another kernel has them", Proof, []string{"arguments-of-another-kernel"}},
	{"the record of another tracepoint or kernel", Proof, []string{"record-of-another-kernel"}},
	{"the place of a text taken for the text", Proof, []string{"data-loc-as-text"}},
	{"memory of processes read as the kernel's, or the reverse", Proof, []string{"kernel-read-of-user", "user-read-of-kernel"}},
	{"kernel memory read without a helper or relocation", Verifier, nil},
	{"a look-up that is not checked", Verifier, nil},
	{"a helper's failure not checked", Proof, []string{"read-not-checked"}},
	{"bytes of the stack or gaps between members shown", Proof, []string{"padding-leaked", "text-tail-leaked"}},
	{"an earlier record of the buffer shown", Proof, []string{"stale-record"}},
	{"the size of a pointer for that of its object, or only a part of the object", Proof, []string{"size-of-pointer", "event-cut-short"}},
	{"a key or value of another size", Proof, []string{"key-too-long"}},
	{"a value read as another struct", Proof, []string{"value-as-other-struct"}},
	{"the context of another kind of program", Proof, []string{"context-of-another-hook"}},
	{"signed values taken for unsigned", Proof, []string{"negative-as-large"}},
	{"a unit for another", Proof, []string{"micro-for-nano", "threshold-unit"}},
	{"a clock for another", Proof, []string{"other-clock"}},
	{"a histogram's slot off by one, or of half the value", Proof, []string{"slot-off-by-one", "logarithm-too-narrow"}},
	{"a sum that overflows, or is replaced", Proof, []string{"truncated-sum", "overwritten-not-added"}},
	{"one of several flags is enough", Proof, []string{"any-flag-for-all"}},
	{"a filter inverted, missing, or of another value", Proof, []string{"filter-inverted", "filter-missing", "filter-on-other-end"}},
	{"the interrupted process taken for the one meant", Proof, []string{"pid-in-interrupt"}},
	{"one thing counted twice", Proof, []string{"counted-twice"}},
	{"the wrong granularity", Proof, []string{"name-for-process", "thread-key"}},
	{"something else mixed in", Proof, []string{"writes-mixed-in"}},
	{"a related quantity", Proof, []string{"set-for-exceeded"}},
	{"a member that cannot change", Proof, []string{"constant-member"}},
	{"an address of the kernel shown", Proof, []string{"pointer-shown"}},
	{"a loop without bound", Verifier, nil},
	{"more stack than there is", Verifier, nil},
	{"a helper that does not exist", Compiler, nil},
	{"a helper that the kernel does not have", Facts, nil},
	{"a helper that this kind of program may not call, that sleeps, or that wants another licence", Verifier, nil},
	{"a record of the buffer not given back, or used after that", Verifier, nil},
	{"a packet read behind its end", Verifier, nil},
	{"headers that are not where they usually are", Proof, []string{"header-length-ignored", "vlan-ignored", "fragment-as-segment", "extension-header-ignored"}},
	{"an observer that takes part", Proof, []string{"observer-drops", "verdict-ends-chain"}},
	{"a shared counter changed without care", Proof, []string{"racy-counter"}},
	{"a return value read where there is none, or too wide", Proof, []string{"return-at-entry", "return-too-wide"}},
	{"a name from before exec, or of the parent", Proof, []string{"name-before-exec", "parent-name"}},
	{"ids of a namespace for global ones", Proof, []string{"namespace-pid"}},
	{"no licence, or a section of no kind", Verifier, nil},
	{"an index used before its bound is checked, or folded", Proof, []string{"folded-index"}},
	{"an event of another layout than it is declared", Proof, []string{"layout-differs"}},
	{"a value shown in another form than it has", Reader, nil},
}
