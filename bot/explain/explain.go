// Package explain says what a program does, as a card: for the terminal and for threads.
//
// Everything on it follows from the program's bytecode, from what is known about its hooks,
// and from the proofs that were made; nothing is the program's author's word. Where a model has
// read it, its words are quoted, and what was proved of them is said apart.
package explain

import (
	"fmt"
	"strings"

	"kgent/agent"
	"kgent/agent/contract"
	"kgent/approvals"
	"kgent/bot/card"
	"kgent/executor/job"
)

// What a card shows of each part at most, in bytes and items.
const (
	maxText     = 600
	maxItems    = 8
	maxContract = 1600
)

// Card says what a program does. The risk is assessed here, from its bytes.
func Card(x *agent.Explanation) (card.Card, error) {
	what := card.Card{Title: "What " + x.Name + " does"}
	if x.Unfit != nil {
		what.Tone = card.Warning
		what.Blocks = append(what.Blocks, card.Text{Body: "kgent cannot run it as it is: " + cut(x.Unfit.Error(), maxText)})
	}
	if x.Manifest != nil {
		manifest, err := x.Manifest.Encode()
		if err != nil {
			return what, err
		}
		var words []byte
		if x.Contract != nil {
			words = []byte(contract.Format(x.Contract))
		}
		risk, err := approvals.Assess(job.Program{ELF: x.Object.ELF(), Manifest: manifest, Contract: words}, x.Contract != nil)
		if err != nil {
			return what, err
		}
		what.Blocks = append(what.Blocks, card.List{Heading: "What it does, by its bytecode", Items: few(risk.Does)})
		fields := card.Fields{{Label: "Risk", Text: risk.Tier.String() + ": " + cut(strings.Join(risk.Why, "; "), 300)}}
		if len(x.Helpers) > 0 {
			fields = append(fields, card.Field{Label: "Calls", Text: cut(strings.Join(x.Helpers, ", "), 400)})
		}
		if len(x.Params) > 0 {
			fields = append(fields, card.Field{Label: "Can be set", Text: cut(strings.Join(x.Params, ", "), 300)})
		}
		what.Blocks = append(what.Blocks, fields)
	}
	what.Blocks = append(what.Blocks, summary(x.Reading)...)
	for i, h := range x.Hooks {
		if i == 3 {
			what.Blocks = append(what.Blocks, card.Note{Body: fmt.Sprintf("and %d more places", len(x.Hooks)-i)})
			break
		}
		body := h.Place
		if h.Words != "" {
			body += ": " + cut(h.Words, maxText)
		} else {
			body += ": nothing is noted about this place"
		}
		what.Blocks = append(what.Blocks, card.Text{Body: body})
	}
	if x.Absent != "" {
		what.Tone = card.Warning
		what.Blocks = append(what.Blocks, card.Text{Body: "It does not fit the kernel: " + cut(x.Absent, maxText)})
	}
	if x.Mistake != nil {
		what.Tone = card.Bad
		what.Blocks = append(what.Blocks, card.Text{Body: "A mistake, whatever it is meant to do:\n" + strings.Join(agent.CounterexampleWords(x.Mistake), "\n")})
	} else if x.Checked != "" {
		what.Blocks = append(what.Blocks, card.Text{Body: "Mistakes: " + cut(x.Checked, maxText)})
	}
	if len(x.Warnings) > 0 {
		what.Blocks = append(what.Blocks, card.List{Heading: "Worth a look", Items: few(x.Warnings)})
	}
	switch {
	case x.Contract != nil:
		what.Tone = card.Good
		what.Blocks = append(what.Blocks, card.Text{Body: "It was proved to do what " + x.ContractFrom + " asks for, for all inputs:\n" + card.Contract(contract.English(x.Contract), maxContract)})
	case x.Unfit == nil && x.Absent == "" && (x.Reading == nil || x.Reading.Outcome != agent.Described):
		body := "What it means is not proved: it keeps none of the contracts that kgent held it against."
		if len(x.Tried) == 0 {
			body = "What it means is not proved: there is no contract to hold it against."
		}
		if len(x.Tried) > 0 {
			body += "\n" + cut(strings.Join(x.Tried, "\n"), maxText)
		}
		what.Blocks = append(what.Blocks, card.Text{Body: body})
	}
	what.Blocks = append(what.Blocks, reading(x.Reading)...)
	var small []string
	if len(x.Changed) > 0 {
		small = append(small, "kgent changed its source: "+strings.Join(x.Changed, "; "))
	}
	small = append(small, "Nothing was loaded or run.")
	what.Blocks = append(what.Blocks, card.Note{Body: strings.Join(small, "\n")})
	return what, nil
}

// summary is what a model says that the program does, as its words.
func summary(r *agent.Reading) []card.Block {
	if r == nil || r.Summary == "" {
		return nil
	}
	return []card.Block{
		card.Text{Body: "In the words of " + r.By + ", which nothing has checked:"},
		card.Text{Body: cut(r.Summary, maxText), Quoted: true},
	}
}

// reading says what came of holding the program against what a model read.
func reading(r *agent.Reading) []card.Block {
	if r == nil {
		return nil
	}
	switch r.Outcome {
	case agent.Described:
		c, err := contract.Parse(r.Contract)
		if err != nil {
			return []card.Block{card.Note{Body: "What " + r.By + " read cannot be shown: " + cut(err.Error(), 200)}}
		}
		return []card.Block{card.Text{Body: "It was proved to do, for all inputs, what " + r.By + " read off it:\n" + card.Contract(contract.English(c), maxContract)}}
	case agent.Agrees:
		return []card.Block{card.Note{Body: "What " + r.By + " read off it says the same as that contract."}}
	case agent.Differs:
		return []card.Block{card.Text{Body: "What " + r.By + " read off it is not what the program does: " + cut(r.Difference, maxText)}}
	}
	return []card.Block{card.Note{Body: "No model's reading was settled: " + cut(r.Reason, 300)}}
}

func few(items []string) []string {
	if len(items) > maxItems {
		return append(append([]string(nil), items[:maxItems]...), fmt.Sprintf("and %d more", len(items)-maxItems))
	}
	return items
}

// cut shortens text at a rune's end.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	n := most
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + " …"
}
