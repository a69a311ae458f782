package workload

// hard are the workloads of hard requests: several threads, state over several
// hooks, protocols.
func hard() []Func { return nil }
