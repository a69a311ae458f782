/*
 * A process whose user stack is known: inner <- middle <- outer <- main. It
 * says the address that inner returns to, then waits for the end of its input.
 */
#include <stdio.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

NOINLINE static int inner(void)
{
	char c;
	int n = 0;

	printf("%p\n", __builtin_return_address(0));
	fflush(stdout);
	while (read(0, &c, 1) == 1)
		n += getppid() > 0; /* a system call from here for every byte */
	return n;
}

NOINLINE int middle(void)
{
	return inner() + 1;
}

NOINLINE int outer(void)
{
	return middle() + 1;
}

int main(void)
{
	return outer() == 0;
}
