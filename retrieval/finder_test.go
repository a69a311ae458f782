package retrieval_test

import (
	"slices"
	"testing"

	"kgent/retrieval"
)

func TestFinder(t *testing.T) {
	facts := hostFacts(t)
	options := retrieval.Options{Cache: t.TempDir()}
	ix, err := retrieval.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	finder := retrieval.NewFinder(ix, recipeDocuments(t), options)
	hooks, err := finder.Hooks(t.Context(), facts, "who deletes files", 24)
	if err != nil {
		t.Fatal(err)
	}
	if len(hooks) != 24 {
		t.Errorf("%d hooks, want 24", len(hooks))
	}
	var targets []string
	for _, h := range hooks {
		targets = append(targets, h.Kind+" "+h.Target)
		if err := facts.CheckHook(h.Kind, h.Target); err != nil {
			t.Errorf("%s: %v", h, err)
		}
		if h.Signature == "" {
			t.Errorf("%s has no signature", h)
		}
	}
	for _, want := range []string{"tracepoint syscalls:sys_enter_unlinkat", "tracepoint syscalls:sys_exit_unlinkat"} {
		if !slices.Contains(targets, want) {
			t.Errorf("%s is missing of %q", want, targets)
		}
	}
	if len(slices.Compact(slices.Sorted(slices.Values(targets)))) != len(targets) {
		t.Errorf("some come twice: %q", targets)
	}
	names, err := finder.Recipes(t.Context(), "which connections retransmit?", 2)
	if err != nil || len(names) != 2 || names[0] != "tcp-retransmits" {
		t.Errorf("recipes: %q, %v", names, err)
	}
	for _, text := range []string{"", "   "} {
		if hooks, err := finder.Hooks(t.Context(), facts, text, 5); err != nil || len(hooks) > 0 {
			t.Errorf("%q: %v, %v", text, hooks, err)
		}
	}
	// Documents are as the kernel's facts: what cannot be attached to is not a place.
	if got := retrieval.Attachable(facts, []retrieval.Place{{Kind: "tracepoint", Target: "no:such"}, {Kind: "fentry", Target: "no_such_function_anywhere"}}); len(got) > 0 {
		t.Errorf("attachable: %v", got)
	}
}
