package symbolic

// Assumptions are what the machine takes for granted, in words for whoever has
// to trust a proof. Everything else that the kernel may do, it explores.
var Assumptions = []string{
	"during one run of a program every clock stands still, and the run stays on its processor",
	"no other processor changes a map's element while the program uses it",
	"a kernel object can be read as a whole or not at all",
	"two pointers that were obtained in different ways lead to different objects, unless the program compares them; an object's fields do not change during a run",
	"a thread's and a process's number is less than 2^22",
	"memory of the kernel is neither at address 0 nor wraps around the end of the address space",
	"an update of a map fails only because there is no room (or no memory), and such failures are told",
	"a packet has at least an Ethernet header (XDP), and at most 1 MiB; of a frame (XDP) that has more than 64 KiB, no program asks for what lies behind them, where the kernel's helpers do not reach",
	"the kernel's verifier has accepted the program",
}
