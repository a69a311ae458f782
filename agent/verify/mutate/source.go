package mutate

import (
	"cmp"
	"slices"
	"strings"
)

// file is a scanned C source with what the operators ask about it.
type file struct {
	src    string
	lines  []string
	tokens []token
	// pair holds the index of the bracket that belongs to the one at an index.
	pair map[int]int
	// body says of each token whether it is inside a function.
	body []bool
	// statements are the ranges of tokens of simple statements: from the first
	// to the semicolon.
	statements [][2]int
	// conditions are the ranges between the parentheses of if, without them.
	conditions [][2]int
	assigns    []assign
	calls      []call
	// members and locals hold the last word of the type of a struct's member
	// and of a variable with an initializer, by name.
	members map[string]string
	maps    []mapping
	// enums holds for each enumerator of the source the one after it, and the
	// first for the last.
	enums map[string]string
	// verdicts says that some program's return value is an action.
	verdicts bool
}

// assign is an "x = e" in a function, be it statement, declaration or
// initializer. All are indices of tokens; ranges exclude their end.
type assign struct {
	lhs, eq, end int
	// target is the last name on the left: the member or variable.
	target string
	// kind is where it stands: declaration, designator or statement.
	declares, designates bool
}

// call is "name(a, b)" in a function.
type call struct {
	name, open, close int
	args              [][2]int
}

// mapping is the declaration of a map.
type mapping struct{ name, kind, key, value string }

// edit replaces bytes of the source.
type edit struct {
	from, to int
	text     string
}

// change is the edits of one mutant.
type change struct {
	line  int
	edits []edit
}

func scan(src string) *file {
	f := &file{src: src, lines: strings.Split(src, "\n"), tokens: lex(src), pair: map[int]int{}, members: map[string]string{}, enums: map[string]string{}}
	f.brackets()
	f.structs()
	f.enumerators()
	f.bodies()
	f.split()
	f.expressions()
	return f
}

// is reports whether the token at i is one of these; indices out of range are
// none.
func (f *file) is(i int, texts ...string) bool {
	return i >= 0 && i < len(f.tokens) && slices.Contains(texts, f.tokens[i].text)
}

func (f *file) word(i int) bool {
	return i >= 0 && i < len(f.tokens) && f.tokens[i].kind == word
}

func (f *file) brackets() {
	var open []int
	for i, t := range f.tokens {
		switch t.text {
		case "(", "[", "{":
			open = append(open, i)
		case ")", "]", "}":
			if n := len(open); n > 0 {
				f.pair[open[n-1]], f.pair[i] = i, open[n-1]
				open = open[:n-1]
			}
		case "SEC":
			if f.is(i+1, "(") && i+2 < len(f.tokens) {
				s := strings.Trim(f.tokens[i+2].text, `"`)
				f.verdicts = f.verdicts || verdict(s)
			}
		}
	}
}

// verdict reports whether the return value of programs in a section matters.
func verdict(section string) bool {
	for _, p := range []string{"xdp", "tc", "classifier", "cgroup", "lsm", "fmod_ret", "socket", "sk_", "iter"} {
		if strings.HasPrefix(section, p) {
			return true
		}
	}
	return false
}

// structs reads the members of structs, and the maps.
func (f *file) structs() {
	for i := range f.tokens {
		if !f.is(i, "struct") {
			continue
		}
		open := i + 1
		if f.word(open) {
			open++
		}
		end, ok := f.pair[open]
		if !f.is(open, "{") || !ok {
			continue
		}
		if f.word(end+1) && f.is(end+2, "SEC") {
			f.maps = append(f.maps, f.mapping(open, end))
			continue
		}
		for j := open + 1; j < end; j++ {
			if f.word(j) && f.is(j+1, ";", "[", ",") && f.word(j-1) {
				f.members[f.tokens[j].text] = f.tokens[j-1].text
			} else if f.word(j) && f.is(j+1, ";") && f.is(j-1, "*") {
				f.members[f.tokens[j].text] = "*"
			}
		}
	}
}

func (f *file) enumerators() {
	for i := range f.tokens {
		open := i + 1
		if f.word(open) {
			open++
		}
		end, ok := f.pair[open]
		if !f.is(i, "enum") || !f.is(open, "{") || !ok {
			continue
		}
		var names []string
		for _, item := range f.list(open+1, end) {
			if f.word(item[0]) {
				names = append(names, f.tokens[item[0]].text)
			}
		}
		for n, name := range names {
			if next := names[(n+1)%len(names)]; next != name {
				f.enums[name] = next
			}
		}
	}
}

func (f *file) mapping(open, end int) mapping {
	m := mapping{name: f.tokens[end+1].text}
	for j := open + 1; j < end; j++ {
		if !f.is(j, "__type", "__uint") || !f.is(j+1, "(") || !f.is(j+3, ",") {
			continue
		}
		what := f.text(j+4, f.pair[j+1])
		switch f.tokens[j+2].text {
		case "type":
			m.kind = what
		case "key":
			m.key = what
		case "value":
			m.value = what
		}
	}
	return m
}

// bodies finds the functions: a brace at top level that follows a parenthesis.
func (f *file) bodies() {
	f.body = make([]bool, len(f.tokens))
	for i := 0; i < len(f.tokens); i++ {
		end, ok := f.pair[i]
		if !ok || end < i {
			continue
		}
		if f.is(i, "{") && f.is(i-1, ")") {
			for j := i + 1; j < end; j++ {
				f.body[j] = true
			}
		}
		if f.is(i, "{") {
			i = end
		}
	}
}

// split finds the simple statements of the functions, and the conditions of if.
func (f *file) split() {
	start := 0
	for i := 0; i < len(f.tokens); i++ {
		if !f.body[i] {
			start = i + 1
			continue
		}
		switch {
		case f.is(i, "if", "for", "while", "switch") && f.is(i+1, "("):
			end, ok := f.pair[i+1]
			if !ok {
				continue
			}
			if f.is(i, "if") {
				f.conditions = append(f.conditions, [2]int{i + 2, end})
			}
			i, start = end, end+1
		case f.is(i, "else", "do"):
			start = i + 1
		case f.is(i, "{") && f.is(i-1, "=", "(", ",", ")") && start < i && !f.is(start, "{") && f.statementGoesOn(i),
			f.is(i, "(", "["):
			if end, ok := f.pair[i]; ok {
				i = end
			}
		case f.is(i, "{", "}"):
			start = i + 1
		case f.is(i, ":") && (f.is(start, "case", "default") || i == start+1):
			start = i + 1
		case f.is(i, ";"):
			if start < i {
				f.statements = append(f.statements, [2]int{start, i})
			}
			start = i + 1
		}
	}
}

// statementGoesOn reports whether a brace is an initializer's, not a block's.
func (f *file) statementGoesOn(i int) bool {
	end, ok := f.pair[i]
	return ok && f.is(end+1, ";", ",", ")")
}

func (f *file) expressions() {
	for i := range f.tokens {
		if !f.body[i] {
			continue
		}
		if f.is(i, "=") {
			f.assigns = append(f.assigns, f.assign(i))
		}
		if f.word(i) && f.is(i+1, "(") && !f.is(i, "if", "for", "while", "switch", "return", "sizeof", "typeof") {
			if end, ok := f.pair[i+1]; ok {
				f.calls = append(f.calls, call{i, i + 1, end, f.list(i+2, end)})
			}
		}
	}
}

// assign reads what is around the equals sign at eq.
func (f *file) assign(eq int) assign {
	a := assign{lhs: eq - 1, eq: eq, end: eq + 1}
	for a.lhs > 0 {
		if open, ok := f.pair[a.lhs]; f.is(a.lhs, "]") && ok {
			a.lhs = open - 1
			continue
		}
		if a.target == "" && f.word(a.lhs) {
			a.target = f.tokens[a.lhs].text
		}
		if !f.is(a.lhs-1, "->", ".") {
			break
		}
		if !f.word(a.lhs-2) && !f.is(a.lhs-2, "]", ")") {
			a.designates = true
			break
		}
		a.lhs -= 2
	}
	a.declares = f.word(a.lhs-1) || f.is(a.lhs-1, "*") && (f.word(a.lhs-2) || f.is(a.lhs-2, ","))
	for a.end < len(f.tokens) && !f.is(a.end, ",", ";", ")", "}") {
		if end, ok := f.pair[a.end]; ok && end > a.end {
			a.end = end
		}
		a.end++
	}
	return a
}

// list splits the tokens of an argument list at its commas.
func (f *file) list(from, to int) [][2]int {
	var out [][2]int
	start := from
	for i := from; i < to; i++ {
		if end, ok := f.pair[i]; ok && end > i {
			i = end
			continue
		}
		if f.is(i, ",") {
			out = append(out, [2]int{start, i})
			start = i + 1
		}
	}
	if start < to {
		out = append(out, [2]int{start, to})
	}
	return out
}

// operands splits a condition at && and || that are not in parentheses. It
// returns one range when there are none.
func (f *file) operands(from, to int) (parts [][2]int, joints []int) {
	start := from
	for i := from; i < to; i++ {
		if end, ok := f.pair[i]; ok && end > i {
			i = end
			continue
		}
		if f.is(i, "&&", "||") {
			parts, joints = append(parts, [2]int{start, i}), append(joints, i)
			start = i + 1
		}
	}
	return append(parts, [2]int{start, to}), joints
}

// text returns the source of a range of tokens.
func (f *file) text(from, to int) string {
	if from >= to || from < 0 || to > len(f.tokens) {
		return ""
	}
	return f.src[f.tokens[from].from:f.tokens[to-1].to]
}

// put makes the change that replaces a range of tokens.
func (f *file) put(from, to int, text string) change {
	return change{f.tokens[from].line, []edit{f.edit(from, to, text)}}
}

// edit keeps the lines of what is replaced, so that all others keep their
// numbers.
func (f *file) edit(from, to int, text string) edit {
	a, b := f.tokens[from].from, f.tokens[to-1].to
	gone := strings.Count(f.src[a:b], "\n") - strings.Count(text, "\n")
	return edit{a, b, text + strings.Repeat("\n", max(gone, 0))}
}

// insert makes the change that puts text before the token at i.
func (f *file) insert(i int, text string) change {
	at := f.tokens[i].from
	return change{f.tokens[i].line, []edit{{at, at, text}}}
}

// mutant applies a change.
func (f *file) mutant(operator string, c change) Mutant {
	slices.SortFunc(c.edits, func(a, b edit) int { return cmp.Compare(a.from, b.from) })
	var out strings.Builder
	at := 0
	for _, e := range c.edits {
		out.WriteString(f.src[at:e.from])
		out.WriteString(e.text)
		at = e.to
	}
	out.WriteString(f.src[at:])
	first, last := c.edits[0], c.edits[len(c.edits)-1]
	from := strings.LastIndexByte(f.src[:first.from], '\n') + 1
	to := last.to + until(f.src[last.to:], "\n", 0)
	grown := out.Len() - len(f.src)
	return Mutant{
		Operator: operator, Line: c.line, Source: out.String(),
		Before: strings.TrimSpace(f.src[from:to]), After: strings.TrimSpace(out.String()[from : to+grown]),
	}
}
