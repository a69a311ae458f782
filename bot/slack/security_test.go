package slack

import (
	"strings"
	"testing"

	"kgent/bot/slack/slackd"
)

// In a channel that is shared with another workspace, nothing is taken up, from
// anybody: what a trace shows would be read by others. Whoever asks is told.
func TestSharedChannels(t *testing.T) {
	w := open(t, nil)
	f := newFront()
	w.run(t, f)
	for _, who := range []string{alice, mallory} {
		must(w.User(who).Mention(vendor, "who calls getppid"))(t)
		must(w.WaitMessage(bound(t), func(m slackd.Message) bool {
			return m.EphemeralTo == who && m.Channel == vendor && strings.Contains(string(m.Blocks), "another workspace")
		}))(t)
	}
	// A command does not say so, and it is known by then.
	if err := w.User(alice).Slash(bound(t), vendor, "", "/kgent", "who calls getppid"); err != nil {
		t.Fatal(err)
	}
	must(w.User(alice).Mention(incidents, "help"))(t)
	if err := w.WaitIdle(bound(t)); err != nil {
		t.Fatal(err)
	}
	for _, e := range f.wait(t, 1) {
		if e.Place.Channel != incidents {
			t.Errorf("taken up: %+v", e)
		}
	}
}
