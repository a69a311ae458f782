package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"
)

// What the command prints is enough for a bot.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"--listen", "127.0.0.1:0"}, w)
		w.Close()
	}()
	env := map[string]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if line, ok := strings.CutPrefix(lines.Text(), "export "); ok {
			name, value, _ := strings.Cut(line, "=")
			env[name] = strings.Trim(value, "'")
		} else if strings.HasPrefix(lines.Text(), "# the page") {
			break
		}
	}
	api := slack.New(env["SLACK_BOT_TOKEN"], slack.OptionAPIURL(env["SLACK_API_URL"]), slack.OptionAppLevelToken(env["SLACK_APP_TOKEN"]))
	if who, err := api.AuthTestContext(ctx); err != nil || who.User != "kgent" {
		t.Errorf("auth.test: %v, %v", who, err)
	}
	if _, address, err := api.StartSocketModeContext(ctx); err != nil || !strings.HasPrefix(address, "ws://127.0.0.1:") {
		t.Errorf("a socket: %q, %v", address, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"--listen", "0.0.0.0:0"}, {"--listen", ":8065"}, {"--listen", "8065"}, {"extra"}, {"--listen", "127.0.0.1:0", "--page=x"}} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
	if got := quote("it's"); got != `'it'\''s'` {
		t.Errorf("quoted: %s", got)
	}
}
