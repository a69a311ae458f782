// Command discordd runs the stand-in for Discord on a loopback address, so
// that a bot can be tried in a browser without any account: it prints what to
// export for the bot and serves a page on which a person plays the users.
package main

import (
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"kgent/bot/discord/discordd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "discordd:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("discordd", flag.ContinueOnError)
	listen := fs.String("listen", "127.0.0.1:8090", "loopback `address` to listen on; port 0 picks a free one")
	scale := fs.Float64("rate-scale", 1, "length of rate-limit windows: 1 as Discord, 0 none")
	token := fs.String("token", "", "the bot's `token`; a fixed one when empty")
	interactions := fs.String("interactions-url", "", "post signed interactions to this `URL` instead of the gateway")
	if err := fs.Parse(args); err != nil {
		return err
	}
	// Whoever reaches the page plays every user, so it is for this host only.
	host, _, err := net.SplitHostPort(*listen)
	if err != nil {
		return fmt.Errorf("reading --listen %s: %w", *listen, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--listen %s is not a loopback address: use 127.0.0.1:PORT", *listen)
	}
	cfg := discordd.Example()
	cfg.RateScale, cfg.Token = *scale, *token
	cfg.Logf = log.New(os.Stderr, "", log.Ltime).Printf
	s, err := discordd.Start(*listen, cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	if *interactions != "" {
		if err := s.SetInteractionsURL(ctx, *interactions); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "export DISCORD_TOKEN=%s\nexport DISCORD_API_URL=%s\nexport DISCORD_APPLICATION_ID=%s\nexport DISCORD_PUBLIC_KEY=%s\n# the users' page: %s\n",
		s.Token(), s.APIURL(), s.ApplicationID(), hex.EncodeToString(s.PublicKey()), s.URL())
	<-ctx.Done()
	return nil
}
