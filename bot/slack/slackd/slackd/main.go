// Command slackd serves a stand-in for Slack, for trying a bot without an
// account. It prints what the bot's environment needs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"kgent/bot/slack/slackd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "slackd:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("slackd", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8065", "`address` to serve on; whoever reaches it can act as anybody")
	page := flags.Bool("page", true, "serve the page on which you play the users")
	requestURL := flags.String("request-url", "", "deliver by signed HTTP to this `URL` instead of Socket Mode")
	noLimits := flags.Bool("no-rate-limits", false, "answer any number of calls")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	host, _, err := net.SplitHostPort(*listen)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("listening on %s: give a loopback address such as 127.0.0.1:8065, because there is no login", *listen)
	}
	cfg := slackd.Default()
	cfg.NoRateLimits, cfg.Page = *noLimits, *page
	s, err := slackd.Start(*listen, cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, line := range [][2]string{{"SLACK_API_URL", s.APIURL()}, {"SLACK_BOT_TOKEN", cfg.BotToken}, {"SLACK_APP_TOKEN", cfg.AppToken},
		{"SLACK_SIGNING_SECRET", cfg.SigningSecret}} {
		fmt.Fprintf(out, "export %s=%s\n", line[0], quote(line[1]))
	}
	if *page {
		fmt.Fprintf(out, "# the page: %s/\n", s.URL())
	}
	// The bot reads these lines and then starts: it is given time to.
	for wait := 100 * time.Millisecond; *requestURL != ""; wait = min(2*wait, 5*time.Second) {
		if err := s.SetRequestURL(ctx, *requestURL); err == nil {
			fmt.Fprintf(out, "# delivering to %s\n", *requestURL)
			break
		} else if ctx.Err() == nil {
			fmt.Fprintf(out, "# %v; trying again\n", err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
	<-ctx.Done()
	return nil
}

// quote makes a value one word of a shell.
func quote(value string) string {
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
