package thread

import (
	"testing"

	"kgent/agent/recipes"
	"kgent/bot/card"
	"kgent/bot/target"
	"kgent/executor/bus"
)

// What help says somebody may ask is answered.
func TestHelpExamples(t *testing.T) {
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	nodes := []bus.NodeInfo{{Name: "db-1"}, {Name: "db-2"}, {Name: "db-3"}}
	want := []string{"tcp-connect", "fsync-latency"}
	for _, b := range (&Conversation{}).helpCard(Place{Surface: "slack"}).Blocks {
		list, ok := b.(card.List)
		if !ok || list.Heading != "For example" {
			continue
		}
		for i, text := range list.Items {
			_, words, err := target.FromText(text, nodes)
			if err != nil {
				t.Errorf("%q: %v", text, err)
				continue
			}
			m, err := library.Match(words, recipes.MatchOptions{})
			if err != nil {
				t.Errorf("%q: %v", text, err)
			} else if i >= len(want) || m.Recipe.Name != want[i] {
				t.Errorf("%q: %s answers it", text, m.Recipe.Name)
			}
		}
		return
	}
	t.Error("help gives no examples")
}
