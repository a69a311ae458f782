package agent

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"kgent/agent/program"
	"kgent/agent/recipes"
	"kgent/retrieval/kernel"
)

//go:embed prompt/system.md
var systemPrompt string

// PromptVersion changes whenever the prompts do; it is in every record, so
// that results can be compared.
const PromptVersion = "5"

// answer is what the model fills in, in this order: it thinks before it
// writes.
type answer struct {
	Analysis    string          `json:"analysis" doc:"think first: what is asked, which hook sees it, what identifies and filters it, what can go wrong"`
	Cannot      string          `json:"cannot" doc:"empty, or why this request cannot be met here"`
	Name        string          `json:"name" doc:"a short identifier: letters, digits, dashes"`
	Title       string          `json:"title" doc:"one line: what the output shows"`
	Source      string          `json:"source" doc:"the whole C source"`
	Programs    []saidProgram   `json:"programs" doc:"every program of the source"`
	Maps        []saidMap       `json:"maps" doc:"every map of the source"`
	Parameters  []saidParameter `json:"parameters" doc:"the parameters that the request sets"`
	DurationMS  int64           `json:"duration_ms" doc:"how long the request asks to watch; 0 when it does not say"`
	Interface   string          `json:"interface" doc:"network interface for xdp and tcx programs, else empty"`
	Top         int             `json:"top" doc:"show only the N largest rows; 0 all"`
	IntervalMS  int64           `json:"interval_ms" doc:"show maps every so many milliseconds; 0 once at the end"`
	Explanation string          `json:"explanation" doc:"two or three sentences for the person: what is shown and what is not"`

	noted []string // of its differences from its source
}

// declines tells whether the model says that it cannot, and has written no program beside it: an empty
// source, or one with nothing but its licence.
func (ans *answer) declines() bool {
	return strings.TrimSpace(ans.Cannot) != "" && !runningSection.MatchString(ans.Source)
}

// runningSection is the section of something that runs.
var runningSection = regexp.MustCompile(`SEC\("(?:[^l.][^"]*|l[^i"][^"]*)"\)`)

type saidProgram struct {
	Name    string `json:"name" doc:"the C function"`
	Section string `json:"section" doc:"the text in its SEC(...)"`
}

type saidMap struct {
	Name string `json:"name" doc:"the C variable"`
	Role string `json:"role" enum:"events,output,stacks,internal"`
}

type saidParameter struct {
	Name  string `json:"name" doc:"the C global"`
	Value string `json:"value" doc:"as a person writes it: 443, postgres, 10.0.0.7, ECONNREFUSED, 10ms"`
}

// question is the first message to the model: the conversation, and what is
// known about the kernels that helps with it.
func (a *Agent) question(ctx context.Context, req Request, targets []Target, nearest []*recipes.Recipe) (string, error) {
	var b strings.Builder
	conversation(&b, req)
	if len(req.Before) > 0 {
		b.WriteString("Say in \"explanation\" what of the earlier requests you kept.\n")
	}
	b.WriteString("\n")
	kernelLines(&b, targets)
	facts := targets[0].Facts
	hooks, err := searchHooks(ctx, a.finder(), req, targets)
	if err != nil {
		return "", err
	}
	if len(hooks) > 0 {
		b.WriteString("\n# Hooks of this kernel that may fit\n")
		for _, h := range hooks {
			line, err := a.hookLine(facts, h)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "- %s\n", line)
		}
	}
	b.WriteString(noteLines(hooks, facts.Release))
	for _, r := range nearest[:min(len(nearest), examplesInPrompt)] {
		fmt.Fprintf(&b, "\n# Example: %s\n```c\n%s\n```\n", r.Title, bytes.TrimSpace(r.Source))
	}
	return b.String(), nil
}

// kernelLines says what kernels there are, and what does not work on them.
func kernelLines(b *strings.Builder, targets []Target) {
	facts := targets[0].Facts
	fmt.Fprintf(b, "# Kernel\nLinux %s, %s.\n", facts.Release, facts.Arch)
	for _, kind := range refusedKinds(facts) {
		fmt.Fprintf(b, "- %s does not work here: %s\n", kind, facts.Refused[kind])
	}
	for _, t := range targets[1:] {
		fmt.Fprintf(b, "The same program must also load on Linux %s, %s: use only what both have.\n", t.Facts.Release, t.Facts.Arch)
		for _, kind := range refusedKinds(t.Facts) {
			fmt.Fprintf(b, "- %s does not work on Linux %s: %s\n", kind, t.Facts.Release, t.Facts.Refused[kind])
		}
	}
}

// refusedKinds are what a program must do without. Of ring buffers the compiler makes others.
func refusedKinds(f *kernel.Facts) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(f.Refused)), func(kind string) bool { return kind == kernel.RingBuffer })
}

// How much is put into the first message.
const (
	hooksInPrompt    = 24
	examplesInPrompt = 2
)

// quote sets text off so that nothing in it looks like the prompt's own
// headings.
func quote(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r", "\n"), "\n")
	return "> " + strings.Join(lines, "\n> ")
}

// disagreements compares what the model says about its program with the
// program.
func (ans *answer) disagreements(o *program.Object) []string {
	var out []string
	said := map[string]string{}
	for _, p := range ans.Programs {
		said[p.Name] = p.Section
	}
	for _, p := range o.Programs() {
		section, ok := said[p.Name]
		delete(said, p.Name)
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("the source has the program %s, \"programs\" does not", p.Name))
		case strings.Trim(section, `"`) != p.SectionName && section != fmt.Sprintf("SEC(%q)", p.SectionName):
			out = append(out, fmt.Sprintf("program %s is in SEC(%q), \"programs\" says %q", p.Name, p.SectionName, section))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		out = append(out, fmt.Sprintf("\"programs\" names %s, which the source does not have", name))
	}
	roles := map[string]string{}
	for _, m := range ans.Maps {
		roles[m.Name] = m.Role
	}
	for _, m := range o.Maps() {
		if m.Name == program.StatsMap || m.Name == program.RecordsMap {
			continue
		}
		role, ok := roles[m.Name]
		delete(roles, m.Name)
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("the source has the map %s, \"maps\" does not", m.Name))
		case role != string(m.Role):
			out = append(out, fmt.Sprintf("map %s is %q in \"maps\" but %q by its definition (events: a ring buffer with __type(value, struct …); output: tagged KGENT_OUTPUT)", m.Name, role, m.Role))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(roles)) {
		// Sections of data are maps too, but nobody declares them.
		if name != program.StatsMap && !strings.HasPrefix(name, ".") {
			out = append(out, fmt.Sprintf("\"maps\" names %s, which the source does not have", name))
		}
	}
	return out
}
