package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"kgent/agent"
	"kgent/agent/codegen"
	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/approvals"
	"kgent/bot"
	"kgent/bot/console"
	"kgent/executor"
	"kgent/executor/output"
)

// askOptions are the flags of ask and demo.
type askOptions struct {
	node     string
	duration time.Duration
	rate     int
	dry      bool
	yes      bool
	show     bool
	format   string
	save     string
	record   string
	// program and contract are files of a program that the person has.
	program, contract string
	// keep is the name of a recipe that is made of what has run, phrases how it is asked for.
	keep    string
	phrases []string
	// keys is the bot's key directory, by which a team's recipes are believed.
	keys string
	// attached is called once the first node has attached every probe.
	attached func()
}

func (o *askOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.node, "node", "", "where to run: a node's `name`, a label key=value, or all (default: this host)")
	f.DurationVar(&o.duration, "duration", 0, "how long to trace (default: what the request says, else 30s)")
	f.IntVar(&o.rate, "rate", 0, "events a second above which the node drops and counts them (default 20000)")
	f.BoolVar(&o.dry, "dry-run", false, "count what the program would change (drop, deny, signal), and change nothing")
	f.BoolVarP(&o.yes, "yes", "y", false, "approve without asking")
	f.BoolVar(&o.show, "show", false, "show the program and its card, and stop")
	f.StringVarP(&o.format, "output", "o", "text", "`text` for people, json for programs: one record a line; of stacks also folded, pprof or svg, a flame graph")
	f.StringVar(&o.save, "save", "", "write source, object, manifest, card and record to this `directory`, and at the end the output and its pictures")
	f.StringVar(&o.record, "record", "", "write what was tried, and what the model said, to this `file`, however it ends; see kgent replay")
}

func oneRequest(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("want one request, in quotes; got %d arguments", len(args))}
	}
	return nil
}

func askCommand(sys system) *cobra.Command {
	var o askOptions
	cmd := &cobra.Command{
		Use:   "ask [flags] \"request\"",
		Short: "answer a request on this host: program, card, approval, output",
		Long: `ask finds or writes an eBPF program for a request, shows what it does, asks for
approval, runs it for a bounded time and prints what the kernel says.

Exit codes:
  0  it ran, or --show showed it
  1  a fault of kgent or of this host
  2  the command line or the request cannot be read
  3  there is no program for the request: no recipe, nothing composed, no model's
  4  not approved
  5  refused by policy
  6  no program passed the checks
  7  a node is unknown, cannot run it, or failed`,
		Example: `  kgent ask "who is killing my process"
  kgent ask --duration 1m "fsync latency of postgres as a histogram"
  kgent ask --program opens.bpf.c "which files does nginx fail to open"
  kgent ask --contract slow.kc "slow reads"
  kgent ask --yes --output pprof "CPU profile" > cpu.pb.gz && go tool pprof -top cpu.pb.gz
  kgent ask --keep odd-ports --phrase "odd ports report" "count tcp connections by port, not port 443"
  kgent ask --yes --output json "failed opens under /etc by nginx" | jq .`,
		Args: oneRequest,
		RunE: func(cmd *cobra.Command, args []string) error { return ask(cmd.Context(), sys, o, args[0]) },
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.program, "program", "", "a program that you have, a `file` of C (.bpf.c), an object (.o) or a bpftrace script (.bt), instead of one that kgent finds or writes")
	cmd.Flags().StringVar(&o.keep, "keep", "", "once it has run, keep it as a recipe of this `name`, after an approval of its own")
	cmd.Flags().StringArrayVar(&o.phrases, "phrase", nil, "how --keep's recipe is asked for, in `words`, with {name} for a parameter; may be given several times (default: the request)")
	cmd.Flags().StringVar(&o.keys, "keys", "/etc/kgent/keys", "with REDIS_URL: the bot's key `directory`, by which your team's recipes there are believed")
	cmd.Flags().StringVar(&o.contract, "contract", "", "the contract that --program is to keep, a `file`; without it kgent looks for one that answers the request. Without --program, one whose program kgent writes")
	return cmd
}

// ask holds one conversation in the terminal. It returns nil or an exitError.
func ask(ctx context.Context, sys system, o askOptions, request string) error {
	if o.format != "text" && o.format != "json" && exportForms[o.format] == "" {
		return usageError{fmt.Errorf("--output %q: want text, json, folded, pprof or svg", o.format)}
	}
	if o.duration < 0 || o.rate < 0 {
		return usageError{errors.New("--duration and --rate cannot be negative")}
	}
	// The trace ends when nobody reads it: a closed pipe must come back as an
	// error, and end the run in order.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	person := thisPerson()
	approver := console.Approver{Person: person, Yes: o.yes, In: sys.in, Out: sys.out}
	lost := func(error) { cancel(executor.ErrNoReader) }
	var ch bot.Channel
	var export *exporting
	switch {
	case o.format == "json":
		approver.Out = sys.err
		ch = console.NewJSON(sys.out, lost, approver)
	case o.format != "text":
		approver.Out = sys.err
		export = newExporting(console.NewText(sys.err, lost, approver, console.Terminal{Width: 80}), o.format, sys.out)
		ch = export
	default:
		ch = console.NewText(sys.out, lost, approver, screen(sys))
	}
	if o.attached != nil {
		ch = &watched{Channel: ch, attached: o.attached}
	}
	brought, err := readBrought(ctx, o.program, o.contract)
	if err != nil {
		return usageError{err}
	}
	if err := agent.Readable(request); err != nil {
		ch.Error(output.Error{Code: "usage", Message: err.Error()})
		ch.Summary(output.Summary{Reason: output.ReasonCandidate, Nodes: []output.NodeSummary{}})
		return exitError(exitUsage)
	}
	host, err := newHost(ctx, sys)
	if err != nil && ctx.Err() != nil {
		ch.Error(output.Error{Code: "denied", Message: "interrupted before anything ran"})
		ch.Summary(output.Summary{Reason: output.ReasonInterrupted, Nodes: []output.NodeSummary{}})
		return exitError(exitDenied)
	}
	if err != nil {
		ch.Error(output.Error{Code: "node", Message: err.Error()})
		ch.Summary(output.Summary{Reason: output.ReasonFailed, Nodes: []output.NodeSummary{}})
		return exitError(exitNode)
	}
	defer host.close()
	remembered, err := openMemory(ctx, sys, o.keys)
	if err != nil {
		return err
	}
	defer remembered.close()
	host.agent.Team, host.agent.Lessons = remembered.list, remembered.lessons
	host.agent.Warn = func(what string, err error) { sys.notice(what + ": " + harmless(err)) }
	keep, err := keeping(ctx, sys, o, request, host.agent)
	if err != nil {
		return usageError{err}
	}
	if o.record != "" {
		var wrote error
		host.agent.Keep = func(r *agent.Record) { wrote = writeRecord(o.record, r) }
		defer func() {
			if wrote != nil {
				fmt.Fprintf(sys.err, "kgent: %s\n", harmless(wrote))
			}
		}()
	}
	var saved *saving
	if o.save != "" {
		saved = &saving{Channel: ch, dir: o.save, show: o.show}
		ch = saved
	}
	outcome := host.bot.Handle(ctx, bot.Ask{
		ID: newID(), Text: request, Requester: person, Nodes: o.node,
		Duration: o.duration, EventsPerSecond: o.rate, DryRun: o.dry, ShowOnly: o.show, Program: brought, Keep: keep,
	}, ch)
	code := exitCodes[outcome]
	if code == exitOK && (saved != nil && saved.err != nil || export != nil && export.err != nil) {
		code = exitInternal
	}
	if code != exitOK {
		return exitError(code)
	}
	return nil
}

// writeRecord writes a record to a file that only its owner reads: it has the request in it.
func writeRecord(path string, r *agent.Record) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(raw, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing the record: %w", err)
	}
	return nil
}

// readBrought reads the files of a program that somebody has; without any it is nil. Of a contract
// alone the program is written.
func readBrought(ctx context.Context, path, contractPath string) (*agent.Brought, error) {
	switch {
	case path == "" && contractPath != "":
		return writtenFor(ctx, contractPath)
	case path == "":
		return nil, nil
	}
	raw, err := readFile(path, program.MaxELF)
	if err != nil {
		return nil, fmt.Errorf("--program: %w", err)
	}
	b := &agent.Brought{Name: filepath.Base(path)}
	if bytes.HasPrefix(raw, []byte("\x7fELF")) {
		b.ELF = raw
	} else {
		b.Source = string(raw)
	}
	if contractPath != "" {
		raw, err := readFile(contractPath, agent.MaxSource)
		if err != nil {
			return nil, fmt.Errorf("--contract: %w", err)
		}
		b.Contract = string(raw)
	}
	return b, nil
}

// writtenFor is the program of a contract, as this kernel's types make it.
func writtenFor(ctx context.Context, path string) (*agent.Brought, error) {
	raw, err := readFile(path, agent.MaxSource)
	if err != nil {
		return nil, fmt.Errorf("--contract: %w", err)
	}
	c, err := contract.Parse(string(raw))
	if err != nil {
		return nil, fmt.Errorf("--contract: %s: %w", path, err)
	}
	types, err := contractTypes(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("--contract: %w", err)
	}
	checked, err := contract.Check(c, types)
	if err != nil {
		return nil, fmt.Errorf("--contract: %s: %w", path, err)
	}
	source, err := codegen.C(checked)
	if err != nil {
		return nil, fmt.Errorf("--contract: %s: %w", path, err)
	}
	return &agent.Brought{Name: filepath.Base(path), Source: source, Contract: string(raw), Generated: true}, nil
}

// watched tells when the first node is attached.
type watched struct {
	bot.Channel
	attached func()
	once     sync.Once
}

func (w *watched) Line(line []byte) {
	w.Channel.Line(line)
	if rec, err := output.Decode(line); err == nil {
		if _, ok := rec.(output.Attached); ok {
			w.once.Do(w.attached)
		}
	}
}

// thisPerson is who sits at the terminal, as the grant and the audit log name
// them.
func thisPerson() approvals.Person {
	id := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		id = u.Username
	}
	// sudo keeps who really asked.
	if s := os.Getenv("SUDO_USER"); s != "" && os.Getuid() == 0 {
		id = s
	}
	p := approvals.Person{ID: id, Surface: approvals.Terminal, Human: true}
	if host, err := os.Hostname(); err == nil {
		p.Account = approvals.Terminal + ":" + host + "/" + id
	}
	return p
}

// screen describes what output goes to.
func screen(sys system) console.Terminal {
	t := console.Terminal{Width: 80}
	f, ok := sys.out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return t
	}
	t.Live = true
	t.Dumb = sys.getenv("TERM") == "dumb"
	t.Colour = sys.getenv("NO_COLOR") == "" && !t.Dumb
	if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
		t.Width = w
	}
	return t
}

// newID returns 64 random bits to name a request.
func newID() string {
	var b [8]byte
	io.ReadFull(rand.Reader, b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}
