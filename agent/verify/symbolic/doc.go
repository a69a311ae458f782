// Package symbolic runs BPF programs on symbols instead of numbers: it says
// what the bytecode, relocated for one kernel, does for every input.
//
// [Link] makes a [Program] of a compiled object and a kernel's types: CO-RE
// relocations applied, functions and maps resolved, every instruction with its
// line of C. A [Machine] then explores the program from one [Invocation] of
// its hook in one [World] (the contents of the maps). The [Outcome] is a list
// of paths: each with the condition under which it is taken, what it does to
// the outside ([Effect]), what it returns, and the world it leaves behind, so
// that invocations can be chained. The conditions of the paths exclude each
// other and together cover every input; what could not be covered is said in
// Outcome.Unknown, and what is not known about a path in Path.Unknown. A proof
// holds only when both are empty.
//
// All values are terms of package smt. Every variable in them describes
// itself by an [Input]: which field of which argument it is, its BTF type, its
// byte order and unit, whether it is garbage (an uninitialised byte), a
// kernel address or a choice of the environment. Whoever judges an output
// asks its final term which variables it depends on.
//
// Where states meet again after a branch they are merged, when they differ in
// values only: a value then is "a if c, else b". A path is therefore not one
// run through the code but all runs with the same effects. For one concrete
// input, [Invocation.Follow] gives the single run with its lines.
//
// The same machine on constants is an interpreter: conformance tests and
// comparison with the kernel thereby test what proves.
//
// What is modelled over-approximates the kernel: a helper may fail whenever
// the kernel allows it to, memory that is not known may hold anything. What is
// not modelled is Unknown with its reason, never skipped.
package symbolic
