package workload

// ordinary are workloads of requests that no steps can play.
func ordinary() []Func { return nil }
