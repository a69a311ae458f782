package llm

import (
	"context"
	"fmt"
	"strings"
)

// Task is a kind of work, for which another model than usual may be asked.
type Task string

const (
	// TaskContract: a contract is written, from a request and facts.
	TaskContract Task = "contract"
	// TaskCode: a program is written.
	TaskCode Task = "code"
	// TaskPlan: a large request is divided into parts.
	TaskPlan Task = "plan"
	// TaskJudge: it is said which of two readings a request asks for.
	TaskJudge Task = "judge"
	// TaskComprehend: a program is read, and the contract that it keeps is written down.
	TaskComprehend Task = "comprehend"
)

// Tasks are all of them.
func Tasks() []Task { return []Task{TaskContract, TaskCode, TaskPlan, TaskJudge, TaskComprehend} }

// ByTask asks one model for some tasks and another for the rest.
type ByTask struct {
	Usual Model
	For   map[Task]Model
}

// Complete asks the model of the prompt's task.
func (b *ByTask) Complete(ctx context.Context, p Prompt) (Answer, error) {
	if m := b.For[p.Task]; m != nil {
		return m.Complete(ctx, p)
	}
	return b.Usual.Complete(ctx, p)
}

// Dearest is the highest price for prompts and for completions among the models that m asks. It
// reports false where the price of one of them is not known.
func Dearest(m Model) (Price, bool) {
	switch m := m.(type) {
	case *Client:
		p := m.price()
		if p == nil {
			return Price{}, false
		}
		return *p, true
	case *ByTask:
		most, known := Dearest(m.Usual)
		for _, other := range m.For {
			p, ok := Dearest(other)
			known = known && ok
			most = Price{max(most.Prompt, p.Prompt), max(most.Completion, p.Completion)}
		}
		return most, known
	}
	return Price{}, false
}

// ModelFromEnv makes the model of [FromEnv]. Beside what that reads,
//
//	KGENT_MODEL_CONTRACT  the model that writes contracts, at the same endpoint
//	KGENT_MODEL_CODE      the model that writes programs, at the same endpoint
//	KGENT_MODEL_PLAN      the model that divides large requests, at the same endpoint
//	KGENT_MODEL_JUDGE     the model that decides between readings of a request, at the same endpoint
//	KGENT_MODEL_COMPREHEND  the model that reads programs again, at the same endpoint
//
// name other models for single tasks. KGENT_MODEL_PRICE may then have a price for each model:
// "2/10, small=0.1/0.4"; one without a name is that of KGENT_MODEL. It reports false if there is none.
func ModelFromEnv(getenv func(string) string) (Model, bool, error) {
	config, ok, err := FromEnv(getenv)
	if err != nil || !ok {
		return nil, ok, err
	}
	usual, err := New(config)
	if err != nil {
		return nil, true, err
	}
	by := &ByTask{Usual: usual, For: map[Task]Model{}}
	for _, t := range Tasks() {
		name := taskVariable(t)
		config.Model = strings.TrimSpace(getenv(name))
		if config.Model == "" {
			continue
		}
		m, err := New(config)
		if err != nil {
			return nil, true, fmt.Errorf("%s: %w", name, err)
		}
		by.For[t] = m
	}
	if len(by.For) == 0 {
		return usual, true, nil
	}
	return by, true, nil
}

// taskVariable is the environment variable that names the model of a task.
func taskVariable(t Task) string { return "KGENT_MODEL_" + strings.ToUpper(string(t)) }
