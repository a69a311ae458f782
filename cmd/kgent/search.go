package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
	openai "github.com/sashabaranov/go-openai"
	"github.com/spf13/cobra"

	"kgent/agent"
	"kgent/agent/llm"
	"kgent/agent/recipes"
	"kgent/executor/probe"
	"kgent/retrieval"
	"kgent/retrieval/embed"
	"kgent/retrieval/kernel"
)

// searchCommand finds what this host's kernel and the recipes have for some words.
func searchCommand(sys system) *cobra.Command {
	var kind, format string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "search words...",
		Short: "find recipes, hooks, helpers and types of this kernel, in words",
		Example: `  kgent search "packets dropped, and why"
  kgent search --kind hook who deletes files
  kgent search --kind helper "path of a file" --json`,
		Args: func(_ *cobra.Command, args []string) error {
			if strings.TrimSpace(strings.Join(args, " ")) == "" {
				return usageError{errors.New(`say what to search for: kgent search "packets dropped"`)}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			q := retrieval.Query{Text: strings.Join(args, " "), Limit: limit}
			if kind != "" {
				q.Kinds = []retrieval.Kind{retrieval.Kind(kind)}
				if !slices.Contains(retrieval.Kinds(), q.Kinds[0]) {
					return usageError{fmt.Errorf("--kind %s: want recipe, hook, helper, kfunc or type", kind)}
				}
			}
			if limit < 1 || limit > retrieval.MaxLimit {
				return usageError{fmt.Errorf("--limit %d: want 1 to %d", limit, retrieval.MaxLimit)}
			}
			if !slices.Contains([]string{"text", "json"}, format) {
				return usageError{fmt.Errorf("--output %s: want text or json", format)}
			}
			if err := kernel.EnsureMounts(cmd.Context()); err != nil && os.Geteuid() == 0 {
				return err
			}
			facts, err := kernel.Live(cmd.Context())
			if err != nil {
				return err
			}
			if privileged(facts) == nil { // then what this host refuses shows in a trial
				facts.Refused = map[string]string{}
				for _, f := range probe.Inventory(cmd.Context()) {
					if !f.OK {
						facts.Refused[string(f.Kind)] = f.Why
					}
				}
			}
			finder, err := newFinder(cmd.Context(), sys, nil, sys.notice)
			if err != nil {
				return err
			}
			hits, err := finder.Search(cmd.Context(), facts, q)
			if err != nil {
				return err
			}
			return showHits(sys.out, facts, hits, asJSON || format == "json")
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "only `recipe`, hook, helper, kfunc or type")
	cmd.Flags().IntVarP(&limit, "limit", "n", 10, "at most so `many`")
	cmd.Flags().StringVarP(&format, "output", "o", "text", "`text` or json, one hit a line")
	cmd.Flags().BoolVar(&asJSON, "json", false, "the same as --output json")
	return cmd
}

// notice says something that is no error but should be known.
func (s system) notice(line string) { fmt.Fprintln(s.err, line) }

// found is a hit as JSON has it.
type found struct {
	retrieval.Hit
	// Attach are the places that this kernel can attach to.
	Attach []attach `json:"attach,omitempty"`
	// Texts, Words and Places of the document are how it was found, not what.
	Texts  []string          `json:"texts,omitempty"`
	Words  []string          `json:"words,omitempty"`
	Uses   []retrieval.Place `json:"uses,omitempty"`
	Places []retrieval.Place `json:"places,omitempty"`
}

type attach struct {
	retrieval.Place
	Signature string `json:"signature,omitempty"`
}

func showHits(out io.Writer, facts *kernel.Facts, hits []retrieval.Hit, asJSON bool) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for _, h := range hits {
		var places []attach
		for _, p := range retrieval.Attachable(facts, h.Places) {
			signature, err := retrieval.Signature(facts, p)
			if err != nil {
				return err
			}
			places = append(places, attach{p, signature})
		}
		if asJSON {
			if err := enc.Encode(found{Hit: h, Attach: places}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(out, "%-7s %-36s %.2f", h.Kind, h.Name, h.Score)
		if h.Title != "" {
			fmt.Fprintf(out, "  %s", h.Title)
		}
		fmt.Fprintln(out)
		for _, p := range places {
			fmt.Fprintf(out, "          %s\n", strings.TrimSpace(p.Kind+" "+cut(orElse(p.Signature, p.Target), 160)))
		}
		if h.Kind == retrieval.Hook && len(places) == 0 {
			fmt.Fprintln(out, "          this kernel cannot attach to it")
		}
		fmt.Fprintf(out, "          because of: %s\n", strings.Join(h.Why, ", "))
	}
	if len(hits) == 0 && !asJSON {
		fmt.Fprintln(out, "nothing was found")
	}
	return nil
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}

// cut shortens a line for the eye.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// modelsFinder finds what a model is shown; nil where there is no model.
func modelsFinder(ctx context.Context, sys system, model llm.Model, client redis.UniversalClient, notice func(string)) (agent.HookFinder, error) {
	if model == nil {
		return nil, nil
	}
	return newFinder(ctx, sys, client, notice)
}

// newFinder makes the search over kernels and recipes. What it lacks is said on notice:
// without an embedding model it goes by words only; where there is a Redis, but without
// vector sets, each process has its own index.
func newFinder(ctx context.Context, sys system, client redis.UniversalClient, notice func(string)) (*retrieval.Finder, error) {
	library, err := recipes.Default()
	if err != nil {
		return nil, err
	}
	options, err := searchOptions(ctx, sys.getenv)
	if errors.Is(err, embed.ErrNoModel) {
		notice("searching by words only: " + err.Error())
	} else if err != nil {
		return nil, err
	}
	if client != nil && options.Embedder != nil {
		shared, err := retrieval.OpenRedis(ctx, client, options, retrieval.Bytes)
		switch {
		case err == nil:
			return retrieval.NewFinder(shared, recipeDocuments(library), options), nil
		case errors.Is(err, retrieval.ErrNoVectorSets), errors.Is(err, retrieval.ErrNotAllowed):
			notice("the search keeps its index in this process: " + err.Error())
		default:
			return nil, err
		}
	}
	index, err := retrieval.Open(options)
	if err != nil {
		return nil, err
	}
	return retrieval.NewFinder(index, recipeDocuments(library), options), nil
}

// searchOptions reads KGENT_EMBEDDINGS: a file of weights, "endpoint", "none", or nothing for
// the file beside the program. The error wraps [embed.ErrNoModel] when that one is not
// there; the options are then good without it. One that was asked for must be there.
func searchOptions(ctx context.Context, getenv func(string) string) (retrieval.Options, error) {
	options := retrieval.Options{Cache: searchCache(getenv)}
	switch setting := getenv("KGENT_EMBEDDINGS"); setting {
	case "none":
		return options, nil
	case "endpoint":
		endpoint, ok, err := llm.FromEnv(getenv)
		if err != nil {
			return options, usageError{err}
		}
		if !ok {
			return options, usageError{errors.New("KGENT_EMBEDDINGS=endpoint needs OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint of your own")}
		}
		config := openai.DefaultConfig(endpoint.Key.Reveal())
		config.BaseURL, config.OrgID = endpoint.BaseURL, endpoint.Organization
		remote, err := embed.Endpoint(ctx, config, getenv("KGENT_EMBEDDINGS_MODEL"))
		if err != nil {
			return options, err
		}
		options.Embedder = remote
		return options, nil
	default:
		model, err := embed.Load(setting)
		if err != nil {
			if setting != "" && errors.Is(err, embed.ErrNoModel) {
				return options, usageError{fmt.Errorf("KGENT_EMBEDDINGS: there is no file %s; make embeddings makes one", setting)}
			}
			return options, err
		}
		options.Embedder = model
		return options, nil
	}
}

// searchCache is where prepared documents are kept: a directory for caches of kgent, systemd's
// or the user's. Empty when there is none: then they are made anew each time.
func searchCache(getenv func(string) string) string {
	for _, name := range []string{"KGENT_CACHE", "CACHE_DIRECTORY"} {
		if dir := getenv(name); dir != "" {
			return filepath.Join(dir, "search")
		}
	}
	if dir := getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "kgent", "search")
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".cache", "kgent", "search")
	}
	return ""
}

// recipeDocuments are the recipes as the search knows them.
func recipeDocuments(library *recipes.Library) []retrieval.Document {
	var docs []retrieval.Document
	for _, r := range library.Recipes() {
		var uses []retrieval.Place
		for _, h := range r.Contract.Hooks {
			for _, p := range h.Places {
				kind, target := p.Where()
				uses = append(uses, retrieval.Place{Kind: kind, Target: target})
			}
		}
		docs = append(docs, retrieval.RecipeDocument(r.Name, r.Title, r.Description, r.Phrasings, uses))
	}
	return docs
}
