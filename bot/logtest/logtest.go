// Package logtest keeps what a program logs, for tests that read it while the
// program goes on.
package logtest

import (
	"bytes"
	"sync"
)

// Log is a writer that tests read. Its zero value is empty and ready to use.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write keeps p.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is what was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
