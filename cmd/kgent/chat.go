package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"kgent/bot/terminal"
	"kgent/bot/terminal/chat"
)

// defaultSocket is where a bot's socket is on most hosts.
const defaultSocket = "/run/kgent/bot.sock"

// chatOptions are the flags of kgent chat.
type chatOptions struct {
	socket, format, files string
	all                   bool
	linger                time.Duration
}

func chatCommand(sys system) *cobra.Command {
	var o chatOptions
	cmd := &cobra.Command{
		Use:   "chat",
		Short: "ask and approve in the terminal, at a bot that serves this host",
		Long: `chat takes part in what the team asks and approves, like Slack or Discord do:
type what you want to see, others approve it, and the output comes here.

` + chat.Help + `
The bot knows you by the user that you are on this host. Files and pictures are
saved in a directory. Pipes work, too: without a terminal each line of the input
is what would be typed.

With --output json each line of the output is a record of the bot, and each line
of the input a command:
  {"do":"say","ref":"1","text":"which programs are executed on db-1"}
  {"do":"press","ref":"2","message":"<post's id>","verb":"deny","id":"<button's id>","fields":{"reason":"too long"}}
  {"do":"fetch","ref":"3","message":"<post's id>","file":0}
A ref is a word of your choice that the answer carries; with the same ref a
command is done once. When the input ends, chat goes on for as long as --linger says, and
then detaches.

Exit codes:
  0  you left, or the input ended
  1  the bot is not there, or has ended the connection
  2  the command line, or a line of JSON, cannot be read
  5  the bot does not let you in`,
		Example: `  kgent chat
  kgent chat --output json --socket /run/kgent/bot.sock`,
		Args: func(cmd *cobra.Command, args []string) error { return asUsage(cobra.NoArgs(cmd, args)) },
		RunE: func(cmd *cobra.Command, _ []string) error { return runChat(cmd.Context(), sys, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.socket, "socket", defaultSocket, "`path` of the bot's socket")
	f.StringVarP(&o.format, "output", "o", "text", "`text` for people, json for programs")
	f.StringVar(&o.files, "files", "kgent-files", "`directory` where files and pictures are saved (text only)")
	f.DurationVar(&o.linger, "linger", 0, "how long to go on when the input has ended, to see what comes of it")
	f.BoolVar(&o.all, "all", false, "show everything that is kept, not only what is open or recent")
	return cmd
}

func runChat(ctx context.Context, sys system, o chatOptions) error {
	if o.format != "text" && o.format != "json" {
		return usageError{fmt.Errorf("--output %q: want text or json", o.format)}
	}
	if o.linger < 0 {
		return usageError{errors.New("--linger cannot be negative")}
	}
	err := func() error {
		if o.format == "json" {
			return chatJSON(ctx, sys, o)
		}
		return chatText(ctx, sys, o)
	}()
	var refused *terminal.RefusedError
	switch {
	case errors.As(err, &refused):
		fmt.Fprintf(sys.err, "kgent: %s\n", harmless(err))
		return exitError(exitPolicy)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("no bot listens at %s; start kgent bot with --socket there, or name its socket with --socket", o.socket)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("you may not open %s: its group may (see ls -l)", o.socket)
	}
	return err
}

// chatJSON passes records on, and takes commands as lines of JSON.
func chatJSON(ctx context.Context, sys system, o chatOptions) error {
	var lost sync.Once
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := json.NewEncoder(sys.out)
	out.SetEscapeHTML(false)
	c, err := terminal.Dial(ctx, o.socket, terminal.Options{All: o.all, Record: func(r terminal.Record) {
		if err := out.Encode(r); err != nil {
			lost.Do(func() { cancel(fmt.Errorf("writing the output: %w", err)) })
		}
	}})
	if err != nil {
		return err
	}
	defer c.Close()
	lines := inputLines(ctx, sys.in)
	for {
		select {
		case <-ctx.Done():
			return left(ctx)
		case <-c.Done():
			return c.Err()
		case line, ok := <-lines:
			if !ok {
				return linger(ctx, c, o.linger)
			}
			if strings.TrimSpace(line) == "" {
				continue
			}
			cmd, err := jsonCommand(line)
			if err != nil {
				return usageError{err}
			}
			// What the bot says to it is among the records.
			_, err = c.Send(ctx, cmd)
			var refused *terminal.RefusedError
			var form *terminal.FormError
			switch {
			case err == nil, errors.As(err, &refused) && c.Err() == nil, errors.As(err, &form):
			case ctx.Err() != nil:
				return left(ctx)
			case c.Err() != nil:
				return c.Err()
			default:
				return usageError{err}
			}
		}
	}
}

func jsonCommand(line string) (terminal.Command, error) {
	var cmd terminal.Command
	dec := json.NewDecoder(bytes.NewReader([]byte(line)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&cmd); err != nil {
		return cmd, fmt.Errorf("the command cannot be read: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return cmd, errors.New("one line holds one command")
	}
	if cmd.Do == terminal.DoHello {
		return cmd, errors.New("kgent chat says hello itself")
	}
	return cmd, nil
}

// linger stays for what comes after the last command.
func linger(ctx context.Context, c *terminal.Client, d time.Duration) error {
	select {
	case <-ctx.Done():
		return left(ctx)
	case <-c.Done():
		return c.Err()
	case <-time.After(d):
		return nil
	}
}

// left is how a client ends that was told to: in order, unless its output was
// lost.
func left(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// inputLines reads lines until the input or ctx ends. A read cannot be
// interrupted: the goroutine may stay in it until the process ends.
func inputLines(ctx context.Context, in io.Reader) <-chan string {
	out := make(chan string)
	go func() {
		defer close(out)
		sc := bufio.NewScanner(in)
		sc.Buffer(make([]byte, 4096), terminal.MaxCommand)
		for sc.Scan() {
			select {
			case out <- sc.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// chatText talks with a person.
func chatText(ctx context.Context, sys system, o chatOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	how := screen(sys)
	out, lines, restore, err := promptOf(ctx, sys, how.Live && !how.Dumb)
	if err != nil {
		return err
	}
	defer restore()
	s := chat.New(out, how, o.files)
	c, err := terminal.Dial(ctx, o.socket, terminal.Options{All: o.all, Record: s.Record})
	if err != nil {
		return err
	}
	s.Attach(c)
	hello := c.Hello()
	fmt.Fprintf(out, "You are %s. Type what you want to see, or help.\n", harmless(errors.New(hello.Account)))
	err = func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-c.Done():
				return c.Err()
			case line, ok := <-lines:
				if !ok {
					return linger(ctx, c, o.linger)
				}
				if err := s.Line(ctx, line); err != nil {
					return err
				}
			}
		}
	}()
	running := s.Running()
	gone := c.Err()
	c.Close()
	s.Wait()
	restore()
	if len(running) > 0 {
		fmt.Fprintf(sys.out, "Detached. What runs goes on, until its time is over; kgent chat shows it again, and stop there ends it: %v\n", running)
	} else if gone == nil {
		fmt.Fprintln(sys.out, "Detached. What was asked stays open; kgent chat shows it again.")
	}
	if errors.Is(err, chat.ErrQuit) || ctx.Err() != nil {
		return nil
	}
	return err
}

// promptOf returns where to draw and what is typed. On a terminal the line that
// is being typed stays below what is drawn; Ctrl-C and Ctrl-D end the lines.
func promptOf(ctx context.Context, sys system, live bool) (out io.Writer, lines <-chan string, restore func(), err error) {
	in, isFile := sys.in.(*os.File)
	if !live || !isFile || !term.IsTerminal(int(in.Fd())) {
		return sys.out, inputLines(ctx, sys.in), func() {}, nil
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("preparing the terminal: %w", err)
	}
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, sys.out}, "kgent> ")
	if w, h, err := term.GetSize(int(in.Fd())); err == nil && w > 0 && h > 0 {
		// A wrong width only breaks lines elsewhere.
		_ = t.SetSize(w, h)
	}
	typed := make(chan string)
	go func() {
		defer close(typed)
		for {
			line, err := t.ReadLine()
			if err != nil && !errors.Is(err, term.ErrPasteIndicator) {
				return
			}
			select {
			case typed <- line:
			case <-ctx.Done():
				return
			}
		}
	}()
	return t, typed, sync.OnceFunc(func() {
		if err := term.Restore(int(in.Fd()), before); err != nil {
			fmt.Fprintf(sys.err, "kgent: restoring the terminal: %v; type reset\n", err)
		}
		fmt.Fprintln(sys.out)
	}), nil
}
