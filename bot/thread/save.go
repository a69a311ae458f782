package thread

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"kgent/approvals"
)

// save puts everything that makes a request repeatable into one file in the
// thread: the words, the source, the object and its manifest, the card and the
// account of the run.
func (c *Conversation) save(ctx context.Context, e Event, r Request) error {
	if r.Case == "" {
		return c.refused(ctx, e, refuse("there is no program to save: %s", stateWords(r)))
	}
	p, err := c.Desk.Program(ctx, r.Case)
	if errors.Is(err, approvals.ErrNotFound) {
		return c.refused(ctx, e, refuse("the program is no longer stored; ask again"))
	}
	if errors.Is(err, approvals.ErrSwapped) {
		return c.refused(ctx, e, refuse("%v", approvals.ErrSwapped))
	}
	if err != nil {
		return err
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	add := func(name string, data []byte) {
		w, fault := z.Create(name)
		if fault == nil {
			_, fault = w.Write(data)
		}
		err = errors.Join(err, fault)
	}
	add("request.txt", []byte(strings.Join(r.words(), "\n")+"\n"))
	add("program.bpf.c", []byte(r.Source))
	add("program.o", p.ELF)
	add("manifest.json", p.Manifest)
	if len(p.Contract) > 0 {
		add("contract.kc", p.Contract)
	}
	for name, v := range map[string]any{"candidate.json": r.Card, "summary.json": r.Summary} {
		raw, fault := json.MarshalIndent(v, "", "  ")
		err = errors.Join(err, fault)
		add(name, append(raw, '\n'))
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return fmt.Errorf("packing request %s: %w", r.ID, err)
	}
	return c.Store.Put(ctx, Message{
		Key: "save:" + idOf(r), Place: r.Place, Under: r.Root, Class: Result,
		Files: []File{{Name: fileName(r.Card.Name) + "-" + r.ID[:8] + ".zip", Title: "Request, source, program, manifest and account, digest " + short12(r.Card.Digest), Data: out.Bytes()}},
	})
}
