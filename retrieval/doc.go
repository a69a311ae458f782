// Package retrieval finds, for a request in words, what may answer it: recipes, hooks,
// helpers and kfuncs, types with their fields. A writer of programs is shown what it
// finds and nothing else, so what it does not find does not get written.
//
// # Documents
//
// A [Document] is one thing that can be found, with the ways in which people ask for it.
// Of a kernel there are about 60,000 ([FromKernel]): each system call, tracepoint and
// function is one, whatever can be attached to it; those that work on call needs have
// what kgent/retrieval/notes knows of them and lines that describe.yaml has, the others
// the words of their names. Documents of several kernels that are the same are kept once,
// with the set of kernels that have them.
//
// # Two searches, one order
//
// The lexical search (BM25 on word stems) knows that "retransmits" is "retransmit", that
// skb_copy_datagram is four words, that a "packet" is an skb (thesaurus.yaml) and that
// "conection" is a slip of the pen. The vector search compares meanings, as far as the
// [embed.Embedder] knows any. Each sees what the other does not; their scores are added.
// Every [Hit] says why it was found.
//
// # Where it is kept
//
// [Open] keeps it in this process, and in a file for each kernel so that the work is done
// once for each BTF hash. [OpenRedis] keeps it in Redis 8, in vector sets, for several
// processes. Both give the same hits, up to what quantization blurs. On a Redis without
// vector sets OpenRedis returns [ErrNoVectorSets], which says what to do.
//
// What is found is data: it names what exists, and decides nothing.
package retrieval
