package agent

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"kgent/agent/contract"
)

// foreign refuses a candidate for a process that is named by a number, where who asks sees
// other numbers than programs do: [Agent.Foreign]. A number of a container's, asked for together
// with the container, is meant as that numbers it and passes.
func (a *Agent) foreign(c *Candidate) error {
	if !a.Foreign {
		return nil
	}
	found := numbered(c)
	if found == "" {
		return nil
	}
	return fmt.Errorf("%w: it names a process by its id (%s), and kgent runs in a PID namespace of its own, where ids are others than on the node: "+
		"name the process by its name, or by its container (%q), or run kgent in the node's PID namespace (docker run --pid=host, hostPID: true)", ErrRequest, found, "pid 1 in container web")
}

// ids are the last words of names of process and thread ids.
var ids = []string{"pid", "tid", "tgid"}

// isID reports whether a name is that of a process or thread id: tgid, next_pid.
func isID(name string) bool {
	return slices.Contains(ids, name[strings.LastIndexByte(name, '_')+1:])
}

// numbered are the process and thread ids that a candidate is narrowed to; "" if there
// are none.
func numbered(c *Candidate) string {
	var found []string
	note := func(id string) {
		if !slices.Contains(found, id) {
			found = append(found, id)
		}
	}
	param := map[string]bool{"pid": true, "tid": true, "tgid": true}
	if c.Contract != nil {
		for _, p := range c.Contract.Params {
			param[p.Name] = p.Type.Name == "k_pid" || p.Type.Name == "k_tid"
		}
	}
	for _, k := range c.Manifest.Constants {
		if param[k.Name] && strings.Trim(k.Value, "0") != "" {
			note(k.Value)
		}
	}
	if c.Contract != nil {
		numberedIn(c.Contract, note)
	}
	if s := c.Manifest.Script; s != nil {
		for _, m := range scriptIDs.FindAllStringSubmatch(s.Text, -1) {
			note(m[1] + m[2])
		}
	}
	return strings.Join(found, ", ")
}

// scriptIDs finds an id beside a number, in either order, in a script.
var scriptIDs = regexp.MustCompile(`\b(?:\w+_)?(?:pid|tid|tgid)\b\s*(?:[=!]=|[<>]=?)\s*([1-9]\w*)|\b([1-9]\w*)\s*(?:[=!]=|[<>]=?)\s*(?:[\w.>-]+(?:\.|->))?(?:\w+_)?(?:pid|tid|tgid)\b`)

// numberedIn notes the numbers that a contract holds ids against: one by one, as the
// ends of a range, or as a set.
func numberedIn(c *contract.Contract, note func(id string)) {
	named := map[string]contract.Expr{}
	for _, d := range c.Defines {
		named[d.Name] = d.Body
	}
	var number func(e contract.Expr)
	number = func(e contract.Expr) {
		switch e := e.(type) {
		case *contract.Number:
			if e.Value != 0 {
				note(fmt.Sprint(e.Value))
			}
		case *contract.Name:
			if body, ok := named[e.Name].(*contract.Number); ok {
				number(body)
			}
		}
	}
	var id func(e contract.Expr) bool
	id = func(e contract.Expr) bool {
		switch e := e.(type) {
		case *contract.Select:
			return isID(e.Name)
		case *contract.Name:
			return isID(e.Name)
		case *contract.Call: // a conversion
			return len(e.Args) == 1 && id(e.Args[0])
		}
		return false
	}
	for _, e := range contract.Expressions(c) {
		contract.Walk(e, func(e contract.Expr) {
			switch e := e.(type) {
			case *contract.Binary:
				if !slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, e.Op) {
					return
				}
				if id(e.X) {
					number(e.Y)
				}
				if id(e.Y) {
					number(e.X)
				}
			case *contract.In:
				if id(e.X) {
					for _, x := range e.Set {
						number(x)
					}
				}
			}
		})
	}
}
