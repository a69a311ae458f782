package bpftrace

import (
	"fmt"
	"os"
	"testing"

	"kgent/agent/program/bpftrace/jail"
)

// TestMain lets tests start this binary again in the jail.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == jail.Arg {
		fmt.Fprintln(os.Stderr, jail.Enter(os.Args[2]))
		os.Exit(ExitJail)
	}
	os.Exit(m.Run())
}
