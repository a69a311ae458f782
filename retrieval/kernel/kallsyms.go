package kernel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sort"
	"strings"
)

// symbolSet is the kernel's own list of its functions.
type symbolSet struct {
	names []string       // sorted, each once
	many  map[string]int // how often a name occurs, if more than once
}

func (s *symbolSet) has(name string) bool {
	at := sort.SearchStrings(s.names, name)
	return at < len(s.names) && s.names[at] == name
}

func (f *Facts) readSymbols() (*symbolSet, error) {
	file, err := f.src.open(kallsyms)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's symbols (needs a kernel with CONFIG_KALLSYMS=y): %w", err)
	}
	defer file.Close()
	set, err := parseKallsyms(file)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's symbols: %w", err)
	}
	return set, nil
}

// parseKallsyms reads "ffffffff81000000 T name\t[module]" lines and keeps functions:
// the symbols of text. Addresses are not read; for most readers they are zeroed.
func parseKallsyms(from io.Reader) (*symbolSet, error) {
	set := &symbolSet{many: map[string]int{}}
	// Names share the memory of one string that holds nothing else.
	var pool strings.Builder
	var ends []int
	number := 0
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		line := lines.Bytes()
		number++
		if len(line) == 0 {
			continue
		}
		_, afterAddress, ok := bytes.Cut(line, []byte(" "))
		if !ok || len(afterAddress) < 3 || afterAddress[1] != ' ' {
			return nil, fmt.Errorf("malformed line %d: %.80q", number, line)
		}
		switch afterAddress[0] {
		case 't', 'T', 'w', 'W':
		default:
			continue
		}
		name, module, _ := bytes.Cut(afterAddress[2:], []byte("\t"))
		// Code that the kernel generated at run time comes and goes: BPF programs,
		// and the trampolines of ftrace and kprobes.
		if bytes.Equal(module, []byte("[bpf]")) || bytes.HasPrefix(module, []byte("[__builtin__")) {
			continue
		}
		if len(name) == 0 {
			return nil, fmt.Errorf("malformed line %d: %.80q", number, line)
		}
		pool.Write(name)
		ends = append(ends, pool.Len())
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	all, start := pool.String(), 0
	set.names = make([]string, 0, len(ends))
	for _, end := range ends {
		set.names = append(set.names, all[start:end])
		start = end
	}
	slices.Sort(set.names)
	for i := 1; i < len(set.names); i++ {
		if name := set.names[i]; name == set.names[i-1] {
			set.many[name] = max(set.many[name], 1) + 1
		}
	}
	set.names = slices.Clip(slices.Compact(set.names))
	return set, nil
}

// traceableSet are the functions that ftrace can trace. Kprobes and fentry need that.
type traceableSet struct {
	known bool // false: the kernel does not show the list to this process
	names []string
}

// excludes tells whether the function is known not to be traceable.
func (t *traceableSet) excludes(function string) bool {
	if !t.known {
		return false
	}
	at := sort.SearchStrings(t.names, function)
	return at == len(t.names) || t.names[at] != function
}

// Files of tracefs.
const (
	availableEvents    = "/available_events"
	availableFunctions = "/available_filter_functions"
)

// readTraceable reads ftrace's list of functions. It is a refinement only: where it
// is absent (no CONFIG_DYNAMIC_FTRACE) or may not be read, nothing is excluded.
func (f *Facts) readTraceable() (*traceableSet, error) {
	if f.TracefsMount == "" {
		return &traceableSet{}, nil
	}
	text, err := f.src.readFile(f.TracefsMount + availableFunctions)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return &traceableSet{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the list of traceable functions: %w", err)
	}
	set := &traceableSet{known: true}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ") // "name [module]"
		set.names = append(set.names, name)
	}
	slices.Sort(set.names)
	return set, nil
}
