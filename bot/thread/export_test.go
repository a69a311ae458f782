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
