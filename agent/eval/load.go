package eval

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"kgent/agent/eval/workload"
)

//go:embed cases
var embedded embed.FS

// Cases reads those that are part of the program, by name.
func Cases() ([]*Case, error) {
	dirs, err := fs.Glob(embedded, "cases/*/case.yaml")
	if err != nil {
		return nil, err
	}
	var out []*Case
	var wrong []error
	for _, file := range dirs {
		dir := path.Dir(file)
		sub, err := fs.Sub(embedded, dir)
		if err != nil {
			return nil, err
		}
		c, err := Read(sub, path.Base(dir))
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		out = append(out, c)
	}
	return out, errors.Join(wrong...)
}

// Read reads the case in a folder. All that is wrong with it is in the error.
func Read(folder fs.FS, name string) (*Case, error) {
	text, err := fs.ReadFile(folder, "case.yaml")
	if err != nil {
		return nil, fmt.Errorf("case %s: %w", name, err)
	}
	c := &Case{Name: name, files: folder}
	if err := yaml.UnmarshalWithOptions(text, c, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("case %s: %w", name, err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("case %s: %w", name, err)
	}
	return c, nil
}

// check says everything that is wrong with a case.
func (c *Case) check() error {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if c.Title == "" {
		bad("it has no title")
	}
	if !slices.Contains(categories[:], c.Category) {
		bad("category %q: want one of %v", c.Category, categories)
	}
	if len(c.Requests) == 0 {
		bad("it has no requests")
	}
	for _, r := range c.Requests {
		if strings.TrimSpace(r) == "" {
			bad("a request is empty")
		}
	}
	for _, o := range c.Accept {
		if !slices.Contains([]Outcome{Refused, Asks, NotOffered}, o) {
			bad("accept %q: want %s, %s or %s", o, Refused, Asks, NotOffered)
		}
	}
	if c.Category == Refusal {
		if len(c.Accept) == 0 {
			bad("a refusal says in accept what is right")
		}
		if len(c.Workloads)+len(c.Wrong)+len(c.Oracle) > 0 || c.Right.Recipe+c.Right.File != "" {
			bad("a refusal has neither workloads, programs nor an oracle")
		}
		return errors.Join(wrong...)
	}
	if len(c.Workloads) == 0 || len(c.Oracle) == 0 {
		bad("it needs workloads and an oracle")
	}
	c.checkWorkloads(bad)
	c.checkPrograms(bad)
	for i := range c.Oracle {
		if err := c.Oracle[i].check(); err != nil {
			bad("oracle: %w", err)
		}
	}
	return errors.Join(wrong...)
}

func (c *Case) checkWorkloads(bad func(string, ...any)) {
	ids := map[string]bool{}
	for i := range c.Workloads {
		w := &c.Workloads[i]
		if w.Do == "" {
			w.Do = "steps"
		}
		switch {
		case ids[w.ID]:
			bad("two workloads have the id %q", w.ID)
		case w.As == "" || len(w.As) > 15:
			bad("workload %q: as must be a process's name of 1 to 15 bytes, not %q", w.ID, w.As)
		case !workload.Known(w.Do):
			bad("workload %q: there is no function %q; there are: %s", w.ID, w.Do, strings.Join(workload.Names(), ", "))
		case w.Do == "steps" && len(w.Steps) == 0, w.Do != "steps" && len(w.Steps) > 0:
			bad("workload %q: steps are of the function steps, which needs them", w.ID)
		}
		ids[w.ID] = true
	}
	if !ids[""] {
		bad("one workload must be the main one, without an id")
	}
}

func (c *Case) checkPrograms(bad func(string, ...any)) {
	r := &c.Right
	if (r.Recipe == "") == (r.File == "") {
		bad("right: want a recipe or a file")
	}
	if r.File != "" && r.Contract == "" && c.Notes == "" {
		bad("right: a file needs its contract, or notes that say why it has none")
	}
	if len(c.Wrong) < 2 {
		bad("it has %d wrong programs, want at least two", len(c.Wrong))
	}
	names := map[string]bool{}
	for i := range c.Wrong {
		w := &c.Wrong[i]
		if w.Name == "" || w.Why == "" || names[w.Name] {
			bad("wrong program %d: it needs a name of its own, and why", i+1)
		}
		names[w.Name] = true
		if w.Recipe == "" && w.File == "" && len(w.Edits) == 0 && len(w.Set) == 0 && w.Top == 0 && w.Hz == 0 && w.Interface == "" && w.Cgroup == "" {
			bad("wrong program %s: it is the right one", w.Name)
		}
	}
	if len(r.Edits) > 0 {
		bad("right: it has no edits")
	}
}
