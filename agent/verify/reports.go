package verify

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"kgent/agent/contract"
	"kgent/agent/program"
	"kgent/agent/verify/proof"
)

// Key stands for everything that a report depends on.
type Key [sha256.Size]byte

// KeyOf is the key of a proof: of the kernel, by its release and the hash of its
// facts, so that nodes of which anything else is known share nothing; of the program;
// and of the contract. Of a manifest a proof needs where its programs are attached and
// how large its maps are, and whether a constant is in its parameter's range.
func KeyOf(release, id string, o *program.Object, m *program.Manifest, c *contract.Contract) (key Key, err error) {
	if o.ELF() == nil {
		return key, errors.New("proving: an altered object has no bytes to know it by")
	}
	h := sha256.New()
	part := func(s string) { fmt.Fprintf(h, "%d:%s", len(s), s) }
	part(id)
	part(release)
	part(string(o.ELF()))
	for _, x := range m.Programs {
		part(x.Name)
		part(x.Hook.String())
	}
	for _, x := range m.Maps {
		part(x.Name)
		part(string(x.Role))
		part(fmt.Sprint(x.MaxEntries))
	}
	if c != nil {
		part(contract.Format(c))
		for _, p := range c.Params {
			if p.Min == nil && p.Max == nil {
				continue
			}
			for _, x := range m.Constants {
				if x.Name == p.Name {
					part(x.Name)
					part(fmt.Sprint(x.Value))
				}
			}
		}
	}
	h.Sum(key[:0])
	return key, nil
}

// maxReports is how many reports are remembered; they have a few kilobytes each.
const maxReports = 256

// Reports remembers what was proved: the same bytes, for the same contract and
// kernel, need to be judged once. The zero value is empty. It is safe for
// concurrent use.
type Reports struct {
	mu     sync.Mutex
	known  map[Key]*proof.Report
	recent []Key // the keys of known, oldest first
}

// Recall returns the report of an earlier proof, or nil.
func (s *Reports) Recall(key Key) *proof.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[key]
}

// Keep keeps a report that will be the same the next time: an UNKNOWN may be for
// want of time, and is forgotten.
func (s *Reports) Keep(key Key, r *proof.Report) {
	if r.Verdict == proof.Unknown {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[Key]*proof.Report{}
	}
	if _, ok := s.known[key]; !ok {
		s.recent = append(s.recent, key)
	}
	s.known[key] = r
	if len(s.recent) > maxReports {
		delete(s.known, s.recent[0])
		s.recent = s.recent[1:]
	}
}
