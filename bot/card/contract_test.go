package card_test

import (
	"strings"
	"testing"

	"kgent/agent/contract"
	"kgent/agent/recipes"
	"kgent/bot/card"
)

// A contract that would fill the screen is shortened case by case: no condition is lost without
// a word, and what is left out is said.
func TestContract(t *testing.T) {
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range library.Recipes() {
		words := contract.English(r.Contract)
		whole := contract.Behaviour(words)
		for _, most := range []int{300, 800, 1200} {
			short := card.Contract(words, most)
			if len(short) > most+120 {
				t.Errorf("%s in %d bytes has %d", r.Name, most, len(short))
			}
			if short == whole {
				continue
			}
			if !strings.HasSuffix(short, "the whole contract is beside the source.") {
				t.Errorf("%s does not say that it is shortened:\n%s", r.Name, short)
			}
			lines := strings.Split(short, "\n")
			for i, l := range lines {
				bare := strings.TrimSpace(l)
				if strings.HasPrefix(bare, "- ") && strings.HasSuffix(bare, ":") && (i+1 == len(lines) || !strings.HasPrefix(strings.TrimSpace(lines[i+1]), "→") && (bare != "- After that:" || !strings.HasPrefix(lines[i+1], "  - "))) {
					t.Errorf("%s in %d bytes has a case without an end: %s", r.Name, most, l)
				}
				if strings.HasSuffix(bare, "all of this holds:") {
					t.Errorf("%s in %d bytes has a case without conditions", r.Name, most)
				}
			}
		}
	}
	r, _ := library.Lookup("tcp-connect")
	short := card.Contract(contract.English(r.Contract), 1200)
	for _, want := range []string{"- If the protocol of the socket is TCP; the new state is SYN_SENT; the current task passes the filter (pid, comm, uid);", "→ remember for the socket", "→ show a line “connects” with the remembered pid", " …\n"} {
		if !strings.Contains(short, want) {
			t.Errorf("without %q:\n%s", want, short)
		}
	}
	if strings.Contains(short, "forget") || strings.Count(short, "\n") > 12 {
		t.Errorf("too much of it:\n%s", short)
	}
	if got := card.Contract("T.\n\nIt shows x.\n\nWhen y:\n- Always:\n  → count one", 300); got != "It shows x.\nWhen y:\n- Always:\n  → count one" {
		t.Errorf("a short one is changed: %s", got)
	}
}
