package executor

import (
	"strings"
	"testing"

	"kgent/agent/program"
)

// A node without bpftrace says so, and touches nothing.
func TestScriptWithoutBpftrace(t *testing.T) {
	m := &program.Manifest{Script: &program.Script{Language: "bpftrace", Text: "x"}}
	p, err := (&HostKernel{}).Load(t.Context(), nil, m)
	if p != nil || err == nil || !strings.Contains(err.Error(), "install bpftrace") {
		t.Errorf("%v, %v", p, err)
	}
}
