package vmlinux

import "strings"

// scan is what is to be known of the sources of a program.
type scan struct {
	idents map[string]bool // all identifiers, macros included
	own    ownNames
	isType func(string) bool // whether the kernel has a typedef of this name
}

// ownNames are what the sources define in the scope of the file.
type ownNames struct {
	tags  map[string]kind // of structs, unions and enums with a body
	names map[string]bool // of typedefs, enumerators, variables and functions
}

func newScan(isType func(string) bool) *scan {
	return &scan{
		idents: make(map[string]bool),
		own:    ownNames{tags: make(map[string]kind), names: make(map[string]bool)},
		isType: isType,
	}
}

// add reads one source.
func (s *scan) add(src string) {
	tokens := lex(src)
	code := tokens[:0:0]
	for _, t := range tokens {
		if t.ident() {
			s.idents[t.text] = true
		}
		if !t.directive {
			code = append(code, t)
		}
	}
	matchBrackets(tokens)
	s.findTags(tokens)
	matchBrackets(code)
	s.findEnumerators(code)
	s.findNames(code)
}

// findTags finds structs, unions and enums that have a body, also in macros.
func (s *scan) findTags(tokens []token) {
	for i := range tokens {
		k := tagKind(tokens[i].text)
		if k == kindNone {
			continue
		}
		// Attributes may precede the tag, which is the last identifier.
		tag := ""
		j := i + 1
		for j < len(tokens) {
			switch t := tokens[j]; {
			case t.ident():
				tag = t.text
			case t.text == "(" && isNoise(tag):
				j = t.end - 1
				tag = ""
			case t.text == ":" && k == kindEnum:
				// The underlying type.
				for j+1 < len(tokens) && (tokens[j+1].ident() || reserved(tokens[j+1].text)) {
					j++
				}
			case t.text == "{" && tag != "":
				s.own.tags[tag] = k
				j = len(tokens)
			default:
				j = len(tokens)
			}
			j++
		}
	}
}

// findEnumerators finds the enumerators of enums at any depth.
func (s *scan) findEnumerators(code []token) {
	var open []bool // of each bracket, whether it is the body of an enum
	head := false   // after the word enum, before its body
	for i, t := range code {
		switch t.text {
		case "enum":
			head = true
			continue
		case "(", "[", "{":
			open = append(open, head && t.text == "{")
		case ")", "]", "}":
			open = open[:max(len(open)-1, 0)]
		}
		if t.ident() && len(open) > 0 && open[len(open)-1] && (code[i-1].text == "{" || code[i-1].text == ",") {
			s.own.names[t.text] = true
		}
		head = head && (t.ident() || t.text == ":" || reserved(t.text))
	}
}

// findNames finds the typedefs, variables and functions that are declared
// outside of functions. It need not understand every declaration: one that it
// overlooks clashes with the kernel's type of that name only if there is one,
// and then clang says so.
func (s *scan) findNames(code []token) {
	d := declaration{scan: s}
	for i := 0; i < len(code); {
		t := code[i]
		switch {
		case t.text == ";" || t.text == "}":
			d.end()
			d = declaration{scan: s}
			i++
		case t.text == ",":
			d.end()
			d.name, d.done = "", false
			i++
		case t.text == "=" || t.text == ":":
			d.end()
			i++
		case t.text == "{":
			body := d.function
			if i = t.end; body {
				d = declaration{scan: s}
			}
		case t.text == "(" && d.noise:
			i = t.end
		case t.text == "(":
			d.group(code[i:t.end])
			i = t.end
		case t.text == "[":
			d.end()
			i = t.end
		case tagKind(t.text) != kindNone:
			d.types++
			for i++; i < len(code); i++ {
				if code[i].text == "(" && isNoise(code[i-1].text) {
					i = code[i].end - 1
				} else if !code[i].ident() || !isNoise(code[i].text) {
					break
				}
			}
			if i < len(code) && code[i].ident() {
				i++
			}
		case typeWord(t.text):
			d.types++
			d.noise = takesOperand(t.text)
			i++
			continue
		case t.ident() && isNoise(t.text) && !s.isType(t.text):
			d.noise = true
			i++
			continue
		case t.ident():
			if d.name != "" && !d.done {
				d.types++
			}
			if !d.done {
				d.name = t.text
			}
			i++
		default:
			i++
		}
		d.noise = false
	}
	d.end()
}

// declaration is what has been read of one.
type declaration struct {
	*scan
	types    int    // words that may be its type
	name     string // the last identifier, which may be the declared name
	done     bool   // the name has been found
	function bool   // a body may follow
	noise    bool   // the last word was an attribute
}

// end takes the last identifier for the declared name if a type precedes it.
func (d *declaration) end() {
	if !d.done && d.name != "" && d.types > 0 {
		d.own.names[d.name] = true
	}
	d.done = true
}

// group reads parentheses: parameters, a declarator such as (*name), or the
// arguments of a macro that stands for a type.
func (d *declaration) group(tokens []token) {
	pointer := len(tokens) > 1 && tokens[1].text == "*"
	switch {
	case d.done:
	case d.name != "" && d.types > 0:
		d.end()
	case pointer && (d.name != "" || d.types > 0):
		d.types++
		d.name = ""
		for _, t := range tokens[1:] {
			if t.ident() && !isNoise(t.text) {
				d.name = t.text
				break
			}
			if t.text != "*" && t.text != "(" && !reserved(t.text) {
				break
			}
		}
		d.end()
	default:
		d.name = ""
		d.types++
	}
	d.function = true
}

// matchBrackets finds the end of each group. One that is not closed reaches to
// the end of the source.
func matchBrackets(tokens []token) {
	var open []int
	for i := range tokens {
		switch tokens[i].text {
		case "(", "[", "{":
			tokens[i].end = len(tokens)
			open = append(open, i)
		case ")", "]", "}":
			if n := len(open); n > 0 {
				tokens[open[n-1]].end = i + 1
				open = open[:n-1]
			}
		}
	}
}

func tagKind(word string) kind {
	switch word {
	case "struct":
		return kindStruct
	case "union":
		return kindUnion
	case "enum":
		return kindEnum
	}
	return kindNone
}

// typeWord reports whether word is a type by itself, or part of one.
func typeWord(word string) bool {
	switch word {
	case "void", "char", "short", "int", "long", "float", "double", "signed",
		"unsigned", "_Bool", "__int128", "_BitInt", "typeof", "__typeof__", "__auto_type":
		return true
	}
	return false
}

// takesOperand reports whether the type that word begins goes on in parentheses.
func takesOperand(word string) bool {
	return word == "typeof" || word == "__typeof__" || word == "_BitInt"
}

// isNoise reports whether word looks like an attribute or a macro for one.
func isNoise(word string) bool {
	return word == "SEC" || strings.HasPrefix(word, "__")
}

// token is a word or a character of the source. Literals have no text.
type token struct {
	text      string
	directive bool // part of a preprocessor directive
	end       int  // of an opening bracket: the position after the closing one
}

// ident reports whether t is an identifier. Words with two underscores count,
// keyword or not: what they are is seen where it matters.
func (t token) ident() bool {
	return t.text != "" && identByte(t.text[0], true) && (!reserved(t.text) || isNoise(t.text))
}

// lex splits C source into tokens. It takes anything: what is no C gives some
// tokens too.
func lex(src string) []token {
	var tokens []token
	directive, fresh := false, true // in a directive; nothing on this line yet
	for i := 0; i < len(src); {
		switch c := src[i]; {
		case c == '\n':
			directive, fresh = false, true
			i++
		case c == '\\' && newline(src[i+1:]) > 0:
			i += 1 + newline(src[i+1:])
		case c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f':
			i++
		case strings.HasPrefix(src[i:], "//"):
			i = lineEnd(src, i)
		case strings.HasPrefix(src[i:], "/*"):
			if n := strings.Index(src[i+2:], "*/"); n >= 0 {
				i += n + 4
			} else {
				i = len(src)
			}
		case c == '#' && fresh:
			directive, fresh = true, false
			i++
			if isInclude(src[i:]) {
				i = lineEnd(src, i)
			}
		case c == '"' || c == '\'':
			i = literalEnd(src, i)
			tokens = append(tokens, token{directive: directive})
			fresh = false
		case identByte(c, true):
			start := i
			for i < len(src) && identByte(src[i], false) {
				i++
			}
			tokens = append(tokens, token{text: src[start:i], directive: directive})
			fresh = false
		case '0' <= c && c <= '9':
			for i < len(src) && (identByte(src[i], false) || src[i] == '.' || exponentSign(src, i)) {
				i++
			}
			tokens = append(tokens, token{directive: directive})
			fresh = false
		default:
			tokens = append(tokens, token{text: src[i : i+1], directive: directive})
			fresh = false
			i++
		}
	}
	return tokens
}

// newline returns the length of the line break that s begins with.
func newline(s string) int {
	switch {
	case strings.HasPrefix(s, "\n"):
		return 1
	case strings.HasPrefix(s, "\r\n"):
		return 2
	}
	return 0
}

// lineEnd returns the position of the line break that ends the line at i,
// beyond breaks that are escaped.
func lineEnd(src string, i int) int {
	for ; i < len(src) && src[i] != '\n'; i++ {
		if src[i] == '\\' {
			i += newline(src[i+1:])
		}
	}
	return i
}

// literalEnd returns the position after the string or character literal at i.
// One that is not closed ends with its line.
func literalEnd(src string, i int) int {
	quote := src[i]
	for i++; i < len(src); i++ {
		switch src[i] {
		case quote:
			return i + 1
		case '\\':
			if n := newline(src[i+1:]); n > 0 {
				i += n
			} else {
				i++
			}
		case '\n':
			return i
		}
	}
	return len(src)
}

func exponentSign(src string, i int) bool {
	return (src[i] == '+' || src[i] == '-') && strings.IndexByte("eEpP", src[i-1]) >= 0
}

func isInclude(s string) bool {
	return strings.HasPrefix(strings.TrimLeft(s, " \t"), "include")
}
