package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kgent/agent/recipes"
)

// recipesCommand shows what kgent answers without a model.
func recipesCommand(sys system) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "recipes [name]",
		Short: "list the built-in programs and your own, or show one with its parameters and source",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("want one name at most, got %d", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			library, err := recipes.Default()
			if err != nil {
				return err
			}
			all := library.Recipes()
			if len(args) == 1 {
				for _, r := range all {
					if r.Name == args[0] {
						return showRecipe(sys, r)
					}
				}
				return usageError{fmt.Errorf("no recipe %q; kgent recipes lists them", args[0])}
			}
			if format == "json" {
				enc := json.NewEncoder(sys.out)
				for _, r := range all {
					if err := enc.Encode(map[string]any{"name": r.Name, "title": r.Title, "description": r.Description, "phrasings": r.Phrasings}); err != nil {
						return err
					}
				}
				return nil
			}
			for _, r := range all {
				fmt.Fprintf(sys.out, "%-26s %s\n%-26s   kgent ask %q\n", r.Name, r.Title, "", r.Phrasings[0])
			}
			return listOwn(cmd.Context(), sys)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "`text` or json, one recipe a line")
	cmd.AddCommand(forgetCommand(sys))
	return cmd
}

func showRecipe(sys system, r *recipes.Recipe) error {
	fmt.Fprintf(sys.out, "%s: %s\n\n%s\n\nAsk for it like this:\n", r.Name, r.Title, strings.TrimSpace(r.Description))
	for _, p := range r.Phrasings {
		fmt.Fprintf(sys.out, "  %s\n", p)
	}
	if len(r.Params) > 0 {
		fmt.Fprintf(sys.out, "\nIt reads from the request:\n")
		for _, p := range r.Params {
			fmt.Fprintf(sys.out, "  %-12s %s\n", p.Name, p.Means)
		}
	}
	fmt.Fprintf(sys.out, "\n%s", r.Source)
	return nil
}

func versionCommand(sys system) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print what this binary was built from",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintf(sys.out, "kgent %s\n", buildVersion())
			return nil
		},
	}
}
