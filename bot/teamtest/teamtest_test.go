package teamtest_test

import (
	"testing"

	"kgent/bot/teamtest"
)

// The parts find each other, and leave nothing.
func TestStart(t *testing.T) {
	team := teamtest.Start(t, teamtest.Config{Policy: teamtest.Policy})
	team.StartExecutor("db-1", "role=db,env=dev")
	bot := team.StartBot()
	ctx := team.Context()
	for _, chat := range []teamtest.Chat{team.Slack, team.Discord} {
		th, err := chat.Ask(ctx, "alice", "which programs are executed on db-1, for 20 s")
		if err != nil {
			t.Fatal(err)
		}
		card, err := chat.Wait(ctx, teamtest.In(th, teamtest.Having("approve")))
		if err != nil {
			t.Fatal(err)
		}
		form, err := chat.Open(ctx, "bob", card, "deny")
		if err != nil {
			t.Fatal(err)
		}
		if err := form.Send(ctx, map[string]string{"reason": "not now"}); err != nil {
			t.Fatal(err)
		}
		if _, err := chat.Wait(ctx, teamtest.In(th, teamtest.Saying("Denied", "not now"))); err != nil {
			t.Fatal(err)
		}
	}
	bot.Kill()
	team.StartBot()
}
