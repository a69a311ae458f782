package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kgent/agent/verify"
	"kgent/agent/verify/proof"
)

// What models write by habit comes out right without a try.
func TestHabits(t *testing.T) {
	m := host(t)
	files, err := filepath.Glob("testdata/habits/*.c")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d programs, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".c"), func(t *testing.T) {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			b := newBench(t, m, nil, told(string(source)))
			b.Budget.Tries = 1
			b.Prover = &verify.Prover{Limits: proof.Limits{Time: 3 * time.Second}} // none of them is to be proved
			c, err := b.prepare(t.Context(), beyond)
			if err != nil {
				t.Fatalf("%v\n%v", err, b.steps)
			}
			t.Logf("%q", c.Record.Attempts[0].Notes)
		})
	}
}
