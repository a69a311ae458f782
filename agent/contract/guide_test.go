package contract

import (
	"testing"
)

func TestGuide(t *testing.T) {
	patterns := Patterns()
	if len(patterns) < 30 {
		t.Errorf("%d patterns, want at least 30", len(patterns))
	}
	seen := map[string]bool{}
	for _, p := range patterns {
		t.Run(p.Phrase, func(t *testing.T) {
			if seen[p.Phrase] || p.Example == "" {
				t.Error("twice, or without an example")
			}
			seen[p.Phrase] = true
			c, err := Parse(p.Example)
			if err != nil {
				t.Fatal(err)
			}
			k, err := Check(c, host(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range k.Remarks {
				t.Errorf("remark: %v", r)
			}
			if again, err := Parse(Format(c)); err != nil || Format(again) != Format(c) {
				t.Errorf("formatting is not stable: %v", err)
			}
			if English(c) == "" {
				t.Error("no English")
			}
		})
	}
}
