package card_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"kgent/bot/card"
)

// A card that was stored is drawn as the one that was made.
func TestJSON(t *testing.T) {
	want := card.Card{
		Title: "t", Tone: card.Asking,
		Blocks: []card.Block{
			card.Fields{{Label: "a", Text: "b", At: time.Unix(5, 0).UTC()}}, card.List{Heading: "h", Items: []string{"i"}},
			card.Text{Body: "q", Quoted: true}, card.Code{Language: "c", Body: "int x;"}, card.Note{Body: "n"}, card.Divider{},
			card.Row{Body: "r", Buttons: []card.Button{{Verb: "stop", ID: "1", Label: "Stop"}}},
		},
		Buttons: []card.Button{{Verb: "approve", ID: "2", Label: "Approve", Style: card.Primary}},
	}
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got card.Card
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	for _, bad := range []string{`{"blocks":[{"kind":"gif","block":{}}]}`, `{"blocks":[{"kind":"list","block":7}]}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}
