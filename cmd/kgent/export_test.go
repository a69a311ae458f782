package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kgent/bot"
	"kgent/executor/output"
)

// heard is a channel that keeps what it is told.
type heard struct {
	bot.Channel
	lines  int
	errors []string
	ended  bool
}

func (h *heard) Line([]byte)            { h.lines++ }
func (h *heard) Error(e output.Error)   { h.errors = append(h.errors, e.Message) }
func (h *heard) Summary(output.Summary) { h.ended = true }

// feed hands the records of a profile, or of a run without stacks, to a channel.
func feed(t *testing.T, ch bot.Channel, stacks bool) {
	t.Helper()
	records := []output.Record{
		output.Attached{Node: "a", Streams: []output.Stream{{Name: "samples", Columns: []output.Column{{Name: "comm", Kind: "string"}, {Name: "count", Kind: "k_count"}}}}},
		output.Hist{Node: "a", Name: "sizes", Unit: "bytes", Count: 3, Buckets: []output.Bucket{{Min: 1, Max: 1, Count: 3}}, Final: true},
	}
	if stacks {
		records = append(records,
			output.Stack{Node: "a", Name: "samples", Key: output.Fields{{Name: "comm", Value: "burn"}}, Frames: []string{"read+0x1", "inner+0xc (burn)", "main+0x37 (burn)"}, Kernel: 1, Count: 40, Final: true},
			output.Stack{Node: "a", Name: "samples", Key: output.Fields{{Name: "comm", Value: "burn"}}, Frames: []string{"main+0x37 (burn)"}, Count: 2, Minor: true, Final: true})
	}
	for _, r := range records {
		line, err := output.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		ch.Line(line)
	}
	ch.Summary(output.Summary{Reason: output.ReasonDeadline, Seconds: 2, Nodes: []output.NodeSummary{{Node: "a"}}})
}

func TestExport(t *testing.T) {
	for form, check := range map[string]func([]byte) bool{
		"folded": func(b []byte) bool { return string(b) == "burn;main;inner;read_[k] 40\nburn;main 2\n" },
		"svg": func(b []byte) bool {
			return bytes.HasPrefix(b, []byte("<?xml")) && bytes.Contains(b, []byte("inner (burn)"))
		},
		"pprof": func(b []byte) bool {
			z, err := gzip.NewReader(bytes.NewReader(b))
			if err != nil {
				return false
			}
			raw, err := io.ReadAll(z)
			return err == nil && bytes.Contains(raw, []byte("inner"))
		},
	} {
		var out bytes.Buffer
		beneath := &heard{}
		e := newExporting(beneath, form, &out)
		feed(t, e, true)
		if e.err != nil || !check(out.Bytes()) {
			t.Errorf("%s: %v, %.80q", form, e.err, out.Bytes())
		}
		if beneath.lines != 2 || !beneath.ended { // the stacks are printed once
			t.Errorf("%s: %+v", form, beneath)
		}
		out.Reset()
		e = newExporting(beneath, form, &out)
		feed(t, e, false)
		if e.err == nil || out.Len() > 0 || len(beneath.errors) != 1 || !strings.Contains(beneath.errors[0], "stack") {
			t.Errorf("%s without stacks: %v, %d bytes, %q", form, e.err, out.Len(), beneath.errors)
		}
	}
}

func TestSaveResult(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	s := &saving{Channel: &heard{}, dir: dir}
	feed(t, s, true)
	if s.err != nil {
		t.Fatal(s.err)
	}
	for name, head := range map[string]string{
		"output.jsonl": `{"type":"attached"`, "samples.folded.txt": "burn;main;inner;read_[k] 40\n", "samples.svg": "<?xml", "samples.pb.gz": "\x1f\x8b",
		"picture-1-dark.png": "\x89PNG", "picture-1-light.png": "\x89PNG", "picture-2-dark.png": "\x89PNG",
	} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.HasPrefix(string(b), head) {
			t.Errorf("%s: %v, %.40q", name, err, b)
			continue
		}
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, st.Mode(), err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "output.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte{'\n'})
	var last struct{ Type string }
	if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil || last.Type != "summary" || len(lines) != 5 {
		t.Errorf("%d lines, the last a %s, %v", len(lines), last.Type, err)
	}
}
