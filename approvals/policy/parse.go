package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"kgent/approvals"
)

// Problem is one thing that is wrong, or only strange, about a policy file.
type Problem struct {
	Line    int // counted from 1; 0 when it is about the whole file
	Text    string
	Warning bool // the file can be used nevertheless
}

func (p Problem) String() string {
	s := p.Text
	if p.Warning {
		s = "warning: " + s
	}
	if p.Line > 0 {
		s = fmt.Sprintf("line %d: %s", p.Line, s)
	}
	return s
}

// Problems is what is wrong about a file, in the order of its lines.
type Problems []Problem

func (p Problems) Error() string {
	words := make([]string, len(p))
	for i, x := range p {
		words[i] = x.String()
	}
	return strings.Join(words, "; ")
}

// Errors returns the problems for which the file cannot be used; nil when
// there is none.
func (p Problems) Errors() Problems {
	return slices.DeleteFunc(slices.Clone(p), func(x Problem) bool { return x.Warning })
}

// Bounds of a policy file.
const (
	maxFile     = 256 << 10 // bytes
	maxQuorum   = 10
	maxDuration = 24 * time.Hour
	maxEvents   = 1_000_000 // per second and node
	minExpiry   = time.Minute
	maxExpiry   = 24 * time.Hour
	maxQuota    = 10_000
)

// who is a set of people. The zero value is nobody.
type who struct {
	anyone bool     // of the policy's tenants
	people []string // ids, or accounts that are linked to nobody
	groups []string // as written: names, or references
}

func (w who) empty() bool { return !w.anyone && len(w.people) == 0 && len(w.groups) == 0 }

// condition is one requirement on a node's labels.
type condition struct {
	key    string
	not    bool
	values []string
}

func (c condition) holds(labels map[string]string) bool {
	v, ok := labels[c.key]
	return (ok && slices.Contains(c.values, v)) != c.not
}

func (c condition) String() string {
	op := "="
	if c.not {
		op = "!="
	}
	return c.key + op + strings.Join(c.values, "|")
}

type glass struct {
	by          who
	maxDuration time.Duration
	tell        []string
}

// rule is one entry of the file's list.
type rule struct {
	name       string
	line       int
	tiers      []approvals.Tier
	nodes      []condition
	quorum     int
	self       bool
	approvers  who
	requesters who
	places     []string
	duration   time.Duration
	events     int
	expiry     time.Duration
	ask        []string
	glass      *glass
}

// document is a file's content.
type document struct {
	version string // name@sha256:…
	paused  string
	tenants []string
	people  map[string][]ref
	persons map[string]string // account → person
	groups  map[string][]ref
	quotas  quotas
	rules   []*rule
	recipes keeping
	// maintenance says who drains and undrains which nodes.
	maintenance []upkeep
}

// upkeep lets some people drain and undrain some nodes.
type upkeep struct {
	line  int
	nodes []condition
	by    who
}

func (u upkeep) fits(labels map[string]string) bool {
	return all(u.nodes, func(c condition) bool { return c.holds(labels) })
}

// keeping is what is asked for, besides what a run would be, when a recipe is kept or removed.
type keeping struct {
	quorum    int // at least so many
	approvers who // if not empty, all of them are among these
	forbidden bool
}

type quotas struct {
	personRequests, placeRequests, personRuns int // 0: no limit
}

// parse reads a file. The document is nil when there are errors.
func parse(name string, b []byte) (*document, Problems) {
	sum := sha256.Sum256(b)
	d := &document{
		version: filepath.Base(name) + "@sha256:" + hex.EncodeToString(sum[:])[:16],
		people:  map[string][]ref{}, persons: map[string]string{}, groups: map[string][]ref{},
	}
	r := &reader{doc: d, anchors: map[string]ast.Node{}}
	root, err := r.root(b)
	if err != nil {
		return nil, Problems{{Line: lineOf(err), Text: textOf(err)}}
	}
	r.document(root)
	r.warn()
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return a.Line - b.Line })
	if len(r.problems.Errors()) > 0 {
		return nil, r.problems
	}
	return d, r.problems
}

// lineOf and textOf take an error of the YAML parser apart, which otherwise
// quotes the file over several lines.
func lineOf(err error) int {
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil {
		return y.GetToken().Position.Line
	}
	return 0
}

func textOf(err error) string {
	var y yaml.Error
	if errors.As(err, &y) {
		return y.GetMessage()
	}
	return err.Error()
}

// reader turns YAML into a document and keeps going after a fault, so that
// people see all of them at once.
type reader struct {
	doc      *document
	anchors  map[string]ast.Node
	problems Problems
	used     []string // names of groups that rules refer to
	named    []reference
}

// reference is a name that a rule uses, to be looked at when all is read.
type reference struct {
	node ast.Node
	text string
	kind kind
}

// Visit collects the anchors of a file.
func (r *reader) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok && a.Name != nil {
		r.anchors[a.Name.GetToken().Value] = a.Value
	}
	return r
}

func (r *reader) root(b []byte) (ast.Node, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("the file has %d bytes, at most %d", len(b), maxFile)
	}
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return nil, err
	}
	var docs []ast.Node
	for _, d := range file.Docs {
		if d.Body != nil {
			docs = append(docs, d.Body)
		}
	}
	if len(docs) != 1 {
		return nil, fmt.Errorf("want one YAML document, there are %d", len(docs))
	}
	ast.Walk(r, docs[0])
	return docs[0], nil
}

func (r *reader) errorf(n ast.Node, format string, args ...any) {
	r.problems = append(r.problems, Problem{Line: line(n), Text: fmt.Sprintf(format, args...)})
}

func (r *reader) warnf(at int, format string, args ...any) {
	r.problems = append(r.problems, Problem{Line: at, Text: fmt.Sprintf(format, args...), Warning: true})
}

func line(n ast.Node) int {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		return line(m.Values[0].Key) // the token of a mapping is its first colon
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 0
	}
	return n.GetToken().Position.Line
}

// value follows anchors and aliases, one step: a file needs no more.
func (r *reader) value(n ast.Node) ast.Node {
	if a, ok := n.(*ast.AliasNode); ok && a.Value != nil {
		if v, ok := r.anchors[a.Value.GetToken().Value]; ok {
			n = v
		}
	}
	if a, ok := n.(*ast.AnchorNode); ok {
		n = a.Value
	}
	return n
}

// field reads the value of one key.
type field func(ast.Node)

// mapping reads the keys of a mapping, each of which must be among the fields.
// It returns those that were there.
func (r *reader) mapping(n ast.Node, what string, fields map[string]field) map[string]bool {
	seen := map[string]bool{}
	r.each(n, what, func(key string, k, v ast.Node) {
		read, ok := fields[key]
		if !ok {
			names := slices.Sorted(maps.Keys(fields))
			hint := didYouMean(key, names)
			if hint == "" {
				hint = "; it has " + strings.Join(names, ", ")
			}
			r.errorf(k, "%s has no %q%s", what, key, hint)
			return
		}
		seen[key] = true
		read(v)
	})
	return seen
}

// each calls do for every key of a mapping.
func (r *reader) each(n ast.Node, what string, do func(key string, k, v ast.Node)) {
	var values []*ast.MappingValueNode
	switch m := r.value(n).(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		r.errorf(n, "%s must be a mapping of names to values", what)
		return
	}
	seen := map[string]bool{}
	for _, v := range values {
		key := v.Key.GetToken().Value
		if seen[key] {
			r.errorf(v.Key, "%q stands here twice", key)
			continue
		}
		seen[key] = true
		do(key, v.Key, v.Value)
	}
}

func (r *reader) text(n ast.Node) string {
	switch v := r.value(n).(type) {
	case *ast.StringNode:
		return v.Value
	case *ast.LiteralNode:
		return strings.TrimSpace(v.Value.Value)
	case *ast.IntegerNode: // a name of digits
		return v.GetToken().Value
	case *ast.MappingNode:
		if len(v.Values) == 1 {
			if s, ok := torn(v.Values[0]); ok {
				return s
			}
		}
	case *ast.MappingValueNode:
		if s, ok := torn(v); ok {
			return s
		}
	}
	r.errorf(n, "want text here")
	return ""
}

// torn puts together a name with a colon, which the parser takes apart within
// a list in braces: {people: [slack:T1/U1]}. To YAML, a colon without a space
// after it is a part of the word.
func torn(m *ast.MappingValueNode) (string, bool) {
	key, ok := m.Key.(*ast.StringNode)
	value := m.Value.GetToken()
	if !ok || m.Start == nil || value.Position.Line != m.Start.Position.Line || value.Position.Column != m.Start.Position.Column+1 {
		return "", false
	}
	switch m.Value.(type) {
	case *ast.StringNode, *ast.IntegerNode:
		return key.Value + ":" + value.Value, true
	}
	return "", false
}

// list reads a list of texts; one text is a list of one.
func (r *reader) list(n ast.Node) []ast.Node {
	switch v := r.value(n).(type) {
	case *ast.SequenceNode:
		return v.Values
	case *ast.StringNode:
		return []ast.Node{n}
	}
	r.errorf(n, "want a list here, such as [a, b]")
	return nil
}

func (r *reader) number(lo, hi int, into *int) field {
	return func(n ast.Node) {
		v, ok := r.value(n).(*ast.IntegerNode)
		if ok {
			if i, err := strconv.Atoi(v.GetToken().Value); err == nil && lo <= i && i <= hi {
				*into = i
				return
			}
		}
		r.errorf(n, "want a number from %d to %d here", lo, hi)
	}
}

func (r *reader) boolean(into *bool) field {
	return func(n ast.Node) {
		if v, ok := r.value(n).(*ast.BoolNode); ok {
			*into = v.Value
			return
		}
		r.errorf(n, "want true or false here")
	}
}

func (r *reader) duration(lo, hi time.Duration, into *time.Duration) field {
	return func(n ast.Node) {
		if v, ok := r.value(n).(*ast.StringNode); ok {
			if d, err := time.ParseDuration(v.Value); err == nil && lo <= d && d <= hi {
				*into = d
				return
			}
		}
		r.errorf(n, "want a duration from %v to %v here, such as 5m", lo, hi)
	}
}

// document reads the top of the file.
func (r *reader) document(root ast.Node) {
	d := r.doc
	var rules ast.Node
	seen := r.mapping(root, "a policy", map[string]field{
		"version": func(n ast.Node) {
			if v, ok := r.value(n).(*ast.IntegerNode); !ok || v.GetToken().Value != "1" {
				r.errorf(n, "version must be 1")
			}
		},
		"paused": func(n ast.Node) {
			if d.paused = r.text(n); d.paused == "" {
				r.errorf(n, "paused must say why; remove it to go on")
			}
		},
		"tenants": r.tenants,
		"people":  r.people,
		"groups":  r.groups,
		"quotas": func(n ast.Node) {
			r.mapping(n, "quotas", map[string]field{
				"requests_per_person_and_hour": r.number(1, maxQuota, &d.quotas.personRequests),
				"requests_per_place_and_hour":  r.number(1, maxQuota, &d.quotas.placeRequests),
				"runs_per_person":              r.number(1, maxQuota, &d.quotas.personRuns),
			})
		},
		"recipes": func(n ast.Node) {
			r.mapping(n, "recipes", map[string]field{
				"quorum":    r.number(1, maxQuorum, &d.recipes.quorum),
				"approvers": r.who("approvers", &d.recipes.approvers),
				"forbidden": r.boolean(&d.recipes.forbidden),
			})
		},
		"maintenance": r.maintenance,
		"rules":       func(n ast.Node) { rules = n },
	})
	for _, key := range []string{"version", "tenants", "rules"} {
		if !seen[key] {
			r.errorf(nil, "%s is missing", key)
		}
	}
	if rules != nil {
		r.rules(rules) // last: they refer to all else
	}
	r.resolve()
}

func (r *reader) tenants(n ast.Node) {
	for _, x := range r.list(n) {
		s := r.text(x)
		if ref, err := parseRef(s + "/x"); err != nil || ref.home() != s {
			r.errorf(x, "%q is not of the form slack:<team>, discord:<guild> or terminal:<host>", s)
			continue
		}
		r.doc.tenants = append(r.doc.tenants, s)
	}
	if len(r.doc.tenants) == 0 {
		r.errorf(n, "tenants lists no workspace, so nobody could ask or approve")
	}
}

func (r *reader) people(n ast.Node) {
	r.each(n, "people", func(id string, k, v ast.Node) {
		if !word(id) {
			r.errorf(k, "%q is no name for a person: one word without : and /", id)
			return
		}
		for _, x := range r.list(v) {
			account, ok := r.ref(x, user)
			if !ok {
				continue
			}
			if other, ok := r.doc.persons[account.String()]; ok {
				r.errorf(x, "the account %s is that of %s already: an account is one person's", account, other)
				continue
			}
			r.doc.persons[account.String()] = id
			r.doc.people[id] = append(r.doc.people[id], account)
		}
		if len(r.doc.people[id]) == 0 {
			r.errorf(k, "%s has no account", id)
		}
	})
}

func (r *reader) groups(n ast.Node) {
	r.each(n, "groups", func(name string, k, v ast.Node) {
		if !word(name) {
			r.errorf(k, "%q is no name for a group: one word without : and /", name)
			return
		}
		for _, x := range r.list(v) {
			if g, ok := r.ref(x, group); ok {
				r.doc.groups[name] = append(r.doc.groups[name], g)
			}
		}
		if len(r.doc.groups[name]) == 0 {
			r.errorf(k, "the group %s is empty", name)
		}
	})
}

// ref reads a reference of a kind. Its tenant is looked at in the end.
func (r *reader) ref(n ast.Node, want kind) (ref, bool) {
	s := r.text(n)
	x, err := parseRef(s)
	if err == nil {
		err = x.check(want)
	}
	if err != nil {
		if s != "" {
			r.errorf(n, "%v", err)
		}
		return ref{}, false
	}
	r.named = append(r.named, reference{n, s, want})
	return x, true
}

// places reads a list of channels.
func (r *reader) places(into *[]string) field {
	return func(n ast.Node) {
		*into = []string{}
		for _, x := range r.list(n) {
			if p, ok := r.ref(x, place); ok {
				*into = append(*into, p.String())
			}
		}
	}
}

func (r *reader) who(what string, into *who) field {
	return func(n ast.Node) {
		r.mapping(n, what, map[string]field{
			"anyone": r.boolean(&into.anyone),
			"people": r.names(user, &into.people),
			"groups": r.names(group, &into.groups),
		})
	}
}

// names reads a list of references of a kind, or of names that the policy gives them.
func (r *reader) names(k kind, into *[]string) field {
	return func(n ast.Node) {
		for _, x := range r.list(n) {
			s := r.text(x)
			if !strings.Contains(s, ":") {
				r.named = append(r.named, reference{x, s, k})
			} else if _, ok := r.ref(x, k); !ok {
				continue
			}
			*into = append(*into, s)
		}
	}
}

func (r *reader) rules(n ast.Node) {
	seq, ok := r.value(n).(*ast.SequenceNode)
	if !ok {
		r.errorf(n, "rules must be a list")
		return
	}
	if len(seq.Values) == 0 {
		r.errorf(n, "rules is empty, so nothing is allowed")
	}
	for i, x := range seq.Values {
		r.rule(i+1, x)
	}
}

func (r *reader) rule(number int, n ast.Node) {
	x := &rule{name: strconv.Itoa(number), line: line(r.value(n))}
	seen := r.mapping(n, "a rule", map[string]field{
		"name": func(n ast.Node) { x.name = r.text(n) },
		"tiers": func(n ast.Node) {
			for _, v := range r.list(n) {
				s := r.text(v)
				t, err := approvals.ParseTier(s)
				if err != nil {
					names := []string{"observe", "observe-sensitive", "act"}
					r.errorf(v, "%v%s", err, didYouMean(s, names))
					continue
				}
				x.tiers = append(x.tiers, t)
			}
			if len(x.tiers) == 0 {
				r.errorf(n, "tiers is empty, so the rule would never apply")
			}
		},
		"nodes":        r.conditions(&x.nodes),
		"quorum":       r.number(1, maxQuorum, &x.quorum),
		"self":         r.boolean(&x.self),
		"approvers":    r.who("approvers", &x.approvers),
		"requesters":   r.who("requesters", &x.requesters),
		"places":       r.places(&x.places),
		"max_duration": r.duration(time.Second, maxDuration, &x.duration),
		"max_events":   r.number(1, maxEvents, &x.events),
		"expiry":       r.duration(minExpiry, maxExpiry, &x.expiry),
		"ask":          r.places(&x.ask),
		"break_glass": func(n ast.Node) {
			x.glass = &glass{}
			seen := r.mapping(n, "break_glass", map[string]field{
				"by":           r.who("by", &x.glass.by),
				"max_duration": r.duration(time.Second, maxDuration, &x.glass.maxDuration),
				"audit":        r.places(&x.glass.tell),
			})
			for _, key := range []string{"by", "max_duration", "audit"} {
				if !seen[key] {
					r.errorf(n, "break_glass of rule %s has no %s", x.name, key)
				}
			}
			if seen["audit"] && len(x.glass.tell) == 0 {
				r.errorf(n, "break_glass of rule %s tells nobody: audit lists no channel", x.name)
			}
			if x.glass.by.anyone {
				r.errorf(n, "break_glass of rule %s: by anyone would make the quorum void", x.name)
			}
		},
	})
	for _, key := range []string{"tiers", "quorum", "approvers", "requesters", "max_duration", "max_events", "expiry"} {
		if !seen[key] {
			r.errorf(n, "rule %s has no %s", x.name, key)
		}
	}
	switch {
	case !word(strings.ReplaceAll(x.name, " ", "_")):
		r.errorf(n, "%q is no name for a rule", x.name)
	case slices.ContainsFunc(r.doc.rules, func(o *rule) bool { return o.name == x.name }):
		r.errorf(n, "there is another rule %s", x.name)
	}
	harmless := func(t approvals.Tier) bool { return t == approvals.Observe }
	if x.self && !all(x.tiers, harmless) {
		r.errorf(n, "rule %s: self is for the tier observe only; whatever does more takes somebody else", x.name)
	}
	if x.approvers.anyone && !all(x.tiers, harmless) {
		r.errorf(n, "rule %s: approvers may be anyone for the tier observe only; name people or groups", x.name)
	}
	if seen["places"] && len(x.places) == 0 {
		r.errorf(n, "rule %s: places is empty, so nobody could ask; leave it out for everywhere", x.name)
	}
	r.doc.rules = append(r.doc.rules, x)
}

// conditions reads what nodes are chosen by.
func (r *reader) conditions(into *[]condition) field {
	return func(n ast.Node) {
		for _, v := range r.list(n) {
			for _, s := range strings.Split(r.text(v), ",") {
				c, err := parseCondition(strings.TrimSpace(s))
				if err != nil {
					r.errorf(v, "%v", err)
					continue
				}
				*into = append(*into, c)
			}
		}
	}
}

// maintenance reads who drains nodes.
func (r *reader) maintenance(n ast.Node) {
	seq, ok := r.value(n).(*ast.SequenceNode)
	if !ok {
		r.errorf(n, "maintenance must be a list")
		return
	}
	for _, x := range seq.Values {
		u := upkeep{line: line(r.value(x))}
		seen := r.mapping(x, "an entry of maintenance", map[string]field{
			"nodes": r.conditions(&u.nodes),
			"by":    r.who("by", &u.by),
		})
		if !seen["by"] {
			r.errorf(x, "an entry of maintenance has no by: who may drain these nodes")
		}
		r.doc.maintenance = append(r.doc.maintenance, u)
	}
}

func all[T any](list []T, ok func(T) bool) bool {
	return !slices.ContainsFunc(list, func(x T) bool { return !ok(x) })
}

// parseCondition reads key=value, key!=value or key=a|b.
func parseCondition(s string) (condition, error) {
	key, values, ok := strings.Cut(s, "=")
	key, not := strings.CutSuffix(key, "!")
	c := condition{key: key, not: not, values: strings.Split(values, "|")}
	// Of what no label can hold, nothing may be taken for a value: the rule would
	// never apply, and a laxer one after it would.
	const never = " \t=!<>*?\"'`()[]{}:;/\\@#$%&"
	if !ok || key == "" || slices.Contains(c.values, "") || strings.ContainsAny(key+values, never) {
		return condition{}, fmt.Errorf("%q selects no nodes: want label=value, label!=value or label=a|b; leave nodes out for all", s)
	}
	return c, nil
}

// resolve checks what names refer to.
func (r *reader) resolve() {
	for _, x := range r.named {
		switch full, err := parseRef(x.text); {
		case strings.Contains(x.text, ":"):
			if err == nil && !slices.Contains(r.doc.tenants, full.home()) {
				r.errorf(x.node, "%s is of %s, which is not among the tenants%s", x.text, full.home(), didYouMean(full.home(), r.doc.tenants))
			}
		case x.kind == user:
			if _, ok := r.doc.people[x.text]; !ok {
				r.errorf(x.node, "people has no %q%s", x.text, didYouMean(x.text, slices.Sorted(maps.Keys(r.doc.people))))
			}
		case x.kind == group:
			if _, ok := r.doc.groups[x.text]; !ok {
				r.errorf(x.node, "groups has no %q%s", x.text, didYouMean(x.text, slices.Sorted(maps.Keys(r.doc.groups))))
			}
			r.used = append(r.used, x.text)
		}
	}
}
