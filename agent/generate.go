package agent

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"kgent/agent/contract"
	"kgent/agent/llm"
	"kgent/agent/program"
	"kgent/agent/verify"
	"kgent/agent/verify/compare"
	"kgent/agent/verify/proof"
	"kgent/retrieval/kernel"
)

// Generator writes the program of a checked contract. An error means that somebody else has to
// write it; it says nothing against the contract. [codegen.C] is one.
type Generator func(*contract.Checked) (source string, err error)

// Comparer tells whether two programs have the same effects on a kernel, taking for granted the
// assumptions with these names. [*verify.Prover] is one.
type Comparer interface {
	Compare(ctx context.Context, k *kernel.Facts, a, b compare.Program, assume []string) (*compare.Result, error)
}

// Opinion is what a second, independent reading of the request came to.
type Opinion struct {
	// By is who read: "model x".
	By string `json:"by"`
	// Result is "agrees", "differs" or "none".
	Result string `json:"result"`
	// Detail says how it is known, where it differs, or why there is none.
	Detail string `json:"detail,omitempty"`
	// Decided says, of one that differs, which reading the request asks for and who said so.
	Decided string `json:"decided,omitempty"`
}

// Results of readings.
const (
	agrees  = "agrees"
	differs = "differs"
	noneCan = "none"
)

// most contracts for which programs are generated in one preparation: the first, and those that come of
// finding that it says too little or means something else.
const maxGenerated = 4

// fromContract has a program generated from the contract, so that nobody has to write code. With
// [Effort.Independent] a program is written from the request as well, and the two readings are held against each other.
// It returns neither a candidate nor an error when a model has to write the program.
func (w *writing) fromContract(ctx context.Context) (*Candidate, error) {
	for round := 1; w.Generate != nil && w.contract != nil && round <= maxGenerated; round++ {
		c, err := w.generate(ctx)
		var f *verify.Failure
		r := refutation(err)
		switch {
		case err == nil && c == nil:
			return nil, nil
		case r != nil && r.Verdict == proof.Vacuous:
			w.outcome(r.Verdict.String() + ": " + clip(firstLine(r.Reasons[0]), 300))
			if err := w.vacuous(ctx, r); err != nil {
				return nil, err
			}
			continue
		case errors.As(err, &f):
			return nil, nil // it is on record; a model may do better
		case err != nil && w.asked.Err() == nil && ctx.Err() != nil:
			return nil, w.unanswered(w.asked, ctx, err, nil)
		case err != nil:
			return nil, err
		}
		w.outcome(c.Finding.Verdict.String() + ": " + c.Finding.Reason)
		if !w.Effort.Independent || w.adjudicated {
			return w.withOpinions(c), nil
		}
		changed, err := w.secondOpinion(ctx, c)
		if err != nil {
			return nil, err
		}
		if !changed {
			return w.withOpinions(c), nil
		}
	}
	return nil, nil
}

// generate makes the program of the contract and takes it through the gates. It returns nothing when there is no
// code for something that the contract asks for.
func (w *writing) generate(ctx context.Context) (*Candidate, error) {
	var source string
	err := w.step("generate", func() (string, error) {
		checked, err := contract.Check(w.contract, w.author.types[0])
		if err != nil {
			return "", err
		}
		if source, err = w.Generate(checked); err != nil {
			return "", err
		}
		return fmt.Sprintf("%d lines from the contract", strings.Count(source, "\n")), nil
	})
	if err != nil {
		w.draft.Generated = "no program: " + clip(err.Error(), 300)
		return nil, nil
	}
	att := w.record.attempt(w.generatedBy(), source)
	opt := program.Options{Name: identifier(w.contract.Title), Title: clip(w.contract.Title, 120), Constants: map[string]string{}, Interface: interfaceIn(w.req.Text)}
	for _, v := range w.contract.Views {
		opt.View.Top = max(opt.View.Top, v.Top)
		opt.View.Interval = max(opt.View.Interval, time.Duration(v.Every))
	}
	c, err := w.gates(ctx, source, opt, w.contract, func(o *program.Object) error {
		for _, p := range o.Params() {
			if value, ok := w.settled[p.Name]; ok {
				opt.Constants[p.Name] = value
			}
		}
		return nil
	})
	att.end(err)
	att.Contract = slices.Index(w.record.Contracts, w.draft) + 1
	if err != nil {
		if r := refutation(err); r != nil {
			att.Verdict = r.Verdict.String()
		}
		return nil, err
	}
	att.Verdict = c.Finding.Verdict.String()
	c.Origin, c.ContractBy = w.generatedBy(), "model "+w.author.model
	c.Duration = durationIn(w.req)
	return c, nil
}

func (w *writing) generatedBy() string {
	return "generated from the contract by model " + w.author.model
}

// withOpinions says on a generated candidate how it came about and what second readings came to.
func (w *writing) withOpinions(c *Candidate) *Candidate {
	if n := len(w.req.Before); n > 0 {
		c.Understood = append(c.Understood, fmt.Sprintf("the model read it together with the %s before it in this conversation", plural(n, "request")))
	}
	c.Understood = append(c.Understood, c.ContractBy+" wrote the contract from the request alone, and the program was generated from it")
	c.Understood = append(c.Understood, w.author.overheard()...)
	for _, r := range w.record.Opinions {
		c.Understood = append(c.Understood, r.words())
	}
	c.Understood = append(c.Understood, w.said...)
	return c
}

// words are a reading on a card.
func (r *Opinion) words() string {
	switch r.Result {
	case agrees:
		return fmt.Sprintf("a program that %s wrote from the request does the same as the contract (%s)", r.By, r.Detail)
	case differs:
		s := fmt.Sprintf("a program that %s wrote from the request DIFFERED: %s", r.By, r.Detail)
		if r.Decided != "" {
			s += "; " + r.Decided
		}
		return s
	}
	return "there is no second reading of the request: " + r.Detail
}

// secondOpinion has a program written from the request, and holds it against the contract from which c
// was generated. It tells whether the contract was changed for what came out.
func (w *writing) secondOpinion(ctx context.Context, c *Candidate) (changed bool, err error) {
	w.messages = []llm.Message{llm.User(w.question())}
	const tries = 2 // one, and one repair of what is no reading
	for try := 1; ; try++ {
		ans, parsed, att, err := w.written(ctx, try)
		r := &Opinion{By: "model " + modelName(ans), Result: noneCan}
		switch {
		case w.asked.Err() != nil:
			return false, context.Cause(w.asked)
		case err != nil && att == nil: // the endpoint, or the budget; the contract's program stands
			r.Detail = clip(firstLine(err.Error()), 200)
			w.record.opinion(r)
			return false, nil
		case parsed.declines():
			r.Detail = fmt.Sprintf("%s says of the request: %q", r.By, clip(parsed.Cannot, 200))
			att.end(err)
			w.record.opinion(r)
			return false, nil
		}
		var other *Candidate
		if err == nil {
			other, err = w.fromAnswer(ctx, parsed)
			att.Notes = append(att.Notes, parsed.noted...)
		}
		att.end(err)
		att.Contract = slices.Index(w.record.Contracts, w.draft) + 1
		if parsed.DurationMS > 0 && c.Duration == 0 {
			c.Duration = millis(parsed.DurationMS)
		}
		if err == nil {
			att.Verdict = other.Finding.Verdict.String()
			return w.compared(ctx, c, other, r)
		}
		if report := refutation(err); report != nil {
			att.Verdict = report.Verdict.String()
			if ofMeaning(report.Counterexample) && report.Verdict == proof.Refuted {
				return w.disagreement(ctx, r, ofCounterexample(report.Counterexample))
			}
		}
		if try == tries || !repairable(err) || ctx.Err() != nil {
			r.Detail = fmt.Sprintf("the program that %s wrote did not pass (%s)", r.By, clip(firstLine(err.Error()), 160))
			w.record.opinion(r)
			return false, nil
		}
		w.look = lookable(err)
		w.next(ans, feedback(err), false)
	}
}

// compared notes what a program that passed the gates says of the contract: one that is proved keeps it;
// where it could not be proved the two programs are compared.
func (w *writing) compared(ctx context.Context, c, other *Candidate, r *Opinion) (changed bool, err error) {
	if other.Finding.Verdict == proof.Verified {
		r.Result, r.Detail = agrees, "proved for all inputs"
		w.record.opinion(r)
		return false, nil
	}
	result, err := w.compare(ctx, c, other)
	switch {
	case w.asked.Err() != nil:
		return false, context.Cause(w.asked)
	case err != nil:
		r.Detail = "the two programs could not be compared: " + clip(firstLine(err.Error()), 160)
	case result.Verdict == compare.Same:
		r.Result, r.Detail = agrees, cmpWords(result)
	case result.Verdict == compare.Different && len(result.Difference.Scenario) > 0:
		return w.disagreement(ctx, r, ofDifference(result.Difference))
	case result.Verdict == compare.Different:
		r.Detail = "the two programs do not show the same things: " + clip(result.Difference.String(), 200)
	default:
		r.Detail = "whether the two programs do the same could not be found out"
	}
	w.record.opinion(r)
	return false, nil
}

func cmpWords(r *compare.Result) string {
	if r.Within > 0 {
		return fmt.Sprintf("compared for up to %d events in a row", r.Within)
	}
	return "compared for all inputs"
}

// compare compares the effects of two candidates on the first kernel.
func (w *writing) compare(ctx context.Context, a, b *Candidate) (*compare.Result, error) {
	var by Comparer = &w.prover
	if w.Comparer != nil {
		by = w.Comparer
	}
	of := func(name string, c *Candidate) compare.Program {
		p := compare.Program{Name: name, Object: c.Object, Manifest: c.Manifest}
		if c.Finding.Verdict == proof.Verified {
			p.Kept = c.Contract
		}
		return p
	}
	var assume []string
	if a.Contract != nil {
		for _, x := range a.Contract.Assume {
			assume = append(assume, x.Name)
		}
	}
	var result *compare.Result
	err := w.step("compare", func() (string, error) {
		var err error
		if result, err = by.Compare(ctx, w.targets[0].Facts, of("A", a), of("B", b), assume); err != nil {
			return "", err
		}
		return strings.ToLower(result.Verdict.String()), nil
	})
	return result, err
}

var (
	forTime = regexp.MustCompile(`(?i)\b(?:for|during|over)(?: the next)? (\d+(?:\.\d+)?|an?|one|two|three|five|ten|thirty)[ -]?(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?)\b`)
	onIface = regexp.MustCompile(`\b(lo|(?:eth|en[opsx]|wl|br|docker|veth|bond|tun|tap|cni|cali|flannel|vxlan|vlan|wg|virbr)[A-Za-z0-9._@-]*\d[A-Za-z0-9._@-]*)\b`)
)

// durationIn is how long a request asks to watch; 0 when it does not say.
func durationIn(req Request) time.Duration {
	all := forTime.FindAllStringSubmatch(req.Text, -1)
	for i := len(req.Before) - 1; i >= 0 && len(all) == 0; i-- {
		all = forTime.FindAllStringSubmatch(req.Before[i], -1)
	}
	if len(all) == 0 {
		return 0
	}
	m := all[len(all)-1]
	words := map[string]float64{"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "five": 5, "ten": 10, "thirty": 30}
	n, ok := words[strings.ToLower(m[1])]
	if !ok {
		var err error
		if n, err = strconv.ParseFloat(m[1], 64); err != nil {
			return 0
		}
	}
	unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour}[strings.ToLower(m[2])[0]]
	return millis(int64(min(n*float64(unit.Milliseconds()), 1e12)))
}

// interfaceIn is the network interface that a request names; empty when it names none.
func interfaceIn(text string) string {
	if m := onIface.FindString(text); len(m) <= 15 {
		return m
	}
	return ""
}

func (r *Record) opinion(x *Opinion) { r.Opinions = append(r.Opinions, x) }
