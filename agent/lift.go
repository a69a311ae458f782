package agent

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify/proof"
)

// Lifted is a program whose constants became parameters, as far as that could be proved.
type Lifted struct {
	*Candidate
	// Params are those that were lifted, by name, with what they were.
	Params map[string]string
	// Kept says which constants stay as they are, and why, a line each.
	Kept []string
}

const (
	// maxLifted is how many constants are tried.
	maxLifted = 4
	// leastLifted is the smallest number that is taken for a choice of the request: smaller
	// ones are mostly part of how something is done.
	leastLifted = 2
)

// liftable is a number or text that a contract's condition compares something with.
type liftable struct {
	name  string // of the parameter to be
	typ   contract.TypeName
	value contract.Expr
	put   []func(contract.Expr) // put another expression in its place, wherever it is compared with
}

// Lift makes parameters of the constants in the conditions of a proved program's contract,
// in the contract and in the source alike, and proves the program anew, for all values of
// them. A constant for which that fails stays what it is. The error is a *[RejectedError]
// when the program as it is cannot be proved.
func (a *Agent) Lift(ctx context.Context, source, contractText string, opt program.Options, targets []Target, progress func(Step)) (*Lifted, error) {
	if len(targets) == 0 {
		return nil, errors.New("lifting constants: no kernel was named")
	}
	if progress == nil {
		progress = func(Step) {}
	}
	p := &preparation{Agent: a, targets: targets, progress: progress, record: &Record{Started: a.Now()}, trying: true}
	out := &Lifted{Params: map[string]string{}}
	text := contractText
	c, err := p.proved(ctx, source, text, opt)
	if err != nil {
		return nil, err
	}
	if c.Finding.Verdict != proof.Verified {
		return nil, &RejectedError{Record: p.record, Last: fmt.Errorf("only what is proved becomes a recipe: %s", c.Finding.Reason)}
	}
	out.Candidate = c
	for skip, tried := 0, 0; tried < maxLifted; tried++ {
		k, err := contract.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("lifting constants: %w", err)
		}
		all := choicesOf(k)
		if skip >= len(all) {
			break
		}
		x := all[skip]
		shown := contract.ExprString(x.value)
		nextSource, why := liftedSource(source, x)
		if why == "" {
			for _, put := range x.put {
				put(&contract.Name{Name: x.name})
			}
			k.Params = append(k.Params, &contract.Param{Name: x.name, Type: x.typ, Default: x.value, Means: "was " + shown + " when the recipe was made"})
			nextText := contract.Format(k)
			next, err := p.proved(ctx, nextSource, nextText, opt)
			switch {
			case ctx.Err() != nil:
				return nil, context.Cause(ctx)
			case err != nil:
				why = clip(firstLine(err.Error()), 160)
			case next.Finding.Verdict != proof.Verified:
				why = clip(next.Finding.Reason, 160)
			default:
				source, text, out.Candidate = nextSource, nextText, next
				out.Params[x.name] = shown
				continue
			}
		}
		out.Kept = append(out.Kept, fmt.Sprintf("%s stays %s: %s", x.name, shown, why))
		skip++
	}
	return out, nil
}

// proved takes a source through the gates with a contract in its text form.
func (p *preparation) proved(ctx context.Context, source, text string, opt program.Options) (*Candidate, error) {
	k, err := contract.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("reading the contract: %w", err)
	}
	return p.gates(ctx, source, opt, k, nil)
}

// choicesOf are the constants of a contract's conditions that a request may have chosen, in
// their order.
func choicesOf(c *contract.Contract) []liftable {
	var out []liftable
	taken := map[string]bool{}
	for _, p := range c.Params {
		taken[p.Name] = true
	}
	name := func(s string) string {
		s = identifierOf(s)
		for n, base := 2, s; taken[s]; n++ {
			s = base + strconv.Itoa(n)
		}
		return s
	}
	add := func(subject, value contract.Expr, put func(contract.Expr)) {
		typ, ok := typeFor(subject, value)
		if !ok {
			return
		}
		// What is said several times is chosen once.
		if i := slices.IndexFunc(out, func(x liftable) bool {
			return x.typ == typ && contract.ExprString(x.value) == contract.ExprString(value)
		}); i >= 0 {
			out[i].put = append(out[i].put, put)
			return
		}
		n := name(contract.ExprString(subject))
		taken[n] = true
		out = append(out, liftable{name: n, typ: typ, value: value, put: []func(contract.Expr){put}})
	}
	var walk func(e contract.Expr)
	walk = func(e contract.Expr) {
		switch x := e.(type) {
		case *contract.Unary:
			walk(x.X)
		case *contract.Binary:
			switch x.Op {
			case "&&", "||":
				walk(x.X)
				walk(x.Y)
			case "==", "!=", "<", "<=", ">", ">=":
				if literal(x.Y) && !literal(x.X) {
					add(x.X, x.Y, func(e contract.Expr) { x.Y = e })
				} else if literal(x.X) && !literal(x.Y) {
					add(x.Y, x.X, func(e contract.Expr) { x.X = e })
				}
			}
		}
	}
	for _, h := range c.Hooks {
		for _, s := range h.Steps {
			for _, k := range s.Cases {
				walk(k.When)
			}
		}
	}
	return out
}

// literal reports whether an expression is a constant that somebody may have chosen.
func literal(e contract.Expr) bool {
	switch x := e.(type) {
	case *contract.Number:
		return x.Value >= leastLifted
	case *contract.Text:
		return x.Value != "" && x.Value != "::"
	}
	return false
}

// typeFor is the type of a parameter that something is compared with.
func typeFor(subject, value contract.Expr) (contract.TypeName, bool) {
	name := strings.ToLower(contract.ExprString(subject))
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(name, p) })
	}
	if t, ok := value.(*contract.Text); ok {
		if has("_ip", "addr") {
			return contract.TypeName{}, false // addresses are compared in pieces
		}
		if len(t.Value) > 15 {
			return contract.TypeName{}, false
		}
		return contract.TypeName{Name: "char", Size: 16}, true
	}
	switch n := value.(*contract.Number); {
	case slices.Contains([]string{"ns", "us", "ms", "s", "m", "h"}, n.Unit), strings.Contains(name, "now -"):
		return contract.TypeName{Name: "k_ns"}, true
	case n.Unit != "":
		return contract.TypeName{Name: "k_bytes"}, true
	case has("port"):
		return contract.TypeName{Name: "k_port"}, true
	case has("tgid"):
		return contract.TypeName{Name: "k_pid"}, true
	case has("current.tid", "current.pid"):
		return contract.TypeName{Name: "k_tid"}, true
	case has("uid"):
		return contract.TypeName{Name: "k_uid"}, true
	}
	return contract.TypeName{Name: "u64"}, true
}

var (
	notWord = regexp.MustCompile(`[^a-z0-9]+`)
	// cTokens are the parts of C in which a number or text stands for itself: comments and
	// attributes are matched first, and left alone.
	cTokens = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*|SEC\s*\([^)]*\)|__uint\s*\([^)]*\)|__type\s*\([^)]*\)|#[^\n]*|\[[0-9]+\]|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|\b0[xX][0-9a-fA-F]+[uUlL]*\b|\b[0-9]+[uUlL]*\b`)
)

// identifierOf makes a parameter's name of what it is compared with.
func identifierOf(subject string) string {
	parts := strings.Fields(notWord.ReplaceAllString(strings.ToLower(subject), " "))
	name := "value"
	if len(parts) > 0 {
		name = parts[len(parts)-1]
	}
	for _, p := range []string{"skc_dport", "dport", "sport", "tgid", "comm", "uid", "port"} {
		if strings.Contains(strings.ToLower(subject), p) {
			name = strings.TrimPrefix(p, "skc_")
			break
		}
	}
	if name == "tgid" {
		name = "pid"
	}
	if name[0] >= '0' && name[0] <= '9' {
		name = "value"
	}
	return "the_" + name
}

// liftedSource puts a parameter in the place of a constant in C. why is set when it cannot.
func liftedSource(source string, x liftable) (out, why string) {
	if regexp.MustCompile(`\b` + x.name + `\b`).MatchString(source) {
		return "", "the program uses that name for something else"
	}
	found := 0
	out = cTokens.ReplaceAllStringFunc(source, func(tok string) string {
		if !sameConstant(tok, x.value) {
			return tok
		}
		found++
		return x.name
	})
	if found == 0 {
		return "", "the program does not write it in one piece"
	}
	at := ownHeader.FindStringIndex(out)
	if at == nil {
		return "", "the program does not include kgent.bpf.h"
	}
	line := strings.IndexByte(out[at[1]:], '\n')
	if line < 0 {
		return "", "the program does not include kgent.bpf.h"
	}
	decl := "const volatile " + cType(x.typ.Name)
	if x.typ.Size > 0 {
		decl = fmt.Sprintf("const volatile char %s[%d]", x.name, x.typ.Size)
	} else {
		decl += " " + x.name
	}
	p := &contract.Param{Name: x.name, Type: x.typ, Default: x.value}
	cut := at[1] + line + 1
	return out[:cut] + decl + " = " + cDefault(p) + ";\n" + out[cut:], ""
}

// sameConstant reports whether a token of C is a contract's constant.
func sameConstant(tok string, value contract.Expr) bool {
	switch v := value.(type) {
	case *contract.Number:
		if tok[0] < '0' || tok[0] > '9' {
			return false
		}
		n, err := strconv.ParseUint(strings.TrimRight(tok, "uUlL"), 0, 64)
		return err == nil && n == v.Value
	case *contract.Text:
		if tok[0] != '"' {
			return false
		}
		s, err := strconv.Unquote(tok)
		return err == nil && s == v.Value
	}
	return false
}
