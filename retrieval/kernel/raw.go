package kernel

import (
	"errors"
	"fmt"
	"io/fs"
)

// RawBTF returns the kernel's BTF as the kernel gives it, without its modules'. It
// must not be modified.
func (f *Facts) RawBTF() ([]byte, error) { return f.rawBTF() }

// RawFormat returns the format of a tracepoint as tracefs has it; of facts that were
// decoded, its fields only. The error is that of [Facts.Tracepoint].
func (f *Facts) RawFormat(category, name string) ([]byte, error) {
	if _, err := f.Tracepoint(category, name); err != nil {
		return nil, err
	}
	text, err := f.src.readSmall(f.eventDir(category, name) + "/format")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, f.noTracepoint(category + ":" + name)
	}
	if err != nil {
		return nil, fmt.Errorf("reading tracepoint %s:%s: %w", visible(category), visible(name), f.explainTracefs(err))
	}
	return []byte(text), nil
}
