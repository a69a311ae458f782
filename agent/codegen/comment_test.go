package codegen

import (
	"strings"
	"testing"
)

// TestCommentEnds writes titles that try to end the comment that they are in.
func TestCommentEnds(t *testing.T) {
	for _, text := range []string{`a */ b`, `a *\ b`, "a *\\\n/ b", `a **/ b`, `a *\\/ b`, `a /\* b`} {
		out := comment(text)
		if strings.Contains(out, "*/") || strings.Contains(out, "/*") || strings.Contains(out, `\`) {
			t.Errorf("%q is written as %q", text, out)
		}
		if got := remark("", text); strings.Count(got, "*/") != 1 {
			t.Errorf("%q is written as %q", text, got)
		}
	}
}
