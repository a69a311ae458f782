// Package faults holds no code but tests: each breaks one thing while real
// processes (bots, executors, Redis) work for people on stand-ins of the chat
// services, and then looks at what the people see, what is in the kernel, and
// what the audit log and the bus hold. Whatever breaks, nothing runs
// that was not approved, nothing runs twice, what runs ends by its deadline,
// and the thread says what happened.
//
// The tests wait far more than they work, so that many run at once. Those that
// need minutes run when KGENT_SOAK is set (make soak).
package faults
