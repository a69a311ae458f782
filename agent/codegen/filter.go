package codegen

import "kgent/agent/contract"

// The filter for a task that all programs have (KGENT_TASK_FILTER) is in the header: where a
// contract asks for just that, the program says so in a word.

// hasFilter tells whether the contract has the filter's parameters, as the header declares them.
func (g *generator) hasFilter() bool {
	n := 0
	for _, p := range g.c.Params {
		d := uint64(0)
		if p.Default != nil {
			d = p.Default.Bits
		}
		ok := false
		switch p.Name {
		case "pid":
			ok = p.Type.Meaning == "pid" && d == 0
		case "comm":
			ok = p.Type.Kind == contract.TextKind && p.Type.Size == 16 && (p.Default == nil || p.Default.Text == "")
		case "uid":
			ok = p.Type.Meaning == "uid" && uint32(d) == ^uint32(0)
		}
		if ok {
			n++
		}
	}
	return n == 3
}

// isFilter tells whether a condition is that of task_wanted or wants_task on these parameters.
func (f *function) isFilter(v *contract.Value) bool {
	_, ok := f.filtered(v)
	return ok
}

// filtered returns the task that a filter is for; nil is the current one.
func (f *function) filtered(v *contract.Value) (*contract.Value, bool) {
	c, ok := v.From.(*contract.Call)
	if !ok || c.Recv != nil || c.Fun != "task_wanted" && c.Fun != "wants_task" || v.Op != contract.OpBoth || !f.g.filter {
		return nil, false
	}
	// The names in the call may be those of a definition's arguments: what counts is what they became.
	seen := map[string]bool{}
	var task *contract.Value
	var walk func(*contract.Value)
	walk = func(v *contract.Value) {
		switch v.Op {
		case contract.OpParam, contract.OpInput:
			seen[v.Name] = true
		case contract.OpLoad:
			if v.Path == "tgid" && v.Struct == "struct task_struct" {
				task = v.Args[0]
			}
		}
		for _, a := range v.Args {
			walk(a)
		}
	}
	walk(v)
	if !seen["pid"] || !seen["comm"] || !seen["uid"] || !seen["kgent.pid"] {
		return nil, false
	}
	if c.Fun == "task_wanted" {
		return nil, seen["current.tgid"] && seen["current.uid"] && seen["current.comm"] && len(seen) == 8
	}
	return task, task != nil && len(seen) == 4+inputsOf(task)
}

// inputsOf is how many inputs and parameters lead to a value.
func inputsOf(v *contract.Value) int {
	seen := map[string]bool{}
	var walk func(*contract.Value)
	walk = func(v *contract.Value) {
		if v.Op == contract.OpParam || v.Op == contract.OpInput {
			seen[v.Name] = true
		}
		for _, a := range v.Args {
			walk(a)
		}
	}
	walk(v)
	return len(seen)
}

// wanted writes the filter, if a condition is one.
func (b *block) wanted(v *contract.Value) (bool, expr) {
	task, ok := b.f.filtered(v)
	if !ok {
		return false, expr{}
	}
	b.f.g.filterUsed = true
	if task == nil {
		return true, expr{text: "k_task_wanted()", kind: truth}
	}
	x, err := b.value(task)
	if err != nil {
		return false, expr{}
	}
	return true, expr{text: "k_wants_task(" + x.text + ")", kind: truth}
}
