package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

func TestUncommented(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"int a; // b\nint c;", "int a;\nint c;"},
		{"int a; /* b\n c */ int d;", "int a;   int d;"},
		{`char *s = "// no /* comment */"; // one`, `char *s = "// no /* comment */";`},
		{`char c = '"'; /* " */ char d = '\'';`, `char c = '"';   char d = '\'';`},
		{"// a \\\n still\nint b;", "int b;"},
		{"\n\n  \nint a;\n\n", "int a;"},
		{"int a; /* never ends", "int a;"},
		{`"never ends`, `"never ends`},
	} {
		if got := uncommented(tc.in); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.in, got, tc.want)
		}
	}
}

// Readings are compared by the version of the prompt, see TestPromptVersion.
func TestComprehendPromptVersion(t *testing.T) {
	const version, sum = "1", "1a3971e8202db02a"
	h := sha256.Sum256([]byte(comprehendPrompt))
	if got := hex.EncodeToString(h[:8]); ComprehendPromptVersion != version || got != sum {
		t.Errorf("the prompt for readers has version %s and the sum %s, the test knows version %s with %s", ComprehendPromptVersion, got, version, sum)
	}
	system := comprehendSystem()
	if !strings.HasPrefix(system, comprehendPrompt) || !strings.Contains(system, "# Expressions (in \"when\"") || strings.Contains(system, "You write contracts") {
		t.Error("the prompt for readers lacks the language of contracts, or has the instructions to their authors")
	}
}

func FuzzUncommented(f *testing.F) {
	f.Add("int a; // b\n/* c */ \"d\\\"\" 'e'")
	f.Fuzz(func(t *testing.T, s string) {
		if out := uncommented(s); len(out) > len(s) {
			t.Errorf("%q became %q", s, out)
		}
	})
}
