package main

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps", "kgent/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 {
			pkgs = append(pkgs, p)
		}
	}
}

func under(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return path == r || strings.HasPrefix(path, r+"/") })
}

// The straight line of the design: nothing but the command knows the
// conversation, the agent loads nothing, and a node trusts the agent with
// nothing but the form of a program.
func TestLayers(t *testing.T) {
	pkgs := packages(t)
	if len(pkgs) < 15 {
		t.Fatalf("go list found %d packages, expected more", len(pkgs))
	}
	for _, p := range pkgs {
		if !under(p.ImportPath, "kgent/cmd", "kgent/bot", "kgent/agent", "kgent/retrieval", "kgent/executor", "kgent/approvals") {
			t.Errorf("%s is in none of the folders that the code is in", p.ImportPath)
		}
		for _, d := range p.Deps {
			switch {
			case !strings.HasPrefix(d, "kgent/"):
			case under(d, "kgent/bot") && !under(p.ImportPath, "kgent/bot", "kgent/cmd"):
				t.Errorf("%s depends on %s: only bot and cmd may", p.ImportPath, d)
			case under(d, "kgent/executor") && under(p.ImportPath, "kgent/agent") && !under(p.ImportPath, "kgent/agent/recipes/recipetest", "kgent/agent/eval"):
				t.Errorf("%s depends on %s: the agent runs nothing", p.ImportPath, d)
			case under(d, "kgent/agent") && d != "kgent/agent/program" && !under(d, "kgent/agent/program/bpftrace") && under(p.ImportPath, "kgent/executor"):
				t.Errorf("%s depends on %s: a node knows of the agent only the form of a program", p.ImportPath, d)
			case under(d, "kgent/agent") && under(p.ImportPath, "kgent/retrieval"):
				t.Errorf("%s depends on %s: what can be known needs no agent", p.ImportPath, d)
			case under(d, "kgent/executor/probe", "kgent/agent/llm") && under(p.ImportPath, "kgent/approvals"):
				t.Errorf("%s depends on %s: approvals neither load nor ask", p.ImportPath, d)
			}
		}
		// Test support must not be part of the binary.
		if p.ImportPath == "kgent/cmd/kgent" {
			for _, d := range p.Deps {
				if d == "testing" || strings.HasSuffix(d, "test") && strings.HasPrefix(d, "kgent/") {
					t.Errorf("the binary contains %s", d)
				}
			}
		}
	}
}

// Every package says what it is for.
func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		documented := false
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			documented = documented || f.Doc != nil && len(f.Doc.Text()) > 40
		}
		if !documented {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// The module's direct dependencies, each with its reason. A new one is a
// decision, not an accident.
func TestDependencies(t *testing.T) {
	allowed := map[string]string{
		"github.com/bwmarrin/discordgo":      "Discord's protocol",
		"github.com/cilium/ebpf":             "loading and reading eBPF",
		"github.com/go-air/gini":             "the SAT solver of the proof",
		"github.com/goccy/go-yaml":           "recipes and scripts are YAML",
		"github.com/gorilla/websocket":       "the dialer of the Discord and Slack clients, and their stand-ins",
		"github.com/ianlancetaylor/demangle": "names of C++ and Rust functions in stacks",
		"github.com/redis/go-redis/v9":       "the protocol of Redis",
		"github.com/rogpeppe/go-internal":    "testscript for the command's tests",
		"github.com/sashabaranov/go-openai":  "the model's protocol",
		"github.com/slack-go/slack":          "Slack's protocol",
		"github.com/spf13/cobra":             "sub-commands and flags",
		"go.uber.org/goleak":                 "tests look for goroutines left behind",
		"golang.org/x/image":                 "fonts and lines of the pictures in a chat",
		"golang.org/x/sys":                   "system calls and their constants",
		"golang.org/x/term":                  "whether output is a terminal",
	}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(mod), "\n") {
		fields := strings.Fields(line)
		if !strings.HasPrefix(line, "\t") || len(fields) != 2 {
			continue // indirect ones have a comment
		}
		if allowed[fields[0]] == "" {
			t.Errorf("go.mod requires %s, which has no reason here", fields[0])
		}
	}
}
