package render

import (
	"net"
	"sync"
	"time"
)

// Names of interfaces change and numbers are given again, so that what is
// known is looked up again after a while; a number that is unknown is looked
// for more often, but not at every event.
const (
	interfacesFresh   = 10 * time.Second
	interfacesUnknown = time.Second
)

// interfaces remembers the names of the network interfaces.
type interfaces struct {
	list func() (map[uint32]string, error)
	now  func() time.Time

	mu    sync.Mutex
	names map[uint32]string
	at    time.Time // of the last listing
}

func newInterfaces(list func() (map[uint32]string, error), now func() time.Time) *interfaces {
	return &interfaces{list: list, now: now}
}

func (i *interfaces) name(index uint32) (string, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	name, ok := i.names[index]
	age := i.now().Sub(i.at)
	if age < interfacesUnknown || ok && age < interfacesFresh {
		return name, ok
	}
	i.at = i.now()
	names, err := i.list()
	if err != nil {
		return name, ok // a name we had a while ago is still the best there is
	}
	i.names = names
	name, ok = names[index]
	return name, ok
}

func listInterfaces() (map[uint32]string, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	names := make(map[uint32]string, len(list))
	for _, l := range list {
		names[uint32(l.Index)] = l.Name
	}
	return names, nil
}
