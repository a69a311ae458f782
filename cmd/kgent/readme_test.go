package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"kgent/agent/recipes"
	"kgent/bot/target"
	"kgent/executor/bus"
)

// What the README says somebody may ask is answered, and by what it should be.
func TestReadmeExamples(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	library, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	var nodes []bus.NodeInfo
	for _, n := range []string{"db-1", "db-2", "db-3", "db-4"} {
		nodes = append(nodes, bus.NodeInfo{Name: n})
	}
	want := map[string]string{
		"which processes on db-3 get ECONNREFUSED, and from where?": "tcp-connect",
		"fsync latency of postgres as a histogram for a minute":     "fsync-latency",
		"which programs are executed on db-1 for a minute":          "exec",
		// What no recipe answers: the examples of a model.
		"count with bpftrace who calls fsync":              "",
		"which processes give up the CPU with sched_yield": "",
		"request": "", // of the usage
	}
	asked := regexp.MustCompile(`(?m)^    @kgent (.*?)(?:  .*)?$|kgent ask [^"\n]*"([^"]+)"|^    kgent> (.*)$|REQUEST="([^"]+)"`)
	seen := 0
	for _, m := range asked.FindAllStringSubmatch(string(b), -1) {
		text := strings.Join(m[1:], "")
		_, words, err := target.FromText(text, nodes)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		match, err := library.Match(words, recipes.MatchOptions{})
		recipe, known := want[text]
		switch {
		case known && recipe == "":
			if match != nil && text != "request" {
				t.Errorf("%q needs no model: %s answers it", text, match.Recipe.Name)
			}
		case err != nil:
			t.Errorf("%q: %v", text, err)
		case known && match.Recipe.Name != recipe:
			t.Errorf("%q: %s answers it, want %s", text, match.Recipe.Name, recipe)
		}
		if known {
			seen++
			delete(want, text)
		}
	}
	if len(want) > 0 {
		t.Errorf("not in the README any more: %v (%d are)", want, seen)
	}
}
