package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kgent/approvals/audit"
	"kgent/executor/bus/rdb"
	"kgent/executor/render/text"
)

func auditCommand(sys system) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "read, verify and keep the log of what was asked, agreed and run",
		Long: `The audit log is a chain: each line carries the hash of the one before it, so a
line that was changed, removed or added shows. That its end was cut off, or all
of it written anew, shows to whoever has noted a head (kgent audit verify)
elsewhere.

The log is read from the file of --file, else from the Redis of REDIS_URL, as
the bot's user (kgent-bot, with REDIS_PASSWORD_FILE, REDIS_CA and so on as the
bot has them): a node's may not. The log of a node is a file of the same kind,
audit.log in its --state.

Exit codes:
  0  the log was read and holds together
  1  it cannot be read
  2  the command line cannot be read
  8  it does not hold together`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&file, "file", "", "the log's `file` (default: the log in Redis)")
	open := func(ctx context.Context) (io.Reader, func(), error) { return openAudit(ctx, sys, file) }
	cmd.AddCommand(auditShowCommand(sys, open), auditVerifyCommand(sys, open), auditExportCommand(sys, open))
	return cmd
}

// openAudit returns a log to read.
func openAudit(ctx context.Context, sys system, file string) (io.Reader, func(), error) {
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, nil, fmt.Errorf("reading audit log: %w", err)
		}
		return f, func() { f.Close() }, nil
	}
	config, ok, err := rdb.FromEnv(sys.getenv)
	if err != nil {
		return nil, nil, usageError{err}
	}
	if !ok {
		return nil, nil, usageError{errors.New("where is the log? Name its file with --file, or set REDIS_URL")}
	}
	rdb.Quiet()
	client, err := rdb.Open(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	r, err := audit.NewRedis(client, time.Now).Reader(ctx)
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	return r, func() { client.Close() }, nil
}

type openLog func(context.Context) (io.Reader, func(), error)

func auditKinds() string {
	var out []string
	for _, k := range audit.Kinds() {
		out = append(out, string(k))
	}
	return strings.Join(out, ", ")
}

// unsound reports a log that does not hold together, and passes other errors
// on, but for one: who reads has seen enough, as head has.
func unsound(sys system, err error) error {
	var broken *audit.BrokenError
	if errors.Is(err, syscall.EPIPE) {
		return exitError(exitInternal)
	}
	if !errors.As(err, &broken) {
		return err
	}
	fmt.Fprintln(sys.err, text.Clean("kgent: "+err.Error()))
	return exitError(exitUnsound)
}

// auditFilter is what audit show is asked for.
type auditFilter struct {
	id, run, person, kind string
	since                 time.Time
}

func (f auditFilter) wants(e audit.Entry) bool {
	return strings.HasPrefix(e.Case, f.id) && strings.HasPrefix(e.Run, f.run) &&
		(f.person == "" || e.Person == f.person || e.Account == f.person) &&
		(f.kind == "" || string(e.Kind) == f.kind) && !e.At.Before(f.since)
}

// parseSince reads a time, or how long ago it was.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since %q: want how long ago, such as 36h, or a time (UTC), such as 2026-03-04 or 2026-03-04 15:04", s)
}

func auditShowCommand(sys system, open openLog) *cobra.Command {
	var (
		f             auditFilter
		since, format string
	)
	cmd := &cobra.Command{
		Use:   "show",
		Short: "print entries, oldest first",
		Example: `  kgent audit show --since 24h
  kgent audit show --person ada --kind glass
  kgent audit show --file /var/lib/kgent/audit.log --output json | jq .data`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return usageError{fmt.Errorf("--output %q: want text or json", format)}
			}
			if f.kind != "" && !slices.Contains(audit.Kinds(), audit.Kind(f.kind)) {
				return usageError{fmt.Errorf("--kind %q: want one of %s", f.kind, auditKinds())}
			}
			var err error
			if f.since, err = parseSince(since, time.Now()); err != nil {
				return usageError{err}
			}
			r, done, err := open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			out := bufio.NewWriter(sys.out)
			_, err = audit.Read(r, func(e audit.Entry) error {
				if !f.wants(e) {
					return nil
				}
				line := entryLine(e)
				if format == "json" {
					b, err := json.Marshal(e)
					if err != nil {
						return err
					}
					line = string(b)
				}
				_, err := fmt.Fprintln(out, line)
				return err
			})
			return unsound(sys, errors.Join(err, out.Flush()))
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.id, "case", "", "of the request whose `id` begins so")
	fl.StringVar(&f.run, "run", "", "of the run whose `id` begins so")
	fl.StringVar(&f.person, "person", "", "by this `person` or account")
	fl.StringVar(&f.kind, "kind", "", "of this `kind`: "+auditKinds())
	fl.StringVar(&since, "since", "", "from this `time` on: 36h ago, or 2026-03-04 15:04 (UTC)")
	fl.StringVarP(&format, "output", "o", "text", "`text` for people, json for programs: one entry a line")
	return cmd
}

// entryLine is an entry for people, on one line. What it quotes comes from
// chat.
func entryLine(e audit.Entry) string {
	who := e.Person
	if e.Account != "" && e.Account != e.Person {
		who += " (" + e.Account + ")"
	} else if e.Surface != "" && e.Account == "" {
		who += " (" + e.Surface + ")"
	}
	about := ""
	for _, id := range []struct{ name, id string }{{"case", e.Case}, {"run", e.Run}, {"digest", e.Digest}} {
		if id.id != "" {
			about += " " + id.name + "=" + id.id[:min(12, len(id.id))]
		}
	}
	line := fmt.Sprintf("%6d  %s  %-9s", e.Seq, e.At.UTC().Format("2006-01-02 15:04:05Z"), e.Kind)
	if who != "" {
		line += "  " + who
	}
	return text.Clean(line + "  " + e.Detail + " " + about)
}

// parseHead reads seq:hash as verify prints it.
func parseHead(s string) (audit.Head, error) {
	seq, hash, ok := strings.Cut(s, ":")
	n, err := strconv.ParseUint(seq, 10, 64)
	if !ok || err != nil || len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "" {
		return audit.Head{}, fmt.Errorf("--head %q: want number:hash as kgent audit verify prints it", s)
	}
	return audit.Head{Seq: n, Hash: hash}, nil
}

func auditVerifyCommand(sys system, open openLog) *cobra.Command {
	var noted []string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "check that the log holds together, and print its head",
		Long: `verify checks every line of the log and prints its head. Note the head somewhere
else. A log that is later cut off or written anew no longer has it, which
verify --head shows.`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			heads := make([]audit.Head, len(noted))
			for i, s := range noted {
				var err error
				if heads[i], err = parseHead(s); err != nil {
					return usageError{err}
				}
			}
			r, done, err := open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			head, err := audit.Verify(r, heads...)
			if err != nil {
				return unsound(sys, err)
			}
			_, err = fmt.Fprintf(sys.out, "%d entries hold together, and %d noted heads are among them\nhead %d:%s\n", head.Seq, len(heads), head.Seq, head.Hash)
			return err
		},
	}
	cmd.Flags().StringArrayVar(&noted, "head", nil, "a `head` that was noted earlier; may be given several times")
	return cmd
}

func auditExportCommand(sys system, open openLog) *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "write the whole log to standard output, to be kept as a file",
		Long: `export writes the log as it is, line by line, also when it does not hold
together; it then says so and ends with 8. What it wrote is a log that
kgent audit show and verify --file read.`,
		Example: "  kgent audit export > audit-$(date +%F).jsonl",
		Args:    noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, done, err := open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			out := bufio.NewWriter(sys.out)
			head, err := audit.Verify(io.TeeReader(r, out))
			_, rest := io.Copy(out, r) // of a log that broke on the way
			if err := errors.Join(rest, out.Flush()); err != nil {
				return unsound(sys, fmt.Errorf("writing audit log: %w", err))
			}
			if err != nil {
				return unsound(sys, err)
			}
			fmt.Fprintf(sys.err, "kgent: %d entries, head %d:%s\n", head.Seq, head.Seq, head.Hash)
			return nil
		},
	}
}
