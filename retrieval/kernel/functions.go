package kernel

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// MaxFunctions is how many functions one program may be attached to at once.
const MaxFunctions = 1000

// Functions returns the functions that the target of a kprobe.multi hook stands for on
// this kernel, sorted: its names, and what fits its patterns and can be probed. A name or
// pattern that stands for nothing is an error, as for [Facts.CheckHook]; so are more
// functions than [MaxFunctions].
func (f *Facts) Functions(kind, target string) ([]string, error) {
	symbols, err := f.symbols()
	if err != nil {
		return nil, err
	}
	traceable, err := f.traceable()
	if err != nil {
		return nil, err
	}
	var all []string
	for name := range strings.SplitSeq(target, ",") {
		if !strings.ContainsAny(name, "*?[") {
			if err := f.checkKprobe(kind, name); err != nil {
				return nil, err
			}
			all = append(all, name)
			continue
		}
		if _, err := path.Match(name, ""); err != nil {
			return nil, fmt.Errorf("checking %s %s: %s is no pattern: want * for any text, ? for any character, [abc] for one of them", kind, visible(target), visible(name))
		}
		n := len(all)
		for _, s := range symbols.names {
			if ok, _ := path.Match(name, s); ok && symbols.many[s] < 2 && !traceable.excludes(s) && probeable(s) {
				all = append(all, s)
			}
		}
		if len(all) == n {
			return nil, &NotFoundError{Kind: "function", Name: name}
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > MaxFunctions {
		return nil, fmt.Errorf("checking %s %s: %d functions, at most %d: choose a narrower pattern", kind, visible(target), len(all), MaxFunctions)
	}
	return all, nil
}

// probeable leaves out symbols of code that a probe can never be put on: the tables that
// the compiler makes for indirect calls, parts of a function that were moved away, and
// padding.
func probeable(symbol string) bool {
	return !strings.ContainsRune(symbol, '.') && !strings.HasPrefix(symbol, "__pfx_") && !strings.HasPrefix(symbol, "__cfi_")
}
