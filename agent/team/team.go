// Package team holds the recipes that a team has made of programs it approved: a name, how
// people ask for it, the program with its contract, and the parameters that were lifted from
// its constants.
//
// A team recipe answers by its words alone: a request is matched word by word against the
// phrasings, where {port} stands for one word. Nothing is guessed; what differs by a word is
// no match. Built-in recipes come first, and a phrasing that one of them answers is refused,
// so that a team recipe can stand in for none. The program of a match goes through all gates
// and is approved again at each use: being a recipe gives it no right.
//
// Names and phrasings are somebody's words. They are held to plain letters, digits and a few
// signs, which no chat service takes for mark-up.
package team

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"kgent/agent/program"
	"kgent/agent/recipes"
)

// Recipe is one. It is a value.
type Recipe struct {
	Name string `json:"name"`
	// Phrasings are how people ask for it: words, and {name} for a parameter.
	Phrasings []string `json:"phrasings"`
	// Source is C, Contract its contract in the text form. Values are what its parameters are
	// set to when a request does not say.
	Source   string            `json:"source"`
	Contract string            `json:"contract"`
	Values   map[string]string `json:"values,omitempty"`
	// Interface, Cgroup, Hz and View are as in program.Options.
	Interface string       `json:"interface,omitempty"`
	Cgroup    string       `json:"cgroup,omitempty"`
	Hz        int          `json:"hz,omitempty"`
	View      program.View `json:"view"`
	// Program and Manifest are the object and manifest that people approved.
	Program  []byte `json:"program,omitempty"`
	Manifest []byte `json:"manifest,omitempty"`
	// Nodes are those that it was approved for at first.
	Nodes []string `json:"nodes,omitempty"`
	// By made it, Case is the approval that it was kept by, At when.
	By   string    `json:"by"`
	Case string    `json:"case"`
	At   time.Time `json:"at"`
}

// Subject names exactly this recipe, for an approval: what people agree to is what is kept.
func (r Recipe) Subject() string {
	raw, err := json.Marshal(r)
	if err != nil { // of strings and numbers: it cannot fail
		return r.Name
	}
	sum := sha256.Sum256(raw)
	return r.Name + " " + hex.EncodeToString(sum[:12])
}

// Bounds of recipes.
const (
	MaxRecipes   = 200 // of one team
	MaxPhrasings = 8
	maxPhrasing  = 160 // bytes
	maxName      = 40
	// leastWords is how many words a phrasing has besides its parameters: fewer could stand
	// for anything.
	leastWords = 3
)

// Store keeps the recipes of a team. Its methods are safe for concurrent use;
// one test suite runs over all implementations.
type Store interface {
	// Put keeps a recipe, in place of one of its name. [ErrFull] says that there are too many.
	// fits, if not nil, is asked with all recipes that are kept, by name: its error is returned
	// and nothing is kept. Between its asking and the keeping nothing is kept by anybody else; it may
	// be asked several times.
	Put(ctx context.Context, r Recipe, fits func(all []Recipe) error) error
	// Remove forgets one, or returns [ErrNone].
	Remove(ctx context.Context, name string) error
	// List returns all, by name.
	List(ctx context.Context) ([]Recipe, error)
}

// Errors of stores.
var (
	ErrNone = errors.New("there is no team recipe of that name")
	ErrFull = fmt.Errorf("there are %d team recipes already; remove one first", MaxRecipes)
)

// Match is a recipe that answers a request.
type Match struct {
	Recipe Recipe
	// Values are the recipe's, with those that the request names.
	Values map[string]string
	// Duration is how long the request asks to run; 0 when it does not say.
	Duration time.Duration
	// Understood says what was read from the request, a line each.
	Understood []string
}

var (
	nameForm = regexp.MustCompile(`^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$`)
	// phraseForm has nothing in it that ends a quotation, begins mark-up, names somebody or
	// links anywhere.
	phraseForm = regexp.MustCompile(`^[A-Za-z0-9{][A-Za-z0-9 ,.?'/_:{}-]*$`)
	slotForm   = regexp.MustCompile(`^\{([a-z][a-z0-9_]*)\}$`)
	forTime    = regexp.MustCompile(`(?i)\s*,?\s*\bfor\s+(?:the\s+next\s+)?(?:(\d+)\s*(s|sec|secs|second|seconds|m|min|mins|minute|minutes|h|hour|hours)|an?\s+(minute|hour))\s*[.?!]*\s*$`)
)

// fillers say nothing in a request.
var fillers = []string{"please", "pls", "kgent", "the", "a", "an"}

// words cuts a request or phrasing into what is compared.
func words(text string) []string { return asSaid(strings.ToLower(text)) }

// asSaid is words in the letters that were typed: the value of a parameter is that.
func asSaid(text string) []string {
	var out []string
	for _, w := range strings.Fields(text) {
		w = strings.Trim(w, `,.?!:;'"`)
		if w != "" && !slices.Contains(fillers, strings.ToLower(w)) {
			out = append(out, w)
		}
	}
	return out
}

// timed takes "for 2 minutes" off the end of a request.
func timed(text string) (rest string, d time.Duration) {
	m := forTime.FindStringSubmatch(text)
	if m == nil {
		return text, 0
	}
	rest = text[:len(text)-len(m[0])]
	switch {
	case m[3] == "minute":
		return rest, time.Minute
	case m[3] == "hour":
		return rest, time.Hour
	}
	d, err := time.ParseDuration(m[1] + strings.ToLower(m[2][:1]))
	if err != nil || d <= 0 {
		return text, 0
	}
	return rest, d
}

// Find returns the recipe whose name or phrasing the request is, or nil.
func Find(all []Recipe, text string) *Match {
	rest, duration := timed(text)
	said := asSaid(rest)
	for _, r := range all {
		if named(words(rest), r.Name) {
			return match(r, nil, duration, "the team recipe "+r.Name+", by its name")
		}
		for _, p := range r.Phrasings {
			if values, ok := fits(words(p), said); ok {
				return match(r, values, duration, "the team recipe "+r.Name+", which is asked for like this")
			}
		}
	}
	return nil
}

// named reports whether a request is a recipe's name: "run slow-orders".
func named(said []string, name string) bool {
	if len(said) > 1 && slices.Contains([]string{"run", "show", "trace", "recipe"}, said[0]) {
		said = said[1:]
	}
	return len(said) == 1 && said[0] == name
}

func match(r Recipe, values map[string]string, d time.Duration, how string) *Match {
	m := &Match{Recipe: r, Values: map[string]string{}, Duration: d, Understood: []string{how}}
	for k, v := range r.Values {
		m.Values[k] = v
	}
	for _, k := range sorted(values) {
		m.Values[k] = values[k]
		m.Understood = append(m.Understood, k+": "+values[k])
	}
	return m
}

func sorted(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// fits holds the words of a request against those of a phrasing.
func fits(phrase, said []string) (map[string]string, bool) {
	if len(phrase) != len(said) || len(phrase) == 0 {
		return nil, false
	}
	values := map[string]string{}
	for i, p := range phrase {
		slot := slotForm.FindStringSubmatch(p)
		switch {
		case slot == nil && p != strings.ToLower(said[i]):
			return nil, false
		case slot == nil:
		case values[slot[1]] != "" && values[slot[1]] != said[i]:
			return nil, false
		default:
			values[slot[1]] = said[i]
		}
	}
	return values, true
}

// Phrase makes a phrasing of a request's words: a word that is a parameter's value becomes
// the parameter.
func Phrase(text string, values map[string]string) string {
	rest, _ := timed(text)
	parts := strings.Fields(rest)
	taken := map[string]bool{}
	for i, w := range parts {
		bare := strings.Trim(w, `,.?!:;'"`)
		for _, k := range sorted(values) {
			if v := strings.Trim(values[k], `"`); v != "" && strings.EqualFold(v, bare) && !taken[k] {
				parts[i], taken[k] = "{"+k+"}", true
				break
			}
		}
	}
	return strings.Join(parts, " ")
}

// Slots are the parameters that phrasings name.
func Slots(phrasings []string) []string {
	var out []string
	for _, p := range phrasings {
		for _, w := range strings.Fields(p) {
			if slot := slotForm.FindStringSubmatch(strings.Trim(w, ",.?:'")); slot != nil && !slices.Contains(out, slot[1]) {
				out = append(out, slot[1])
			}
		}
	}
	return out
}

// commands are words that mean something to kgent itself.
var commands = []string{"help", "hello", "hi", "list", "status", "runs", "nodes", "recipes", "stop", "again", "same", "explain"}

// Check refuses a name and phrasings that are not plain words, could stand for anything, or
// stand for what is there already. The error is for the person.
func Check(r Recipe, builtin *recipes.Library, others []Recipe, params []string) error {
	switch {
	case len(r.Name) < 3 || len(r.Name) > maxName || !nameForm.MatchString(r.Name):
		return fmt.Errorf("a recipe's name is 3 to %d small letters, digits and hyphens, as slow-orders", maxName)
	case slices.Contains(commands, r.Name):
		return fmt.Errorf("%s means something else to kgent; choose another name", r.Name)
	case len(r.Phrasings) == 0 || len(r.Phrasings) > MaxPhrasings:
		return fmt.Errorf("say in 1 to %d lines how people ask for it", MaxPhrasings)
	}
	if _, taken := builtin.Lookup(r.Name); taken {
		return fmt.Errorf("kgent has a recipe %s of its own; choose another name", r.Name)
	}
	others = slices.DeleteFunc(slices.Clone(others), func(o Recipe) bool { return o.Name == r.Name })
	for _, p := range r.Phrasings {
		if err := checkPhrase(p, r, builtin, others, params); err != nil {
			return err
		}
	}
	return nil
}

func checkPhrase(p string, r Recipe, builtin *recipes.Library, others []Recipe, params []string) error {
	if len(p) > maxPhrasing || !phraseForm.MatchString(p) {
		return fmt.Errorf("“%s” is not plain words: letters, digits, spaces and , . ? ' / _ : - only, at most %d of them, with {name} for a parameter", excerpt(p), maxPhrasing)
	}
	plain := 0
	filled := strings.Fields(p)
	for i, w := range filled {
		bare := strings.Trim(w, ",.?:'")
		slot := slotForm.FindStringSubmatch(bare)
		switch {
		case slot == nil && strings.ContainsAny(w, "{}"):
			return fmt.Errorf("“%s”: a parameter stands alone, as {port}", excerpt(p))
		case slot == nil:
			if len(words(w)) > 0 {
				plain++
			}
		case !slices.Contains(params, slot[1]):
			return fmt.Errorf("“%s”: the program has no parameter %s; it has %s", excerpt(p), slot[1], orNone(params))
		default:
			filled[i] = strings.Trim(r.Values[slot[1]], `"`)
			if filled[i] == "" {
				filled[i] = "1"
			}
		}
	}
	if plain < leastWords {
		return fmt.Errorf("“%s” has too few words of its own: at least %d, or it could stand for anything", excerpt(p), leastWords)
	}
	if m, err := builtin.Match(strings.Join(filled, " "), recipes.MatchOptions{}); err == nil {
		return fmt.Errorf("“%s” is what the built-in recipe %s answers; say it differently", excerpt(p), m.Recipe.Name)
	}
	for _, o := range others {
		for _, q := range o.Phrasings {
			if overlap(words(p), words(q)) {
				return fmt.Errorf("“%s” is how people ask for the team recipe %s; say it differently", excerpt(p), o.Name)
			}
		}
	}
	return nil
}

// overlap reports whether a request could fit both phrasings.
func overlap(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] && !slotForm.MatchString(a[i]) && !slotForm.MatchString(b[i]) {
			return false
		}
	}
	return true
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func excerpt(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
