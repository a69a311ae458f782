package thread_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"kgent/agent"
	"kgent/approvals"
	"kgent/bot/thread"
)

// proved asks for something, has it approved and run, and returns the id of the result's
// button.
func (tm *team) proved(c *thread.Conversation) string {
	tm.Helper()
	tm.maker.kc, tm.maker.verdict = portContract, "VERIFIED"
	tm.ask(c, "ada", "connections that orders make to port 443 on db-1")
	id := tm.slack.button(tm.T, "card:", "approve")
	tm.click(c, "cyd", "approve", id)
	tm.click(c, "dan", "approve", id)
	tm.pass(time.Minute)
	tm.settle()
	return tm.slack.button(tm.T, "result:", "keep")
}

func fill(name, phrasings string) map[string]string {
	return map[string]string{"name": name, "phrasings": phrasings}
}

// What was proved, approved and run is kept as a recipe after its own approval, and removed
// after another.
func TestKeepRecipe(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		id := tm.proved(c)
		form, no := c.Form(context.Background(), thread.Event{Kind: thread.Click, By: tm.account("ada"), Verb: "keep", ID: id})
		if no != nil || form.Inputs[0].Name != "name" || !strings.Contains(form.Inputs[1].Value, "connections that orders make") || strings.Contains(form.Inputs[1].Value, "db-1") {
			tm.Fatalf("%+v, %+v", form, no)
		}
		saved := id
		tm.submit(c, "ada", "keep", id, fill("order-connections", "connections that orders make to port 443 on db-1"))
		tm.holds("the card", tm.slack.shown("card:"), "Keep as a team recipe: order-connections", "connections that orders make to port {the_port}", "the_port, which was 443", "the_x stays 5",
			"!make to port {the_port} on", "source + const volatile k_port the_port = 443;", "Nothing runs by this", "0 of 2", "Approval for “keep recipe” · order-connections ", "[Approve][Deny][Source][Take back]")
		id = tm.slack.button(tm.T, "card:", "approve")
		tm.click(c, "ada", "approve", id)
		tm.holds("her own", tm.slack.whispered(), "you asked for this")
		tm.click(c, "ada", "edit", id)
		tm.holds("an edit", tm.slack.whispered(), "ada")
		tm.click(c, "cyd", "approve", id)
		if all, _ := tm.kept.List(context.Background()); len(all) != 0 {
			tm.Fatal("one of two is enough")
		}
		tm.click(c, "dan", "approve", id)
		all, err := tm.kept.List(context.Background())
		if err != nil || len(all) != 1 || all[0].Name != "order-connections" || all[0].By != "ada" || all[0].At.IsZero() || len(all[0].Program) == 0 || all[0].Values["the_port"] != "443" || all[0].Nodes[0] != "db-1" {
			tm.Fatalf("%+v, %v", all, err)
		}
		tm.holds("the card", tm.slack.shown("card:"), "Approved: kept as order-connections", "![Approve]")
		if len(tm.fleet.sent) != 1 {
			tm.Error("something ran by it")
		}
		recorded := ""
		for _, e := range tm.log.Entries() {
			recorded += e.Detail + "\n"
		}
		tm.holds("the log", recorded, "keep recipe order-connections", "carried out: keep recipe order-connections")
		tm.ask(c, "bob", "recipes")
		tm.holds("the list", tm.slack.shown("a:"), "Your team's own", "order-connections: “connections that orders make to port {the_port}”, by ada")

		// Another takes its name only when it is gone: who may remove it goes by its nodes.
		tm.submit(c, "ada", "keep", saved, fill("order-connections", "quite other words for it now"))
		tm.holds("its name again", tm.slack.shown("progress:"), "Not kept", "There is a team recipe order-connections already")

		tm.ask(c, "bob", "forget recipe nosuch")
		tm.holds("no such", tm.slack.whispered(), "there is no team recipe nosuch")
		tm.ask(c, "bob", "Forget recipe order-connections.")
		tm.holds("the card", tm.slack.shown("card:"), "Remove the team recipe order-connections", "0 of 2", "forget recipe")
		id = tm.slack.button(tm.T, "card:", "approve")
		tm.click(c, "ada", "approve", id)
		tm.click(c, "cyd", "approve", id)
		if all, _ := tm.kept.List(context.Background()); len(all) != 0 || len(tm.fleet.sent) != 1 {
			tm.Errorf("%d recipes, %d runs: %s", len(all), len(tm.fleet.sent), tm.slack.shown("card:"))
		}
		tm.holds("the card", tm.slack.shown("card:"), "the recipe order-connections is removed")
	})
}

// Of two that are asked for at the same time with words that one request could fit, the first that is
// approved is kept, and the other says why it is not.
func TestKeepOverlapping(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		saved := tm.proved(c)
		var cards []string
		for _, r := range []struct{ name, phrasing string }{{"orders-one", "connections that orders make to port 443"}, {"orders-two", "connections that orders make to port 443"}} {
			tm.submit(c, "ada", "keep", saved, fill(r.name, r.phrasing))
			tm.holds(r.name, tm.slack.shown("card:"), "Keep as a team recipe: "+r.name)
			cards = append(cards, tm.slack.button(tm.T, "card:", "approve"))
		}
		for _, id := range cards {
			tm.click(c, "cyd", "approve", id)
		}
		for _, id := range cards {
			tm.click(c, "dan", "approve", id)
		}
		all, err := tm.kept.List(context.Background())
		if err != nil || len(all) != 1 || all[0].Name != "orders-one" {
			tm.Errorf("%+v, %v", all, err)
		}
		tm.holds("the second card", tm.slack.shown("card:"), "orders-two", "is how people ask for the team recipe orders-one; say it differently")
	})
}

// Names and phrasings that could stand in for something, or break out of a card, and what
// was not proved, come to nothing.
func TestKeepRefused(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		id := tm.proved(c)
		for _, tc := range []struct{ name, phrasings, want string }{
			{"tcp-connect", "connections that orders make", "has a recipe tcp-connect of its own"},
			{"orders", "who sends signals", "built-in recipe signals"},
			{"<!channel>", "connections that orders make", "small letters"},
			{"orders", "<@U1> approved by *ada*", "not plain words"},
			{"orders", "calls of {nosuch} by orders now", "no parameter nosuch"},
			{"orders", "", "1 to 8 lines"},
		} {
			tm.submit(c, "ada", "keep", id, fill(tc.name, tc.phrasings))
			tm.holds(tc.name+", "+tc.phrasings, tm.slack.shown("progress:"), "Not kept", tc.want)
		}
		tm.maker.notKept = &agent.RejectedError{Record: &agent.Record{}, Last: agent.ErrNoAnswer}
		tm.submit(c, "ada", "keep", id, fill("orders", "connections that orders make"))
		tm.holds("not proved", tm.slack.shown("progress:"), "Not kept")
		if all, _ := tm.kept.List(context.Background()); len(all) != 0 {
			tm.Errorf("kept %+v", all)
		}
		tm.maker.notKept = nil
		// Denied, and no longer allowed when it is to be carried out.
		tm.submit(c, "ada", "keep", id, fill("orders", "connections that orders make"))
		tm.submit(c, "bob", "deny", tm.slack.button(tm.T, "card:", "deny"), map[string]string{"reason": "not now"})
		tm.submit(c, "ada", "keep", id, fill("orders", "connections that orders make"))
		card := tm.slack.button(tm.T, "card:", "approve")
		tm.click(c, "bob", "approve", card)
		tm.rules.judge = &approvals.RefusedError{Rule: approvals.RulePaused, Reason: "switched off"}
		tm.click(c, "cyd", "approve", card)
		tm.holds("the vote", tm.slack.whispered(), "switched off")
		if all, _ := tm.kept.List(context.Background()); len(all) != 0 || len(tm.fleet.sent) != 1 {
			tm.Errorf("kept %+v", all)
		}
	})
	// What is not proved has no button, and a forged click does nothing.
	inBubble(t, func(tm *team, c *thread.Conversation) {
		tm.ask(c, "ada", "who calls getppid on db-1")
		id := tm.slack.button(tm.T, "card:", "approve")
		tm.submit(c, "ada", "keep", id, fill("orders", "connections that orders make"))
		tm.holds("before it ran", tm.slack.whispered(), "there is nothing to keep")
		tm.click(c, "cyd", "approve", id)
		tm.click(c, "dan", "approve", id)
		tm.pass(time.Minute)
		tm.settle()
		tm.holds("the result", tm.slack.shown("result:"), "![Save as recipe]")
		tm.submit(c, "ada", "keep", id, fill("orders", "connections that orders make"))
		tm.holds("unproved", tm.slack.whispered(), "only what is proved")
	})
}
