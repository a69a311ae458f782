// SPDX-License-Identifier: MIT OR GPL-2.0-only
//go:build ignore
/*
 * Sizes of what single read and write calls moved, of any kind of file and
 * socket. A read of 0 bytes is the end of a file.
 */
#include "kgent.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

KGENT_TASK_FILTER

enum io_kind { other = 0, reads = 1, writes = 2 };

struct io_key {
	enum io_kind of;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 2);
	__type(key, struct io_key);
	__type(value, k_hist_bytes);
} sizes SEC(".maps") KGENT_OUTPUT;

static __always_inline enum io_kind kind(int nr)
{
	switch (nr) {
#ifdef __TARGET_ARCH_x86
	case 0:   /* read */
	case 17:  /* pread64 */
	case 19:  /* readv */
	case 45:  /* recvfrom */
	case 47:  /* recvmsg */
	case 295: /* preadv */
	case 327: /* preadv2 */
		return reads;
	case 1:   /* write */
	case 18:  /* pwrite64 */
	case 20:  /* writev */
	case 44:  /* sendto */
	case 46:  /* sendmsg */
	case 296: /* pwritev */
	case 328: /* pwritev2 */
		return writes;
#else /* the common table of newer machines */
	case 63:
	case 65:
	case 67:
	case 69:
	case 207:
	case 212:
	case 286:
		return reads;
	case 64:
	case 66:
	case 68:
	case 70:
	case 206:
	case 211:
	case 287:
		return writes;
#endif
	}
	return other;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(io_exit, struct pt_regs *regs, long ret)
{
	struct io_key key = {};
	k_hist_bytes *h;

	if (ret < 0)
		return 0;
	key.of = kind(K_SYSCALL_NR(regs));
	if (key.of == other || !k_task_wanted())
		return 0;
	h = k_cell(&sizes, &key, k_hist_bytes);
	if (h)
		k_hist_add(h, ret);
	return 0;
}
