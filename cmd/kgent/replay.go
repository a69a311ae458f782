package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"kgent/agent"
	"kgent/bot/card"
)

// maxRecord is the longest record that is read, in bytes.
const maxRecord = 64 << 20

// replayCommand makes a request again from its record: the answers of the model are those on record, the gates run anew.
func replayCommand(sys system) *cobra.Command {
	return &cobra.Command{
		Use:   "replay RECORD.json",
		Short: "make a request again from its record, without the model, and say where it goes another way",
		Long: `replay prepares the request of a record again. What the model says comes from the
record; contracts, programs and proofs are checked anew, by this kgent and on this
host's kernel. Nothing is attached.

Exit codes:
  0  it went the same way
  1  a fault of kgent or of this host
  2  the command line or the record cannot be read
  6  it went another way; where is printed`,
		Example: `  kgent ask --record record.json --show "which processes ask for their parent's id"
  kgent replay record.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := readBounded(args[0], maxRecord)
			if err != nil {
				return usageError{err}
			}
			then, err := agent.DecodeRecord(raw)
			if err != nil {
				return usageError{err}
			}
			model := agent.NewReplay(then)
			h, err := newHostWith(cmd.Context(), sys, model)
			if err != nil {
				return err
			}
			defer h.close()
			var now *agent.Record
			h.agent.Budget, h.agent.Effort, h.agent.Keep = then.Budget, then.Effort, func(r *agent.Record) { now = r }
			_, err = h.agent.Prepare(cmd.Context(), then.Request, func(s agent.Step) {
				if s.State == "done" || s.State == "failed" {
					fmt.Fprintf(sys.out, "%s %-30s %s\n", map[string]string{"done": "✓", "failed": "✗"}[s.State], card.Stage(s.Name), harmless(fmt.Errorf("%s", s.Detail)))
				}
			})
			if cmd.Context().Err() != nil {
				return err
			}
			differs := model.Divergences(then, now)
			if len(differs) == 0 {
				fmt.Fprintf(sys.out, "\nIt went the same way: %s.\n", harmless(fmt.Errorf("%s", short(now.Outcome))))
				return nil
			}
			fmt.Fprintln(sys.out, "\nIt went another way:")
			for _, d := range differs {
				fmt.Fprintf(sys.out, "  - %s\n", harmless(fmt.Errorf("%s", d)))
			}
			return exitError(exitRejected)
		},
	}
}

// short is the beginning of a text.
func short(s string) string {
	if r := []rune(s); len(r) > 300 {
		return string(r[:300]) + "…"
	}
	return s
}

// readBounded reads a file of at most so many bytes.
func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(len(raw)) > most {
		return nil, fmt.Errorf("reading %s: it has more than %d bytes", path, most)
	}
	return raw, nil
}
