package vmlinux

import (
	"sync"

	"github.com/cilium/ebpf/btf"
)

// Types supplies a compiler with the headers of one kernel's types. It is safe
// for concurrent use.
type Types struct{ trimmer func() (*Trimmer, error) }

// NewTypes reads all types of spec, with the errors of [NewTrimmer].
func NewTypes(spec *btf.Spec) (*Types, error) {
	t, err := NewTrimmer(spec)
	if err != nil {
		return nil, err
	}
	return &Types{func() (*Trimmer, error) { return t, nil }}, nil
}

// LazyTypes reads the types of spec when a header is asked for the first time;
// if they cannot be read, then each Header says so.
func LazyTypes(spec *btf.Spec) *Types {
	return &Types{sync.OnceValues(func() (*Trimmer, error) { return NewTrimmer(spec) })}
}

// Header is [Trimmer.Header].
func (t *Types) Header(sources ...string) ([]byte, error) {
	trimmer, err := t.trimmer()
	if err != nil {
		return nil, err
	}
	return trimmer.Header(sources...), nil
}
