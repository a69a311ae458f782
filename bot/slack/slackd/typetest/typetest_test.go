package typetest

import (
	"encoding/json"
	"strings"
	"testing"
)

const button = `[{"type":"actions","elements":[{"type":"button","action_id":"a","text":{"type":"plain_text","text":"A"},"value":"1"}]}]`

func TestCheck(t *testing.T) {
	title := `"title":{"type":"plain_text","text":"T"}`
	payloads := []struct {
		Payload
		wrong string // part of the complaint; empty is none
	}{
		{Payload{"buttons", Blocks, json.RawMessage(button)}, ""},
		{Payload{"code", Blocks, json.RawMessage(`[{"type":"rich_text","elements":[{"type":"rich_text_preformatted","elements":[{"type":"text","text":"x"}]}]}]`)}, ""},
		{Payload{"a modal", Modal, json.RawMessage(`{"type":"modal",` + title + `,"blocks":` + button + `}`)}, ""},
		{Payload{"a home", Home, json.RawMessage(`{"type":"home","blocks":` + button + `}`)}, ""},
		{Payload{"a misspelled property", Blocks, json.RawMessage(strings.Replace(button, "value", "vlaue", 1))}, "vlaue"},
		{Payload{"a wrong type", Blocks, json.RawMessage(strings.Replace(button, `"actions"`, `"acts"`, 1))}, "acts"},
		{Payload{"a title of the wrong kind", Modal, json.RawMessage(`{"type":"modal","title":"T","blocks":[]}`)}, "PlainTextElement"},
		{Payload{"a modal as home", Home, json.RawMessage(`{"type":"modal",` + title + `,"blocks":[]}`)}, "home"},
	}
	var all []Payload
	for _, p := range payloads {
		all = append(all, p.Payload)
	}
	about := map[string]string{}
	for _, c := range complaints(t, all) {
		about[c.payload.Name] += c.text
	}
	for _, p := range payloads {
		if got := about[p.Name]; (p.wrong == "") != (got == "") || !strings.Contains(got, p.wrong) {
			t.Errorf("%s: complaint %q, want one with %q", p.Name, got, p.wrong)
		}
	}
}
