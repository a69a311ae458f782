package result

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"kgent/executor/output"
)

// DefaultMaxFile is what the stricter of the platforms takes without being
// paid: 10 MiB, less what surrounds a file in an upload.
const DefaultMaxFile = 10<<20 - 64<<10

// How the output is kept.
const (
	// inMemory is how long output stays as it is: people can read it in a
	// browser. Above it is compressed.
	inMemory = 1 << 20
	// keepTail is how much of the end is kept when the beginning has filled
	// the file.
	keepTail = 256 << 10
	// reserve is what the end and the note before it can take, compressed
	// not at all.
	reserve = keepTail + keepTail/8 + 4096
	// flushEvery is how many bytes go into the compressor between two looks
	// at the size.
	flushEvery = 64 << 10
)

// File is the whole output, or as much of it as a platform takes: one JSON
// record a line, compressed when it is long.
type File struct {
	Name string
	Size int64
	// Note says what is missing; empty when nothing is. The file says so too,
	// in the place.
	Note string
	data io.ReaderAt
}

// Open returns a reader from the beginning of the file. It may be called
// again, until the [Result] is closed.
func (f File) Open() io.ReadSeeker { return io.NewSectionReader(f.data, 0, f.Size) }

// File returns the output so far. Without any output there is no file: ok is
// false.
func (r *Result) File() (f File, ok bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := "kgent"
	for _, s := range []string{r.o.Recipe, shortRun(r.o.Run)} {
		if s = fileName(s); s != "" {
			name += "-" + s
		}
	}
	f, err = r.spool.file()
	if err != nil {
		return File{}, false, fmt.Errorf("keeping the output in a file: %w", err)
	}
	f.Name = name + f.Name
	return f, f.Size > 0, nil
}

func shortRun(run string) string { return run[:min(len(run), 8)] }

// fileName makes a name that means nothing to any shell or file system.
func fileName(s string) string {
	out := []byte(s[:min(len(s), 40)])
	for i, c := range out {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			out[i] = '-'
		}
	}
	return string(bytes.Trim(out, "-"))
}

// spool keeps lines: in memory, then compressed in a file that has no name any
// more and goes with the process, up to a limit; behind that only the end.
type spool struct {
	dir string
	max int64

	memory []byte
	disk   *os.File
	err    error // of the disk; nothing more is kept then
	packer *gzip.Writer
	packed counter
	since  int // bytes since the compressor was flushed

	full      bool
	tail      []byte // the newest lines, oldest first
	lostLines uint64
	lostBytes uint64
	tailLines int
}

// counter counts what goes to the disk.
type counter struct {
	f *os.File
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.f.Write(b)
	c.n += int64(n)
	return n, err
}

func newSpool(dir string, limit int64) *spool { return &spool{dir: dir, max: max(limit, 2*reserve)} }

// write keeps a line, which ends with a newline or is given one.
func (s *spool) write(line []byte) {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	switch {
	case s.full || s.err != nil:
		s.end(line)
	case s.disk == nil && len(s.memory)+len(line) < inMemory:
		s.memory = append(append(s.memory, line...), '\n')
	default:
		s.pack(line)
	}
}

// pack compresses a line.
func (s *spool) pack(line []byte) {
	if s.disk == nil {
		if s.err = s.open(); s.err != nil {
			s.end(line)
			return
		}
	}
	// What does not compress at all must still fit.
	if s.packed.n+int64(s.since)+int64(len(line))+reserve > s.max {
		if s.err = s.flush(); s.err == nil && s.packed.n+int64(len(line))+reserve > s.max {
			s.full = true
		}
		if s.full || s.err != nil {
			s.end(line)
			return
		}
	}
	s.put(line)
	if s.since >= flushEvery {
		s.err = errors.Join(s.err, s.flush())
	}
}

func (s *spool) put(line []byte) {
	if s.packer == nil {
		s.packer, _ = gzip.NewWriterLevel(&s.packed, gzip.BestSpeed) // the level is valid
	}
	_, err := s.packer.Write(line)
	if err == nil {
		_, err = s.packer.Write([]byte{'\n'})
	}
	s.err = errors.Join(s.err, err)
	s.since += len(line) + 1
}

func (s *spool) flush() error {
	s.since = 0
	if s.packer == nil {
		return nil
	}
	return s.packer.Flush()
}

// open moves what is in memory to the disk.
func (s *spool) open() error {
	f, err := os.CreateTemp(s.dir, "kgent-output-")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		return errors.Join(err, f.Close())
	}
	s.disk, s.packed.f = f, f
	for line := range bytes.Lines(s.memory) {
		s.put(line[:len(line)-1])
	}
	if s.err == nil {
		s.memory = nil
	}
	return s.err
}

// end keeps a line as one of the last, and lets go of those before.
func (s *spool) end(line []byte) {
	if len(line)+1 > keepTail {
		s.lostLines += uint64(s.tailLines) + 1
		s.lostBytes += uint64(len(s.tail) + len(line) + 1)
		s.tail, s.tailLines = s.tail[:0], 0
		return
	}
	s.tail = append(append(s.tail, line...), '\n')
	s.tailLines++
	if len(s.tail) <= 2*keepTail {
		return
	}
	s.trim()
}

// trim shortens the tail to its bound.
func (s *spool) trim() {
	cut := 0
	for len(s.tail)-cut > keepTail {
		n := bytes.IndexByte(s.tail[cut:], '\n') + 1
		cut += n
		s.tailLines--
		s.lostLines++
		s.lostBytes += uint64(n)
	}
	s.tail = append(s.tail[:0], s.tail[cut:]...)
}

// note says what is missing.
func (s *spool) note() string {
	if s.lostLines == 0 {
		return ""
	}
	return fmt.Sprintf("%s (%s) in the middle are missing: the output was larger than the file may be", plural(s.lostLines, "line"), size(s.lostBytes))
}

// file returns what is kept. More may be written afterwards.
func (s *spool) file() (File, error) {
	if s.disk == nil && s.err == nil {
		return File{Name: ".jsonl", Size: int64(len(s.memory)), data: bytes.NewReader(s.memory[:len(s.memory):len(s.memory)])}, nil
	}
	if s.err != nil {
		return File{}, s.err
	}
	if s.packer != nil { // members of a gzip file may follow one another
		if err := s.packer.Close(); err != nil {
			s.err = err
			return File{}, err
		}
		s.packer, s.since = nil, 0
	}
	f := File{Name: ".jsonl.gz", data: s.disk, Size: s.packed.n}
	s.trim()
	if len(s.tail) == 0 && s.lostLines == 0 {
		return f, nil
	}
	f.Note = s.note()
	end, err := s.packedEnd(f.Note)
	if err != nil {
		return File{}, err
	}
	// The end stays in memory: it is another one the next time.
	f.Size += int64(len(end))
	f.data = joined{s.disk, s.packed.n, bytes.NewReader(end)}
	return f, nil
}

// packedEnd is the note and the last lines as a member of their own.
func (s *spool) packedEnd(note string) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if note != "" {
		line, err := output.Encode(output.Error{Code: "truncated", Message: note})
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(line); err != nil {
			return nil, err
		}
	}
	if _, err := w.Write(s.tail); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// joined is one reader behind another.
type joined struct {
	first io.ReaderAt
	size  int64 // of first
	then  io.ReaderAt
}

func (j joined) ReadAt(b []byte, off int64) (int, error) {
	if off >= j.size {
		return j.then.ReadAt(b, off-j.size)
	}
	n, err := j.first.ReadAt(b[:min(int64(len(b)), j.size-off)], off)
	if err != nil && err != io.EOF || n == len(b) || off+int64(n) < j.size {
		return n, err
	}
	m, err := j.then.ReadAt(b[n:], 0)
	return n + m, err
}

func (s *spool) close() error {
	s.memory, s.tail, s.packer = nil, nil, nil
	if s.err == nil {
		s.err = os.ErrClosed
	}
	if s.disk == nil {
		return nil
	}
	err := s.disk.Close()
	s.disk = nil
	return err
}
