package agent

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"kgent/agent/contract"
	"kgent/agent/llm"
)

//go:embed prompt/plan.md
var planPrompt string

// Plan is how a large request was divided.
type Plan struct {
	// Parts are requests of their own.
	Parts []string `json:"parts"`
	// Outcome is what came of it: "one contract", or why the request was taken as a whole.
	Outcome string `json:"outcome"`
}

// maxParts is how many parts a request has at most.
const maxParts = 5

// plan is how a model divides a request.
type plan struct {
	Analysis string   `json:"analysis" doc:"what is to be shown, and which of it belongs together"`
	Parts    []string `json:"parts" doc:"one request each; a single one if the request is one thing"`
}

// joints are where a request for several things has its parts.
var joints = regexp.MustCompile(`(?i)\band also\b|\bas well as\b|\bplus\b|\balso\b|\bbesides\b|\band (?:a|an|the|who|which|what|how|when|show|count|trace)\b|, and\b|;|\n|\. `)

// large tells whether a request may be for several things: it has at least two parts of some words. It costs nothing, and is
// right when it says no; else a model is asked.
func large(text string) bool {
	n := 0
	for _, part := range joints.Split(text, -1) {
		if len(strings.Fields(part)) >= 3 {
			n++
		}
	}
	return n >= 2
}

// divided has a contract written for each part of a large request, and makes one of them. It returns nothing when the request is
// one thing, or its parts do not go into one contract; then it is taken as a whole.
func (w *writing) divided(ctx context.Context) (*contract.Contract, *Draft, error) {
	if !w.Effort.Split || len(w.req.Before) > 0 || !large(w.req.Text) {
		return nil, nil, nil
	}
	parts, err := w.parts(ctx)
	if err != nil || len(parts) < 2 {
		return nil, nil, w.gaveUp(err)
	}
	p := &Plan{Parts: parts, Outcome: "one contract"}
	w.record.Plan = p
	whole := func(format string, args ...any) (*contract.Contract, *Draft, error) {
		p.Outcome = "taken as a whole: " + clip(fmt.Sprintf(format, args...), 300)
		return nil, nil, nil
	}
	var list []*contract.Contract
	for i, text := range parts {
		req := Request{ID: w.req.ID, Text: text, Answers: w.req.Answers}
		part := *w.preparation
		part.req = req
		a, err := part.newAuthor(ctx, w.budget)
		if err != nil {
			return nil, nil, err
		}
		a.tools = w.tools
		c, _, err := a.write(ctx)
		var none *noContract
		switch {
		case errors.As(err, &none):
			return whole("there is no contract for part %d (%s): %s", i+1, text, none.why)
		case err != nil:
			p.Outcome = "taken as a whole: " + clip(firstLine(err.Error()), 300)
			return nil, nil, w.gaveUp(err)
		}
		w.author.model = a.model
		list = append(list, c)
	}
	c, err := merge(list)
	if err != nil {
		return whole("%v", err)
	}
	withArguments(c, w.targets[0].Facts)
	d := w.record.draft("model "+w.author.model, "merged")
	d.keep(contract.Format(c))
	if c, err = contract.Parse(d.Text); err == nil {
		err = w.author.checks(c, d.Text)
	}
	if err != nil {
		d.Error = clip(err.Error(), maxKept)
		return whole("%v", err)
	}
	// Who is asked about it later has it before them.
	w.author.messages = []llm.Message{llm.User(w.author.question), {Role: llm.RoleAssistant, Text: "```\n" + d.Text + "```"}}
	w.said = append(w.said, fmt.Sprintf("the request was divided into %d parts: %s", len(parts), strings.Join(parts, " | ")))
	return c, d, nil
}

// gaveUp is an error only if the person gave up: else there is the request as a whole.
func (w *writing) gaveUp(err error) error {
	if err != nil && w.asked.Err() != nil {
		return context.Cause(w.asked)
	}
	return nil
}

// parts asks a model to divide the request.
func (w *writing) parts(ctx context.Context) ([]string, error) {
	schema, err := llm.SchemaOf[plan]("request_parts")
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	conversation(&b, w.req)
	var said plan
	err = w.step("plan", func() (string, error) {
		ans, err := w.model.Complete(ctx, llm.Prompt{Purpose: "divide the request", Task: llm.TaskPlan, System: planPrompt, Messages: []llm.Message{llm.User(b.String())},
			Schema: schema, Budget: w.budget, Record: w.record.call})
		if errors.Is(err, llm.ErrNotJSON) {
			if object, _, err2 := llm.Fitted(schema, ans, err); err2 == nil {
				ans.JSON, err = object, nil
			}
		}
		if err != nil {
			return "", err
		}
		if said, err = llm.Decode[plan](ans); err != nil {
			return "", err
		}
		return plural(len(said.Parts), "part"), nil
	})
	if err != nil {
		return nil, err
	}
	var parts []string
	for _, p := range said.Parts {
		if p = oneLine(p, 400); p != "" && !slices.Contains(parts, p) && Readable(p) == nil {
			parts = append(parts, p)
		}
	}
	if len(parts) > maxParts {
		return nil, nil
	}
	return parts, nil
}
