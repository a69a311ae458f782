/* Runs a program of another Debian release, unpacked by debian-root, with its own
 * libraries: as debian-root's DIR/run does, but without a shell, which bpftrace's
 * jail has none of. ROOT and NAME are set when it is compiled. */
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
	char *all[argc + 4];

	all[0] = ROOT "/lib64/ld-linux-x86-64.so.2";
	all[1] = "--library-path";
	all[2] = ROOT "/usr/lib/x86_64-linux-gnu:" ROOT "/lib/x86_64-linux-gnu";
	all[3] = ROOT "/usr/bin/" NAME;
	for (int i = 1; i <= argc; i++)
		all[i + 3] = argv[i];
	execve(all[0], all, environ);
	return 127;
}
