package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// ldEntry is one library that the dynamic loader knows: the name that programs ask
// for and where it is.
type ldEntry struct {
	soname, path string
}

const (
	ldMagic        = "glibc-ld.so.cache1.1"
	ldHeaderLen    = 48
	ldEntryLen     = 24
	ldOldMagic     = "ld.so-1.7.0"
	ldOldHeaderLen = 16
	ldOldEntryLen  = 12
)

// parseLdCache reads /etc/ld.so.cache as ldconfig of the GNU C library writes it:
// the current format, alone or behind a table in the old one. Entries of all
// architectures are returned, in the loader's order.
func parseLdCache(data []byte) ([]ldEntry, error) {
	order := binary.NativeEndian
	if bytes.HasPrefix(data, []byte(ldOldMagic)) {
		if len(data) < ldOldHeaderLen {
			return nil, errors.New("malformed loader cache: cut off in its header")
		}
		skip := ldOldHeaderLen + uint64(order.Uint32(data[12:]))*ldOldEntryLen
		skip = (skip + 7) &^ 7
		if skip > uint64(len(data)) {
			return nil, errors.New("malformed loader cache: cut off in its old table")
		}
		data = data[skip:]
	}
	if !bytes.HasPrefix(data, []byte(ldMagic)) {
		return nil, errors.New("malformed loader cache: unknown format")
	}
	if len(data) < ldHeaderLen {
		return nil, errors.New("malformed loader cache: cut off in its header")
	}
	count := uint64(order.Uint32(data[20:]))
	if count > uint64(len(data)-ldHeaderLen)/ldEntryLen {
		return nil, fmt.Errorf("malformed loader cache: %d entries do not fit into it", count)
	}
	// Strings are found by their distance from the start of this table.
	text := func(at uint32) (string, error) {
		if uint64(at) >= uint64(len(data)) {
			return "", errors.New("malformed loader cache: a name lies outside of it")
		}
		end := bytes.IndexByte(data[at:], 0)
		if end < 0 {
			return "", errors.New("malformed loader cache: a name does not end")
		}
		// A path has a limit; without one, names that overlap would multiply.
		if end > 4096 {
			return "", errors.New("malformed loader cache: a name is too long")
		}
		return string(data[at:][:end]), nil
	}
	entries := make([]ldEntry, 0, count)
	for i := range count {
		e := data[ldHeaderLen+i*ldEntryLen:]
		soname, err := text(order.Uint32(e[4:]))
		if err != nil {
			return nil, err
		}
		path, err := text(order.Uint32(e[8:]))
		if err != nil {
			return nil, err
		}
		entries = append(entries, ldEntry{soname, path})
	}
	return entries, nil
}
