package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kgent/agent/codegen"
	"kgent/agent/compose"
	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/recipes"
	"kgent/agent/verify"
	"kgent/agent/verify/proof"
)

// beyond answers a request that no recipe answers as it is: by what can be composed of
// what is known; by a model, if one is configured; by an honest "no".
func (p *preparation) beyond(ctx context.Context, none *recipes.NoMatchError) (*Candidate, error) {
	c, why := p.composed(ctx)
	var uncomposed *uncomposedError
	switch {
	case why == nil:
		return c, nil
	case !errors.As(why, &uncomposed):
		return nil, why
	case p.Model != nil:
		examples, err := p.examples(ctx, p.req, none.Nearest)
		if err != nil {
			return nil, err
		}
		return p.fromModel(ctx, examples)
	}
	return nil, &UnansweredError{Found: fmt.Sprintf("%s%v.\n", none.Found(), why)}
}

// UnansweredError says that there is no program for a request and no model to write one. It is
// an [ErrNoAnswer].
type UnansweredError struct {
	Found string // what comes near and what was not understood: whole lines
}

func (e *UnansweredError) Error() string {
	return ErrNoAnswer.Error() + ": " + e.Found + "For what neither the recipes nor this cover, kgent needs a model: set OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint of your own, and KGENT_MODEL."
}

func (e *UnansweredError) Unwrap() error { return ErrNoAnswer }

// recipe answers a request with the recipe that was found, unless its words say something
// else than the recipe shows and what they say can be composed.
func (p *preparation) recipe(ctx context.Context, m *recipes.Match) (*Candidate, error) {
	composer, err := p.composer()
	if err != nil {
		return nil, err
	}
	switch instead, err := composer.Instead(ctx, m, p.req.Before, p.req.Text); {
	case err == nil && instead != nil && instead.Match != nil:
		return p.fromRecipe(ctx, instead.Match)
	case err != nil && errors.As(err, new(*compose.NoError)), err == nil && instead != nil:
		return p.beyond(ctx, &recipes.NoMatchError{Reason: recipes.ReasonUnknown, Why: fmt.Sprintf("%s comes close but shows something else", m.Recipe.Name), Nearest: []*recipes.Recipe{m.Recipe}})
	case err != nil:
		return nil, err
	}
	return p.fromRecipe(ctx, m)
}

// composer composes contracts for the first kernel; it is made once.
func (p *preparation) composer() (*compose.Composer, error) {
	if p.composing == nil {
		made, err := compose.New(p.Recipes, p.targets[0].Facts, compose.Options{UserID: p.UserID})
		if err != nil {
			return nil, err
		}
		p.composing = made
	}
	return p.composing, nil
}

// uncomposedError says why nothing that may be offered was composed. It is no fault.
type uncomposedError struct{ error }

func (e *uncomposedError) Unwrap() error { return e.error }

// composed makes a candidate of a contract that is composed without a model. The
// program is generated from it, passes all gates, and is offered only when it is
// VERIFIED: nobody wrote it who could answer for the rest.
func (p *preparation) composed(ctx context.Context) (*Candidate, error) {
	var made *compose.Composition
	var source string
	var said []string
	err := p.step("compose", func() (string, error) {
		composer, err := p.composer()
		if err != nil {
			return "", err
		}
		made, err = composer.Continue(ctx, p.req.Before, p.previous(), p.req.Text)
		var no *compose.NoError
		if errors.As(err, &no) {
			return "", &uncomposedError{err}
		}
		if err != nil {
			return "", err
		}
		if made.Match != nil {
			return "recipe " + made.Match.Recipe.Name, nil
		}
		if made.Contract, said, err = p.chosen(ctx, made.Contract); err != nil {
			return "", err
		}
		if source, err = p.generate(made); err != nil {
			return "", err
		}
		return made.Origin, nil
	})
	if err != nil {
		return nil, err
	}
	if made.Match != nil {
		return p.fromRecipe(ctx, made.Match)
	}
	att := p.record.attempt(made.Origin, source)
	c, err := p.gates(ctx, source, made.Options, made.Contract, nil)
	if err == nil && c.Finding.Verdict != proof.Verified {
		err = &verify.Failure{Gate: verify.GateSymbolic, Err: fmt.Errorf("it could not be proved that the program keeps the contract: %s", c.Finding.Reason)}
	}
	att.end(err)
	var failed *verify.Failure
	if errors.As(err, &failed) {
		return nil, &uncomposedError{fmt.Errorf("composed was %q, but its program is not offered: %w", made.Contract.Title, err)}
	}
	if err != nil {
		return nil, err
	}
	c.Origin, c.Understood, c.Duration = made.Origin, slices.Concat(made.Understood, said, c.Understood), made.Duration
	c.Explanation = "Composed from the words of the request, and its program generated from its contract; nobody has written it by hand."
	return c, nil
}

// previous is what the request before came to, in a form that can be refined; nil when there is
// none, or none that can be read.
func (p *preparation) previous() *compose.Composition {
	if p.req.Previous == nil || p.req.Previous.Contract == "" {
		return nil
	}
	c, err := contract.Parse(p.req.Previous.Contract)
	if err != nil {
		return nil // what was said before still counts
	}
	return compose.Of(c, program.Options{Name: "refined", Constants: p.req.Previous.Values}, p.req.Previous.Origin)
}

// generate writes the program of a composed contract.
func (p *preparation) generate(made *compose.Composition) (string, error) {
	source, err := p.programOf(made.Contract)
	var unsupported *codegen.Unsupported
	if errors.As(err, &unsupported) {
		return "", &uncomposedError{fmt.Errorf("composed was %q, but %w", made.Contract.Title, err)}
	}
	if err != nil {
		return "", fmt.Errorf("writing the program of what was composed: %w", err)
	}
	return source, nil
}
