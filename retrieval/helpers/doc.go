// Package helpers holds what is known of the kernel's helper functions: the
// number of each, the kinds of programs that may call it, whether it is only for
// programs under the GPL, whether it may sleep, and in a line what it does.
//
// A kernel's BTF says which helpers exist (bpf_func_id), but neither who may call
// them nor with what. Here the first is measured, the second written down:
// measured.go is what the verifier of Linux 6.18 answers to a program of each kind
// that calls one helper (the package's test asks it again), words.go is for people
// and models.
//
// What a kind may call only ever grew from one kernel to the next, so what is not
// allowed here is not allowed on older kernels either; of newer ones the table says
// nothing.
package helpers
