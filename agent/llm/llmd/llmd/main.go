// Command llmd serves a scripted stand-in for an OpenAI-compatible endpoint, so that a person can try kgent against a
// model that does exactly what a file says: answers well, answers nonsense, is slow, or fails.
//
//	llmd --script answers.yaml &
//	export OPENAI_BASE_URL=http://127.0.0.1:…/v1     # as llmd printed it
//	kgent ask "which processes open /etc/passwd?"
//
// The form of the script is described in package kgent/agent/llm/llmd.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"kgent/agent/llm/llmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "llmd:", err)
		os.Exit(1)
	}
}

// run serves until the context is done.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("llmd", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:0", "`address` to serve on; port 0 is any free one")
	file := flags.String("script", "", "`file` that says what to answer (YAML or JSON)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is one argument too many", flags.Arg(0))
	}
	if *file == "" {
		return errors.New("--script is missing: llmd answers nothing by itself")
	}
	script, err := llmd.Load(*file)
	if err != nil {
		return err
	}
	server, err := llmd.Start(*listen, script, slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "export OPENAI_BASE_URL=%s\n", server.URL())
	<-ctx.Done()
	return server.Close()
}
