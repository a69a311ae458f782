package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kgent/approvals"
	"kgent/bot"
	"kgent/bot/card"
	"kgent/bot/console"
	"kgent/bot/result"
	"kgent/executor/output"
	"kgent/executor/render/chart"
)

// saving writes a candidate to a directory before anybody decides on it. When
// that does not work nothing is run: who asked for a record must not be left
// without one.
type saving struct {
	bot.Channel
	dir  string
	show bool // nobody is asked afterwards
	err  error
	// result is what came of the run; nil before there is any.
	result *result.Result
}

func (s *saving) Candidate(c bot.Card) {
	if c.Keep != nil { // what has run is saved already
		s.Channel.Candidate(c)
		return
	}
	s.err = save(s.dir, c)
	s.Channel.Candidate(c)
	if s.err != nil && s.show {
		s.Channel.Error(output.Error{Code: "internal", Message: s.err.Error()})
	}
}

// maxSaved is how large the file of a saved output may become, in bytes.
const maxSaved = 64 << 20

// saved is a file.
type saved struct {
	name string
	body []byte
}

// Line keeps what comes, for the files of the result.
func (s *saving) Line(line []byte) {
	if s.result == nil {
		s.result = result.New(result.Options{Location: time.Local, MaxFile: maxSaved})
	}
	s.result.Line(line)
	s.Channel.Line(line)
}

// Summary writes the result beside the program.
func (s *saving) Summary(sum output.Summary) {
	if s.result != nil {
		s.result.End(sum)
		err := s.saveResult()
		if s.err = errors.Join(s.err, err, s.result.Close()); err != nil {
			s.Channel.Error(output.Error{Code: "internal", Message: err.Error()})
		}
	}
	s.Channel.Summary(sum)
}

// saveResult writes the output as it came, its pictures for dark and for light
// backgrounds, and what other tools read.
func (s *saving) saveResult() error {
	fail := func(err error) error { return fmt.Errorf("saving the result to %s: %w", s.dir, err) }
	var files []saved
	f, ok, err := s.result.File()
	if err != nil {
		return fail(err)
	}
	if ok {
		body, err := io.ReadAll(f.Open())
		if err != nil {
			return fail(err)
		}
		name := "output.jsonl"
		if strings.HasSuffix(f.Name, ".gz") {
			name += ".gz"
		}
		files = append(files, saved{name, body})
	}
	for i, figure := range s.result.Figures() {
		for theme, t := range map[string]chart.Theme{"dark": chart.Dark(), "light": chart.Light()} {
			body, err := chart.PNG(figure, t)
			if err != nil {
				return fail(err)
			}
			files = append(files, saved{fmt.Sprintf("picture-%d-%s.png", i+1, theme), body})
		}
	}
	exports, err := s.result.Exports()
	if err != nil {
		return fail(err)
	}
	for _, e := range exports {
		files = append(files, saved{e.Name, e.Data})
	}
	if err := writeAll(s.dir, files, 0o600); err != nil {
		return fail(err)
	}
	return nil
}

func (s *saving) Decide(ctx context.Context, c bot.Card, vote func(approvals.Vote) (bool, error)) error {
	if s.err != nil {
		return s.err
	}
	return s.Channel.Decide(ctx, c, vote)
}

// save writes program.bpf.c, program.o, manifest.json, contract.kc (empty when
// there is no contract), asked.kc (the same with the request's values as defaults), card.txt and record.json, all or none.
func save(dir string, c bot.Card) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("saving to %s: %w", dir, err)
		}
	}()
	manifest, err := json.MarshalIndent(c.Candidate.Manifest, "", "  ")
	if err != nil {
		return err
	}
	record, err := json.MarshalIndent(c.Candidate.Record, "", "  ")
	if err != nil {
		return err
	}
	promise, err := c.Candidate.WithValues()
	if err != nil {
		return err
	}
	text := console.Card(card.Candidate(c.Ask.Text, c.Record, c.Candidate.Understood, c.Candidate.Explanation), console.Terminal{Width: 80})
	source := "program.bpf.c"
	if c.Candidate.Manifest.Script != nil {
		source = "program.bt"
	}
	files := []saved{
		{source, []byte(c.Candidate.Source)},
		{"program.o", c.Candidate.Object.ELF()},
		{"manifest.json", append(manifest, '\n')},
		{"contract.kc", c.Candidate.ContractText()},
		{"asked.kc", promise},
		{"card.txt", []byte(text)},
		{"record.json", append(record, '\n')},
	}
	return writeAll(dir, files, 0o644)
}

// writeAll writes files into a directory, all or none.
func writeAll(dir string, files []saved, mode os.FileMode) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var temporary []string
	defer func() {
		for _, path := range temporary {
			os.Remove(path)
		}
	}()
	for _, f := range files {
		path, err := writeSynced(dir, f.name, f.body, mode)
		if err != nil {
			return err
		}
		temporary = append(temporary, path)
	}
	for i, f := range files {
		if err := os.Rename(temporary[i], filepath.Join(dir, f.name)); err != nil {
			return err
		}
	}
	temporary = nil
	return nil
}

// writeSynced writes a new file of a random name, and makes sure that a full
// disk shows now and not later. Others may write in the directory: what lies
// there, a link to a file of root's, is never written through.
func writeSynced(dir, name string, body []byte, mode os.FileMode) (string, error) {
	f, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(body)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}
