package program

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Form says what the outputs of a script's object are, which its instructions do not:
// what the tool makes of the events and maps, as one release of it encodes them.
type Form struct {
	// Buffer is the map through which events travel. An event begins with 8 bytes that
	// say what it is.
	Buffer string
	Prints []FormPrint
	Maps   []FormMap
	// Harmless are events that show nothing new: a heading, a map that is printed, the
	// end.
	Harmless []uint64
	// Scratch are maps that the tool uses within one run of a program, and never shows.
	Scratch []string
	// Numbers are the names of the maps that instructions know by numbers.
	Numbers map[int64]string
	// Specs are all maps.
	Specs map[string]*ebpf.MapSpec
	// Top is the last bucket of CellLog2, which has all that is greater, too.
	Top uint64
	// Remarks say for people what differs between what a script shows and what others do.
	Remarks []string
}

// FormPrint is a formatted line.
type FormPrint struct {
	ID      uint64
	Line    int
	Size    int // bytes of an event, with its ID
	Columns []FormColumn
}

// FormColumn is a value that is shown, as it lies in an event or in a key.
type FormColumn struct {
	Name      string // of the expression or the label before it
	Label     string // the word before it in a formatted line
	Shown     string // as it was written
	Off, Size int    // bytes
	Text      bool
	// Bits are how many of a number are shown, and Signed how.
	Bits   int
	Signed bool
}

// Cell is how a map keeps what a call makes of samples. Numbers have 8 bytes where
// nothing else is said.
type Cell string

const (
	CellNumber Cell = "number" // one number
	CellText   Cell = "text"
	// CellSlots: the key is followed by the number of a bucket, and the cell counts. Log2: 0
	// below 0, 1 for 0, 2+n from 2^n on. Linear: 0 below the least, then 1+n.
	CellLog2   Cell = "log2"
	CellLinear Cell = "linear"
	// CellTwo: the key is followed by 0 for the count, 1 for the sum.
	CellTwo Cell = "count and sum in two cells"
	// CellSumCount: the sum, and a count of 4 bytes behind it.
	CellSumCount Cell = "sum and count"
	// CellLeast32 has 2^32-1 less the least value, and 0 for none; CellMost the greatest.
	CellLeast32 Cell = "least of 32 bits"
	CellMost    Cell = "most"
	// CellLeastSet and CellMostSet: the value, and a number that is 1 if there is one.
	CellLeastSet Cell = "least, set"
	CellMostSet  Cell = "most, set"
)

// FormMap is a map that a script names.
type FormMap struct {
	Name string
	Line int // where it is filled
	// Shown is false of what the script only remembers.
	Shown bool
	Key   []FormColumn
	// Call is the function that fills it; empty for others.
	Call  string
	Cell  Cell
	Value FormColumn // of CellNumber and CellText
}

// literals is where recent releases keep the texts of a script, in data that could be
// written; constLiterals is its name as data that cannot.
const (
	literals      = ".data"
	constLiterals = ".rodata.texts"
)

// ScriptCollection returns the collection of a script's object with maps of the given
// form, for judging what it does: it is not what is loaded. Time since boot is taken for
// time that passed, which Form allows only where a script reads one clock.
func (o *Object) ScriptCollection(f *Form) (*ebpf.CollectionSpec, error) {
	if !o.script {
		return nil, errors.New("reading a script's maps: the object came of none")
	}
	spec := o.spec.Copy()
	for name, m := range f.Specs {
		if name == literals { // a program that wrote there would be one that cannot be judged
			m, name = m.Copy(), constLiterals
			m.Name = name
		}
		spec.Maps[name] = m.Copy()
	}
	for _, p := range spec.Programs {
		h, err := HookOf(p)
		if err != nil {
			return nil, err
		}
		p.SectionName = sectionOf(h)
		for i := range p.Instructions {
			ins := &p.Instructions[i]
			if ins.IsBuiltinCall() && asm.BuiltinFunc(ins.Constant) == asm.FnKtimeGetBootNs {
				ins.Constant = int64(asm.FnKtimeGetNs) // the script's one clock
			}
			if !ins.IsLoadFromMap() {
				continue
			}
			name := ins.Reference()
			if name == "" {
				known := false
				if name, known = f.Numbers[int64(ins.Constant)]; !known || ins.Src != asm.PseudoMapFD {
					return nil, fmt.Errorf("reading a script's maps: program %s uses map number %d, which is none of the script's", p.Name, ins.Constant)
				}
				*ins = ins.WithReference(name)
			}
			if name == literals {
				name = constLiterals
				*ins = ins.WithReference(name)
			}
			if spec.Maps[name] == nil {
				return nil, fmt.Errorf("reading a script's maps: program %s uses map %q, which is none of the script's", p.Name, name)
			}
		}
	}
	return spec, nil
}

// sectionOf is how kgent.bpf.h's programs say that hook.
func sectionOf(h Hook) string {
	switch h.Kind {
	case Tracepoint:
		return "tracepoint/" + strings.Replace(h.Target, ":", "/", 1)
	case Kprobe, Kretprobe:
		return string(h.Kind) + "/" + h.Target
	case Uprobe, Uretprobe, USDT:
		return string(h.Kind) + "/" + h.Binary + ":" + h.Symbol
	case PerfEvent, Interval, Software:
		return "perf_event"
	}
	return "uprobe/bpftrace:" + h.Target // BEGIN and END
}

// Declared are the maps that a script's object declares, with its data; nil where it
// knows them by numbers. They must not be changed.
func (o *Object) Declared() map[string]*ebpf.MapSpec { return o.made }

// IsScript reports whether the object came of a script.
func (o *Object) IsScript() bool { return o.script }
