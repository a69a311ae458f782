package eval

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Journal keeps results in a file as they come, a line each, so that a
// measurement can be interrupted at any time and go on.
type Journal[R any] struct {
	f     *os.File
	path  string
	known map[string]*R
	key   func(*R) string
	again func(*R) bool
}

// ErrJournal says that there is a journal already, and nobody said to go on
// with it.
var ErrJournal = errors.New("there are results already")

// OpenJournal opens the journal of a directory, which is made if it is not
// there. What is in it is kept only with resume; otherwise that it has results is
// an error. What could not be measured is measured again.
func OpenJournal(dir string, resume bool) (*Journal[Result], error) {
	return openJournal(dir, resume, (*Result).key, (*Result).again)
}

func openJournal[R any](dir string, resume bool, key func(*R) string, again func(*R) bool) (*Journal[R], error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	j := &Journal[R]{path: filepath.Join(dir, "journal.jsonl"), known: map[string]*R{}, key: key, again: again}
	f, err := os.OpenFile(j.path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	j.f = f
	whole, err := j.read(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", j.path, err), f.Close())
	}
	if whole > 0 && !resume {
		return nil, errors.Join(fmt.Errorf("%w in %s: add --resume to go on with them, or choose another --out", ErrJournal, j.path), f.Close())
	}
	// What was cut off by an interruption is overwritten.
	if err := f.Truncate(whole); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(whole, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

// read takes in all whole lines and returns where they end.
func (j *Journal[R]) read(r io.Reader) (whole int64, err error) {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return whole, nil
		}
		if err != nil {
			return 0, err
		}
		res := new(R)
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(res); err != nil {
			return 0, fmt.Errorf("at byte %d: %w", whole, err)
		}
		whole += int64(len(line))
		if j.again(res) {
			delete(j.known, j.key(res))
			continue
		}
		j.known[j.key(res)] = res
	}
}

func (j *Journal[R]) have(key string) (*R, bool) {
	if j == nil {
		return nil, false
	}
	r, ok := j.known[key]
	return r, ok
}

func (j *Journal[R]) add(r *R) error {
	if j == nil {
		return nil
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := j.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("writing %s: %w", j.path, err)
	}
	j.known[j.key(r)] = r
	return j.f.Sync()
}

// Close closes the file.
func (j *Journal[R]) Close() error { return j.f.Close() }

// GateJournal keeps the judgements of a [Gate].
type GateJournal struct{ *Journal[Judgement] }

// OpenGateJournal is [OpenJournal] for a gate.
func OpenGateJournal(dir string, resume bool) (*GateJournal, error) {
	j, err := openJournal(dir, resume, (*Judgement).key, func(j *Judgement) bool { return j.Fault != "" })
	return &GateJournal{j}, err
}

func (j *Judgement) key() string { return j.Case + "|" + j.Program }

// Has reports whether a program was judged.
func (j *GateJournal) Has(caseName, program string) bool {
	_, ok := j.have(caseName + "|" + program)
	return ok
}

// Add notes a judgement.
func (j *GateJournal) Add(x *Judgement) error { return j.add(x) }

// Of returns the judgements of these cases, by name.
func (j *GateJournal) Of(cases []*Case) []*Judgement {
	var out []*Judgement
	for _, key := range slices.Sorted(maps.Keys(j.known)) {
		x := j.known[key]
		if slices.ContainsFunc(cases, func(c *Case) bool { return c.Name == x.Case }) {
			out = append(out, x)
		}
	}
	return out
}
