//go:build race

package result

// The race detector makes everything ten times slower, and races show early.
const (
	flood      = 50_000
	floodNodes = 20
)
