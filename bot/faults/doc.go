// Package faults holds no code but tests: each breaks one thing while real
// processes (bots, executors, Redis) work for people on stand-ins of the chat
// services, and then looks at what the people see, what is in the kernel, and
// what the audit log and the bus hold. Whatever breaks, nothing runs
// that was not approved, nothing runs twice, what runs ends by its deadline,
// and the thread says what happened.
//
// The tests wait far more than they work, so that some run at once. One of each
// kind runs by default; those that vary it, or need minutes, run when KGENT_SOAK
// is set (make soak). Durations are held against the product's own leases and
// graces, so that a busy host makes them later and not wrong.
package faults
