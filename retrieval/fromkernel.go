package retrieval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kgent/retrieval/kernel"
	"kgent/retrieval/notes"
)

// FromKernel makes the documents of one kernel, about 70,000. It takes about a second.
func FromKernel(ctx context.Context, facts *kernel.Facts) ([]Document, error) {
	lines, err := described()
	if err != nil {
		return nil, err
	}
	catalog, err := facts.Catalog()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("listing what kernel %s has: %w", facts.Release, err)
	}
	m := maker{lines: lines, release: facts.Release, catalog: catalog}
	if err := m.tracepoints(facts); err != nil {
		return nil, err
	}
	m.functions()
	m.calls()
	m.types()
	return m.docs, nil
}

// maker makes the documents of a kernel.
type maker struct {
	lines   *descriptions
	release string
	catalog *kernel.Catalog
	docs    []Document
	seen    map[string]bool // of tracepoints
}

// noteTexts is what a note has that people might ask by: not its warnings.
func noteTexts(n *notes.Note) []string {
	if n == nil {
		return nil
	}
	return []string{n.Fires}
}

// title is the line to show: a note's, or the description's.
func title(n *notes.Note, line string) string {
	if n != nil {
		return n.Fires
	}
	return line
}

func texts(lists ...[]string) (all []string) {
	for _, list := range lists {
		for _, s := range list {
			if s != "" && !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

func (m *maker) tracepoints(facts *kernel.Facts) error {
	events, err := facts.Tracepoints()
	if err != nil && !errors.Is(err, kernel.ErrNoTracefs) {
		return err
	}
	raw, err := facts.RawTracepoints()
	if err != nil {
		return err
	}
	isRaw := make(map[string]bool, len(raw))
	for _, name := range raw {
		isRaw[name] = true
	}
	calls := map[string]int{} // place in docs
	for _, event := range events {
		category, name, _ := strings.Cut(event, ":")
		if category == "ftrace" {
			continue // what ftrace writes for itself cannot be attached to
		}
		place := Place{kernel.KindTracepoint, event}
		if call, isCall := syscallOf(category, name); isCall {
			if at, ok := calls[call]; ok {
				m.docs[at].Places = append(m.docs[at].Places, place)
				continue
			}
			calls[call] = len(m.docs)
			note := notes.Of("tracepoint", event)
			line := m.lines.Syscalls[call]
			m.docs = append(m.docs, Document{Kind: Hook, Name: "syscall/" + call, Title: title(note, line), Places: []Place{place},
				Texts: texts(noteTexts(note), []string{line}), Words: []string{"system call", "syscall"}})
			continue
		}
		note := notes.Of("tracepoint", event)
		line, own := m.lines.tracepoint(category, name)
		d := Document{Kind: Hook, Name: category + "/" + name, Places: []Place{place}}
		if d.Title = title(note, ""); own {
			d.Title = title(note, line)
		}
		if own || note != nil {
			d.Texts = texts(noteTexts(note), []string{line})
		} else if line != "" {
			d.Words = []string{line}
		}
		if isRaw[name] {
			d.Places = append(d.Places, Place{kernel.KindTPBTF, name}, Place{kernel.KindRawTracepoint, name})
			delete(isRaw, name)
		}
		m.docs = append(m.docs, d)
	}
	// Those without an event; all, where tracefs is not to be read.
	for _, name := range raw {
		if !isRaw[name] {
			continue
		}
		note := notes.Of("tp_btf", name)
		m.docs = append(m.docs, Document{Kind: Hook, Name: "tp_btf/" + name, Title: title(note, ""), Texts: noteTexts(note),
			Places: []Place{{kernel.KindTPBTF, name}, {kernel.KindRawTracepoint, name}}})
	}
	return nil
}

// syscallOf is the system call that a tracepoint is an end of.
func syscallOf(category, name string) (string, bool) {
	if category != "syscalls" {
		return "", false
	}
	if call, ok := strings.CutPrefix(name, "sys_enter_"); ok {
		return call, true
	}
	return strings.CutPrefix(name, "sys_exit_")
}

func (m *maker) functions() {
	for _, name := range m.catalog.Functions {
		if hook, ok := strings.CutPrefix(name, "bpf_lsm_"); ok {
			note, line := notes.Of("lsm", hook), m.lines.LSM[hook]
			m.docs = append(m.docs, Document{Kind: Hook, Name: "lsm/" + hook, Title: title(note, line), Texts: texts(noteTexts(note), []string{line}),
				Words: []string{"security"}, Places: []Place{{kernel.KindLSM, hook}, {kernel.KindFentry, "security_" + hook}, {kernel.KindKprobe, "security_" + hook}}})
			continue
		}
		note, line := notes.Of("fentry", name), m.lines.Functions[name]
		m.docs = append(m.docs, Document{Kind: Hook, Name: name, Title: title(note, line), Texts: texts(noteTexts(note), []string{line}),
			Places: []Place{{kernel.KindFentry, name}, {kernel.KindKprobe, name}}})
	}
}

func (m *maker) calls() {
	add := func(kind Kind, names []string, lines map[string]string) {
		for _, name := range names {
			line := lines[name]
			m.docs = append(m.docs, Document{Kind: kind, Name: name, Title: line, Texts: texts([]string{line})})
		}
	}
	add(Helper, m.catalog.Helpers, m.lines.Helpers)
	add(Kfunc, m.catalog.Kfuncs, m.lines.Kfuncs)
}

func (m *maker) types() {
	for _, s := range m.catalog.Structs {
		line := m.lines.Types[s.Name]
		m.docs = append(m.docs, Document{Kind: Type, Name: s.Name, Title: line, Texts: texts([]string{line}), Words: s.Members})
	}
}

// Common makes the documents of hooks that are not of a kernel: functions and probes of
// libraries and programs, perf events, places of packets and cgroups.
func Common() ([]Document, error) {
	lines, err := described()
	if err != nil {
		return nil, err
	}
	var docs []Document
	for _, n := range notes.All() {
		d := Document{Kind: Hook, Title: n.Fires, Texts: noteTexts(n)}
		switch n.Kind {
		case notes.Library:
			binary, symbol, _ := strings.Cut(n.Name, ":")
			binary, _, _ = strings.Cut(binary, ".so")
			d.Name = n.Name
			d.Places = []Place{{kernel.KindUprobe, binary + ":" + symbol}, {kernel.KindUretprobe, binary + ":" + symbol}}
		case notes.USDT:
			d.Name, d.Places = n.Name, []Place{{kernel.KindUSDT, n.Name}}
		case notes.Perf:
			d.Name, d.Places = "perf_event/"+n.Name, []Place{{kernel.KindPerfEvent, n.Name}}
		case notes.Packet:
			d.Name, d.Places = n.Name, []Place{{n.Name, ""}}
		case notes.Cgroup:
			d.Name, d.Places = "cgroup/"+n.Name, []Place{{kernel.KindCgroup, n.Name}}
		default:
			continue
		}
		d.Texts = texts(d.Texts, []string{lines.Others[d.Name]})
		docs = append(docs, d)
	}
	return docs, nil
}

// RecipeDocument is a recipe as a document: what it shows, how people ask for it, where it attaches. Of a
// description only what the recipe shows is taken, not what it says it does not.
func RecipeDocument(name, title, description string, phrasings []string, uses []Place) Document {
	d := Document{Kind: Recipe, Name: name, Title: title, Uses: uses, Texts: texts([]string{title}, phrasings)}
	for sentence := range strings.SplitSeq(description, ". ") {
		if low := strings.ToLower(sentence); !strings.Contains(low, " not ") && !strings.Contains(low, "cannot") && !strings.Contains(low, "n't ") {
			d.Words = append(d.Words, sentence)
		}
	}
	return d
}
