package agent

import (
	"context"
	"strings"

	"kgent/agent/program"
	"kgent/agent/team"
)

// Recipe makes a recipe of a proved program: its constants become parameters, as [Agent.Lift]
// does it, and it keeps the settings of its manifest. What it lacks is a name, phrasings, who made it
// and when, and what people approved.
func (a *Agent) Recipe(ctx context.Context, source string, manifest []byte, contractText string, targets []Target, progress func(Step)) (*Lifted, team.Recipe, error) {
	was, err := program.DecodeManifest(manifest)
	if err != nil {
		return nil, team.Recipe{}, err
	}
	opt := program.Options{Name: was.Name, Title: was.Title, Constants: map[string]string{}, Means: was.Means, View: was.View}
	recipe := team.Recipe{View: was.View, Values: map[string]string{}}
	for _, k := range was.Constants {
		opt.Constants[k.Name], recipe.Values[k.Name] = k.Value, k.Value
	}
	for _, x := range was.Programs {
		switch h := x.Hook; {
		case h.Kind.NeedsInterface():
			opt.Interface = h.Target
		case h.Kind.NeedsCgroup():
			opt.Cgroup = h.Target
		case h.Hz != 0:
			opt.Hz = h.Hz
		}
	}
	var lifted *Lifted
	shown := preparation{Agent: a, progress: progress}
	err = shown.step("lift", func() (string, error) { // that some constants stay is no failure to be shown
		if lifted, err = a.Lift(ctx, source, contractText, opt, targets, nil); err != nil {
			return "", err
		}
		return plural(len(lifted.Params), "parameter"), nil
	})
	if err != nil {
		return nil, team.Recipe{}, err
	}
	recipe.Source, recipe.Contract = lifted.Source, string(lifted.ContractText())
	recipe.Interface, recipe.Cgroup, recipe.Hz = opt.Interface, opt.Cgroup, opt.Hz
	for name, value := range lifted.Params {
		recipe.Values[name] = strings.Trim(value, `"`)
	}
	return lifted, recipe, nil
}
