package recipes

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"kgent/agent/contract"
	"kgent/agent/program"
)

//go:embed lexicon.yaml */recipe.yaml */program.bpf.c */contract.kc
var embedded embed.FS

// Output is a form in which a program answers.
type Output string

const (
	OutputEvents Output = "events" // a line for every occurrence
	OutputTable  Output = "table"  // rows with sums, largest first
	OutputHist   Output = "hist"   // histograms
	OutputStack  Output = "stack"  // counted stacks
)

// Need is something beyond the kernel that a recipe cannot do without.
type Need string

const (
	NeedInterface Need = "interface" // the name of a network interface
	NeedCgroup    Need = "cgroup"    // a cgroup2 mount
	NeedBinary    Need = "binary"    // a library or program on the node to attach to
)

// Param is one parameter of a recipe.
type Param struct {
	Name  string `yaml:"name"`
	Role  Role   `yaml:"role"`
	Means string `yaml:"means"`
}

// View is how a recipe's maps are presented when the request does not say.
type View struct {
	Top      int           `yaml:"top"`
	Interval time.Duration `yaml:"interval"`
}

// Recipe is one built-in program and what is known about asking for it. It
// must not be changed.
type Recipe struct {
	Name        string   `yaml:"name"`
	Title       string   `yaml:"title"`
	Description string   `yaml:"description"`
	Phrasings   []string `yaml:"phrasings"`
	Params      []Param  `yaml:"params"`
	View        View     `yaml:"view"`
	Output      []Output `yaml:"output"`
	Needs       []Need   `yaml:"needs"`
	// About holds groups of concepts and "$role"s, separated by spaces: a request
	// is about the recipe when it speaks of everything in at least one group.
	About []string `yaml:"about"`
	// Shows holds the other concepts that a request may speak of.
	Shows []string `yaml:"shows"`
	// Rows holds the concepts that one line, row or histogram is for: what "per"
	// and "by" may be followed by.
	Rows []string `yaml:"rows"`
	// Narrows are the parts of what it shows that words can ask for alone.
	Narrows []Narrow `yaml:"narrows"`
	// Source is the C program, program.bpf.c.
	Source []byte `yaml:"-"`
	// Contract says what the program does, contract.kc.
	Contract *contract.Contract `yaml:"-"`

	groups     [][]string      // About, cut
	vocabulary map[string]bool // concepts it explains
	terms      map[string]int  // how often its texts use a concept
	length     int             // sum of terms
}

// gives reports whether the recipe answers in this form.
func (r *Recipe) gives(o Output) bool { return slices.Contains(r.Output, o) }

// Library is a set of recipes that can be searched by meaning. It is immutable
// and safe for concurrent use.
type Library struct {
	recipes   []*Recipe
	lexicon   *lexicon
	narrowing map[string]bool    // concepts by which a request narrows what some recipe shows
	rarity    map[string]float64 // of a concept: high when few recipes have it
	average   float64            // length of the recipes' texts
}

// Default returns the built-in recipes.
func Default() (*Library, error) { return Load(embedded) }

// Load reads a library: lexicon.yaml and one folder for each recipe. Everything
// that is wrong is an error, of all recipes at once.
func Load(fsys fs.FS) (*Library, error) {
	data, err := fs.ReadFile(fsys, "lexicon.yaml")
	if err != nil {
		return nil, fmt.Errorf("reading lexicon: %w", err)
	}
	lex, err := parseLexicon(data)
	if err != nil {
		return nil, err
	}
	l := &Library{lexicon: lex}
	files, err := fs.Glob(fsys, "*/recipe.yaml")
	if err != nil {
		return nil, err
	}
	var wrong []error
	for _, file := range files {
		r, err := loadRecipe(fsys, path.Dir(file), lex)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		l.recipes = append(l.recipes, r)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	if len(l.recipes) == 0 {
		return nil, errors.New("reading recipes: there are none")
	}
	l.index()
	return l, nil
}

// None returns a library that reads sentences as this one does and has no
// recipe: every request is left to a model.
func (l *Library) None() *Library { return &Library{lexicon: l.lexicon} }

// Recipes returns all recipes by name order. The slice must not be changed.
func (l *Library) Recipes() []*Recipe { return l.recipes }

// Lookup returns the recipe of a name.
func (l *Library) Lookup(name string) (*Recipe, bool) {
	i, ok := slices.BinarySearchFunc(l.recipes, name, func(r *Recipe, name string) int { return strings.Compare(r.Name, name) })
	if !ok {
		return nil, false
	}
	return l.recipes[i], true
}

func loadRecipe(fsys fs.FS, dir string, lex *lexicon) (*Recipe, error) {
	data, err := fs.ReadFile(fsys, path.Join(dir, "recipe.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading recipe %s: %w", dir, err)
	}
	r := &Recipe{}
	if err := yaml.UnmarshalWithOptions(data, r, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("reading recipe %s: %w", dir, err)
	}
	if r.Name != dir {
		return nil, fmt.Errorf("reading recipe %s: its name is %q", dir, r.Name)
	}
	if err := r.check(lex); err != nil {
		return nil, fmt.Errorf("reading recipe %s: %w", dir, err)
	}
	if r.Source, err = fs.ReadFile(fsys, path.Join(dir, "program.bpf.c")); err != nil {
		return nil, fmt.Errorf("reading recipe %s: %w", dir, err)
	}
	text, err := fs.ReadFile(fsys, path.Join(dir, "contract.kc"))
	if err != nil {
		return nil, fmt.Errorf("reading recipe %s: %w", dir, err)
	}
	if r.Contract, err = contract.Parse(string(text)); err != nil {
		return nil, fmt.Errorf("reading the contract of recipe %s: %w", dir, err)
	}
	if err := r.agrees(); err != nil {
		return nil, fmt.Errorf("reading the contract of recipe %s: %w", dir, err)
	}
	return r, nil
}

// agrees holds the contract against the recipe: the same title, and parameters that
// mean the same. The recipe has further ones, which are no constants of the program:
// the interface, the cgroup, the rate.
func (r *Recipe) agrees() error {
	if r.Contract.Title != r.Title {
		return fmt.Errorf("its title is %q, the recipe's %q", r.Contract.Title, r.Title)
	}
	for _, p := range r.Contract.Params {
		i := slices.IndexFunc(r.Params, func(q Param) bool { return q.Name == p.Name })
		if i < 0 {
			return fmt.Errorf("%s: the recipe has no parameter %s", p.At, p.Name)
		}
		if r.Params[i].Means != p.Means {
			return fmt.Errorf("%s: %s means %q here, %q in the recipe", p.At, p.Name, p.Means, r.Params[i].Means)
		}
	}
	for _, q := range r.Params {
		attached := q.Role == RoleInterface || q.Role == RoleCgroup || q.Role == RoleHz
		if !attached && !slices.ContainsFunc(r.Contract.Params, func(p *contract.Param) bool { return p.Name == q.Name }) {
			return fmt.Errorf("it lacks the parameter %s", q.Name)
		}
	}
	return nil
}

// check holds a recipe against the rules of its format.
func (r *Recipe) check(lex *lexicon) error {
	switch {
	case r.Title == "" || strings.Contains(r.Title, "\n"):
		return errors.New("title: want one line")
	case r.Description == "":
		return errors.New("description is empty")
	case len(r.Phrasings) < 8:
		return fmt.Errorf("phrasings: %d, want at least 8", len(r.Phrasings))
	case len(r.Output) == 0:
		return errors.New("output is empty")
	case len(r.About) == 0:
		return errors.New("about is empty")
	case r.View.Top < 0 || r.View.Top > program.MaxTop:
		return fmt.Errorf("view: top %d: want 0 to %d", r.View.Top, program.MaxTop)
	}
	for _, o := range r.Output {
		if !slices.Contains([]Output{OutputEvents, OutputTable, OutputHist, OutputStack}, o) {
			return fmt.Errorf("output: %q is none of events, table, hist, stack", o)
		}
	}
	for _, n := range r.Needs {
		if !slices.Contains([]Need{NeedInterface, NeedCgroup, NeedBinary}, n) {
			return fmt.Errorf("needs: %q is none of interface, cgroup, binary", n)
		}
	}
	for i, p := range r.Params {
		if p.Name == "" || p.Means == "" {
			return fmt.Errorf("params: parameter %d lacks its name or its meaning", i+1)
		}
		if _, ok := binds[p.Role]; !ok {
			return fmt.Errorf("params: %s: no role %q", p.Name, p.Role)
		}
		for _, q := range r.Params[:i] {
			if q.Name == p.Name || q.Role == p.Role {
				return fmt.Errorf("params: %s and %s have the same name or role", q.Name, p.Name)
			}
		}
	}
	if err := r.checkNarrows(lex); err != nil {
		return err
	}
	for _, group := range r.About {
		r.groups = append(r.groups, strings.Fields(group))
	}
	for _, c := range slices.Concat(slices.Concat(r.groups...), r.Shows, r.Rows) {
		if role, ok := strings.CutPrefix(c, "$"); ok {
			if !isRole(Role(role)) {
				return fmt.Errorf("about, shows: no role %q", role)
			}
		} else if !lex.concepts[c] {
			return fmt.Errorf("about, shows: lexicon.yaml has no concept %q", c)
		}
	}
	return nil
}
