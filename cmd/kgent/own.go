package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"kgent/agent"
	"kgent/agent/lessons"
	"kgent/agent/recipes"
	"kgent/agent/team"
	"kgent/bot"
	"kgent/executor/bus/rdb"
	"kgent/executor/render/text"
)

// stateDir is where what a person keeps is: KGENT_STATE, or kgent's part of the user's state.
// Empty when there is no such place.
func stateDir(getenv func(string) string) string {
	if dir := getenv("KGENT_STATE"); dir != "" {
		return dir
	}
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "kgent")
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "kgent")
	}
	return ""
}

// ownFile is the store of a person's own recipes.
func ownFile(getenv func(string) string) (team.File, error) {
	dir := stateDir(getenv)
	if dir == "" {
		return team.File{}, errors.New("there is no place to keep recipes: set HOME, or KGENT_STATE to a directory")
	}
	return team.File{Path: filepath.Join(dir, "recipes.json")}, nil
}

// memory is what ask remembers beyond one request.
type memory struct {
	recipes []func(context.Context) ([]team.Recipe, error)
	lessons agent.Lessons // nil: none are kept
	close   func()
}

// list is all recipes: the team's, then the person's own.
func (m memory) list(ctx context.Context) ([]team.Recipe, error) {
	var out []team.Recipe
	for _, list := range m.recipes {
		found, err := list(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// openMemory finds what the person has kept, and, where REDIS_URL and the bot's keys are at hand,
// the team's recipes and lessons. What is not at hand is said.
func openMemory(ctx context.Context, sys system, keys string) (memory, error) {
	m := memory{close: func() {}}
	config, ok, err := rdb.FromEnv(sys.getenv)
	if err != nil {
		return m, usageError{err}
	}
	if ok {
		client, shared, err := teamAt(ctx, config, keys)
		if err != nil {
			sys.notice("your team's recipes are left out: " + harmless(err))
		} else {
			shared.Warn = func(name string, err error) {
				sys.notice(fmt.Sprintf("the team recipe %q is left out: %s", name, harmless(err)))
			}
			m.recipes, m.lessons = append(m.recipes, shared.List), lessons.NewRedis(client, time.Now)
			m.close = func() { client.Close() }
		}
	}
	if dir := stateDir(sys.getenv); dir != "" {
		m.recipes = append(m.recipes, team.File{Path: filepath.Join(dir, "recipes.json")}.List)
		if m.lessons == nil {
			m.lessons = lessons.NewFile(filepath.Join(dir, "lessons.json"), time.Now)
		}
	}
	return m, nil
}

// teamAt opens the team's store: its seals take the bot's keys.
func teamAt(ctx context.Context, config rdb.Config, keys string) (redis.UniversalClient, *team.Redis, error) {
	secret, err := keyDir(keys).seals(team.StoreSecret)
	if err != nil {
		return nil, nil, err
	}
	client, err := rdb.New(config)
	if err != nil {
		return nil, nil, err
	}
	if err := rdb.Check(ctx, client); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("connecting to %s: %w", config, err), client.Close())
	}
	shared, err := team.NewRedis(client, secret.current, secret.others...)
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return client, shared, nil
}

// keeping is what --keep asks for; nil when it does not.
func keeping(ctx context.Context, sys system, o askOptions, request string, maker *agent.Agent) (*bot.Keeping, error) {
	switch {
	case o.keep == "" && len(o.phrases) > 0:
		return nil, errors.New("--phrase says how a recipe is asked for that --keep NAME makes")
	case o.keep == "":
		return nil, nil
	case o.show:
		return nil, errors.New("--keep keeps what has run, and --show runs nothing")
	}
	store, err := ownFile(sys.getenv)
	if err != nil {
		return nil, err
	}
	library, err := recipes.Default()
	if err != nil {
		return nil, err
	}
	k := &bot.Keeping{Name: o.keep, Phrasings: o.phrases, Store: store, Builtin: library}
	if len(k.Phrasings) == 0 {
		k.Phrasings = []string{request}
	}
	k.Make = func(ctx context.Context, c *agent.Candidate, manifest []byte, progress func(agent.Step)) (*agent.Lifted, team.Recipe, error) {
		return maker.Recipe(ctx, c.Source, manifest, string(c.ContractText()), []agent.Target{maker.Target}, progress)
	}
	return k, k.Check(ctx)
}

// forgetCommand removes one of the person's own recipes.
func forgetCommand(sys system) *cobra.Command {
	return &cobra.Command{
		Use:   "forget NAME",
		Short: "remove a recipe of your own",
		Args:  func(cmd *cobra.Command, args []string) error { return asUsage(cobra.ExactArgs(1)(cmd, args)) },
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := ownFile(sys.getenv)
			if err != nil {
				return usageError{err}
			}
			err = store.Remove(cmd.Context(), args[0])
			if errors.Is(err, team.ErrNone) {
				return usageError{fmt.Errorf("you have no recipe %q of your own; kgent recipes lists them", args[0])}
			}
			if err == nil {
				fmt.Fprintf(sys.out, "%s is removed\n", args[0])
			}
			return err
		},
	}
}

// listOwn prints the recipes that the person has kept.
func listOwn(ctx context.Context, sys system) error {
	store, err := ownFile(sys.getenv)
	if err != nil {
		return nil // then there are none
	}
	all, err := store.List(ctx)
	if err != nil {
		return err
	}
	for i, r := range all {
		if i == 0 {
			fmt.Fprintf(sys.out, "\nyour own\n")
		}
		for n, p := range r.Phrasings {
			name := ""
			if n == 0 {
				name = r.Name
			}
			fmt.Fprintf(sys.out, "%-26s   kgent ask %q\n", text.Clean(name), p)
		}
	}
	return nil
}
