package retrieval

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
)

//go:embed describe.yaml
var describeYAML []byte

// descriptions are the lines of describe.yaml, each under every name that it is for.
type descriptions struct {
	Syscalls    map[string]string
	Tracepoints map[string]string
	Functions   map[string]string
	LSM         map[string]string
	Helpers     map[string]string
	Kfuncs      map[string]string
	Types       map[string]string
	Others      map[string]string
}

var described = sync.OnceValues(func() (*descriptions, error) {
	d := &descriptions{}
	if err := yaml.UnmarshalWithOptions(describeYAML, d, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("reading describe.yaml: %w", err)
	}
	for _, m := range []*map[string]string{&d.Syscalls, &d.Tracepoints, &d.Functions, &d.LSM, &d.Helpers, &d.Kfuncs, &d.Types, &d.Others} {
		single := map[string]string{}
		for names, line := range *m {
			for _, name := range strings.Fields(names) {
				single[name] = line
			}
		}
		*m = single
	}
	return d, nil
})

// tracepoint is what is said of a tracepoint, and whether it is said of it alone.
func (d *descriptions) tracepoint(category, name string) (line string, own bool) {
	if line = d.Tracepoints[category+"/"+name]; line != "" {
		return line, true
	}
	return d.Tracepoints[category+"/"], false
}
