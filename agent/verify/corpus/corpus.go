// Package corpus holds programs that are wrong although a kernel takes them,
// each beside one that is right: what a proof is measured by.
//
// Each folder of cases/ is one mistake that people and models make. good.bpf.c
// does what the request asks; bad.bpf.c is the same program with the mistake;
// contract.kc, where there is one, is what the request asks for, which the one
// keeps and the other breaks. note.yaml says in plain words what is wrong,
// which input shows it, and which obligation is to catch it. Where the kernel
// can run a program on request (BPF_PROG_TEST_RUN), the note also says with
// which input to run both, and what they then show.
//
// Each folder of vacuous/ is a contract that cannot be broken, or only in part:
// it asks for nothing where it seems to ask for something.
//
// Each folder of ordinary/ is a program as people write it, in the idioms of
// tutorials and of libbpf's tools rather than in kgent's, with a contract that it
// keeps: what a proof must not stumble over.
//
// Not here are mistakes for which no proof is needed, because a wrong program
// does not get that far: what the compiler refuses, what the verifier refuses
// (an address that may be null, a bound that is missing, a record that is not
// given back, a helper that is not allowed), and hooks or fields that a kernel
// does not have, which the gate facts reports.
//
// The package is test data with a reader. It has no part in the product.
package corpus

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

//go:embed cases vacuous ordinary
var files embed.FS

// Obligation is the kind of thing a proof has to show, by the names that notes
// use.
type Obligation string

// Obligations, as notes name them. Those of the first group need a contract.
const (
	Field   Obligation = "field"   // a member has the value that the contract says
	Emit    Obligation = "emit"    // events come when they should, and only then
	Cover   Obligation = "cover"   // every case of the contract happens
	Table   Obligation = "table"   // cells change as the contract says
	Key     Obligation = "key"     // of what a table is kept
	Frame   Obligation = "frame"   // nothing else has an effect
	HookIs  Obligation = "hook"    // the program is where the contract says, and its inputs mean there what it takes them for
	Verdict Obligation = "verdict" // the value returned
	Pairing Obligation = "pairing" // what a return reports belongs to its own entry

	ByteOrder   Obligation = "byte-order"    // network order is converted once, host order never
	Poison      Obligation = "poison"        // no byte that the program did not write gets out
	Pointer     Obligation = "pointer"       // no address of the kernel gets out unasked
	Size        Obligation = "size"          // of events, keys and values
	Unit        Obligation = "unit"          // ns is not µs
	Space       Obligation = "address-space" // user memory is read as such
	Signed      Obligation = "signedness"    // a negative result is not a large one
	Truncation  Obligation = "truncation"    // no half of a value is lost
	Varies      Obligation = "varies"        // a member that is asked for can change
	Atomic      Obligation = "atomic"        // shared counters
	Leak        Obligation = "leak"          // what is remembered is forgotten again
	Argument    Obligation = "argument"      // the hook has such an argument
	Record      Obligation = "record"        // the tracepoint has such a field
	Context     Obligation = "context"       // the context is that of this kind of program
	ReturnWidth Obligation = "return-width"  // an int is 32 bits of its register
	Packet      Obligation = "packet"        // headers are where their lengths say
)

var obligations = []Obligation{
	Field, Emit, Cover, Table, Key, Frame, HookIs, Verdict, Pairing,
	ByteOrder, Poison, Pointer, Size, Unit, Space, Signed, Truncation, Varies, Atomic, Leak, Argument, Record, Context, ReturnWidth, Packet,
}

// Case is one mistake.
type Case struct {
	Name string `yaml:"-"` // of the folder
	// Mistake says in a few words what is wrong, Wrong in sentences.
	Mistake string `yaml:"mistake"`
	// Request is the sentence that both programs claim to answer.
	Request string `yaml:"request"`
	Wrong   string `yaml:"wrong"`
	// Input is a concrete one for which the two differ, in words.
	Input string `yaml:"input"`
	// Caught lists what is to catch it; any one of them is enough.
	Caught []Obligation `yaml:"caught"`
	// Run shows the difference in a kernel; nil where NotRun says why that
	// cannot be done.
	Run    *Run   `yaml:"run"`
	NotRun string `yaml:"not_run"`

	Good, Bad string `yaml:"-"` // C sources
	// Contract is the text of what the request asks for; empty when the mistake
	// is to be caught without.
	Contract string `yaml:"-"`
}

// Run is a sequence of invocations and what is seen after it.
type Run struct {
	// Parameters are set before the program is loaded.
	Parameters map[string]uint64 `yaml:"parameters"`
	// Objects are made in kernel memory, Users are texts in the memory of a
	// process. Both are referred to by "$name".
	Objects map[string]Object `yaml:"objects"`
	Users   map[string]string `yaml:"users"`
	Steps   []Step            `yaml:"steps"`
	// Last, if not 0, is how many events are looked at, from the last.
	Last int `yaml:"last"`
	// Raw names a text member that is shown with what follows its NUL.
	Raw  string `yaml:"raw"`
	Good Seen   `yaml:"good"`
	Bad  Seen   `yaml:"bad"`
}

// Object is a kernel object, all zeroes but for some fields.
type Object struct {
	Struct string `yaml:"struct"` // its type in the kernel's BTF
	// Set gives fields their values by path: numbers, texts for char arrays,
	// hexadecimal bytes in quotes for all else, "$name" for addresses.
	Set map[string]any `yaml:"set"`
	// Texts puts texts behind a tracepoint's record, and where they lie into its
	// __data_loc fields.
	Texts map[string]string `yaml:"texts"`
	// Room is how many bytes there are at least, when it is more than the type's.
	Room int `yaml:"room"`
}

// Step is one invocation.
type Step struct {
	Program string `yaml:"program"`
	// Thread is the thread that it happens on: 1, the default, or 2.
	Thread int `yaml:"thread"`
	// Args are the hook's arguments: numbers or "$name". Of tracepoints it is
	// the Record that is handed over, of network hooks the Packet (in
	// hexadecimal).
	Args   []any   `yaml:"args"`
	Record *Object `yaml:"record"`
	Packet string  `yaml:"packet"`
	// Set changes fields of objects before the step, by object and path.
	Set map[string]map[string]any `yaml:"set"`
	// Wait passes before the step.
	Wait   time.Duration `yaml:"wait"`
	Repeat int           `yaml:"repeat"` // 0: once
	// IfPresent says that one of the programs lacks it.
	IfPresent bool `yaml:"if_present"`
}

// Seen is what came out. Only what is named is compared.
type Seen struct {
	// Events in order, by member: numbers, texts, addresses, "low..high",
	// "$name"; $tgid, $tid1 and $tid2 are the ids of the process and threads
	// that ran the steps. "size" is the event's length.
	Events []map[string]any `yaml:"events"`
	// Tables has rows by map, in any order. "key" and "value" are those that are
	// no structs; "slot" has a histogram's slots as "13:1 14:2".
	Tables map[string][]map[string]any `yaml:"tables"`
	// Returns are the values returned by the steps, in order; nil: not compared.
	Returns []uint32 `yaml:"returns"`
}

// Hollow is a contract that is vacuous.
type Hollow struct {
	Name string `yaml:"-"` // of the folder
	// Why says in plain words what it fails to ask.
	Why string `yaml:"why"`
	// Kind is what is hollow about it: one of [HollowKinds].
	Kind string `yaml:"kind"`
	// Refused says that already the check of the contract's types finds it.
	Refused  bool   `yaml:"refused"`
	Contract string `yaml:"-"`
	// Program is one that keeps it, and that nobody would want; or a right one,
	// which keeps it as well.
	Program string `yaml:"-"`
}

// HollowKinds are the ways in which a contract can be vacuous.
var HollowKinds = []string{
	"case-impossible",   // no input satisfies a case
	"case-shadowed",     // what satisfies a case satisfies an earlier one
	"predicate-true",    // a condition holds for every input
	"predicate-false",   // a part of a condition holds for none
	"field-constant",    // a member that is to be shown cannot change
	"assumption",        // the inputs that are left are not those that were meant
	"parameter-range",   // a parameter has no value, or one
	"no-effect",         // nothing is ever asked for
	"memory-never-read", // what is remembered has no effect
	"memory-never-set",  // what is asked of a memory never holds
}

// Cases returns all cases by name. The error names the file that breaks the
// rules, and how.
func Cases() ([]Case, error) {
	var out []Case
	err := folders("cases", func(dir string) error {
		c := Case{Name: path.Base(dir)}
		if err := decode(dir+"/note.yaml", &c); err != nil {
			return err
		}
		var errs []error
		c.Good, errs = source(errs, dir+"/good.bpf.c")
		c.Bad, errs = source(errs, dir+"/bad.bpf.c")
		if b, err := files.ReadFile(dir + "/contract.kc"); err == nil {
			c.Contract = string(b)
		}
		out = append(out, c)
		return errors.Join(append(errs, c.check())...)
	})
	return out, err
}

// Vacuous returns all vacuous contracts by name.
func Vacuous() ([]Hollow, error) {
	var out []Hollow
	err := folders("vacuous", func(dir string) error {
		h := Hollow{Name: path.Base(dir)}
		if err := decode(dir+"/note.yaml", &h); err != nil {
			return err
		}
		var errs []error
		h.Contract, errs = source(errs, dir+"/contract.kc")
		h.Program, errs = source(errs, dir+"/program.bpf.c")
		out = append(out, h)
		if h.Why == "" || !slices.Contains(HollowKinds, h.Kind) {
			errs = append(errs, fmt.Errorf("the kind %q is none of %s, or the reason is missing", h.Kind, strings.Join(HollowKinds, ", ")))
		}
		return errors.Join(errs...)
	})
	return out, err
}

// Pair is a program and a contract that it keeps.
type Pair struct{ Name, Program, Contract string }

// Ordinary returns all ordinary programs by name.
func Ordinary() ([]Pair, error) {
	var out []Pair
	err := folders("ordinary", func(dir string) error {
		p := Pair{Name: path.Base(dir)}
		var errs []error
		p.Contract, errs = source(errs, dir+"/contract.kc")
		p.Program, errs = source(errs, dir+"/program.bpf.c")
		out = append(out, p)
		return errors.Join(errs...)
	})
	return out, err
}

// folders calls f with every folder below one of the embedded ones.
func folders(root string, f func(dir string) error) error {
	entries, err := fs.ReadDir(files, root)
	if err != nil {
		return fmt.Errorf("reading %s: %w", root, err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			return fmt.Errorf("reading %s: %s is no folder", root, e.Name())
		}
		if err := f(root + "/" + e.Name()); err != nil {
			return fmt.Errorf("reading %s/%s: %w", root, e.Name(), err)
		}
	}
	return nil
}

func source(errs []error, name string) (string, []error) {
	b, err := files.ReadFile(name)
	if err != nil {
		errs = append(errs, err)
	} else if len(bytes.TrimSpace(b)) == 0 {
		errs = append(errs, fmt.Errorf("%s is empty", path.Base(name)))
	}
	return string(b), errs
}

// decode reads YAML in which every key is known.
func decode(name string, to any) error {
	b, err := files.ReadFile(name)
	if err != nil {
		return err
	}
	return yaml.UnmarshalWithOptions(b, to, yaml.Strict())
}

// check holds a case against the rules that the reader of notes relies on.
func (c Case) check() error {
	for what, text := range map[string]string{"mistake": c.Mistake, "request": c.Request, "wrong": c.Wrong, "input": c.Input} {
		if strings.TrimSpace(text) == "" {
			return fmt.Errorf("the note has no %s", what)
		}
	}
	if len(c.Caught) == 0 {
		return errors.New("the note does not say what is to catch it")
	}
	for _, o := range c.Caught {
		if !slices.Contains(obligations, o) {
			return fmt.Errorf("%q is no obligation", o)
		}
	}
	if (c.Run == nil) == (c.NotRun == "") {
		return errors.New("the note has to say either how it is run, or why it is not")
	}
	if c.Run != nil && len(c.Run.Steps) == 0 {
		return errors.New("the run has no steps")
	}
	if c.Good == c.Bad {
		return errors.New("the two programs are the same")
	}
	return nil
}
