package recipes_test

import (
	"testing"

	"kgent/agent/program"
	"kgent/agent/program/programtest"
	"kgent/agent/recipes"
)

// Every recipe is there for kernels without ring buffers, too: of the same source.
func TestPerfForm(t *testing.T) {
	lib, err := recipes.Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range lib.Recipes() {
		t.Run(r.Name, func(t *testing.T) {
			o := programtest.PerfObject(t, string(r.Source))
			if _, err := program.Build(o, program.Options{Name: r.Name, Interface: "lo"}); err != nil {
				t.Error(err)
			}
		})
	}
}
