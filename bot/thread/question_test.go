package thread_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"kgent/agent"
	"kgent/bot/thread"
)

// asking makes the maker ask once what was meant.
func asking(tm *team) *agent.Question {
	q := &agent.Question{Text: "Does “failed” include\ncalls that were interrupted?", Options: []string{"Yes, EINTR counts", "No, <@U1> only real errors"}, Example: "ret = -4"}
	tm.maker.err = q
	return q
}

// What can be read in several ways is put to who asked, and their answer goes on with the
// request.
func TestQuestion(t *testing.T) {
	inBubble(t, func(tm *team, c *thread.Conversation) {
		asking(tm)
		tm.ask(c, "ada", "failed calls of getppid on db-1")
		tm.holds("the question", tm.slack.shown("ask:"), "What is meant?", "Does “failed” include calls that were interrupted?", "1. Yes, EINTR counts", "They differ, for example: ret = -4",
			"[1. Yes, EINTR counts][2. No, <@U1> only real errors][Take back]", "Waits for Ada")
		tm.holds("the progress", tm.slack.shown("progress:"), "Waiting for an answer")
		id := tm.slack.button(tm.T, "ask:", "second")
		tm.maker.err = nil

		tm.click(c, "bob", "second", id)
		tm.holds("somebody else", tm.slack.whispered(), "bob", "only Ada, who asked, can say")
		if len(tm.maker.asked) != 1 {
			tm.Fatal("somebody else's answer was taken")
		}
		for _, forged := range []string{"third", "fifth"} {
			tm.click(c, "ada", forged, id)
		}
		tm.click(c, "ada", "first", id+"x")
		if len(tm.maker.asked) != 1 {
			tm.Fatal("an answer that was not offered was taken")
		}
		// Twice at once, from two surfaces: one counts.
		for i, verb := range []string{"second", "first"} {
			if err := c.Receive(context.Background(), thread.Event{Key: fmt.Sprintf("twice%d", i), Kind: thread.Click, By: tm.account("ada"), Verb: verb, ID: id, At: time.Now(),
				Place: thread.Place{Surface: "slack", Tenant: "T", Channel: "C", Thread: "root"}}); err != nil {
				tm.Fatal(err)
			}
		}
		tm.settle()
		if len(tm.maker.asked) != 2 {
			tm.Fatalf("prepared %d times", len(tm.maker.asked))
		}
		got := tm.maker.asked[1].Answers
		if len(got) != 1 || got[0].Question != "Does “failed” include calls that were interrupted?" || got[0].Answer != "No, <@U1> only real errors" {
			tm.Errorf("%+v", got)
		}
		tm.holds("the second click", tm.slack.whispered(), "has answered this already")
		tm.holds("the question afterwards", tm.slack.shown("ask:"), "Ada answered:", "No, <@U1>", "![Take back]")
		tm.holds("the card", tm.slack.shown("card:"), "0 of 2")
		tm.click(c, "ada", "first", id)
		if len(tm.maker.asked) != 2 || len(tm.fleet.sent) != 0 {
			tm.Error("a late click did something")
		}
	})
}

// An answer may be a number, or words of one's own; a question waits for so long.
func TestQuestionInWords(t *testing.T) {
	for said, want := range map[string]string{"2": "No, <@U1> only real errors", "only EPERM and EACCES": "only EPERM and EACCES"} {
		inBubble(t, func(tm *team, c *thread.Conversation) {
			asking(tm)
			tm.ask(c, "ada", "failed calls of getppid on db-1")
			tm.maker.err = nil
			tm.send(c, thread.Event{Kind: thread.Reply, By: tm.account("bob"), Text: "it should count all"}) // somebody else talks
			if len(tm.maker.asked) != 1 {
				tm.Fatal("somebody else's words were taken")
			}
			tm.send(c, thread.Event{Kind: thread.Reply, By: tm.account("ada"), Text: said})
			if n := len(tm.maker.asked); n != 2 || tm.maker.asked[1].Text != "failed calls of getppid" || tm.maker.asked[1].Answers[0].Answer != want {
				tm.Fatalf("%d: %+v", n, tm.maker.asked[n-1])
			}
		})
	}
	inBubble(t, func(tm *team, c *thread.Conversation) {
		asking(tm)
		tm.ask(c, "ada", "failed calls of getppid on db-1")
		id := tm.slack.button(tm.T, "ask:", "first")
		tm.maker.err = nil
		tm.pass(31 * time.Minute)
		tm.holds("too late", tm.slack.shown("ask:"), "Nobody answered what was meant in time. Nothing was run.", "![Take back]")
		tm.click(c, "ada", "first", id)
		tm.holds("the click", tm.slack.whispered(), "this is over: expired")
		if len(tm.maker.asked) != 1 {
			tm.Error("it was prepared again")
		}
		// Asked again, and taken back.
		asking(tm)
		tm.ask(c, "ada", "failed calls of getppid on db-2")
		tm.click(c, "bob", "cancel", tm.slack.button(tm.T, "ask:", "cancel"))
		tm.click(c, "ada", "cancel", tm.slack.button(tm.T, "ask:", "cancel"))
		tm.holds("taken back", tm.slack.shown("ask:"), "Taken back by Ada", "![Take back]")
	})
	// A question is not asked for ever.
	inBubble(t, func(tm *team, c *thread.Conversation) {
		asking(tm)
		tm.ask(c, "ada", "failed calls of getppid on db-1")
		for range agent.MaxAnswers {
			tm.ask(c, "ada", "1")
		}
		tm.holds("the end", tm.slack.shown("progress:"), "several ways", "Nothing was run")
	})
}
