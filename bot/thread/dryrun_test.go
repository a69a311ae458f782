package thread_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"kgent/bot/card"
	"kgent/bot/thread"
)

// dry returns whether the runs that were sent were dry.
func (tm *team) dry() []bool {
	tm.Helper()
	var out []bool
	for _, g := range tm.fleet.grants {
		out = append(out, g.Limits.DryRun)
	}
	return out
}

// A dry run can be asked for in words, by a button and in the form; whichever way, it
// is another thing to be approved than the real one, and says so everywhere.
func TestDryRun(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.maker.acts = true
		tm.ask(c, "ada", "dry run: who calls getppid on all nodes")
		if got := tm.maker.asked[0]; !got.DryRun || got.Text != "who calls getppid" {
			tm.Errorf("asked for %+v", got)
		}
		const counts = "counts, and does not do: sends signals to processes (bpf_send_signal)"
		tm.holds("the card", tm.slack.shown("card:"), "Dry run: getppid calls", counts, "{Risk observe-sensitive: ", "{Dry run each node leaves out", "[For real]", "![Dry run]")
		first := tm.slack.button(tm.T, "card:", "approve")
		tm.click(c, "bob", "approve", first)

		// By the button: another revision, of another tier, and no vote counts any more.
		tm.click(c, "cyd", "real", tm.slack.button(tm.T, "card:", "real"))
		tm.holds("the real one", tm.slack.shown("card:"), "!Dry run: ", "{Risk act: ", "{Dry run no: ", "!counts, and does not do", "0 of 2", "edited by Cyd: a dry run -> for real", "[Dry run]")
		tm.click(c, "bob", "approve", first)
		tm.holds("the whisper", tm.slack.whispered(), "out of date")

		// In the form.
		id := tm.slack.button(tm.T, "card:", "edit")
		form, _ := c.Form(context.Background(), thread.Event{Kind: thread.Click, By: tm.account("bob"), Verb: "edit", ID: id})
		if i := slices.IndexFunc(form.Inputs, func(in card.Input) bool { return in.Name == "dry" }); i < 0 || form.Inputs[i].Value != "no" {
			tm.Errorf("the form has %+v", form.Inputs)
		}
		if got := c.Wrong(context.Background(), thread.Event{Kind: thread.Submit, By: tm.account("bob"), Verb: "edit", ID: id, Fields: map[string]string{"dry": "perhaps"}}); !strings.Contains(got["dry"], "neither yes nor no") {
			tm.Errorf("wrong: %v", got)
		}
		tm.submit(c, "ada", "edit", id, map[string]string{"dry": "yes"})
		tm.holds("the dry one", tm.slack.shown("card:"), "Dry run: getppid calls", counts, "edited by Ada: for real -> a dry run")
		id = tm.slack.button(tm.T, "card:", "approve")
		tm.click(c, "bob", "approve", id)
		tm.click(c, "dan", "approve", id)
		tm.pass(time.Minute)
		tm.holds("the result", tm.slack.shown("result:"), "Dry run: Result", "[For real]")

		// From its result, for real: to be approved anew.
		tm.click(c, "ada", "real", tm.slack.button(tm.T, "result:", "real"))
		tm.holds("the card", tm.slack.shown("card:"), "!Dry run: ", "{Risk act: ", "0 of 2")
		id = tm.slack.button(tm.T, "card:", "approve")
		tm.click(c, "bob", "approve", id)
		tm.click(c, "dan", "approve", id)
		tm.pass(time.Minute)
		if got := tm.dry(); !slices.Equal(got, []bool{true, false}) {
			tm.Errorf("dry runs: %v", got)
		}
		if !slices.Equal(tm.maker.remade, []bool{false, true, false}) {
			tm.Errorf("nodes were asked for dry runs: %v", tm.maker.remade)
		}
	})
}

// In words, after the request: the same program, whoever asks.
func TestDryRunInWords(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.maker.acts = true
		tm.ask(c, "ada", "who calls getppid on all nodes")
		tm.holds("the card", tm.slack.shown("card:"), "!Dry run: ", "{Risk act: ")
		tm.ask(c, "ada", "as a dry run")
		tm.holds("the card", tm.slack.shown("card:"), "Dry run: getppid calls")
		tm.ask(c, "ada", "on db-2")
		tm.holds("the card", tm.slack.shown("card:"), "Dry run: getppid calls", "{Runs on db-2 ")
		tm.ask(c, "ada", "only pid 7")
		tm.holds("a new one", tm.slack.shown("card:"), "Dry run: getppid calls")
		if got := tm.maker.asked; len(got) != 2 || got[0].DryRun || !got[1].DryRun {
			tm.Errorf("asked for %+v", got)
		}
		tm.ask(c, "ada", "now for real")
		tm.holds("the card", tm.slack.shown("card:"), "!Dry run: ", "{Risk act: ")
		if !slices.Equal(tm.maker.remade, []bool{true, true, false}) {
			tm.Errorf("nodes were asked for dry runs: %v", tm.maker.remade)
		}
	})
}

// Of what only observes there is nothing to leave out.
func TestDryRunOfNothing(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.ask(c, "ada", "who calls getppid on all nodes as a dry run")
		tm.holds("the card", tm.slack.shown("card:"), "!Dry run: ", "{Risk observe-sensitive: ", "it changes nothing, so that a dry run of it is the same", "![Dry run]", "![For real]")
		id := tm.slack.button(tm.T, "card:", "approve")
		tm.submit(c, "bob", "edit", id, map[string]string{"dry": "yes"})
		tm.holds("the whisper", tm.slack.whispered(), "a dry run is for programs that change something")
		tm.click(c, "bob", "dry", id)
		tm.holds("the whisper", tm.slack.whispered(), "a dry run is for programs that change something")
	})
}
