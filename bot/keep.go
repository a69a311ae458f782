package bot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"kgent/agent"
	"kgent/agent/recipes"
	"kgent/agent/team"
	"kgent/agent/verify/proof"
	"kgent/approvals"
	"kgent/bot/card"
	"kgent/executor/job"
	"kgent/executor/output"
)

// Keeping is how a conversation's program becomes a recipe, once it has run.
type Keeping struct {
	// Name and Phrasings are what the person calls it, and how it is to be asked for.
	Name      string
	Phrasings []string
	// Store keeps it, and Builtin are the recipes that it must not stand in for.
	Store   team.Store
	Builtin *recipes.Library
	// Make makes a recipe of a proved program.
	Make func(ctx context.Context, c *agent.Candidate, manifest []byte, progress func(agent.Step)) (*agent.Lifted, team.Recipe, error)
}

// Check says beforehand what would be refused of a name and phrasings whatever the program is.
func (k *Keeping) Check(ctx context.Context) error {
	all, err := k.Store.List(ctx)
	if err != nil {
		return err
	}
	return k.fits(team.Recipe{Name: k.Name, Phrasings: k.Phrasings}, all, team.Slots(k.Phrasings))
}

func (k *Keeping) fits(r team.Recipe, all []team.Recipe, params []string) error {
	if slices.ContainsFunc(all, func(o team.Recipe) bool { return o.Name == r.Name }) {
		return fmt.Errorf("there is a recipe %s of yours already; choose another name, or remove it first: kgent recipes forget %s", r.Name, r.Name)
	}
	return team.Check(r, k.Builtin, all, params)
}

// Kept is a recipe that is put to people for keeping.
type Kept struct {
	Recipe team.Recipe
	Lifted map[string]string
	Left   []string
	Diff   []string
}

// keep makes a recipe of what has run, and keeps it after its own approval.
func (b *Bot) keep(ctx context.Context, ask Ask, ran Card, ch Channel) error {
	k := ask.Keep
	c := ran.Candidate
	if c.Finding.Verdict != proof.Verified || c.Source == "" || c.Manifest.Script != nil {
		return end(Refused, output.ReasonRefused, fmt.Errorf("it has run, but is not kept: only what is proved becomes a recipe, and this is %s", card.Verdict(ran.Record, true)))
	}
	manifest, err := c.Manifest.Encode()
	if err != nil {
		return err
	}
	lifted, recipe, err := k.Make(ctx, c, manifest, stages(ch))
	if err != nil {
		return end(Rejected, output.ReasonCandidate, fmt.Errorf("it has run, but is not kept: %w", err))
	}
	recipe.Name, recipe.By, recipe.Nodes = k.Name, ask.Requester.ID, ran.Record.Nodes
	for _, said := range k.Phrasings {
		recipe.Phrasings = append(recipe.Phrasings, team.Phrase(said, recipe.Values))
	}
	fits := func(all []team.Recipe) error {
		return k.fits(recipe, all, slices.Sorted(maps.Keys(recipe.Values)))
	}
	all, err := k.Store.List(ctx)
	if err != nil {
		return err
	}
	if err := fits(all); err != nil {
		return end(BadInput, output.ReasonCandidate, fmt.Errorf("it has run, but is not kept: %w", err))
	}
	if manifest, err = lifted.Manifest.Encode(); err != nil {
		return err
	}
	prog := job.Program{ELF: lifted.Object.ELF(), Manifest: manifest, Contract: lifted.ContractText()}
	shown := Card{Ask: ask, Candidate: lifted.Candidate, Record: ran.Record, Keep: &Kept{Recipe: recipe, Lifted: lifted.Params, Left: lifted.Kept,
		Diff: append(card.Changed("contract", string(c.ContractText()), recipe.Contract), card.Changed("source", c.Source, recipe.Source)...)}}
	shown.Record.Origin, shown.Record.Contract = "a recipe to be kept", lifted.ContractWords()
	limits := job.Limits{Duration: DefaultDuration, EventsPerSecond: DefaultEvents}
	digest, err := job.DigestOf(prog, recipe.Nodes, limits)
	if err != nil {
		return err
	}
	shown.Record.Digest = digest.String()
	risk, err := approvals.Assess(prog, true)
	if err != nil {
		return end(Refused, output.ReasonRefused, err)
	}
	opened, err := b.Desk.Open(ctx, approvals.Candidate{
		Program: prog, Nodes: recipe.Nodes, Limits: limits, Digest: digest, Tier: risk.Tier, Proved: true, Requester: ask.Requester,
		Asked: "keep as " + recipe.Name, Origin: shown.Record.Origin, Purpose: approvals.KeepRecipe, Subject: recipe.Subject(),
	})
	if errors.As(err, new(*approvals.RefusedError)) {
		return end(Refused, output.ReasonRefused, err)
	}
	if err != nil {
		return err
	}
	ch.Candidate(shown)
	if err := b.decide(ctx, opened.ID, shown, ch); err != nil {
		return err
	}
	done, err := b.Desk.Redeem(ctx, opened.ID, approvals.KeepRecipe, recipe.Subject())
	if err != nil {
		return end(Denied, output.ReasonDenied, err)
	}
	subject := recipe
	recipe.Program, recipe.Manifest, recipe.Case, recipe.At = prog.ELF, prog.Manifest, opened.ID, done.Done
	if err := k.Store.Put(ctx, recipe, fits); err != nil {
		return end(Failed, output.ReasonFailed, fmt.Errorf("keeping %s: %w", subject.Name, err))
	}
	ch.Stage(output.Stage{Name: "keep", State: "done", Detail: fmt.Sprintf("kept as %s; it is asked for like “%s”", recipe.Name, recipe.Phrasings[0])})
	return nil
}

// stages shows steps of preparing.
func stages(ch Channel) func(agent.Step) {
	return func(s agent.Step) {
		ch.Stage(output.Stage{Name: s.Name, State: s.State, Detail: s.Detail, Millis: s.Elapsed.Milliseconds()})
	}
}
