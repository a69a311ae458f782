package compose

import (
	"errors"
	"strings"
	"testing"

	"kgent/agent/codegen"
	"kgent/agent/contract"
)

// For nearly everything that is composed a program can be generated.
func TestCode(t *testing.T) {
	c := host(t)
	types, err := c.types()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var without []string
	for _, file := range []string{"dev.tsv", "third.tsv"} {
		for _, r := range requests(t, file) {
			got, err := answered(c, r)
			if err != nil || got.Match != nil || strings.HasPrefix(got.Origin, "recipe ") {
				continue
			}
			text := contract.Format(got.Contract)
			if seen[text] {
				continue
			}
			seen[text] = true
			checked, err := contract.Check(got.Contract, types)
			if err != nil {
				t.Fatalf("%s:%d: %v", file, r.line, err)
			}
			var unsupported *codegen.Unsupported
			if _, err := codegen.C(checked); errors.As(err, &unsupported) {
				without = append(without, r.text+": "+unsupported.What)
			} else if err != nil {
				t.Errorf("%s:%d: %v", file, r.line, err)
			}
		}
	}
	t.Logf("%d contracts, %d without code:\n%s", len(seen), len(without), strings.Join(without, "\n"))
	if len(without)*10 > len(seen) {
		t.Error("too many")
	}
}
