package recipes

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"kgent/retrieval/kernel/abi"
)

// Concepts that mean something to the matcher itself.
const (
	conceptPast      = "past"       // before the trace begins
	conceptNegation  = "negation"   // something is to be left out
	conceptSnapshot  = "snapshot"   // what is, not what happens
	conceptForeign   = "foreign"    // known, and known to be in no recipe
	conceptEach      = "each"       // single occurrences, not sums
	conceptRank      = "rank"       // the largest first
	conceptByProcess = "perprocess" // whose doing it is
)

// lexicon is what words mean. It is immutable.
type lexicon struct {
	meanings     map[string]meaning // by phrase: stems joined by spaces; exact phrases with "=" before them
	first        map[string]int     // words in the longest phrase that begins with this stem or "=word"
	stems        map[string]bool    // of every single word in a phrase, but for those of everyday speech
	plain        map[string]bool    // stems of the words of everyday speech
	spelling     map[byte][]string  // words of five letters and more, by first letter, to recognise misspellings
	concepts     map[string]bool
	programs     map[string]string // by lower case, as their processes are called
	wordPrograms map[string]bool   // programs whose names are words as well
	services     map[string]uint16
}

// meaning is what a phrase can speak of.
type meaning struct {
	concepts []string
	asking   bool // needs no explanation by a recipe
}

// stops reports whether the phrase speaks of what no recipe does.
func (m meaning) stops() bool {
	return slices.ContainsFunc(m.concepts, func(c string) bool {
		return c == conceptPast || c == conceptNegation || c == conceptSnapshot || c == conceptForeign
	})
}

// lexiconFile is lexicon.yaml.
type lexiconFile struct {
	Asking       string            `yaml:"asking"`
	Anywhere     []string          `yaml:"anywhere"`
	Concepts     map[string]string `yaml:"concepts"`
	Foreign      string            `yaml:"foreign"`
	Plain        string            `yaml:"plain"`
	Programs     string            `yaml:"programs"`
	WordPrograms string            `yaml:"wordprograms"`
	Services     map[string]uint16 `yaml:"services"`
}

func parseLexicon(data []byte) (*lexicon, error) {
	var f lexiconFile
	if err := yaml.UnmarshalWithOptions(data, &f, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("reading lexicon: %w", err)
	}
	l := &lexicon{
		meanings: map[string]meaning{}, first: map[string]int{}, stems: map[string]bool{}, plain: map[string]bool{}, spelling: map[byte][]string{},
		concepts: map[string]bool{}, programs: map[string]string{}, wordPrograms: map[string]bool{}, services: f.Services,
	}
	for name, text := range f.Concepts {
		l.concepts[name] = true
		for phrase := range phrases(text) {
			l.add(phrase, name, slices.Contains(f.Anywhere, name))
		}
	}
	for _, name := range f.Anywhere {
		if !l.concepts[name] {
			return nil, fmt.Errorf("reading lexicon: anywhere: no concept %q", name)
		}
	}
	for phrase := range phrases(f.Asking) {
		l.add(phrase, "", true)
	}
	for phrase := range phrases(f.Foreign) {
		if m := l.meanings[l.key(phrase)]; m.asking || len(m.concepts) > 0 {
			continue // a word that some recipe knows is not foreign
		}
		l.add(phrase, conceptForeign, false)
	}
	for phrase := range phrases(f.Plain) {
		l.addPlain(phrase)
	}
	for name := range phrases(f.Programs) {
		l.programs[strings.ToLower(name)] = name
	}
	for name := range phrases(f.WordPrograms) {
		l.programs[name], l.wordPrograms[name] = name, true
	}
	for _, words := range l.spelling {
		slices.Sort(words)
	}
	// A word that must stop a match cannot be one that is passed over.
	for phrase, m := range l.meanings {
		if m.asking && m.stops() {
			return nil, fmt.Errorf("reading lexicon: %q is both a word of asking and of what recipes cannot do", phrase)
		}
	}
	return l, nil
}

// phrases yields the comma-separated phrases of a text.
func phrases(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for p := range strings.SplitSeq(text, ",") {
			if p = strings.Join(strings.Fields(p), " "); p != "" && !yield(p) {
				return
			}
		}
	}
}

// key returns how a phrase is looked up.
func (l *lexicon) key(phrase string) string {
	if strings.HasPrefix(phrase, "=") {
		return strings.ToLower(phrase)
	}
	words := strings.Fields(phrase)
	for i, w := range words {
		words[i] = stem(w)
	}
	return strings.Join(words, " ")
}

func (l *lexicon) add(phrase, concept string, asking bool) {
	words := strings.Fields(phrase)
	key := l.key(phrase)
	m := l.meanings[key]
	m.asking = m.asking || asking
	if concept != "" && !slices.Contains(m.concepts, concept) {
		m.concepts = append(slices.Clone(m.concepts), concept)
		slices.Sort(m.concepts)
	}
	l.meanings[key] = m
	head, _, _ := strings.Cut(key, " ")
	l.first[head] = max(l.first[head], len(words))
	for _, w := range words {
		w = strings.TrimPrefix(w, "=")
		l.stems[stem(w)] = true
		if len(w) >= 5 && isAlpha(w) && !slices.Contains(l.spelling[w[0]], w) {
			l.spelling[w[0]] = append(l.spelling[w[0]], w)
		}
	}
}

// addPlain adds a phrase of everyday speech, unless it means something already. No
// misspelled word is taken for one, and names may be made of them: "night-shift".
func (l *lexicon) addPlain(phrase string) {
	key := l.key(phrase)
	if _, ok := l.meanings[key]; ok {
		return
	}
	l.meanings[key] = meaning{asking: true}
	words := strings.Fields(phrase)
	head, _, _ := strings.Cut(key, " ")
	l.first[head] = max(l.first[head], len(words))
	if len(words) == 1 {
		l.plain[key] = true
	}
}

// known reports whether a word in lower case occurs in the lexicon, be it only
// in a phrase.
func (l *lexicon) known(low string) bool { return l.stems[stem(low)] || l.plain[stem(low)] }

// isProgram reports whether a word in lower case is the name of a program and
// nothing else.
func (l *lexicon) isProgram(low string) bool { return l.programs[low] != "" && !l.wordPrograms[low] }

// isWord reports whether a word in lower case means something by itself.
func (l *lexicon) isWord(low string) bool {
	_, exact := l.meanings["="+low]
	_, any := l.meanings[stem(low)]
	return exact || any
}

// inHyphens reports whether a word in lower case may be one of several that
// are joined by hyphens, slashes or underscores. A name in one piece is known as
// a whole.
func (l *lexicon) inHyphens(low string) bool {
	if l.stems[stem(low)] || l.programs[low] != "" || isNumeral(low) {
		return true
	}
	_, syscall := abi.Syscall(low)
	_, capability := abi.Capability(low)
	return syscall || capability
}

// lookup returns the meaning of the longest phrase at the beginning of words,
// and how many words it has; 0 when the first word is unknown.
func (l *lexicon) lookup(words []word) (meaning, int) {
	if len(words) == 0 || words[0].quoted {
		return meaning{}, 0
	}
	longest := max(l.first[words[0].stem], l.first["="+words[0].low])
	for n := min(longest, len(words)); n > 0; n-- {
		var stems, exact strings.Builder
		exact.WriteByte('=')
		ok := true
		for i, w := range words[:n] {
			if w.quoted || w.ends && i < n-1 {
				ok = false
				break
			}
			if i > 0 {
				stems.WriteByte(' ')
				exact.WriteByte(' ')
			}
			stems.WriteString(w.stem)
			exact.WriteString(w.low)
		}
		if !ok {
			continue
		}
		if m, ok := l.meanings[exact.String()]; ok {
			return m, n
		}
		if m, ok := l.meanings[stems.String()]; ok {
			return m, n
		}
	}
	return meaning{}, 0
}

// correct returns the word that low is a misspelling of: the only one of at
// least five letters that begins alike and is one edit away, where words of one
// stem count as one.
func (l *lexicon) correct(low string) (string, bool) {
	if len(low) < 4 || !isAlpha(low) || l.known(low) {
		return "", false
	}
	// The words as they stand in the lexicon first, then with endings.
	for _, endings := range [][]string{{""}, {"s", "ed", "ing"}} {
		found := ""
		for _, w := range l.spelling[low[0]] {
			for _, e := range endings {
				if !oneEdit(low, w+e) {
					continue
				}
				if found != "" && stem(found) != stem(w) {
					return "", false
				}
				found = w
			}
		}
		if found != "" {
			return found, true
		}
	}
	if len(low) < 9 {
		return "", false
	}
	// Long words may be misspelled twice: a word one edit away from one that is.
	found := ""
	for _, w := range l.spelling[low[0]] {
		if len(w) < 9 || !twoEdits(low, w) {
			continue
		}
		if found != "" && stem(found) != stem(w) {
			return "", false
		}
		found = w
	}
	return found, found != ""
}

// Word tells of a word in lower case whether it means something in requests, and whether it
// is the name of a program, for who reads requests beside the matcher. It can be both.
func (l *Library) Word(low string) (word, program bool) {
	return l.lexicon.isWord(low), l.lexicon.programs[low] != ""
}
