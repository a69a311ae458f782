package agent

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify"
)

// promise tells the author of a program what its contract fixes about its form:
// hooks, outputs with what each member is, parameters. The conditions are not among
// it: the program's author reads them in the request for itself, so that a contract
// which misreads it does not go unnoticed.
func promise(c *contract.Contract) string {
	var b strings.Builder
	b.WriteString("# What the program has to look like (it is checked against this)\n")
	var hooks []string
	for _, h := range c.Hooks {
		for i, p := range h.Places {
			s := p.String()
			switch {
			case p.Or && i > 0:
				s = "else " + s
			case p.IfPresent:
				s += " (where it exists)"
			}
			hooks = append(hooks, s)
		}
	}
	fmt.Fprintf(&b, "Hooks, these and no others: %s.\n", strings.Join(hooks, "; "))
	for _, e := range c.Enums {
		var values []string
		for _, v := range e.Values {
			values = append(values, fmt.Sprintf("%s = %d", v.Name, v.Value))
		}
		fmt.Fprintf(&b, "enum %s { %s };\n", e.Name, strings.Join(values, ", "))
	}
	enums := func(name string) bool {
		return slices.ContainsFunc(c.Enums, func(e *contract.Enum) bool { return e.Name == name })
	}
	for _, e := range c.Events {
		fmt.Fprintf(&b, "Ring buffer `%s`, an event has these members:\n", e.Name)
		for _, m := range e.Members {
			fmt.Fprintf(&b, "- %s%s\n", declareMember(m, enums), saidOf(c, e.Name, m.Name, false))
		}
	}
	for _, t := range c.Tables {
		fmt.Fprintf(&b, "Map `%s` tagged KGENT_OUTPUT.", t.Name)
		switch len(t.Key) {
		case 0:
			b.WriteString(" One row: an array of one entry, or a hash with a fixed key.")
		default:
			b.WriteString(" Its key has these members:\n")
			for _, m := range t.Key {
				fmt.Fprintf(&b, "- %s%s\n", declareMember(m, enums), saidOf(c, t.Name, m.Name, true))
			}
		}
		if len(t.Values) == 1 && t.Values[0].Name == "" {
			fmt.Fprintf(&b, "Its value is %s%s\n", valueType(t.Values[0]), saidOf(c, t.Name, "", false))
			continue
		}
		b.WriteString("Its value is a struct of these members:\n")
		for _, v := range t.Values {
			fmt.Fprintf(&b, "- %s: %s%s\n", v.Name, valueType(v), saidOf(c, t.Name, v.Name, false))
		}
	}
	b.WriteString(paramsPromise(c.Params))
	b.WriteString(wherePromise(c))
	return b.String()
}

// paramsPromise says which parameters the program has to have.
func paramsPromise(params []*contract.Param) string {
	filter := standardFilter(params)
	var own []string
	for _, p := range params {
		if filter && isFilter(p) {
			continue
		}
		s := "const volatile " + cType(p.Type.Name)
		if p.Type.Size > 0 {
			s += fmt.Sprintf(" %s[%d]", p.Name, p.Type.Size)
		} else {
			s += " " + p.Name
		}
		s += " = " + cDefault(p)
		if p.Means != "" {
			s += ": " + clip(p.Means, 160)
		}
		own = append(own, "- "+s)
	}
	switch {
	case filter && len(own) == 0:
		return "Parameters: KGENT_TASK_FILTER and no others; test it with k_task_wanted() or k_wants_task(task). Leave \"parameters\" empty.\n"
	case filter:
		return "Parameters: KGENT_TASK_FILTER (test it with k_task_wanted() or k_wants_task(task)), and exactly these, with these values (leave \"parameters\" empty):\n" + strings.Join(own, "\n") + "\n"
	case len(own) > 0:
		return "Parameters, exactly these, with these values (leave \"parameters\" empty; no KGENT_TASK_FILTER):\n" + strings.Join(own, "\n") + "\n"
	}
	return "Parameters: none, and no KGENT_TASK_FILTER.\n"
}

// cType is a contract's type in C.
func cType(name string) string {
	switch name {
	case "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "be16", "be32", "be64":
		return "__" + name
	}
	return name
}

func declareMember(m contract.Member, isEnum func(string) bool) string {
	switch {
	case m.Type.Size > 0:
		return fmt.Sprintf("char %s[%d]", m.Name, m.Type.Size)
	case isEnum(m.Type.Name):
		return "enum " + m.Type.Name + " " + m.Name
	}
	return cType(m.Type.Name) + " " + m.Name
}

// valueType says how a cell's aggregate is kept.
func valueType(v contract.TableValue) string {
	unit := strings.TrimPrefix(v.Type.Name, "k_")
	if !slices.Contains([]string{"ns", "us", "bytes", "count"}, unit) {
		unit = "count"
	}
	switch v.Agg {
	case contract.Count:
		return "k_count"
	case contract.Stats:
		return "k_stats_" + unit
	case contract.Log2:
		return "k_hist_" + unit
	case contract.Linear:
		return fmt.Sprintf("a struct of __u64 slot[%d], slot i counts values from %d*i on, the last all above", v.Slots, v.Step)
	case contract.Sum:
		return cType(v.Type.Name) + ", a sum"
	}
	return fmt.Sprintf("%s, the %s, in a map that CPUs share", cType(v.Type.Name), v.Agg)
}

// saidOf says what a contract puts into a member: its expressions, each once.
func saidOf(c *contract.Contract, to, member string, key bool) string {
	var said []string
	note := func(e contract.Expr) {
		if s := contract.ExprString(e); !slices.Contains(said, s) && len(said) < 3 {
			said = append(said, clip(s, 160))
		}
	}
	effects := func(list []*contract.Effect) {
		for _, e := range list {
			if e.To != to || e.Verb != contract.Emit && e.Verb != contract.Add {
				continue
			}
			fields := e.Fields
			if key {
				fields = e.Key
			}
			for _, f := range fields {
				if f.Name == member {
					note(f.Is)
				}
			}
			if !key && member == "" && e.Value != nil {
				note(e.Value)
			}
		}
	}
	for _, h := range c.Hooks {
		for _, s := range h.Steps {
			for _, x := range s.Cases {
				effects(x.Effects)
			}
			effects(s.Otherwise)
		}
	}
	if len(said) == 0 {
		return ""
	}
	return ": " + strings.Join(said, ", or ")
}

// cDefault is a parameter's initial value in C.
func cDefault(p *contract.Param) string {
	switch d := p.Default.(type) {
	case nil:
		if p.Type.Size > 0 {
			return `""`
		}
		if p.Type.Name == "k_ip" {
			return "{}"
		}
		return "0"
	case *contract.Number:
		return fmt.Sprint(d.Value) // in nanoseconds, bytes
	case *contract.Text:
		if p.Type.Name == "k_ip" {
			return "the address " + fmt.Sprintf("%q", d.Value) + " (IPv4 as ::ffff:a.b.c.d)"
		}
		return fmt.Sprintf("%q", d.Value)
	default:
		return contract.ExprString(d)
	}
}

// anyOf are the parameters of the standard filter, with the value that means any.
var anyOf = map[string]struct{ typ, any string }{"pid": {"k_pid", ""}, "comm": {"char[16]", ""}, "uid": {"k_uid", "-1"}}

func isFilter(p *contract.Param) bool {
	f, ok := anyOf[p.Name]
	return ok && p.Type.String() == f.typ
}

// standardFilter tells whether all three parameters of KGENT_TASK_FILTER are there.
func standardFilter(params []*contract.Param) bool {
	n := 0
	for _, p := range params {
		if isFilter(p) {
			n++
		}
	}
	return n == len(anyOf)
}

// settle takes the request's values for the standard filter out of a contract's defaults: the
// program declares the filter as all programs do, and the values are set in its manifest.
func settle(c *contract.Contract) map[string]string {
	set := map[string]string{}
	if !standardFilter(c.Params) {
		return set
	}
	for _, p := range c.Params {
		if !isFilter(p) || p.Default == nil {
			continue
		}
		value := contract.ExprString(p.Default)
		if t, ok := p.Default.(*contract.Text); ok {
			value = t.Value
		}
		if value != anyOf[p.Name].any && !(p.Name == "pid" && value == "0") {
			set[p.Name] = value
		}
		p.Default = nil
		if p.Name == "uid" {
			p.Default = &contract.Unary{Op: "-", X: &contract.Number{Value: 1}}
		}
	}
	return set
}

// sameValues refuses a program whose manifest sets parameters to something else than the contract has
// read from the request: the proof holds for all values, so it would not notice.
func sameValues(c *contract.Contract, settled map[string]string, said []saidParameter, o *program.Object) error {
	var faults []string
	for _, s := range said {
		i := slices.IndexFunc(o.Params(), func(p program.Param) bool { return p.Name == s.Name })
		if i < 0 {
			continue // the manifest says so
		}
		param := o.Params()[i]
		want := param.Default
		known := slices.IndexFunc(c.Params, func(p *contract.Param) bool { return p.Name == s.Name })
		text, isSettled := settled[s.Name]
		switch {
		case known < 0: // the proof says so
			continue
		case isSettled:
			var err error
			if want, err = program.EncodeValue(param.Type, text); err != nil {
				continue
			}
		case isFilter(c.Params[known]) && standardFilter(c.Params):
			continue // a narrower look, which the card shows
		}
		if got, err := program.EncodeValue(param.Type, s.Value); err == nil && !bytes.Equal(got, want) {
			faults = append(faults, fmt.Sprintf("\"parameters\" sets %s to %q, but the contract reads another value from the request: leave it out there", s.Name, s.Value))
		}
	}
	if len(faults) > 0 {
		return &verify.Failure{Gate: verify.GateSymbolic, Err: fmt.Errorf("%s", strings.Join(faults, "; "))}
	}
	return nil
}
