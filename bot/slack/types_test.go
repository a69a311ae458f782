package slack

import (
	"encoding/json"
	"fmt"
	"testing"

	slackgo "github.com/slack-go/slack"

	"kgent/bot/card"
	"kgent/bot/slack/slackd/typetest"
)

// What is drawn has the types that Slack publishes.
func TestTypes(t *testing.T) {
	var payloads []typetest.Payload
	add := func(name string, kind typetest.Kind, v any) {
		payloads = append(payloads, typetest.Payload{Name: name, Kind: kind, JSON: must(json.Marshal(v))(t)})
	}
	cards := append(large(), everywhere("plain"), everywhere(hostile[3]))
	for i, c := range cards {
		add(fmt.Sprint("card ", i), typetest.Blocks, render(c, whole))
	}
	add("home", typetest.Home, slackgo.HomeTabViewRequest{Type: slackgo.VTHomeTab, Blocks: slackgo.Blocks{BlockSet: render(everywhere("x"), home)}})
	add("form", typetest.Modal, must(modal(card.Form{Verb: "edit", ID: "r1", Title: "Edit", Submit: "Send", Inputs: []card.Input{
		{Name: "duration", Label: "Duration", Value: "60s", Hint: "such as 2m", Max: 20}, {Name: "why", Label: "Why", Multiline: true, Optional: true}}},
		origin{Verb: "edit", ID: "r1"}))(t))
	typetest.Check(t, payloads...)
}
