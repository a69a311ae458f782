package teamtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"kgent/bot/discord/discordd"
	"kgent/bot/slack/slackd"
	"kgent/bot/teamtest"
	"kgent/bot/thread"
)

// crowd is how many requests come at once: 200 on a host that does nothing else
// (KGENT_SOAK=1, and benchmarks), fewer where other tests run beside.
func crowd(t testing.TB) int {
	if _, bench := t.(*testing.B); bench || os.Getenv("KGENT_SOAK") != "" {
		return 200
	}
	return 60
}

// people is how many they are from: Slack lets a bot look up about a hundred a
// minute.
const people = 20

// startCrowd starts a team with many people.
func startCrowd(t testing.TB) *teamtest.Team {
	t.Helper()
	team := teamtest.Start(t, teamtest.Config{Policy: teamtest.Policy,
		Slack: func(cfg *slackd.Config) {
			for i := range people {
				id := fmt.Sprintf("U0CROWD%03d", i)
				cfg.Users = append(cfg.Users, slackd.Person{ID: id, Name: fmt.Sprintf("crowd-%d", i)})
				cfg.Channels[0].Members = append(cfg.Channels[0].Members, id)
			}
		},
		Discord: func(cfg *discordd.Config) {
			for i := range people {
				id := fmt.Sprintf("14%017d", i)
				cfg.Users = append(cfg.Users, discordd.User{ID: id, Username: fmt.Sprintf("crowd-%d", i)})
				cfg.Guilds[0].Members[id] = nil
			}
		},
	})
	team.StartExecutor("db-1", "role=db,env=dev")
	team.StartBot()
	return team
}

// connected waits until Discord can hand commands to the bot.
func connected(t testing.TB, team *teamtest.Team) {
	t.Helper()
	if err := team.Discord.WaitCommands(team.Context(), "kgent"); err != nil {
		t.Fatal(err)
	}
	if err := team.Discord.WaitGateway(team.Context(), 1); err != nil {
		t.Fatal(err)
	}
}

// rush asks crowd requests at once, half of them on each service, and returns
// how long each took until it was acknowledged, the quickest first.
func rush(ctx context.Context, team *teamtest.Team, crowd, round int) ([]time.Duration, error) {
	words := fmt.Sprintf("which programs are executed by uid %d on db-1, for 20 s", 4000+round)
	var (
		mu   sync.Mutex
		took []time.Duration
		errs []error
		wg   sync.WaitGroup
	)
	for i := range crowd {
		wg.Go(func() {
			begun := time.Now()
			err := func() error {
				who := fmt.Sprintf("crowd-%d", i/2%people)
				if i%2 == 0 {
					u, err := team.Slack.As(who)
					if err != nil {
						return err
					}
					return u.Slash(ctx, teamtest.SlackIncidents, "", "/kgent", words)
				}
				a, err := team.Discord.Person(who)
				if err != nil {
					return err
				}
				in, err := a.Command(teamtest.DiscordIncidents, "kgent ask", discordd.Option{Name: "request", Value: words})
				if err != nil {
					return err
				}
				_, err = in.Wait(ctx)
				return err
			}()
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(begun))
			if err != nil {
				errs = append(errs, fmt.Errorf("request %d: %w", i, err))
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	return took, errors.Join(errs...)
}

// percentile of sorted durations.
func percentile(took []time.Duration, p int) time.Duration {
	return took[min(len(took)-1, len(took)*p/100)]
}

// Everybody who asks is told so before the service says that kgent does not
// answer, and every request is taken once.
func TestCrowd(t *testing.T) {
	crowd := crowd(t)
	team := startCrowd(t)
	ctx := team.Context()
	connected(t, team)
	took, err := rush(ctx, team, crowd, 0)
	if err != nil {
		t.Error(err)
		for _, r := range team.Discord.Requests("POST", "") {
			if r.Status >= 300 || r.Status == 0 {
				t.Logf("%s %s %s was answered %d", r.At.Format("15:04:05.000"), r.Method, r.Route, r.Status)
			}
		}
	}
	t.Logf("acknowledged: half within %v, 99 of 100 within %v, all within %v", percentile(took, 50), percentile(took, 99), took[len(took)-1])
	if p := percentile(took, 99); p > 3*time.Second {
		t.Errorf("99 of 100 are acknowledged within %v: the services wait 3 s", p)
	}
	store := team.Threads()
	var stored []thread.Request
	defer func() {
		if t.Failed() {
			counts := map[string]int{}
			for _, c := range team.Slack.Calls("") {
				counts["slack "+c.Method+" "+c.Error]++
			}
			for _, r := range team.Discord.Requests("", "") {
				counts[fmt.Sprintf("discord %s %s %d", r.Method, r.Route, r.Status)]++
			}
			for _, m := range append(team.Slack.Messages(), team.Discord.Messages()...) {
				if m.Only != "" {
					counts[m.Service+" whispers: "+m.Text]++
				}
			}
			ids, _ := store.Recent(t.Context(), 2*crowd)
			for _, id := range ids {
				r, _ := store.Load(t.Context(), id)
				counts["stored of "+r.By.Surface+" "+string(r.State)+" "+string(r.Outcome)]++
			}
			t.Log(counts)
		}
	}()
	team.Until("all requests are stored", func() bool {
		ids, err := store.Recent(t.Context(), 2*crowd)
		if err != nil {
			t.Fatal(err)
		}
		if len(ids) < crowd {
			return false
		}
		stored = stored[:0]
		for _, id := range ids {
			r, err := store.Load(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, r)
		}
		return true
	})
	by := map[string]int{}
	for _, r := range stored {
		by[r.By.String()]++
	}
	if len(stored) != crowd || len(by) != 2*people {
		t.Errorf("%d requests of %d accounts are stored, want %d of %d", len(stored), len(by), crowd, 2*people)
	}
}

// BenchmarkCrowd shows how long 200 requests at once wait for their
// acknowledgement.
func BenchmarkCrowd(b *testing.B) {
	team := startCrowd(b)
	ctx := team.Context()
	connected(b, team)
	var all []time.Duration
	round := 0
	for b.Loop() {
		round++
		took, err := rush(ctx, team, crowd(b), round)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, took...)
	}
	slices.Sort(all)
	b.ReportMetric(percentile(all, 50).Seconds()*1000, "ms/median")
	b.ReportMetric(percentile(all, 99).Seconds()*1000, "ms/p99")
	b.ReportMetric(all[len(all)-1].Seconds()*1000, "ms/max")
}
