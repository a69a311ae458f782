package retrieval

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"kgent/retrieval/embed"
	"kgent/retrieval/kernel"
	"kgent/retrieval/notes"
)

// cacheMagic begins a file of prepared documents; the number is that of the format.
const cacheMagic = "kgent prepared 1\n"

// corpus names all that this program itself says of hooks: when it changes, so do the
// documents of every kernel.
var corpus = sync.OnceValue(func() []byte {
	h := sha256.New()
	h.Write(describeYAML)
	for _, n := range notes.All() {
		h.Write([]byte(n.Name + "\n" + n.Fires + "\n"))
	}
	return h.Sum(nil)
})

func embedderName(e embed.Embedder) string {
	if e == nil {
		return "none"
	}
	return e.Name()
}

// keyOf names the contents of a file.
func keyOf(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:12])
}

// AddKernel puts what a kernel has into an index, unless it is there already: from the
// cache, if it has the file, else by making it anew, which takes up to a minute with an
// embedder and a second without. A cache that cannot be read is not an error, it is made
// again; one that cannot be written is.
func AddKernel(ctx context.Context, ix Index, facts *kernel.Facts, options Options) error {
	if has, err := ix.Has(ctx, facts.Hash()); err != nil || has {
		return err
	}
	if shared, ok := ix.(*Redis); ok { // which knows itself what it has vectors of
		docs, err := FromKernel(ctx, facts)
		if err != nil {
			return fmt.Errorf("indexing kernel %s: %w", facts.Release, err)
		}
		return shared.Add(ctx, facts.Hash(), docs)
	}
	// The hash of a live kernel does not cover its modules, nor whether tracefs is mounted.
	events, err := facts.Tracepoints()
	if err != nil && !errors.Is(err, kernel.ErrNoTracefs) {
		return err
	}
	raw, err := facts.RawTracepoints()
	if err != nil {
		return err
	}
	key := keyOf(facts.Hash(), string(corpus()), embedderName(options.Embedder), strings.Join(events, " "), strings.Join(raw, " "))
	p, err := cached(options.Cache, facts.Hash()[:min(16, len(facts.Hash()))], key, func() (*Prepared, error) {
		docs, err := FromKernel(ctx, facts)
		if err != nil {
			return nil, err
		}
		return Prepare(ctx, options.Embedder, docs)
	})
	if err != nil {
		return fmt.Errorf("indexing kernel %s: %w", facts.Release, err)
	}
	return ix.AddPrepared(ctx, facts.Hash(), p)
}

// AddCommon puts in what does not depend on a kernel: hooks of libraries and packets, and what else
// the caller has, as recipes.
func AddCommon(ctx context.Context, ix Index, more []Document, options Options) error {
	docs, err := Common()
	if err != nil {
		return err
	}
	docs = append(docs, more...)
	if shared, ok := ix.(*Redis); ok {
		return shared.Add(ctx, "", docs)
	}
	data, err := json.Marshal(docs)
	if err != nil {
		return fmt.Errorf("naming the documents: %w", err)
	}
	p, err := cached(options.Cache, "common", keyOf(string(data), embedderName(options.Embedder)), func() (*Prepared, error) {
		return Prepare(ctx, options.Embedder, docs)
	})
	if err != nil {
		return fmt.Errorf("indexing what is the same on every kernel: %w", err)
	}
	return ix.AddPrepared(ctx, "", p)
}

// cached reads prepared documents from a file of the directory, or makes them and writes the
// file. One file is kept for each name.
func cached(dir, name, key string, anew func() (*Prepared, error)) (*Prepared, error) {
	if dir == "" {
		return anew()
	}
	path := filepath.Join(dir, name+".prepared")
	if data, err := os.ReadFile(path); err == nil {
		if p, err := decodePrepared(data, key); err == nil {
			return p, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the search cache: %w", err)
	}
	p, err := anew()
	if err != nil {
		return nil, err
	}
	if err := writeWhole(path, encodePrepared(p, key)); err != nil {
		return nil, fmt.Errorf("writing the search cache: %w", err)
	}
	return p, nil
}

// writeWhole puts a file in place at once: who reads meanwhile sees the old one or none.
func writeWhole(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".prepared-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// A file is: the magic, the key, then packed: the documents as JSON, the vectors; then the
// SHA-256 of all before it.
func encodePrepared(p *Prepared, key string) []byte {
	var out bytes.Buffer
	out.WriteString(cacheMagic)
	out.WriteString(key + "\n")
	pack, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil { // only a level out of range
		panic(err)
	}
	// Writing to a buffer does not fail, and documents are strings.
	number := func(n int) { _ = binary.Write(pack, binary.LittleEndian, uint32(n)) }
	docs, err := json.Marshal(p.Documents)
	if err != nil {
		panic(err)
	}
	number(len(docs))
	_, _ = pack.Write(docs)
	number(p.Dim)
	number(len(p.Owner))
	_ = binary.Write(pack, binary.LittleEndian, p.Owner)
	_ = binary.Write(pack, binary.LittleEndian, p.Scale)
	_ = binary.Write(pack, binary.LittleEndian, p.Bytes)
	_ = pack.Close()
	sum := sha256.Sum256(out.Bytes())
	out.Write(sum[:])
	return out.Bytes()
}

// maxUnpacked bounds what a file of prepared documents may hold, in bytes.
const maxUnpacked = 512 << 20

func decodePrepared(data []byte, key string) (*Prepared, error) {
	body := len(data) - sha256.Size
	rest, ok := bytes.CutPrefix(data, []byte(cacheMagic+key+"\n"))
	if !ok || body < len(cacheMagic)+len(key)+1 {
		return nil, errors.New("it is of other documents or of another version")
	}
	if sum := sha256.Sum256(data[:body]); !bytes.Equal(sum[:], data[body:]) {
		return nil, errors.New("its checksum is wrong")
	}
	unpack := io.LimitReader(flate.NewReader(bytes.NewReader(rest[:len(rest)-sha256.Size])), maxUnpacked)
	number := func(most int) (int, error) {
		var n uint32
		if err := binary.Read(unpack, binary.LittleEndian, &n); err != nil {
			return 0, err
		}
		if int64(n) > int64(most) {
			return 0, fmt.Errorf("%d, at most %d", n, most)
		}
		return int(n), nil
	}
	n, err := number(maxUnpacked)
	if err != nil {
		return nil, err
	}
	p := &Prepared{}
	docs := make([]byte, n)
	if _, err := io.ReadFull(unpack, docs); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(docs, &p.Documents); err != nil {
		return nil, err
	}
	if p.Dim, err = number(1 << 14); err != nil {
		return nil, err
	}
	if n, err = number(maxUnpacked / max(1, p.Dim)); err != nil {
		return nil, err
	}
	p.Owner, p.Scale, p.Bytes = make([]uint32, n), make([]float32, n), make([]int8, n*p.Dim)
	for _, to := range []any{p.Owner, p.Scale, p.Bytes} {
		if err := binary.Read(unpack, binary.LittleEndian, to); err != nil {
			return nil, err
		}
	}
	for i, owner := range p.Owner {
		if int(owner) >= len(p.Documents) || math.IsNaN(float64(p.Scale[i])) {
			return nil, errors.New("a vector is of no document")
		}
	}
	return p, nil
}
