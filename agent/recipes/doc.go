// Package recipes is kgent's answer when no model is configured: a library of
// built-in eBPF programs, and a matcher that finds the one a sentence asks for
// and reads its parameters from the sentence.
//
// # A recipe is a folder
//
//	tcp-connect/
//	    recipe.yaml      what it shows, how people ask for it, its parameters
//	    program.bpf.c    the program, following kgent.bpf.h
//	    contract.kc      what the program does, see kgent/agent/contract
//
// Adding a recipe touches nothing else, unless it brings words that lexicon.yaml
// does not have. recipe.yaml is read strictly:
//
//	name         the folder's name
//	title        what it shows, in one line
//	description  two to four sentences: what it shows, and what it does not
//	phrasings    how people ask for it; tests hold that each finds it
//	params       name, role and meaning of what the sentence can set
//	view         defaults of top (rows of a table) and interval
//	output       which of events, table, hist and stack the program produces
//	needs        what else must be there: interface, cgroup, binary
//	about        what a sentence must speak of: one of these groups of concepts
//	narrows      what of it words can ask for alone, with a condition on its columns: the
//	             recipe as it is shows more, so that a program is composed in its place
//	rows         what a line, row or histogram is for: what "per" may be followed by
//	shows        what else it may speak of, because the output has it; $parent when the
//	             filters by process match the parent as well
//
// The concepts are those of lexicon.yaml; "$role" stands for a parameter of that
// role found in the sentence, and "$connect_errno" for an error of that role with
// which connections fail.
//
// # Parameters
//
// A parameter's name is that of a `const volatile` global of the program, and
// its role says which type that has and which value means "any":
//
//	role            type       any  keeps only
//	pid             k_pid        0  this process (tgid)
//	process         char[16]    ""  this process or thread name
//	user            k_uid       -1  this user id
//	server          char[16]    ""  this process or thread name, said to be connected to
//	sender_pid      k_pid        0  this process, said to act
//	sender          char[16]    ""  this process name, said to act
//	sender_user     k_uid       -1  this user, said to act
//	target_pid      k_pid        0  this process, said to be acted upon
//	target_process  char[16]    ""  this process name, said to be acted upon
//	port            k_port       0  this port at either end
//	lport           k_port       0  this local port, which others connect to
//	dport           k_port       0  this port that connections go to
//	address         k_ip       ::0  this address at either end
//	saddr, daddr    k_ip       ::0  this address that connections come from; go to
//	path            char[256]   ""  paths that begin so
//	errno           k_errno      0  this error, positive
//	signal          k_signal     0  this signal
//	syscall         k_syscall   -1  this system call
//	capability      k_cap       -1  this capability
//	threshold       k_ns         0  what takes at least this long
//	size            k_bytes      0  what is at least this large
//
// The roles interface, cgroup and hz are not globals: they are where and how
// often a program is attached. Duration, top and interval belong to the run
// and its view and are read for every recipe.
//
// # A wrong guess is worse than a "no"
//
// The matcher accepts a recipe only when every word of the sentence that
// carries meaning is accounted for: by the recipe's concepts, by a parameter
// it has, or by being a word of asking or of everyday speech; a clause that only tells
// how things are may say anything that does not narrow the request. A word nobody knows, a filter the recipe
// cannot apply, an exclusion, a look into the past or a wish to change
// something ends in a [NoMatchError] that names it.
//
// # Conversations
//
// What is said after a request can change it: [Library.MatchAfter]. The same rule
// holds: every word that carries meaning is accounted for by the recipe that the
// request before found, or by one for the two together, or the answer is "no".
package recipes
