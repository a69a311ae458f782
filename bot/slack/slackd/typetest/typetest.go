// Package typetest holds what a bot sends to Slack against the TypeScript
// types that Slack publishes (@slack/types): a payload that compiles has no
// misspelled property and none of the wrong kind, whatever the Go library that
// made it lets through.
package typetest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"kgent/bot/nodetest"
)

// Kind is the type that a payload must have.
type Kind string

const (
	Blocks Kind = "KnownBlock[]" // of a message
	Modal  Kind = "ModalView"
	Home   Kind = "HomeView"
)

// Payload is one thing that was or would be sent.
type Payload struct {
	Name string // for the test's message
	Kind Kind
	JSON json.RawMessage
}

// timeout bounds one run of the compiler.
const timeout = 2 * time.Minute

// Check fails the test for every payload that does not have its type. The
// compiler takes seconds to start: give it all payloads at once.
func Check(t testing.TB, payloads ...Payload) {
	t.Helper()
	for _, c := range complaints(t, payloads) {
		t.Errorf("%s is no %s: %s", c.payload.Name, c.payload.Kind, c.text)
	}
}

// CheckBlocks is Check for the blocks of one message.
func CheckBlocks(t testing.TB, blocks json.RawMessage) {
	t.Helper()
	Check(t, Payload{Name: "the message", Kind: Blocks, JSON: blocks})
}

type complaint struct {
	payload Payload
	text    string
}

var diagnostic = regexp.MustCompile(`^payload(\d+)\.ts\(\d+,\d+\): error (.*)$`)

func complaints(t testing.TB, payloads []Payload) []complaint {
	t.Helper()
	if len(payloads) == 0 {
		t.Fatal("no payloads to check")
	}
	project := nodetest.Install(t, filepath.Join(moduleRoot(t), "bot/slack/slackd/testdata/node"))
	var files []string
	for i, p := range payloads {
		if !json.Valid(p.JSON) {
			t.Fatalf("%s is not JSON: %s", p.Name, p.JSON)
		}
		name := fmt.Sprintf("payload%d.ts", i)
		source := fmt.Sprintf("import type { KnownBlock, ModalView, HomeView } from '@slack/types';\nexport const payload: %s = %s;\n", p.Kind, p.JSON)
		if err := os.WriteFile(filepath.Join(project, name), []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, name)
	}
	config, err := json.Marshal(map[string]any{"files": files, "compilerOptions": map[string]any{
		"strict": true, "noEmit": true, "skipLibCheck": true, "types": []string{}, "module": "commonjs", "target": "es2022",
		"preserveSymlinks": true, "noErrorTruncation": false}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(project, "tsconfig.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	p := nodetest.Start(ctx, t, project, "node_modules/typescript/bin/tsc", "NO_COLOR=1")
	failed := p.Wait()
	var found []complaint
	for line := range strings.Lines(p.Output()) {
		line = strings.TrimSpace(line)
		if m := diagnostic.FindStringSubmatch(line); m != nil {
			i, err := strconv.Atoi(m[1])
			if err != nil || i >= len(payloads) {
				t.Fatalf("the compiler speaks of an unknown file: %s", line)
			}
			found = append(found, complaint{payloads[i], m[2]})
		} else if len(found) > 0 {
			found[len(found)-1].text += "\n\t" + line
		}
	}
	if failed != nil && len(found) == 0 {
		t.Fatalf("running the TypeScript compiler: %v\n%s", failed, p.Output())
	}
	return found
}

// moduleRoot is the directory of go.mod, above the test that runs.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("there is no go.mod above the test")
		}
		dir = up
	}
}
