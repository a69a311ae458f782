package executor

// What is between the reader of a program's events and who renders them. To render
// an event costs ten times what it costs to read it, and may have to open files:
// the reader only copies, so that the kernel's buffers are emptied in time. When
// nobody is ready for the next batch it waits, and events that find the kernel's
// buffer full meanwhile are counted there.
const (
	pipeBatches = 4
	pipeBytes   = 64 << 10 // of one, unless an event alone has more
)

// eventBatch is events in the order in which they were read.
type eventBatch struct {
	bytes  []byte
	events []pipedEvent
}

type pipedEvent struct {
	stream int
	end    int // in bytes
}

// eventPipe takes batches from one goroutine to another.
type eventPipe struct {
	full, empty chan *eventBatch
	broken      chan struct{} // closed when nobody takes them, or when all were taken
	next        *eventBatch
}

func newEventPipe() *eventPipe {
	p := &eventPipe{
		full:   make(chan *eventBatch, pipeBatches),
		empty:  make(chan *eventBatch, pipeBatches),
		broken: make(chan struct{}),
		next:   &eventBatch{},
	}
	for range pipeBatches - 1 {
		p.empty <- &eventBatch{}
	}
	return p
}

// put adds a copy of an event.
func (p *eventPipe) put(stream int, raw []byte) {
	if len(p.next.bytes)+len(raw) > pipeBytes {
		p.flush()
	}
	p.next.bytes = append(p.next.bytes, raw...)
	p.next.events = append(p.next.events, pipedEvent{stream, len(p.next.bytes)})
}

// flush hands over what there is. It waits for room.
func (p *eventPipe) flush() {
	if len(p.next.events) == 0 {
		return
	}
	select {
	case p.full <- p.next: // has room for all there are
	case <-p.broken:
	}
	select {
	case p.next = <-p.empty:
	case <-p.broken:
	}
	p.next.bytes, p.next.events = p.next.bytes[:0], p.next.events[:0]
}

// end hands over the last; put and flush are not called any more.
func (p *eventPipe) end() {
	p.flush()
	close(p.full)
}

// each hands on all batches until the end. It is called once.
func (p *eventPipe) each(fn func(*eventBatch)) {
	for b := range p.full {
		fn(b)
		p.empty <- b
	}
}
