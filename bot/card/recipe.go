package card

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// Recipe is what a recipe is that is to be kept: how it is asked for, which of its program's
// constants became parameters (and what they were), which did not, and what changed by that.
func Recipe(phrasings []string, lifted map[string]string, left, diff []string) []Block {
	out := []Block{List{Heading: "It is asked for like this", Items: phrasings}}
	if len(lifted) > 0 {
		var items []string
		for _, name := range slices.Sorted(maps.Keys(lifted)) {
			items = append(items, name+", which was "+lifted[name])
		}
		out = append(out, List{Heading: "Constants that became parameters, proved for all values", Items: items})
	}
	if len(left) > 0 {
		out = append(out, Note{Body: short500(strings.Join(left, "\n"))})
	}
	if len(diff) > 0 {
		out = append(out, Code{Language: "diff", Body: Visible(strings.Join(diff, "\n"))})
	}
	return out
}

// short500 keeps what a note can have.
func short500(s string) string {
	if r := []rune(s); len(r) > 500 {
		return string(r[:499]) + "…"
	}
	return s
}

// maxDiff is how many lines of a difference are kept.
const maxDiff = 16

// Changed are the lines that only one of two texts has, in their order.
func Changed(what, was, is string) []string {
	lines := func(s string) []string { return strings.Split(strings.TrimRight(s, "\n"), "\n") }
	before, after := lines(was), lines(is)
	var out []string
	add := func(mark, l string) {
		if r := []rune(strings.TrimSpace(l)); len(r) > 120 {
			l = string(r[:119]) + "…"
		}
		out = append(out, what+" "+mark+" "+strings.TrimSpace(l))
	}
	for _, l := range before {
		if !slices.Contains(after, l) {
			add("-", l)
		}
	}
	for _, l := range after {
		if !slices.Contains(before, l) {
			add("+", l)
		}
	}
	if len(out) > maxDiff {
		out = append(out[:maxDiff], fmt.Sprintf("and %d more", len(out)-maxDiff))
	}
	return out
}

// Visible replaces characters that are not seen but change what is read: a source must look
// like what the compiler sees.
func Visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case !unicode.IsPrint(r), unicode.In(r, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
			return '\uFFFD'
		}
		return r
	}, s)
}
