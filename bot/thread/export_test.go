package thread

import "time"

// SetVisibility makes a store deliver again sooner.
func SetVisibility(s Store, d time.Duration) {
	switch s := s.(type) {
	case *Memory:
		s.visibility = d
	case *Redis:
		s.visibility = d
	}
}

// Aligned is how tables of nodes and recipes are set.
func Aligned(rows [][]string, width int) string { return aligned(rows, width) }
