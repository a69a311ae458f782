package card

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"kgent/agent/contract"
)

const (
	// maxLines is how many lines of a contract are read at a glance, in a chat.
	maxLines = 14
	// maxLine is how long a line of a shortened contract is, in characters.
	maxLine = 190
)

// Contract is the part of a contract's plain words that says what is shown and when, for a
// card: what comes before and after it, such as what is taken for granted, is in the file
// beside the source. What takes more than most bytes or would fill a screen is shortened, a
// case at a time, and says so: the conditions of a case stand on one line, long lines lose
// their end, and what is only forgotten is left out.
func Contract(words string, most int) string {
	whole := contract.Behaviour(words)
	if len(whole) <= most && (strings.Count(whole, "\n") < maxLines || most >= terminalContract) {
		return whole
	}
	var out []string
	size, more := 0, 0
	for _, p := range pieces(strings.Split(whole, "\n")) {
		lines := p.short()
		n := 0
		for _, l := range lines {
			n += len(l) + 1
		}
		if more > 0 || size+n > most {
			more += p.cases()
			continue
		}
		out, size = append(out, lines...), size+n
	}
	// A heading without anything under it says nothing.
	for i := len(out) - 1; i >= 0; i-- {
		if heads(out[i]) && (i+1 == len(out) || heads(out[i+1]) && out[i+1] != afterThat) {
			out = slices.Delete(out, i, i+1)
		}
	}
	left := "Shortened; the whole contract is beside the source."
	if more > 0 {
		left = fmt.Sprintf("… and %d more cases; the whole contract is beside the source.", more)
		if more == 1 {
			left = "… and one more case; the whole contract is beside the source."
		}
	}
	return strings.Join(append(out, left), "\n")
}

// afterThat is the heading of cases that are judged after the ones before them.
const afterThat = "- After that:"

// heads reports whether a line is a heading: of a place, or of what comes after.
func heads(l string) bool {
	return l == afterThat || strings.HasSuffix(l, ":") && !strings.HasPrefix(strings.TrimLeft(l, " "), "- ")
}

// piece is a case with its conditions and effects, or one line outside of any.
type piece struct {
	lead       string
	conditions []string
	effects    []string // with their indentation
}

// pieces takes a contract's words apart, by the marks that [contract.English] describes.
func pieces(lines []string) []piece {
	var out []piece
	for _, l := range lines {
		bare := strings.TrimLeft(l, " ")
		last := len(out) - 1
		in := last >= 0 && !heads(out[last].lead) && strings.HasPrefix(strings.TrimLeft(out[last].lead, " "), "- ")
		switch {
		case in && strings.HasPrefix(bare, "→ "):
			out[last].effects = append(out[last].effects, l)
		case in && strings.HasPrefix(bare, "- ") && strings.HasSuffix(out[last].lead, "all of this holds:") && len(out[last].effects) == 0:
			out[last].conditions = append(out[last].conditions, strings.TrimPrefix(bare, "- "))
		default:
			out = append(out, piece{lead: l})
		}
	}
	return out
}

// cases counts what is shown as one.
func (p piece) cases() int {
	if len(p.effects) == 0 || p.forgets() {
		return 0
	}
	return 1
}

// forgets reports whether nothing comes of a case that anybody sees or that a later one
// goes by.
func (p piece) forgets() bool {
	return len(p.effects) > 0 && !slices.ContainsFunc(p.effects, func(e string) bool {
		e = strings.TrimSpace(e)
		return !strings.HasPrefix(e, "→ forget ") && e != "→ nothing"
	})
}

// short are the lines that are left of a piece.
func (p piece) short() []string {
	if strings.TrimSpace(p.lead) == "- Otherwise nothing." || p.forgets() {
		return nil
	}
	lead := p.lead
	if len(p.conditions) > 0 {
		lead = strings.TrimSuffix(lead, "all of this holds:") + strings.Join(p.conditions, "; ") + ":"
	}
	out := []string{lead} // a condition is never cut: it says what is left out
	for _, e := range p.effects {
		if strings.HasPrefix(strings.TrimSpace(e), "→ forget ") {
			continue
		}
		if utf8.RuneCountInString(e) > maxLine {
			e = string([]rune(e)[:maxLine-1])
			e = strings.TrimRight(e[:strings.LastIndexByte(e, ' ')], " ,") + " …"
		}
		out = append(out, e)
	}
	return out
}
