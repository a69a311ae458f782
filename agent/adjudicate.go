package agent

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kgent/agent/llm"
	"kgent/agent/verify/compare"
	"kgent/agent/verify/proof"
)

//go:embed prompt/which.md
var whichPrompt string

// SmallPromptsVersion changes whenever the prompts for dividing requests and for deciding between readings, or
// their schemas, do; it is in every record.
const SmallPromptsVersion = "2"

// split is where two readings of a request part.
type split struct {
	point    string // what is in question
	scenario string // an input in words
	contract string // what the contract wants then
	other    string // what the other reading does
	member   string // what of the output they differ in; may be empty
	is       string // what the contract says that it is; may be empty
	example  *proof.Counterexample
	question string // in words for people; may be empty
}

// ofCounterexample is where a program broke a contract.
func ofCounterexample(x *proof.Counterexample) split {
	s := split{point: "it must hold that " + x.Words, contract: x.Expected, other: x.Got, example: x}
	if last := x.Obligation[strings.LastIndexByte(x.Obligation, '/')+1:]; strings.Contains(last, ".") {
		if _, is, ok := strings.Cut(x.Words, " "+last+" is "); ok {
			s.member, s.is = last, is
		}
	}
	var steps []string
	for _, st := range x.Scenario {
		inputs := slices.DeleteFunc(slices.Clone(st.Inputs), func(n proof.Named) bool { return incidental(n.Name, n.Value) })
		steps = append(steps, st.Place+" fires with "+inputWords(inputs, 12))
	}
	s.scenario = clip(strings.Join(steps, "; then "), 1200)
	return s
}

// inputWords are inputs in words, at most so many of either kind: those that are something, and then the names of those that
// are nothing, which two readings may turn on just as well.
func inputWords(inputs []proof.Named, most int) string {
	var some, none []string
	for _, n := range inputs {
		switch empty := n.Value == "0" || n.Value == "0x0" || n.Value == `""` || n.Value == "no"; {
		case empty && len(none) < most:
			none = append(none, n.Name)
		case !empty && len(some) < most:
			some = append(some, n.Name+" = "+n.Value)
		}
	}
	if len(none) > 0 {
		some = append(some, "nothing (0) in "+strings.Join(none, ", "))
	}
	return strings.Join(some, ", ")
}

// incidental tells inputs that no reading of a request turns on: addresses, and the time.
func incidental(name, value string) bool {
	return name == "current" || name == "now" || strings.HasPrefix(name, "now.") || name == "cpu" || strings.HasPrefix(value, "0xffff")
}

// ofDifference is where two programs differ; the first is that of the contract.
func ofDifference(d *compare.Difference) split {
	s := split{point: d.Subject, contract: d.ADoes, other: d.BDoes, question: d.Question()}
	var steps []string
	for _, st := range d.Scenario {
		var in []string
		for _, v := range st.Inputs[:min(len(st.Inputs), 12)] {
			in = append(in, v.Name+" = "+v.Value)
		}
		steps = append(steps, st.Place+" fires with "+strings.Join(in, ", "))
	}
	s.scenario = clip(strings.Join(steps, "; then "), 1200)
	s.example = &proof.Counterexample{Obligation: d.Subject, Words: d.Subject + " is what the contract says", Expected: d.ADoes, Got: d.BDoes}
	for _, st := range d.Scenario {
		step := proof.Step{Place: st.Place}
		for _, v := range st.Inputs {
			step.Inputs = append(step.Inputs, proof.Named{Name: v.Name, Value: v.Value})
		}
		s.example.Scenario = append(s.example.Scenario, step)
	}
	return s
}

// choice is how a model answers which of two readings a request asks for.
type choice struct {
	Analysis string `json:"analysis" doc:"which words of the request decide it, or that none do"`
	Answer   string `json:"answer" enum:"one,two,open" doc:"one or two: the reading that the request asks for; open: the request does not decide it and an engineer may mean either"`
	Question string `json:"question" doc:"only when open: the question to the person, one short sentence without jargon; else empty"`
	One      string `json:"one" doc:"only when open: reading one in a few words; else empty"`
	Two      string `json:"two" doc:"only when open: reading two in a few words; else empty"`
}

// disagreement settles which of two readings the request asks for: first by asking a model, which is
// not told whose they are; and where the request leaves it open, the person. It tells whether
// the contract was changed.
func (w *writing) disagreement(ctx context.Context, r *Opinion, s split) (changed bool, err error) {
	r.Result, r.Detail = differs, clip(s.point, 200)
	w.record.opinion(r)
	w.adjudicated = true
	said, err := w.which(ctx, s)
	switch {
	case w.asked.Err() != nil:
		return false, context.Cause(w.asked)
	case err != nil:
		r.Decided = "which one the request means could not be asked, and the contract's is taken"
		return false, nil
	case said.Answer == "one":
		r.Decided = "asked which one the request means, without being told whose they are, the model chose the contract's"
		return false, nil
	case said.Answer == "two":
		r.Decided = "asked which one the request means, without being told whose they are, the model chose the program's"
		changed, err := w.readAgain(ctx, &proof.Report{Counterexample: s.example})
		if err != nil || changed {
			return changed, err
		}
		r.Decided += ", but the contract's author kept it"
		return false, w.ask(r, s, said)
	}
	return false, w.ask(r, s, said)
}

// ask puts an ambiguity to the person, if that is wanted and was not done already.
func (w *writing) ask(r *Opinion, s split, said choice) error {
	if !w.Effort.Ask || len(w.req.Answers) >= maxQuestions {
		r.Decided = "the request does not say which one it means, and the contract's is taken"
		return nil
	}
	q := &Question{Text: oneLine(said.Question, 240), Options: []string{oneLine(said.One, 160), oneLine(said.Two, 160)}, Example: oneLine(s.scenario, 400), Record: w.record}
	if q.Text == "" {
		q.Text = oneLine(s.question, 240)
	}
	if q.Text == "" {
		q.Text = "Which of the two do you mean?"
	}
	if q.Options[0] == "" || q.Options[1] == "" || q.Options[0] == q.Options[1] {
		q.Options = []string{oneLine("then: "+s.contract, 160), oneLine("then: "+s.other, 160)}
	}
	if slices.ContainsFunc(w.req.Answers, func(a Reply) bool { return a.Question == q.Text }) {
		r.Decided = "the person was asked, and the contract was written knowing the answer"
		return nil
	}
	r.Decided = "the person is asked"
	return q
}

// maxQuestions is how many questions about one request a person is asked.
const maxQuestions = 2

// words put the split to somebody who is not told whose reading is whose.
func (s split) words() string {
	in, is := "", ""
	if s.member != "" {
		in, is = ", in "+oneLine(s.member, 80), " (it is "+oneLine(s.is, 200)+")"
	}
	return fmt.Sprintf("\n# Where they differ%s\n%s\n\n# Then\nOne: %s%s\nTwo: %s\n", in, quote(s.scenario), oneLine(s.contract, 400), is, oneLine(s.other, 400))
}

// which asks a model which of two readings a request asks for.
func (w *writing) which(ctx context.Context, s split) (choice, error) {
	schema, err := llm.SchemaOf[choice]("which_reading")
	if err != nil {
		return choice{}, err
	}
	var b strings.Builder
	conversation(&b, w.req)
	b.WriteString(s.words())
	var said choice
	err = w.step("decide", func() (string, error) {
		ans, err := w.model.Complete(ctx, llm.Prompt{Purpose: "decide between two readings", Task: llm.TaskJudge, System: whichPrompt, Messages: []llm.Message{llm.User(b.String())},
			Schema: schema, Budget: w.budget, Record: w.record.call})
		if errors.Is(err, llm.ErrNotJSON) {
			if object, _, err2 := llm.Fitted(schema, ans, err); err2 == nil {
				ans.JSON, err = object, nil
			}
		}
		if err != nil {
			return "", err
		}
		if said, err = llm.Decode[choice](ans); err != nil {
			return "", err
		}
		return map[string]string{"one": "the contract's reading", "two": "the program's reading", "open": "the request leaves it open"}[said.Answer], nil
	})
	return said, err
}

// oneLine makes words fit for a line: printable, on one line, cut short.
func oneLine(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return clip(strings.Join(strings.Fields(s), " "), n)
}
