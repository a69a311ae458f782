package main

import (
	"github.com/spf13/cobra"

	"kgent/agent/contract"
	"kgent/agent/recipes"
	"kgent/agent/verify"
	"kgent/agent/verify/worker"
)

// proverArg names the command that the bot starts for its proofs.
const proverArg = "prover"

func proverCommand(sys system) *cobra.Command {
	return &cobra.Command{
		Use: proverArg, Hidden: true, Args: cobra.NoArgs,
		Short: "Make the proofs of a bot, which starts this itself",
		RunE: func(cmd *cobra.Command, _ []string) error {
			library, err := recipes.Default()
			if err != nil {
				return err
			}
			var known []*contract.Contract
			for _, r := range library.Recipes() {
				known = append(known, r.Contract)
			}
			return worker.Serve(cmd.Context(), sys.in, sys.out, verify.TrustedAre(known))
		},
	}
}

// newProver returns a prover that runs this program beside itself: this very
// file, whatever has been put in its place since.
func newProver() *worker.Process { return worker.New("/proc/self/exe", proverArg) }
