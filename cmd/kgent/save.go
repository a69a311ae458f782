package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"kgent/approvals"
	"kgent/bot"
	"kgent/bot/card"
	"kgent/bot/console"
	"kgent/executor/output"
)

// saving writes a candidate to a directory before anybody decides on it. When
// that does not work nothing is run: who asked for a record must not be left
// without one.
type saving struct {
	bot.Channel
	dir  string
	show bool // nobody is asked afterwards
	err  error
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

func (s *saving) Decide(ctx context.Context, c bot.Card, vote func(approvals.Vote) (bool, error)) error {
	if s.err != nil {
		return s.err
	}
	return s.Channel.Decide(ctx, c, vote)
}

// save writes program.bpf.c, program.o, manifest.json, contract.kc (empty when
// there is no contract), card.txt and record.json, all or none.
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
	text := console.Card(card.Candidate(c.Ask.Text, c.Record, c.Candidate.Understood, c.Candidate.Explanation), console.Terminal{Width: 80})
	source := "program.bpf.c"
	if c.Candidate.Manifest.Script != nil {
		source = "program.bt"
	}
	files := []struct {
		name string
		body []byte
	}{
		{source, []byte(c.Candidate.Source)},
		{"program.o", c.Candidate.Object.ELF()},
		{"manifest.json", append(manifest, '\n')},
		{"contract.kc", c.Candidate.ContractText()},
		{"card.txt", []byte(text)},
		{"record.json", append(record, '\n')},
	}
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
		path, err := writeSynced(dir, f.name, f.body)
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
func writeSynced(dir, name string, body []byte) (string, error) {
	f, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(body)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}
