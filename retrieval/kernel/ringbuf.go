package kernel

import (
	"errors"
	"fmt"
)

// RingBuffer is what [Facts.Refused] calls the buffers that events are handed over in, which
// are no kind of hook.
const RingBuffer = "ring-buffer"

// NoRingBuffers says why programs cannot hand over events in ring buffers (Linux 5.8), nothing if they can.
func (f *Facts) NoRingBuffers() (why string, err error) {
	if why, ok := f.Refused[RingBuffer]; ok {
		return why, nil
	}
	_, err = f.Helper("bpf_ringbuf_reserve")
	if missing := (*NotFoundError)(nil); errors.As(err, &missing) {
		return fmt.Sprintf("kernel %s has no ring buffers (Linux 5.8)", f.Release), nil
	}
	return "", err
}
