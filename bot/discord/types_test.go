package discord

import (
	"strings"
	"testing"
	"time"

	"kgent/bot/card"
	"kgent/bot/discord/discordd"
	"kgent/bot/discord/discordd/typetest"
	"kgent/bot/thread"
)

// Everything that is sent has the type that Discord publishes for it.
func TestTypes(t *testing.T) {
	t.Parallel()
	w := start(t, nil).run(t)
	root := ok[discordd.Message](t)(w.As(alice).Mention(incidents, "who kills?"))
	place := w.front.event(t, 1).Place
	m := thread.Message{Key: "all", Place: place, Class: thread.Tail, Card: card.Card{Title: "All of it", Tone: card.Asking, Blocks: []card.Block{
		card.Fields{{Label: "expires", At: time.Unix(1_700_000_000, 0)}, {Label: "for", Text: "60 s"}}, card.List{Heading: "it does", Items: []string{"a", "b"}},
		card.Divider{}, card.Text{Body: "words", Quoted: true}, card.Code{Language: "c", Body: "int x;"}, card.Note{Body: "small"},
		card.Row{Body: "one", Buttons: []card.Button{{Verb: "stop", ID: "1", Label: "Stop", Style: card.Danger}}},
		card.Row{Body: "two", Buttons: []card.Button{{Verb: "stop", ID: "2", Label: "Stop"}, {Verb: "show", ID: "2", Label: "Show"}}},
	}, Buttons: []card.Button{{Verb: "approve", ID: "1", Label: "Approve", Style: card.Primary}, {Verb: "deny", ID: "1", Label: "Deny", Style: card.Danger}}},
		Files: []thread.File{{Name: "a.png", Title: "a picture", Data: []byte("\x89PNG\r\n\x1a\n"), Picture: true}, {Name: "a.txt", Data: []byte("text")}}}
	h := ok[thread.Handle](t)(w.Adapter.Post(within(t), m))
	if err := w.ArchiveThread(root.ID, true, false); err != nil {
		t.Fatal(err)
	}
	if err := w.Adapter.Edit(within(t), h, m); err != nil {
		t.Fatal(err)
	}
	w.front.mu.Lock()
	w.front.form = &card.Form{Verb: "denied", ID: "1", Title: "Deny", Inputs: []card.Input{{Name: "reason", Label: "Why?", Value: "no", Hint: "in words", Multiline: true}}}
	w.front.complete = []string{"request who kills"}
	w.front.mu.Unlock()
	answers := func(in *discordd.Interaction, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		ok[discordd.Response](t)(in.Wait(within(t)))
	}
	answers(w.As(bob).Click(h.ID, "approve:1"))
	whisper := plainMessage("w", place)
	whisper.Only, whisper.Reply = bob, w.front.event(t, 2).Reply
	ok[thread.Handle](t)(w.Adapter.Post(within(t), whisper))
	answers(w.As(bob).Click(h.ID, "deny:1"))
	answers(w.As(bob).Command(incidents, "kgent list"))
	answers(w.As(bob).Command(incidents, "kgent ask", discordd.Option{Name: "request", Value: "who"}))
	ok[[]discordd.Choice](t)(w.As(bob).Autocomplete(within(t), incidents, "kgent ask", "request", discordd.Option{Name: "request", Value: "w"}))
	ok[[]discordd.Choice](t)(w.As(bob).Autocomplete(within(t), incidents, "kgent ask", "request", discordd.Option{Name: "request", Value: "nothing"}))
	for _, r := range w.Requests("", "") {
		if r.Status >= 400 && !(r.Status == 404 && strings.HasSuffix(r.Route, "/messages")) && !(r.Status == 400 && strings.Contains(r.Route, "messages")) {
			t.Errorf("%s %s was answered %d", r.Method, r.Path, r.Status)
		}
	}
	typetest.CheckRequests(t, w.Requests("", ""))
}
