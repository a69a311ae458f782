package thread

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"

	"kgent/agent/team"
	"kgent/agent/verify/proof"
	"kgent/approvals"
	"kgent/bot/card"
	"kgent/bot/target"
	"kgent/executor/bus"
	"kgent/executor/job"
)

// Keep is a recipe that is to be kept or removed.
type Keep struct {
	// Recipe is it, without its object and manifest, which are the case's.
	Recipe team.Recipe `json:"recipe"`
	Remove bool        `json:"remove,omitempty"`
	// Of is the request whose program it is made of.
	Of string `json:"of,omitempty"`
	// Lifted are the constants that became parameters, with what they were; Left says which
	// did not, and why.
	Lifted map[string]string `json:"lifted,omitempty"`
	Left   []string          `json:"left,omitempty"`
	// Diff is what changed of contract and source.
	Diff []string `json:"diff,omitempty"`
}

// Kept is a program as a Maker made a recipe of it.
type Kept struct {
	Made
	// Recipe has everything but a name, phrasings and who made it.
	Recipe team.Recipe
	Lifted map[string]string
	Left   []string
}

// purpose is what is asked of people.
func (k Keep) purpose() approvals.Purpose {
	if k.Remove {
		return approvals.ForgetRecipe
	}
	return approvals.KeepRecipe
}

// subject names exactly this recipe: what people agree to is what is kept.
func (k Keep) subject() string { return k.Recipe.Subject() }

// forgets are the words that ask for a recipe to be removed.
var forgets = regexp.MustCompile(`(?i)^\s*(?:please\s+)?(?:forget|remove|delete|drop)\s+(?:the\s+)?(?:team\s+)?recipe\s+([A-Za-z0-9-]+)\s*[.!]?\s*$`)

// mayKeep says why a recipe cannot be made of a request, or nil.
func (c *Conversation) mayKeep(r Request) error {
	switch {
	case c.Team == nil || c.Builtin == nil:
		return refuse("this kgent keeps no recipes")
	case r.Keep != nil || r.Case == "" || r.State != Ended:
		return refuse("there is nothing to keep: %s", stateWords(r))
	case r.Card.Verdict != proof.Verified.String():
		return refuse("only what is proved becomes a recipe, and this is %s", r.Card.Verdict)
	case r.Decided.IsZero() || r.Grant == nil:
		return refuse("only what was approved and has run becomes a recipe")
	case r.Card.Script != "":
		return refuse("a bpftrace script becomes no recipe: recipes are programs that kgent itself loads")
	case r.Source == "":
		return refuse("its source is not stored, so no recipe can be made of it")
	}
	return nil
}

// keepForm asks for a recipe's name and how people ask for it.
func (c *Conversation) keepForm(ctx context.Context, r Request, id string) (*card.Form, error) {
	if err := c.mayKeep(r); err != nil {
		return nil, err
	}
	phrase := c.nowhere(ctx, r.Text)
	if p, err := c.Desk.Program(ctx, r.Case); err == nil {
		_, values := contractOf(p)
		phrase = team.Phrase(phrase, values)
	}
	return &card.Form{Verb: verbKeep, ID: id, Title: "Save as recipe", Submit: "Ask for approval", Inputs: []card.Input{
		{Name: "name", Label: "Its name", Hint: "small letters, digits, hyphens: slow-orders", Max: 40},
		{Name: "phrasings", Label: "How people ask for it, one a line", Value: cut(phrase, 500), Hint: "{port} stands for a parameter", Multiline: true, Max: 1000},
	}}, nil
}

// nowhere is a phrasing without the nodes that it names: a recipe is looked for with a
// request's words as aim leaves them, and runs where it is asked for.
func (c *Conversation) nowhere(ctx context.Context, phrase string) string {
	known, lost, err := c.nodes(ctx)
	if err != nil { // it stays as it was typed, and is shown on the card
		return phrase
	}
	if named, rest, err := target.FromText(phrase, known, lost...); err == nil && named != "" {
		return strings.Trim(rest, " ,;.")
	}
	return phrase
}

// keepAs begins to keep a request's program as a recipe.
func (c *Conversation) keepAs(ctx context.Context, e Event, p approvals.Person, r Request) error {
	if err := c.mayKeep(r); err != nil {
		return c.refused(ctx, e, err)
	}
	recipe := team.Recipe{Name: strings.TrimSpace(e.Fields["name"]), By: p.ID}
	for _, line := range strings.Split(e.Fields["phrasings"], "\n") {
		if line = strings.TrimSpace(line); line != "" {
			recipe.Phrasings = append(recipe.Phrasings, c.nowhere(ctx, line))
		}
	}
	return c.create(ctx, e, Request{
		ID: hash("request " + e.Key), Place: r.Place, Root: r.Root, By: e.By, Person: p.ID, Author: e.By, AuthorPerson: p.ID, Reply: e.Reply,
		Text: "Save as recipe " + cut(oneLine(recipe.Name), 60), Nodes: strings.Join(r.Card.Nodes, ","), Keep: &Keep{Recipe: recipe, Of: r.ID},
		State: Preparing, Revision: 1, Opened: c.Now().UTC().Round(0),
	})
}

// forget begins to remove a recipe.
func (c *Conversation) forget(ctx context.Context, e Event, name string) error {
	p, err := c.mayAsk(ctx, e)
	if err != nil {
		return c.refuseOr(ctx, e, err)
	}
	if c.Team == nil {
		return c.refused(ctx, e, refuse("this kgent keeps no recipes"))
	}
	all, err := c.Team.List(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(r team.Recipe) bool { return r.Name == strings.ToLower(name) })
	if i < 0 {
		return c.refused(ctx, e, refuse("there is no team recipe %s; `recipes` lists them", short(name)))
	}
	return c.create(ctx, e, Request{
		ID: hash("request " + e.Key), Place: e.Place, By: e.By, Person: p.ID, Author: e.By, AuthorPerson: p.ID, Reply: e.Reply,
		Text: e.Text, Keep: &Keep{Recipe: withoutObject(all[i]), Remove: true}, State: Preparing, Revision: 1, Opened: c.Now().UTC().Round(0),
	})
}

func withoutObject(r team.Recipe) team.Recipe {
	r.Program, r.Manifest = nil, nil
	return r
}

// makeRecipe makes the program of a recipe that is to be kept, or finds the one of a recipe
// that is to be removed.
func (c *Conversation) makeRecipe(ctx context.Context, r *Request, known []bus.NodeInfo) (Made, []string, error) {
	all, err := c.Team.List(ctx)
	if err != nil {
		return Made{}, nil, err
	}
	show := c.progress(ctx, *r)
	made, nodes, keep, err := c.recipe(ctx, *r, known, all, show)
	r.Steps = show.close()
	if err != nil {
		if reject, ok := errors.AsType[*rejection](prepared(err)); ok {
			return Made{}, nil, &rejection{reject.why, "Not kept"}
		}
		return Made{}, nil, err
	}
	r.Keep = keep
	return made, nodes, nil
}

func (c *Conversation) recipe(ctx context.Context, r Request, known []bus.NodeInfo, all []team.Recipe, show *showing) (Made, []string, *Keep, error) {
	keep := *r.Keep
	fail := func(err error) (Made, []string, *Keep, error) { return Made{}, nil, nil, err }
	if keep.Remove {
		i := slices.IndexFunc(all, func(t team.Recipe) bool { return t.Name == keep.Recipe.Name })
		if i < 0 {
			return fail(&rejection{why: team.ErrNone.Error()})
		}
		infos := among(known, all[i].Nodes)
		if len(infos) == 0 {
			return fail(&rejection{why: "none of the nodes that it was approved for answers, and who may remove it goes by them"})
		}
		p := job.Program{ELF: all[i].Program, Manifest: all[i].Manifest, Contract: []byte(all[i].Contract)}
		made, err := c.Maker.Remake(ctx, p, nil, false, infos, show.step)
		made.Card.Origin, made.Source = "team recipe "+keep.Recipe.Name, all[i].Source
		keep.Recipe = withoutObject(all[i])
		return made, namesOf(infos), &keep, err
	}
	of, err := c.Store.Load(ctx, keep.Of)
	if errors.Is(err, ErrNotFound) {
		return fail(&rejection{why: "the request that it is made of is forgotten"})
	}
	if err == nil {
		if why := c.mayKeep(of); why != nil {
			err = &rejection{why: words(why)}
		}
	}
	if err != nil {
		return fail(err)
	}
	if _, taken := kept(all, keep.Recipe.Name); taken {
		return fail(&rejection{why: takenName(keep.Recipe.Name)})
	}
	p, err := c.Desk.Program(ctx, of.Case)
	if err != nil {
		return fail(&rejection{why: "its program is no longer stored: " + err.Error()})
	}
	infos := among(known, of.Card.Nodes)
	if len(infos) == 0 {
		return fail(&rejection{why: "none of the nodes that it ran on answers; a recipe is proved for their kernels"})
	}
	kept, err := c.Maker.Recipe(ctx, of.Source, p, infos, show.step)
	if err != nil {
		return fail(err)
	}
	recipe := kept.Recipe
	recipe.Name, recipe.By, recipe.Nodes = keep.Recipe.Name, keep.Recipe.By, namesOf(infos)
	for _, said := range keep.Recipe.Phrasings {
		recipe.Phrasings = append(recipe.Phrasings, team.Phrase(said, recipe.Values))
	}
	if err := team.Check(recipe, c.Builtin, all, slices.Sorted(maps.Keys(recipe.Values))); err != nil {
		return fail(&rejection{why: err.Error()})
	}
	keep.Recipe, keep.Lifted, keep.Left = recipe, kept.Lifted, kept.Left
	keep.Diff = append(card.Changed("contract", string(p.Contract), recipe.Contract), card.Changed("source", of.Source, recipe.Source)...)
	return kept.Made, recipe.Nodes, &keep, nil
}

// kept finds a recipe by its name. One is put in the place of another only after that was removed,
// which takes the approval of those whose nodes it was approved for.
func kept(all []team.Recipe, name string) (team.Recipe, bool) {
	i := slices.IndexFunc(all, func(t team.Recipe) bool { return t.Name == name })
	if i < 0 {
		return team.Recipe{}, false
	}
	return all[i], true
}

func takenName(name string) string {
	return "there is a team recipe " + name + " already; choose another name, or have it removed first: forget recipe " + name
}

func among(known []bus.NodeInfo, names []string) []bus.NodeInfo {
	return slices.DeleteFunc(slices.Clone(known), func(n bus.NodeInfo) bool { return !slices.Contains(names, n.Name) })
}

func namesOf(nodes []bus.NodeInfo) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.Name)
	}
	slices.Sort(out)
	return out
}

// carryOut keeps or removes a recipe that people agreed to.
func (c *Conversation) carryOut(ctx context.Context, r Request) error {
	finish := func(o Outcome, detail string) error {
		_, err := c.change(ctx, r.ID, func(r *Request) bool {
			if r.State != Approved {
				return false
			}
			r.State, r.Outcome, r.Detail, r.EndedAt = Ended, o, detail, c.Now().UTC().Round(0)
			return true
		})
		return err
	}
	k := *r.Keep
	cs, err := c.Desk.Redeem(ctx, r.Case, k.purpose(), k.subject())
	var refused *approvals.RefusedError
	var late *approvals.StaleError
	switch {
	case errors.As(err, &refused):
		return finish(FailedAll, "it was approved, but is not allowed any more: "+refused.Reason)
	case errors.As(err, &late):
		return finish(Expired, late.Reason)
	case errors.Is(err, approvals.ErrNotFound), errors.Is(err, approvals.ErrPurpose):
		return finish(FailedAll, "what is stored is not what was approved; nothing was changed")
	case err != nil:
		return err
	}
	if k.Remove {
		if err := c.Team.Remove(ctx, k.Recipe.Name); err != nil && !errors.Is(err, team.ErrNone) {
			return err
		}
		return finish(Completed, "the recipe "+k.Recipe.Name+" is removed")
	}
	p, err := c.Desk.Program(ctx, r.Case)
	if err != nil {
		return finish(FailedAll, "its program is no longer stored: "+err.Error())
	}
	recipe := k.Recipe
	recipe.Program, recipe.Manifest, recipe.Case, recipe.At = p.ELF, p.Manifest, r.Case, cs.Done
	// Others may have been kept since it was asked for, also at this very moment.
	err = c.Team.Put(ctx, recipe, func(all []team.Recipe) error {
		if other, taken := kept(all, recipe.Name); taken && other.Case != r.Case {
			return &rejection{why: takenName(recipe.Name)}
		}
		if err := team.Check(recipe, c.Builtin, all, slices.Sorted(maps.Keys(recipe.Values))); err != nil {
			return &rejection{why: err.Error()}
		}
		return nil
	})
	no, unfit := errors.AsType[*rejection](err)
	switch {
	case unfit:
		return finish(FailedAll, no.why)
	case errors.Is(err, team.ErrFull):
		return finish(FailedAll, err.Error())
	case err != nil:
		return err
	}
	return finish(Completed, "kept as "+recipe.Name+"; it is asked for like “"+recipe.Phrasings[0]+"”")
}

// keepCard is what people decide on when a recipe is to be kept or removed.
func (c *Conversation) keepCard(r Request) card.Card {
	k := r.Keep
	what := card.Card{Title: "Keep as a team recipe: " + cut(k.Recipe.Name, 60)}
	if k.Remove {
		what.Title = "Remove the team recipe " + cut(k.Recipe.Name, 60)
	}
	what.Blocks = append(what.Blocks, card.Text{Body: called(r.By) + " asks for it. Nothing runs by this; whoever uses the recipe needs the approval that its program needs."})
	what.Blocks = append(what.Blocks, card.Recipe(k.Recipe.Phrasings, k.Lifted, k.Left, k.Diff)...)
	what.Blocks = append(what.Blocks, list("What its program does", r.Card.Does), card.Fields{
		{Label: "Risk", Text: r.Card.Tier + ": " + cut(strings.Join(r.Card.Why, "; "), 160)},
		{Label: "Verdict", Text: cut(card.Verdict(r.Card, true), 260)},
	})
	if r.Card.Contract != "" {
		what.Blocks = append(what.Blocks, card.Text{Body: "What it has to do, by its contract:\n" + card.Contract(r.Card.Contract, 800)})
	}
	c.decisionBlocks(r, &what)
	what.Buttons = slices.DeleteFunc(what.Buttons, func(b card.Button) bool {
		return b.Verb == verbEdit || b.Verb == verbRefine || b.Verb == verbGlass
	})
	what.Blocks = append(what.Blocks, card.Note{Body: "Approval for “" + string(k.purpose()) + "” · " + k.subject() + " · digest " + short12(r.Card.Digest)})
	return what
}
