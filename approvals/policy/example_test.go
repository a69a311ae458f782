package policy_test

import (
	"os"
	"testing"

	"kgent/approvals/policy"
)

// The example that operators start from has nothing to complain about.
func TestExampleFile(t *testing.T) {
	const path = "../../deploy/policy.example.yaml"
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if p, problems := policy.Parse(path, content, policy.Options{}); p == nil || len(problems) > 0 {
		t.Error(problems)
	}
}
