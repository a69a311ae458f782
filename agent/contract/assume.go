package contract

// Assumption is something that a proof may take for granted. There are no others.
type Assumption struct {
	Name string
	// Means is the English, as approvers read it.
	Means string
}

// assumptions is the fixed list. Those of the first group hold in every proof and
// need not be written; a contract that depends on another one names it with "assume".
var assumptions = []Assumption{
	{"instant", "Within one run of the program the clock stands still; later runs see later times."},
	{"room", "Ring buffers and maps have room. Where they have not, kgent counts what is lost and says so."},
	{"stable", "While the program runs once, what it reads from the kernel does not change under its hands."},
	{"names", "Names that the kernel keeps in arrays of char, such as a task's, end in NUL within them."},
	{"lru", "A map that drops its oldest entries when full still has the ones that are asked for."},
	{"identity", "While something is remembered by its address or id, that address or id is not given to another."},
	{"returns", "A call that was seen to begin on a thread ends on that thread before the next one begins there."},
}

// Always are the assumptions that hold without being written.
var always = map[string]bool{"instant": true, "room": true, "stable": true, "names": true}
