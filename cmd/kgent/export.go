package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"kgent/bot"
	"kgent/bot/result"
	"kgent/executor/output"
)

// exportForms are the forms of --output that only stacks have, and how the names of
// their files end.
var exportForms = map[string]string{"folded": ".folded.txt", "pprof": ".pb.gz", "svg": ".svg"}

// exporting prints the stacks of a run in one of those forms when it is over. What
// is said to people goes to the channel beneath.
type exporting struct {
	bot.Channel
	form   string
	out    io.Writer
	result *result.Result
	err    error
}

func newExporting(ch bot.Channel, form string, out io.Writer) *exporting {
	return &exporting{Channel: ch, form: form, out: out, result: result.New(result.Options{})}
}

// Line takes what the other tools are to have, and shows the rest.
func (e *exporting) Line(line []byte) {
	e.result.Line(line)
	if rec, err := output.Decode(line); err == nil {
		if _, ok := rec.(output.Stack); ok {
			return
		}
	}
	e.Channel.Line(line)
}

func (e *exporting) Summary(s output.Summary) {
	e.result.End(s)
	err := error(nil)
	if len(s.Nodes) > 0 { // else nothing ran, and it is said why
		err = e.export()
	}
	if e.err = errors.Join(err, e.result.Close()); e.err != nil {
		e.Channel.Error(output.Error{Code: "usage", Message: e.err.Error()})
	}
	e.Channel.Summary(s)
}

func (e *exporting) export() error {
	exports, err := e.result.Exports()
	if err != nil {
		return err
	}
	for _, x := range exports {
		if strings.HasSuffix(x.Name, exportForms[e.form]) {
			_, err := e.out.Write(x.Data)
			return err
		}
	}
	return fmt.Errorf("--output %s: nothing was counted by stack: ask for a profile or for stacks, or use --output text", e.form)
}
