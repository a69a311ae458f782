package teamtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kgent/bot/discord/discordd"
	"kgent/bot/slack/slackd"
	"kgent/bot/teamtest"
	"kgent/bot/thread"
)

// alone says whether this host does nothing else: for benchmarks and under KGENT_SOAK=1.
func alone(t testing.TB) bool {
	_, bench := t.(*testing.B)
	return bench || os.Getenv("KGENT_SOAK") != ""
}

// crowd is how many requests come at once: fewer where other tests run beside.
func crowd(t testing.TB) int {
	if alone(t) {
		return 200
	}
	return 60
}

// people is how many they are from: Slack lets a bot look up about a hundred a
// minute.
const people = 20

// startCrowd starts a team with many people, and its bot.
func startCrowd(t testing.TB) (*teamtest.Team, *teamtest.Process) {
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
	return team, team.StartBot()
}

// cpuTime is the processor time that a process has used.
func cpuTime(t testing.TB, p *teamtest.Process) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')'):])) // after the name, which may be anything
	var ticks [2]int64
	for i := range ticks {
		if ticks[i], err = strconv.ParseInt(f[12+i], 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return time.Duration(ticks[0]+ticks[1]) * time.Second / 100
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
// how long each took until it was acknowledged, the quickest first, and what the services
// said to those who were not told in time.
func rush(ctx context.Context, team *teamtest.Team, crowd, round int) (took []time.Duration, late []error, err error) {
	words := fmt.Sprintf("which programs are executed by uid %d on db-1, for 20 s", 4000+round)
	var (
		mu   sync.Mutex
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
			switch {
			case errors.Is(err, slackd.ErrNotAcknowledged), errors.Is(err, discordd.ErrNoAnswer):
				late = append(late, fmt.Errorf("request %d: %w", i, err))
			case err != nil:
				errs = append(errs, fmt.Errorf("request %d: %w", i, err))
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	return took, late, errors.Join(errs...)
}

// percentile of sorted durations.
func percentile(took []time.Duration, p int) time.Duration {
	return took[min(len(took)-1, len(took)*p/100)]
}

// answerLimit is how long the services wait for an acknowledgement.
const answerLimit = 3 * time.Second

// Everybody who asks is told so before the service says that kgent does not
// answer, and every request is taken once. Where other tests run beside, how long that takes
// says little about kgent, and so it is held to the processor time; whoever is not told in
// time there may have been heard or not.
func TestCrowd(t *testing.T) {
	crowd := crowd(t)
	team, bot := startCrowd(t)
	ctx := team.Context()
	connected(t, team)
	before := cpuTime(t, bot)
	took, late, err := rush(ctx, team, crowd, 0)
	spent := cpuTime(t, bot) - before
	if len(late) > 0 && (alone(t) || len(late) > crowd/2) {
		err = errors.Join(append(late, err)...)
	}
	if err != nil {
		t.Error(err)
		for _, r := range team.Discord.Requests("POST", "") {
			if r.Status >= 300 || r.Status == 0 {
				t.Logf("%s %s %s was answered %d", r.At.Format("15:04:05.000"), r.Method, r.Route, r.Status)
			}
		}
	}
	t.Logf("acknowledged: half within %v, 99 of 100 within %v, all within %v, %d too late; the bot used %v of a processor", percentile(took, 50), percentile(took, 99), took[len(took)-1], len(late), spent)
	if p := percentile(took, 99); alone(t) && p > answerLimit {
		t.Errorf("99 of 100 are acknowledged within %v: the services wait %v", p, answerLimit)
	}
	if spent > answerLimit {
		t.Errorf("acknowledging took %v of a processor: the services wait %v", spent, answerLimit)
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
		if len(ids) < crowd-len(late) {
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
	if len(stored) > crowd || len(late) == 0 && len(by) != 2*people {
		t.Errorf("%d requests of %d accounts are stored, want %d of %d", len(stored), len(by), crowd, 2*people)
	}
}

// BenchmarkCrowd shows how long 200 requests at once wait for their
// acknowledgement.
func BenchmarkCrowd(b *testing.B) {
	team, _ := startCrowd(b)
	ctx := team.Context()
	connected(b, team)
	var all []time.Duration
	round := 0
	for b.Loop() {
		round++
		took, late, err := rush(ctx, team, crowd(b), round)
		if err := errors.Join(append(late, err)...); err != nil {
			b.Fatal(err)
		}
		all = append(all, took...)
	}
	slices.Sort(all)
	b.ReportMetric(percentile(all, 50).Seconds()*1000, "ms/median")
	b.ReportMetric(percentile(all, 99).Seconds()*1000, "ms/p99")
	b.ReportMetric(all[len(all)-1].Seconds()*1000, "ms/max")
}
