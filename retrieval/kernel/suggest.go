package kernel

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strings"
)

const (
	maxSuggestions = 5
	// minLikeness is how like a name must be to be suggested, from 0 to 1. Below it
	// suggestions mislead more often than they help.
	minLikeness = 0.5
	// nearBest is how like it must be in proportion to the best suggestion, unless the
	// two share most of what tells names apart: filename_unlinkat for do_unlinkat.
	nearBest  = 0.8
	mostWords = 0.5
	// maxQueryTokens bounds the words of a name that are looked at.
	maxQueryTokens = 12
)

// suggest returns the names that were most likely meant by one that does not exist,
// the likeliest first. A name is like another if few letters differ, if they share
// words, the rarer the better, or if they differ only in the category before the
// colon. Equally likely names are in alphabetical order.
func suggest(want string, among []string) []string {
	tokens := uniqueTokens(want)
	// How many names have a word decides how much it weighs.
	matches := make([]tokenMatch, len(among))
	var common [maxQueryTokens]int
	for i, name := range among {
		if isGenerated(name) {
			continue
		}
		matches[i] = matchTokens(tokens, name)
		for rest := matches[i].whole; rest != 0; rest &= rest - 1 {
			common[bits.TrailingZeros16(rest)]++
		}
	}
	var weights [maxQueryTokens]float64
	var total float64
	for i := range tokens {
		weights[i] = math.Log(1 + float64(len(among))/float64(1+common[i]))
		total += weights[i]
	}

	type scored struct {
		name   string
		score  float64
		shared float64
	}
	var best []scored
	distance := newEditDistance(want)
	wantCategory, wantBase := splitCategory(want)
	for i, name := range among {
		if isGenerated(name) || name == want {
			continue
		}
		m := matches[i]
		var shared float64
		for t := range tokens {
			switch {
			case m.whole>>t&1 == 1:
				shared += weights[t]
			case m.part>>t&1 == 1:
				shared += 0.6 * weights[t]
			}
		}
		if total > 0 {
			shared /= total
		}
		words := shared
		// Words that were not asked for make it another thing, but only a little.
		shared /= 1 + 0.1*float64(max(0, m.count-len(tokens)))
		letters := distance.likeness(name)
		if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
			letters = max(letters, 0.95*distance.likeness(name[dot+1:]))
		}
		score := max(0.55*letters+0.45*shared, 0.9*letters)
		if category, base := splitCategory(name); base == wantBase && category != wantCategory {
			score = 1
		}
		if score < minLikeness {
			continue
		}
		best = append(best, scored{name, score, words})
	}
	slices.SortFunc(best, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.name, b.name))
	})
	best = slices.CompactFunc(best, func(a, b scored) bool { return a.name == b.name })
	names := make([]string, 0, maxSuggestions)
	for _, s := range best {
		if len(names) == maxSuggestions {
			break
		}
		if s.score >= nearBest*best[0].score || s.shared >= mostWords {
			names = append(names, s.name)
		}
	}
	return names
}

// splitCategory splits "sched:sched_switch". The category is empty if there is none.
func splitCategory(name string) (category, base string) {
	if category, base, ok := strings.Cut(name, ":"); ok {
		return category, base
	}
	return "", name
}

// isGenerated tells whether a function is made by macros or the compiler around
// another one, which is the one that people mean.
func isGenerated(name string) bool {
	if name == "" {
		return true
	}
	switch name[0] {
	case '_':
		for _, prefix := range [...]string{"__pfx_", "__cfi_", "__traceiter_", "__bpf_trace_", "__probestub_", "__ia32_", "__SCT__", "__SCK__", "__do_sys_", "__se_sys_"} {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
	case 'p', 't':
		for _, prefix := range [...]string{"perf_trace_", "trace_event_raw_event_", "trace_raw_output_", "trace_event_get_offsets_"} {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
	}
	return strings.HasSuffix(name, ".cold")
}

// uniqueTokens splits a name into the words that suggest compares, each once.
func uniqueTokens(name string) []string {
	var tokens []string
	for token := range tokensOf(name) {
		if !slices.Contains(tokens, token) {
			tokens = append(tokens, token)
		}
		if len(tokens) == maxQueryTokens {
			break
		}
	}
	return tokens
}

// tokensOf splits an identifier into words: at everything that is neither letter nor
// digit. It does not change the case.
func tokensOf(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start := -1
		for i := 0; i <= len(name); i++ {
			if i < len(name) && name[i] != '_' && isIdentByte(name[i]) {
				if start < 0 {
					start = i
				}
				continue
			}
			if start >= 0 && !yield(name[start:i]) {
				return
			}
			start = -1
		}
	}
}

// tokenMatch tells which words of a query a name has. Bit n is word n.
type tokenMatch struct {
	whole uint16 // the word itself
	part  uint16 // a word that begins or ends with it, or the other way round
	count int    // words of the name
}

// minPart is how long a word must be to count when it is part of another.
const minPart = 4

func matchTokens(tokens []string, name string) tokenMatch {
	var m tokenMatch
	for token := range tokensOf(name) {
		m.count++
		for i, want := range tokens {
			switch {
			case token == want:
				m.whole |= 1 << i
			case len(want) >= minPart && len(token) > len(want) && (strings.HasPrefix(token, want) || strings.HasSuffix(token, want)),
				len(token) >= minPart && len(want) > len(token) && (strings.HasPrefix(want, token) || strings.HasSuffix(want, token)):
				m.part |= 1 << i
			}
		}
	}
	return m
}

// editDistance counts the letters to insert, delete, replace or swap with their
// neighbour to get from one name to another: the optimal string alignment distance,
// computed a column at a time in the bits of a word (Hyyrö 2003). Names are compared
// by their first 64 bytes.
type editDistance struct {
	length int         // of the name compared against, at most 64
	where  [256]uint64 // for each byte, the positions at which the name has it
}

func newEditDistance(name string) *editDistance {
	d := &editDistance{length: min(len(name), 64)}
	for i := range d.length {
		d.where[lower(name[i])] |= 1 << i
	}
	return d
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// to returns the distance to another name.
func (d *editDistance) to(name string) int {
	name = name[:min(len(name), 64)]
	if d.length == 0 {
		return len(name)
	}
	// Bits are rows of the column of the usual table; plus and minus tell where a
	// cell is one more or one less than the cell above it.
	plus, minus := ^uint64(0), uint64(0)
	var diagonal, before uint64
	distance := d.length
	last := uint64(1) << (d.length - 1)
	for i := range len(name) {
		match := d.where[lower(name[i])]
		swapped := (^diagonal & match) << 1 & before
		diagonal = ((match & plus) + plus) ^ plus | match | minus | swapped
		right := minus | ^(diagonal | plus)
		left := plus & diagonal
		if right&last != 0 {
			distance++
		}
		if left&last != 0 {
			distance--
		}
		right = right<<1 | 1
		left <<= 1
		plus = left | ^(diagonal | right)
		minus = right & diagonal
		before = match
	}
	return distance
}

// likeness is 1 for equal names and 0 for names that have nothing in common.
func (d *editDistance) likeness(name string) float64 {
	longest := max(d.length, min(len(name), 64))
	if longest == 0 {
		return 1
	}
	return 1 - float64(d.to(name))/float64(longest)
}
