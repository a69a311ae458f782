package bus

import "fmt"

// Size says how much a bus holds.
func (m *Memory) Size() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprintf("%d outputs, %d leases, %d nodes, %d facts", len(m.streams), len(m.leases), len(m.nodes), len(m.facts))
}
