package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kgent/agent/contract"
	"kgent/agent/llm"
	"kgent/agent/program"
	"kgent/agent/program/compile"
	"kgent/agent/recipes"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
	"kgent/retrieval/kernel"
)

// writing is the making of a program by a model, with the contract that it is held against.
type writing struct {
	*preparation
	asked   context.Context // without the budget's time
	budget  *llm.Budget
	schema  *llm.Schema
	request string // the question without what the contract adds to it
	author  *author
	tools   *toolbox
	look    bool // tools are worth their tokens for the next question

	contract *contract.Contract // nil: there is none
	draft    *Draft             // the contract's record
	settled  map[string]string  // the request's values for the standard filter
	known    string             // mistakes made before at the contract's hooks
	// unread says why there is no contract.
	unread string
	// said is what people have to know of how the contract came about.
	said []string

	messages []llm.Message
	sample   int // fresh starts so far: each is drawn in another way
	refused  []string
	last     error
	// disputed has the sample in which an obligation was first refuted.
	disputed map[string]int
	reread   bool
	// adjudicated: two readings of the request differed, and it was decided between them.
	adjudicated bool
	// otherwise is at which point a program was first refuted that was written from the
	// request: those after it were told.
	otherwise string
	// spare is a candidate that could not be proved, while a better one is tried for.
	spare *Candidate
}

// fromModel has the model write a contract, and then the program. A program that fails
// a gate is given back twice with its fault; then the model starts afresh, knowing what
// was refused.
func (p *preparation) fromModel(ctx context.Context, nearest []*recipes.Recipe) (*Candidate, error) {
	if p.Compiler == nil { // what the model writes could not even be compiled
		return nil, compile.ErrNoClang
	}
	if err := p.shared(ctx); err != nil {
		return nil, err
	}
	w := &writing{preparation: p, asked: ctx, disputed: map[string]int{}}
	ctx, cancel := context.WithTimeoutCause(ctx, p.budget.Time, fmt.Errorf("a request may take %v, and they are over", p.budget.Time))
	defer cancel()
	var err error
	if w.request, err = p.question(ctx, p.req, p.targets, nearest); err != nil {
		return nil, err
	}
	if w.schema, err = llm.SchemaOf[answer]("ebpf_program"); err != nil {
		return nil, err
	}
	w.budget = llm.NewBudget(llm.Bounds{Tokens: p.budget.Tokens, Money: p.budget.Money, Requests: requestsPerTry*(p.budget.Tries+max(p.budget.Contracts, p.budget.Tries)) + extraRequests})
	if w.author, err = p.newAuthor(ctx, w.budget); err != nil {
		return nil, err
	}
	w.tools = &toolbox{writing: w, left: p.Effort.Tools}
	w.author.tools = w.tools
	w.look = w.tools.open() && w.few(ctx)
	w.author.look = w.look
	c, d, err := w.divided(ctx)
	if c == nil && err == nil {
		c, d, err = w.author.write(ctx)
	}
	if err := w.take(ctx, c, d, err); err != nil {
		return nil, err
	}
	return w.made(ctx)
}

// made has the program made: generated from the contract, or written.
func (w *writing) made(ctx context.Context) (*Candidate, error) {
	if c, err := w.fromContract(ctx); c != nil || err != nil {
		return c, err
	}
	w.messages = []llm.Message{llm.User(w.question())}
	if w.contract == nil && w.Effort.Samples > 1 {
		return w.sampled(ctx)
	}
	for try := 1; try <= w.preparation.budget.Tries; try++ {
		c, err := w.try(ctx, try)
		if c != nil || err != nil {
			return c, err
		}
	}
	if w.spare != nil {
		return w.spare, nil
	}
	return nil, &RejectedError{Record: w.record, Last: w.last}
}

// take takes over what the author of the contract has brought. An error ends the preparation.
func (w *writing) take(ctx context.Context, c *contract.Contract, d *Draft, err error) error {
	var none *noContract
	switch {
	case err == nil:
		chosen, said, err := w.chosen(ctx, c)
		if err != nil {
			return err
		}
		w.contract, w.draft, w.unread, w.said = chosen, d, "", append(w.said, said...)
		w.settled = settle(w.contract)
		w.known = w.lessons(ctx, c)
		return nil
	case errors.As(err, &none):
		w.contract, w.draft, w.settled, w.unread = nil, nil, nil, none.why
		return nil
	}
	return w.unanswered(w.asked, ctx, err, w.last)
}

// question is the first message: the request, and what the contract fixes of the program's form.
func (w *writing) question() string {
	if w.contract == nil {
		return w.request
	}
	question := w.request + "\n" + promise(w.contract)
	if w.known != "" {
		question += "\n" + w.known
	}
	return question
}

// written has one program written, and puts the answer on record: the attempt is nil when there was
// none, because the endpoint or the budget failed.
func (w *writing) written(ctx context.Context, try int) (ans llm.Answer, parsed *answer, att *Attempt, err error) {
	parsed = &answer{}
	var salvaged []string
	err = w.step("write", func() (string, error) {
		var err error
		ans, err = w.tools.complete(ctx, w.sampling(llm.Prompt{Purpose: "write the program", Task: llm.TaskCode, System: systemPrompt, Messages: w.messages,
			Schema: w.schema, Budget: w.budget, Record: w.record.call}), w.look)
		if err == nil {
			*parsed, err = llm.Decode[answer](ans)
		}
		if *parsed, salvaged, err = orSalvaged(*parsed, w.schema, ans, err); err != nil {
			return "", err
		}
		return fmt.Sprintf("try %d by %s, %d tokens", try, modelName(ans), ans.Usage.Total()), nil
	})
	if err != nil && !answered(err) {
		return ans, parsed, nil, err
	}
	source, notes := w.amended(parsed)
	att = w.record.attempt("model "+modelName(ans), source)
	att.Notes = append(salvaged, notes...)
	if err != nil {
		att.Answer = clip(ans.Text, maxKept)
	} else {
		parsed.Source = source
	}
	return ans, parsed, att, err
}

// try has one program written and judged. It returns a candidate or an error when that is the
// end of it, and neither when there may be another try.
func (w *writing) try(ctx context.Context, try int) (*Candidate, error) {
	ans, parsed, att, err := w.written(ctx, try)
	if att == nil {
		if w.spare != nil && w.asked.Err() == nil {
			return w.spare, nil
		}
		return nil, w.unanswered(w.asked, ctx, err, w.last)
	}
	var c *Candidate
	switch {
	case errors.Is(err, llm.ErrRefused), errors.Is(err, llm.ErrContentFilter):
		err = fmt.Errorf("%w: %w", ErrNoAnswer, err)
	case err == nil && parsed.declines():
		err = fmt.Errorf("%w: the model says: %q", ErrNoAnswer, clip(parsed.Cannot, 500))
	case err == nil:
		c, err = w.judge(ctx, parsed, try)
		att.Notes = append(att.Notes, parsed.noted...)
	}
	att.end(err)
	att.Contract = slices.Index(w.record.Contracts, w.draft) + 1
	hint := ""
	if err == nil {
		w.describe(c, ans, parsed)
		att.Verdict = c.Finding.Verdict.String()
		w.outcome(c.Finding.Verdict.String() + ": " + c.Finding.Reason)
		if hint = avoidable(c.Finding); hint == "" || w.spare != nil || try == w.preparation.budget.Tries {
			if w.spare != nil && c.Finding.Verdict != proof.Verified {
				c = w.spare
			}
			return c, nil
		}
		w.spare = c
		att.Error = c.Finding.Reason
	}
	switch {
	case w.spare != nil && w.asked.Err() == nil && (ctx.Err() != nil || err != nil): // the better one did not come
		return w.spare, nil
	case ctx.Err() != nil:
		if w.last == nil {
			w.last = err
		}
		return nil, w.unanswered(w.asked, ctx, err, w.last)
	case err != nil && !repairable(err):
		return nil, err
	}
	say := hint
	w.look = lookable(err)
	if err != nil {
		say = feedback(err)
		w.last = err
		w.refused = append(w.refused, clip(err.Error(), 600))
		if r := refutation(err); r != nil {
			att.Verdict = r.Verdict.String()
			if w.otherwise == "" && ofMeaning(r.Counterexample) {
				w.otherwise = clip(r.Counterexample.Words, 160)
			}
		}
	}
	w.next(ans, say, hint == "" && try%(repairs+1) == 0)
	return nil, nil
}

// next prepares the next question: a fresh one, or the answer with what is wrong with it.
func (w *writing) next(ans llm.Answer, say string, fresh bool) {
	question := w.question()
	switch {
	case fresh:
		w.sample++
		// Whoever starts again is told all of the contract: that it was read otherwise is known by now.
		if w.contract != nil {
			question += "\n# The whole contract\n```\n" + contract.Format(w.contract) + "```\n"
		}
		w.messages = []llm.Message{llm.User(question + "\n# Programs already refused, and why\n- " + strings.Join(w.refused, "\n- ") + "\nWrite a different program.")}
	case len(ans.Text) > maxEchoed:
		w.messages = []llm.Message{llm.User(question + "\n# Your last answer was refused\n" + say)}
	default:
		w.messages = append(w.messages[:1:1], ans.Message(), llm.User(say))
	}
}

// describe fills in what a model's candidate says of itself.
func (w *writing) describe(c *Candidate, ans llm.Answer, parsed *answer) {
	c.Origin = "model " + modelName(ans)
	if n := len(w.req.Before); n > 0 {
		c.Understood = append(c.Understood, fmt.Sprintf("the model read it together with the %s before it in this conversation", plural(n, "request")))
	}
	if c.Contract != nil {
		c.ContractBy = "model " + w.author.model
		c.Understood = append(c.Understood, c.ContractBy+" wrote the contract from the request alone, before there was a program")
		c.Understood = append(c.Understood, w.author.overheard()...)
	} else {
		c.Understood = append(c.Understood, "there is no contract: "+w.unread)
		if c.Finding.Verdict == proof.Unknown {
			c.Finding.Reason = "unproved: there is no contract (" + w.unread + "); what needs none was checked"
		}
	}
	c.Understood = append(c.Understood, w.said...)
	if c.Contract != nil && w.otherwise != "" {
		c.Understood = append(c.Understood, "a program that was first written from the request did otherwise than the contract, and this one was written after being told; it must hold that "+w.otherwise)
	}
	c.Explanation = clip(parsed.Explanation, 1000)
	c.Duration = millis(parsed.DurationMS)
}

// judge takes an answer through the gates. Where the fault is, or may be, the contract's, its
// author is asked, and the same program judged again.
func (w *writing) judge(ctx context.Context, parsed *answer, try int) (*Candidate, error) {
	for {
		c, err := w.fromAnswer(ctx, parsed)
		r := refutation(err)
		if r == nil {
			return c, err
		}
		w.outcome(r.Verdict.String() + ": " + clip(firstLine(r.Reasons[0]), 300))
		switch {
		case r.Verdict == proof.Vacuous:
			if err := w.vacuous(ctx, r); err != nil {
				return nil, err
			}
		case w.persistent(r, try):
			changed, err2 := w.readAgain(ctx, r)
			if err2 != nil {
				return nil, err2
			}
			if !changed {
				return nil, err
			}
		default:
			return nil, err
		}
	}
}

// outcome notes what came of the contract, without overwriting what was said before.
func (w *writing) outcome(what string) {
	if w.draft != nil {
		w.draft.Outcome = what
	}
}

// vacuous has a contract that cannot be broken mended. If that does not succeed there is none.
func (w *writing) vacuous(ctx context.Context, r *proof.Report) error {
	c, d, err := w.author.vacuous(ctx, r)
	var none *noContract
	same := err == nil && contract.Format(c) == w.draft.Text
	if same || errors.As(err, &none) {
		err = &noContract{"the one that was written could hardly be broken: " + clip(shapely(r.Reasons)[0], 160)}
	}
	return w.take(ctx, c, d, err)
}

// persistent tells whether programs written independently break the contract at the same point, so
// that the contract may be what is wrong. It is asked once for each request.
func (w *writing) persistent(r *proof.Report, try int) bool {
	x := r.Counterexample
	if w.reread || w.contract == nil || !ofMeaning(x) {
		return false
	}
	sample := (try - 1) / (repairs + 1)
	first, seen := w.disputed[x.Obligation]
	if !seen {
		w.disputed[x.Obligation] = sample
	}
	return seen && first != sample
}

// ofMeaning tells whether a counterexample is about what the contract asks for: form, and the
// rules for all programs, are no reading of the request.
func ofMeaning(x *proof.Counterexample) bool {
	return x != nil && len(x.Scenario) > 0 && !strings.Contains(x.Obligation, "/always/")
}

// readAgain has the contract's author read the request again.
func (w *writing) readAgain(ctx context.Context, r *proof.Report) (changed bool, err error) {
	w.reread = true
	before := w.draft.Text
	who := "Programs that others wrote from the same request do something else than this contract asks for, and the same thing each time."
	point := fmt.Sprintf("independent programs broke the contract at the same point (it must hold that %s)", clip(r.Counterexample.Words, 160))
	if w.adjudicated {
		who = "A program that was written from the same request, by somebody who did not see this contract, does something else than it asks for; and whoever was asked which of the two the request means chose the program's."
		point = fmt.Sprintf("an independent program broke the contract (it must hold that %s)", clip(r.Counterexample.Words, 160))
	}
	c, d, err := w.author.readAgain(ctx, who, r.Counterexample)
	var none *noContract
	switch {
	case errors.As(err, &none):
		w.said = append(w.said, point+"; its author was asked and brought no other")
		return false, nil
	case err != nil:
		return false, w.take(ctx, nil, nil, err)
	case d.Text == before:
		d.Outcome = "kept after a second reading"
		w.said = append(w.said, point+"; its author read the request again and kept it")
		return false, nil
	}
	w.said = append(w.said, point+"; its author read the request again and CHANGED it")
	w.otherwise = ""
	return true, w.take(ctx, c, d, nil)
}

// amended is the source of an answer as it is compiled: what models write by habit is put right.
// Parameters that are set in the source by its own means are set as all are.
func (w *writing) amended(ans *answer) (source string, notes []string) {
	source, notes = amend(ans.Source)
	if strings.TrimSpace(source) == "" {
		return source, notes
	}
	facts := w.targets[0].Facts
	m := mending{source: source, notes: notes, facts: facts, record: func(name string, fields []kernel.TracepointField) string {
		record, err := w.recordType(facts, name, fields)
		if err != nil {
			return "" // the gates say what cannot be read
		}
		return record
	}}
	for _, x := range ans.Maps {
		if x.Role == string(program.RoleOutput) {
			m.shown = append(m.shown, x.Name)
		}
	}
	if w.contract != nil {
		for _, t := range w.contract.Tables {
			m.shown = append(m.shown, t.Name)
		}
	}
	m.mend()
	for _, name := range slices.Sorted(maps.Keys(m.values)) {
		if !slices.ContainsFunc(ans.Parameters, func(p saidParameter) bool { return p.Name == name }) {
			ans.Parameters = append(ans.Parameters, saidParameter{name, m.values[name]})
		}
	}
	return m.source, m.notes
}

func (w *writing) fromAnswer(ctx context.Context, ans *answer) (*Candidate, error) {
	if strings.TrimSpace(ans.Source) == "" {
		return nil, &verify.Failure{Gate: verify.GateCompile, Err: errors.New(`"source" is empty: write the whole program there, or say in "cannot" why there is none`)}
	}
	opt := program.Options{Name: identifier(ans.Name), Title: clip(strings.Join(strings.Fields(ans.Title), " "), 120), Constants: map[string]string{}, Interface: ans.Interface,
		View: program.View{Top: ans.Top, Interval: millis(ans.IntervalMS)}}
	for _, c := range ans.Parameters {
		opt.Constants[c.Name] = c.Value
	}
	return w.gates(ctx, ans.Source, opt, w.contract, func(o *program.Object) error {
		ans.noted = nil
		if d := ans.disagreements(o); len(d) > 0 {
			ans.noted = append(ans.noted, "the answer describes its source wrongly, and the source counts: "+strings.Join(d, "; "))
		}
		if w.contract == nil {
			return nil
		}
		if err := sameValues(w.contract, w.settled, ans.Parameters, o); err != nil {
			return err
		}
		for _, p := range o.Params() {
			if value, ok := w.settled[p.Name]; ok {
				opt.Constants[p.Name] = value
			}
		}
		return nil
	})
}

// refutation is the report of a program that the proof refused; else nil.
func refutation(err error) *proof.Report {
	var r *verify.RefutedError
	if errors.As(err, &r) {
		return r.Report
	}
	return nil
}

// avoidable is what to tell an author whose program is right as far as can be seen but cannot be
// proved, if it can do something about that; else empty.
func avoidable(f verify.Finding) string {
	if f.Verdict != proof.Unknown {
		return ""
	}
	for _, why := range []string{"helper ", "instruction ", "call ", "on map ", "atomic operation "} {
		if i := strings.Index(f.Reason, why); i >= 0 && strings.Contains(f.Reason[i:], " is not modelled") {
			end := i + strings.Index(f.Reason[i:], " is not modelled")
			return fmt.Sprintf("The program passes every check but cannot be proved, because %s is not modelled by the proof. "+
				"If the same can be done without it, answer again with the whole object; if not, answer with the same object.", f.Reason[i:end])
		}
	}
	return ""
}

// repairable reports whether another try by the model may help.
func repairable(err error) bool {
	var f *verify.Failure
	return errors.As(err, &f) || errors.Is(err, llm.ErrNotJSON) || errors.Is(err, llm.ErrTruncated)
}

// feedback is what the model is told about its program's fault.
func feedback(err error) string {
	var b strings.Builder
	var f *verify.Failure
	var bad *compile.Error
	again := "Mend exactly this, keep everything else, and answer again with the whole object."
	report := refutation(err)
	switch {
	case report != nil && report.Counterexample != nil && len(report.Counterexample.Scenario) == 0 && len(report.Reasons) > 1:
		// Differences of form are plain, and said together.
		b.WriteString("The program does not look as it has to:\n")
		for _, r := range report.Reasons[:min(len(report.Reasons), 8)] {
			fmt.Fprintf(&b, "- %s\n", r)
		}
	case report != nil && report.Feedback() != "":
		b.WriteString(report.Feedback())
		again = "Mend exactly this, and answer again with the whole object."
	case errors.As(err, &bad):
		b.WriteString("The source does not compile:\n")
		// One mistake in a macro's argument is reported once for each use.
		var told []string
		for _, d := range bad.Diagnostics {
			if line := "- " + d.String() + "\n"; !slices.Contains(told, line) && len(told) < 4 {
				told = append(told, line)
			}
		}
		b.WriteString(strings.Join(told, ""))
	case errors.As(err, &f) && f.Gate == verify.GateFacts:
		fmt.Fprintf(&b, "Hooks that cannot be used on this kernel:\n%s\n", err)
	case errors.As(err, &f) && f.Gate == verify.GateKernel:
		fmt.Fprintf(&b, "The kernel's verifier refuses the program:\n%s\n", clip(err.Error(), 3000))
	case errors.Is(err, llm.ErrTruncated):
		b.WriteString("Your answer was cut off at its length limit.\n")
		again = "Think and write less, and answer again with the whole object."
	case errors.Is(err, llm.ErrNotJSON):
		fmt.Fprintf(&b, "Your answer is not the JSON object asked for: %s\n", detail(err))
		again = "Answer again with the whole object and nothing else."
	default:
		fmt.Fprintf(&b, "%s\n", clip(err.Error(), 2000))
	}
	b.WriteString(again)
	return b.String()
}
