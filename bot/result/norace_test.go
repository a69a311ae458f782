//go:build !race

package result

const (
	flood      = 1_000_000
	floodNodes = 250
)
