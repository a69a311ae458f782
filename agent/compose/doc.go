// Package compose answers requests that no recipe answers as it is, without a
// model: it turns the words of a request into a contract, put together from what
// kgent knows, or says honestly what it understood and what not.
//
// # What it puts together
//
//	a recipe's contract, transformed      "TCP connects by process, top 5", "resets as a count per port"
//	any system call                       "how long does openat2 take per process"
//	calls that do the same, together      "who calls chmod": fchmodat and fchmodat2 as well
//	a part of what a recipe shows         "resets sent by us": the recipe's narrows, conditions on its columns
//	any tracepoint                        "rate of context switches per cpu", "kernel events of group ext4"
//	what is between two tracepoints       "how long do softirqs take"
//	things that have a name of their own  "forks": processes that are created, threads left out; "tcp bytes sent", "files created", "packets"
//	the contract before, transformed      "only port 443", "as a histogram", "not nginx", "slower than 50ms"
//
// A transformation is a pure function on the contract's syntax tree: a further
// condition, another key, another form (a list, a count, a sum, a histogram). What
// comes out is checked by [contract.Check] against the kernel's types and what is
// known about its hooks (kgent/retrieval/notes), so that nothing is composed which
// asks for a task that means nothing there, or for a member that holds something
// else. The program is then generated from the contract and proved like any other:
// this package decides only what is asked for.
//
// # Every word counts
//
// A request is composed only if each of its words that carries meaning has been put
// to a use. One word that is left over, whether unknown or just in an unexpected
// place, ends in a [NoError] that names it: a wrong answer is worse than a "no".
package compose
