/*
 * A user program with something to probe: it calls work(1..n), prints the sum,
 * and passes two USDT probes each time, one of which it skips unless its
 * counter says that somebody is attached. The notes are written by hand in the
 * format of SystemTap's sdt.h.
 */
#include <stdio.h>
#include <stdlib.h>

unsigned short guarded_semaphore __attribute__((section(".probes"), used));

#define PROBE(name, semaphore) \
	__asm__ volatile( \
		"990: nop\n" \
		".pushsection .note.stapsdt,\"?\",\"note\"\n" \
		".balign 4\n" \
		".4byte 992f-991f, 994f-993f, 3\n" \
		"991: .asciz \"stapsdt\"\n" \
		"992: .balign 4\n" \
		"993: .8byte 990b, _.stapsdt.base, " semaphore "\n" \
		".asciz \"kgent\"\n" \
		".asciz \"" name "\"\n" \
		".asciz \"\"\n" \
		"994: .balign 4\n" \
		".popsection\n" \
		".ifndef _.stapsdt.base\n" \
		".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
		".weak _.stapsdt.base\n" \
		".hidden _.stapsdt.base\n" \
		"_.stapsdt.base: .space 1\n" \
		".size _.stapsdt.base, 1\n" \
		".popsection\n" \
		".endif\n")

__attribute__((noinline)) int work(int n)
{
	PROBE("plain", "0");
	if (*(volatile unsigned short *)&guarded_semaphore)
		PROBE("guarded", "guarded_semaphore");
	return n + 1000;
}

static int chosen_one(int n) { return n; }
static int (*choose(void))(int) { return chosen_one; }
int chosen(int n) __attribute__((ifunc("choose")));

int main(int argc, char **argv)
{
	int sum = 0, n = argc > 1 ? atoi(argv[1]) : 1;

	for (int i = 1; i <= n; i++)
		sum += work(chosen(i));
	printf("%d\n", sum);
	return 0;
}
