package probe

// SelfPID is the process id that programs see.
func SelfPID() (int, error) { return selfPID() }

// KernelPID asks the kernel for it in any case.
func KernelPID() (int, error) { return kernelPID() }

// OldHost makes the Loader do as on kernels without uprobe_multi and perf
// event links.
func (l *Loader) OldHost() { l.host.uprobeMulti, l.host.perfLinks = false, false }

// CellsOneByOne reads a map as on kernels without batches.
func (s *Set) CellsOneByOne(name string) ([]Cell, error) { return oneByOne(s.maps[name]) }
