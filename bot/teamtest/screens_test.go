//go:build screens

package teamtest_test

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kgent/agent/llm/llmd"
	"kgent/bot/slack/slackd"
	"kgent/bot/teamtest"
)

var screens = flag.String("screens", "", "`directory` for the pictures")

// Pictures of every card as the pages of the stand-ins draw them, to be looked
// at.
func TestScreens(t *testing.T) {
	if *screens == "" {
		t.Fatal("-screens says where the pictures go")
	}
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skipf("needs chromium: %v", err)
	}
	if err := os.MkdirAll(*screens, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Run("recipes", func(t *testing.T) {
		team := teamtest.Start(t, teamtest.Config{Policy: teamtest.Policy})
		draw(t, team, browser, "", "testdata/screens.yaml", "testdata/screens-programs.yaml")
	})
	for _, service := range []string{"slack", "discord"} { // a quota is that of a person, on both
		t.Run("model on "+service, func(t *testing.T) {
			script, err := llmd.Load("testdata/model.yaml")
			if err != nil {
				t.Fatal(err)
			}
			server, err := llmd.Start("127.0.0.1:0", script, nil)
			if err != nil {
				t.Fatal(err)
			}
			team := teamtest.Start(t, teamtest.Config{Policy: teamtest.Policy, Env: []string{
				"OPENAI_BASE_URL=" + server.URL(),
				"KGENT_MODEL=scripted",
				"KGENT_EMBEDDINGS=none",
				"KGENT_MODEL_QUOTA=user-requests=4",
			}})
			t.Cleanup(func() {
				if err := server.Close(); err != nil {
					t.Error(err)
				}
			})
			draw(t, team, browser, service, "testdata/screens-model.yaml")
		})
	}
}

// draw plays scenarios on one service, or on both, and takes the pictures that they ask for.
func draw(t *testing.T, team *teamtest.Team, browser, only string, paths ...string) {
	team.StartExecutor("db-1", "role=db,env=dev")
	team.StartExecutor("db-2", "role=db,env=prod")
	team.StartBot()
	for i, c := range []struct{ here, there teamtest.Chat }{{team.Slack, team.Discord}, {team.Discord, team.Slack}} {
		if only != "" && only != c.here.Name() {
			continue
		}
		t.Run(c.here.Name(), func(t *testing.T) {
			l := connectAllTheTime(t, fmt.Sprintf("127.77.1.%d", i+1))
			p := newPlay(t, c.here, c.there, l)
			p.shoot = func(ctx context.Context, s shot) error {
				m, chat := p.named[s.Message], p.here
				if s.Message != "" {
					chat = p.chat(m)
				}
				for _, theme := range []string{"light", "dark"} {
					address := pageOf(team, chat, m, s, theme)
					if address == "" {
						continue
					}
					name := fmt.Sprintf("%s-%s-%s.png", s.Name, p.here.Name(), theme)
					if err := picture(ctx, browser, filepath.Join(t.TempDir(), "profile"), address, filepath.Join(*screens, name)); err != nil {
						return fmt.Errorf("drawing %s: %w", name, err)
					}
				}
				if s.Verb != "" && chat.Name() == "slack" {
					u, err := team.Slack.As(s.By)
					if err != nil {
						return err
					}
					u.Close()
				}
				return nil
			}
			for _, path := range paths {
				p.run(path)
			}
		})
	}
}

// pageOf is the address at which a message is seen, empty where there is no
// such thing.
func pageOf(team *teamtest.Team, chat teamtest.Chat, m teamtest.Message, s shot, theme string) string {
	if chat.Name() == "slack" {
		u, err := team.Slack.As(s.By)
		if err != nil {
			return ""
		}
		if s.Home {
			u.OpenHome()
			ctx, cancel := context.WithTimeout(context.Background(), teamtest.Patience)
			defer cancel()
			if _, err := team.Slack.WaitHome(ctx, u.ID, func(v slackd.View) bool { return true }); err != nil {
				return ""
			}
		}
		v := slackd.PageView{User: u.ID, Channel: m.Channel, Thread: m.Thread.ID, Message: m.ID, Home: s.Home, Dark: theme == "dark", Bare: true}
		if s.Verb != "" && theme == "light" { // the form stays open
			ctx, cancel := context.WithTimeout(context.Background(), teamtest.Patience)
			defer cancel()
			if _, err := team.Slack.Open(ctx, s.By, m, s.Verb); err != nil {
				return ""
			}
		}
		return team.Slack.PageURL(v)
	}
	if s.Home {
		return ""
	}
	q := url.Values{"user": {s.By}, "channel": {m.Channel}, "message": {m.ID}, "theme": {theme}, "live": {"0"}}
	if s.Verb != "" {
		q.Set("click", s.Verb+":"+m.Buttons[0].ID)
	}
	return strings.TrimSuffix(team.Discord.URL(), "/") + "/?" + q.Encode()
}

// picture takes a picture of a page.
func picture(ctx context.Context, browser, profile, address, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--user-data-dir="+profile,
		// Virtual time stands still while the page fetches something.
		"--window-size=1000,1500", "--virtual-time-budget=5000", "--screenshot="+path, address)
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running %s: %w\n%s", browser, err, out)
	}
	return nil
}
