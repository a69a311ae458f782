package program

import (
	"errors"
	"fmt"
)

// ErrUntried says that a kernel could not be asked about a program, which says
// nothing about the program.
var ErrUntried = errors.New("the program could not be tried")

// SilentError wraps [ErrUntried]: all nodes of that kernel that were asked are there, but for
// those of these names, which did not answer.
type SilentError struct {
	Nodes []string
	Why   string // what is known of each that was asked
}

func (e *SilentError) Error() string { return fmt.Sprintf("%v: %s", ErrUntried, e.Why) }

// Unwrap returns [ErrUntried].
func (e *SilentError) Unwrap() error { return ErrUntried }

// Verified is what a kernel's verifier said of a program that it took.
type Verified struct {
	Program string `json:"program"`
	// Processed is how many instructions the verifier looked at, over all paths
	// through the program, of the million that it allows. Kernels before 5.16
	// do not tell: 0.
	Processed uint32 `json:"processed"`
}
