// Package compare tells whether two programs do the same: for the same
// invocations of their hooks, on the same kernel, they show the same events,
// rows and values, and return the same verdicts. Where they do not, it gives an
// input that tells them apart, and the question that a person or a model has to
// answer to say which of them is meant.
//
// It is for choosing among programs that were written for one request. Whether a
// program is right is for package proof to say, which holds it against a
// contract; two programs that do the same can be wrong together.
//
// # What is compared
//
// The notion of effects is that of contracts: events by their stream and their
// members, output tables by row and cell, returned values where the hook gives
// them a meaning, and whatever else a program does to the outside. Members are matched by
// name: a struct may be laid out in another way, be called something else, keep a number
// in more bytes. What one program shows and the other has no member for is a
// difference in form, said before anything is solved. Filling, the counts that kgent keeps
// of lost events, and what a program only remembers for itself are no effects.
//
// # How far Same goes
//
// Same is said for all sequences of invocations if that follows from an argument
// that has no bound: both programs were proved against one contract that leaves
// nothing open; or neither remembers anything; or all that two programs can come to
// remember was gone through; or by induction, both keep the same in maps of
// the same name, and whatever that is, they do the same with it and leave it the same.
// Otherwise it is said for sequences of up to a number of invocations that
// begin with fresh maps, and [Result.Within] is that number. What was left out on the way, for
// want of time or of a model, makes the answer Unknown.
//
// Different is said only if a difference that the solver found happens again when both programs
// are run with the very numbers.
package compare
