package recipes

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// word is one word of a request.
type word struct {
	text       string // as written, without the punctuation around it
	low        string // lower case
	stem       string
	quoted     bool   // the person put it in quotes: it is a name, not a word
	possessive bool   // "nginx's"; text is without the 's
	called     bool   // "read()"; text is without the parentheses
	ends       bool   // a clause ends after it
	stops      bool   // a sentence ends after it, or a colon introduces what follows
	fixed      string // what a misspelled word was taken for; low and stem are of that
}

// split cuts a request into words: at spaces, at comparison and equals signs,
// and at hyphens and slashes between words that known knows. Everything else,
// such as paths, addresses and names, stays in one piece.
func split(text string, known func(low string) bool) []word {
	var out []word
	text = strings.ReplaceAll(text, "(s)", "s") // "path(s)"
	text = strings.TrimSpace(arrows.Replace(strings.Map(plainPunctuation, text)))
	if n := len(text); n > 2 && strings.IndexByte("\"'`", text[0]) >= 0 && strings.IndexByte(text[1:], text[0]) == n-2 {
		text = text[1 : n-1] // all of it is quoted
	}
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if unicode.IsSpace(r) {
			i += n
			continue
		}
		if r == '"' || r == '`' || r == '\'' {
			if w, rest, ok := quotation(text[i:]); ok {
				if w.quoted = len(out) > 0 && introducesName(out[len(out)-1].low) || !ordinary(w.low, known); w.quoted {
					out = append(out, w)
				} else {
					for part := range strings.FieldsSeq(w.text) {
						out = chunk(out, part, known)
					}
					if len(out) > 0 {
						out[len(out)-1].ends = w.ends
					}
				}
				i = len(text) - len(rest)
				continue
			}
		}
		j := strings.IndexFunc(text[i:], unicode.IsSpace)
		if j < 0 {
			j = len(text) - i
		}
		out = chunk(out, text[i:i+j], known)
		i += j
	}
	return out
}

var arrows = strings.NewReplacer("->", " to ", "=>", " to ", "→", " to ")

// plainPunctuation maps typographic signs to the plain ones.
func plainPunctuation(r rune) rune {
	switch r {
	case '“', '”', '„', '«', '»':
		return '"'
	case '‘', '’', 'ʼ':
		return '\''
	case '–', '—', '‐', '‑', '−':
		return '-'
	case 'μ': // the letter; the sign µ is what people mean
		return 'µ'
	}
	return r
}

// quotation reads a quoted name at the beginning of s. A quote that is not
// closed before the end of a line, or that is closed in the middle of a word,
// is no quotation.
func quotation(s string) (w word, rest string, ok bool) {
	end := strings.IndexByte(s[1:], s[0])
	if end < 1 || strings.ContainsRune(s[1:1+end], '\n') {
		return word{}, "", false
	}
	inner, rest := strings.TrimSpace(s[1:1+end]), s[2+end:]
	if inner == "" {
		return word{}, "", false
	}
	if r, _ := utf8.DecodeRuneInString(rest); rest != "" && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
		return word{}, "", false
	}
	w = newWord(inner)
	if cut := strings.TrimLeft(rest, ".,;:!?)"); len(cut) < len(rest) {
		w.ends, rest = true, cut
	}
	return w, rest, true
}

// introducesName reports whether what is quoted after a word is a name, however
// ordinary.
func introducesName(low string) bool {
	return slices.Contains([]string{"process", "processes", "program", "command", "comm", "binary", "named", "called", "name", "by", "of", "for", "from", "user", "is", "does", "did"}, low)
}

// ordinary reports whether a quotation holds nothing but words that are known:
// "run queue latency" is no name.
func ordinary(quoted string, known func(string) bool) bool {
	for w := range strings.FieldsSeq(quoted) {
		if !known(w) {
			return false
		}
	}
	return true
}

// callForm is how programmers write calls: read(), mount(2).
var callForm = regexp.MustCompile(`^([A-Za-z0-9_]+)\([0-9]?\)$`)

const (
	before = "([{<>\"'`*#@=" // may stand before a word
	after  = ".,;:!?)]}>\"'`*…"
)

// chunk appends the words of text, which has no spaces.
func chunk(out []word, text string, known func(string) bool) []word {
	// Comparison signs are words of their own.
	if i := strings.IndexAny(text, "<>≥≤"); i >= 0 {
		sign := 1
		for sign < len(text[i:]) && strings.IndexByte("<>=", text[i+sign]) >= 0 {
			sign++
		}
		if text[i] >= utf8.RuneSelf {
			_, sign = utf8.DecodeRuneInString(text[i:])
		}
		if tail := strings.TrimLeft(text[i+sign:], "="); tail == "" || tail[0] >= '0' && tail[0] <= '9' || tail[0] == '.' {
			if i > 0 {
				out = chunk(out, text[:i], known)
			}
			out = append(out, newWord(text[i:i+sign]))
			if tail != "" {
				out = chunk(out, tail, known)
			}
			return out
		}
	}
	whole := text
	if !strings.HasPrefix(text, "[") || !strings.Contains(text, "]") { // an IPv6 address may be in brackets
		text = strings.TrimLeft(text, before)
	}
	if trimmed := strings.TrimLeft(text, ":,;.!?-&|+"); trimmed == "" {
		if len(out) > 0 && strings.ContainsAny(whole, ",;.!?-") {
			out[len(out)-1].ends = true
			out[len(out)-1].stops = strings.ContainsAny(whole, ".;:!?")
		}
		if whole == "&" || whole == "+" {
			out = append(out, newWord("and"))
		}
		return out
	}
	if calls := strings.Split(text, ")/"); len(calls) > 1 && callForm.MatchString(calls[0]+")") { // "mount(2)/umount(2)"
		for i, c := range calls {
			if i < len(calls)-1 {
				c += ")"
			}
			out = chunk(out, c, known)
		}
		return out
	}
	if m := callForm.FindStringSubmatch(strings.TrimRight(text, ".,;:!?")); m != nil {
		w := newWord(m[1])
		w.called, w.ends = true, !strings.HasSuffix(text, ")")
		return append(out, w)
	}
	trimmed := strings.TrimRight(text, after)
	if strings.HasPrefix(text, "[") && strings.HasPrefix(text[len(trimmed):], "]") {
		trimmed = text[:len(trimmed)+1]
	}
	ends := strings.ContainsAny(text[len(trimmed):], ".,;:!?…") || strings.HasPrefix(whole, "(")
	if trimmed == "" {
		return out
	}
	n := len(out)
	for _, part := range parts(trimmed, known) {
		out = append(out, newWord(part))
	}
	if len(out) > n {
		w := &out[len(out)-1]
		w.ends, w.stops = ends, strings.ContainsAny(text[len(trimmed):], ".;:!?")
	}
	return out
}

// parts cuts "pid=12", "read/write" and "30-second" but neither paths nor names.
func parts(s string, known func(string) bool) []string {
	if key, value, ok := strings.Cut(s, "="); ok && isAlpha(key) && value != "" {
		return append(parts(key, known), value)
	}
	if key, value, ok := strings.Cut(s, ":"); ok && isAlpha(key) && value != "" && known(strings.ToLower(key)) && !strings.Contains(value, ":") {
		return []string{key, value}
	}
	if known(strings.ToLower(s)) || isPort(strings.ToLower(s)) {
		return []string{s}
	}
	for _, sep := range []string{"/", ","} {
		if out := cut(s, sep, known); out != nil {
			return out
		}
	}
	if first, rest, ok := strings.Cut(s, "-"); ok && (isNumeral(strings.ToLower(first)) || slices.Contains([]string{"per", "non", "top", "half", "by"}, strings.ToLower(first))) {
		if out := cut(rest, "-", known); out != nil {
			return append([]string{first}, out...)
		}
		if known(strings.ToLower(rest)) {
			return []string{first, rest}
		}
	}
	return []string{s}
}

// cut splits s where all parts are known; else it returns nil.
func cut(s, sep string, known func(string) bool) []string {
	if !strings.Contains(s, sep) {
		return nil
	}
	var out []string
	for i, p := range strings.Split(s, sep) {
		if _, ok := timeUnit(p); ok && i > 0 && sep == "/" {
			out = append(out, "per") // "packets/s"
		}
		inner := []string{p}
		if !known(strings.ToLower(p)) {
			if inner = cut(p, "-", known); sep == "-" || inner == nil {
				return nil
			}
		}
		out = append(out, inner...)
	}
	return out
}

// compounds splits the words that free allows at their hyphens and underscores,
// where all parts are known, and returns where each word has gone.
func compounds(words []word, free func(i int) bool, known func(string) bool) (out []word, place []int) {
	place = make([]int, len(words)+1)
	for i, w := range words {
		place[i] = len(out)
		var pieces []string
		if free(i) && !w.quoted && !known(w.low) {
			if pieces = cut(w.text, "-", known); pieces == nil {
				pieces = cut(w.text, "_", known)
			}
		}
		if pieces == nil {
			out = append(out, w)
			continue
		}
		for _, p := range pieces {
			out = append(out, newWord(p))
		}
		last := &out[len(out)-1]
		last.ends, last.stops = w.ends, w.stops
	}
	place[len(words)] = len(out)
	return out, place
}

func newWord(text string) word {
	w := word{text: text}
	if t, ok := strings.CutSuffix(text, "'s"); ok && t != "" {
		w.text, w.possessive = t, true
	}
	for _, joined := range []string{"'d", "'re", "'ve", "'ll"} {
		if t, ok := strings.CutSuffix(w.text, joined); ok && t != "" {
			w.text = t
		}
	}
	w.low = strings.ToLower(w.text)
	w.stem = stem(w.low)
	return w
}

func isAlpha(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return s != ""
}

// stem takes the endings of English inflection off a word in lower case:
// plurals, -ing, -ed and a final e, so that "deletes", "deleted" and "deleting" are
// one. It leaves words of three letters, and those with anything but letters,
// as they are.
func stem(s string) string {
	if len(s) <= 3 || !isAlpha(s) {
		return s
	}
	s = singular(s)
	for _, ending := range []string{"ing", "ed"} {
		base, ok := strings.CutSuffix(s, ending)
		if !ok || len(base) < 3 || !strings.ContainsAny(base, "aeiouy") || ending == "ed" && strings.HasSuffix(base, "e") {
			continue
		}
		if ending == "ed" && strings.HasSuffix(base, "i") {
			return base[:len(base)-1] + "y"
		}
		if n := len(base); base[n-1] == base[n-2] && !strings.ContainsAny(base[n-1:], "lsz") {
			return base[:n-1] // "dropped"
		}
		s = base
		if len(s) == 3 && !isVowel(s[0]) && isVowel(s[1]) && !isVowel(s[2]) && !strings.ContainsAny(s[2:], "wx") {
			s += "e" // "typed", "moving"
		}
		break
	}
	if len(s) > 4 {
		s = strings.TrimSuffix(s, "e")
	}
	return s
}

func isVowel(c byte) bool { return strings.IndexByte("aeiouy", c) >= 0 }

func singular(s string) string {
	switch {
	case strings.HasSuffix(s, "ss"), strings.HasSuffix(s, "us"), strings.HasSuffix(s, "is"), !strings.HasSuffix(s, "s"):
		return s
	case strings.HasSuffix(s, "ies") && len(s) > 4:
		return s[:len(s)-3] + "y"
	case hasAnySuffix(s, "sses", "ches", "shes", "xes", "oes"):
		return s[:len(s)-2]
	}
	return s[:len(s)-1]
}

func hasAnySuffix(s string, suffixes ...string) bool {
	for _, x := range suffixes {
		if strings.HasSuffix(s, x) {
			return true
		}
	}
	return false
}

// twoEdits reports whether two edits, of which the first drops a letter of either
// word or exchanges two, turn a into b.
func twoEdits(a, b string) bool {
	for i := range len(a) {
		if d := a[:i] + a[i+1:]; d == b || oneEdit(d, b) {
			return true
		}
		if i > 0 && oneEdit(a[:i-1]+string(a[i])+string(a[i-1])+a[i+1:], b) {
			return true
		}
	}
	for i := range len(b) {
		if oneEdit(a, b[:i]+b[i+1:]) {
			return true
		}
	}
	return false
}

// oneEdit reports whether one insertion, deletion, substitution or exchange of
// neighbours turns a into b.
func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 || a == b {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) < len(b) {
		return a[i:] == b[i+1:]
	}
	if a[i+1:] == b[i+1:] {
		return true
	}
	return i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}
