package codegen

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"kgent/agent/program/compile"
)

// header is what kgent.bpf.h defines as macros: their names, and the numbers of
// those that are one.
type header struct {
	macros  map[string]bool
	numbers map[string]int64
}

var macroLine = regexp.MustCompile(`(?m)^[ \t]*#[ \t]*define[ \t]+([A-Za-z_][A-Za-z0-9_]*)(\(?)(.*)$`)

// conventions reads the header once.
var conventions = sync.OnceValue(func() header {
	h := header{map[string]bool{}, map[string]int64{}}
	for _, m := range macroLine.FindAllStringSubmatch(compile.Header, -1) {
		h.macros[m[1]] = true
		text, _, _ := strings.Cut(m[3], "/*")
		if n, err := strconv.ParseInt(strings.TrimSpace(text), 0, 32); err == nil && m[2] == "" {
			h.numbers[m[1]] = n
		}
	}
	return h
})

// keywords are the words of C that no name can be, and names with a meaning that
// clang or the header gives them.
var keywords = words(`asm auto break case char const continue default do double else enum extern float for goto if inline int long
	register restrict return short signed sizeof static struct switch typedef typeof union unsigned void volatile while bool true false
	_Bool NULL LICENSE errno_t main ctx`)

func words(list string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(list) {
		out[w] = true
	}
	return out
}

// taken tells whether C or the header has a use for a name already.
func taken(name string) bool {
	return keywords[name] || conventions().macros[name] || strings.HasPrefix(name, "bpf_") || strings.HasPrefix(name, "k_") ||
		strings.HasPrefix(name, "kgent_") || strings.HasPrefix(name, "__") || name == "" || name == "size_t"
}

// scope gives out names that differ from each other.
type scope struct {
	outer *scope
	used  map[string]bool
}

func (s *scope) has(name string) bool {
	for ; s != nil; s = s.outer {
		if s.used[name] {
			return true
		}
	}
	return false
}

// pick takes a name, or one like it if that is in use.
func (s *scope) pick(name string) string {
	name = identifier(name)
	if taken(name) {
		name += "_"
	}
	if taken(name) { // a prefix that is not ours: whatever follows it
		name = "the_" + strings.TrimLeft(name, "_")
	}
	out := name
	for i := 2; s.has(out) || taken(out); i++ {
		out = fmt.Sprint(name, "_", i)
	}
	s.used[out] = true
	return out
}

// identifier makes a C identifier of a text.
func identifier(text string) string {
	var b strings.Builder
	for i, r := range text {
		ok := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' && i > 0
		if !ok {
			r = '_'
		}
		b.WriteRune(r)
	}
	if b.Len() == 0 {
		return "x"
	}
	return b.String()
}
