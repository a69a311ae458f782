// Compiled once for each kind of hook in kernel functions: SECTION and PROLOG
// are put before this text.
#include "kgent.bpf.h"
char LICENSE[] SEC("license") = "Dual MIT/GPL";

SEC(SECTION)
int PROLOG(enter)
{
	return 0;
}
