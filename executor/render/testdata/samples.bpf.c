/*
 * Events as clang lays them out: each global is one event, and the test named
 * like it says what it is to look like.
 */
#include "kgent.bpf.h"

#define BE16(x) __builtin_bswap16(x)
#define BE32(x) __builtin_bswap32(x)
#define V4(a, b, c, d) {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}}
#define V6 {{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}

struct connect {
	k_pid pid;
	char comm[16];
	k_ip saddr;
	k_port sport;
	k_ip daddr;
	k_port dport;
	k_errno error;
	k_ns latency;
	k_tcpstate state;
	k_uid uid;
} connect = {4242, "curl", V4(10, 0, 0, 7), 45678, V6, 443, 111, 1234567, 1, 1000};

struct numbers {
	k_ns ns; k_us us; k_ms ms; k_bytes bytes; k_pages pages; k_count count; k_permille share;
	k_pid pid; k_tid tid; k_uid uid; k_gid gid; k_inode inode;
	__u8 u8; __s8 s8; __u16 u16; __s16 s16; __u32 u32; __s32 s32; __u64 u64; __s64 s64;
} numbers = {1, 2, 3, 4, 5, 6, 7, 8, 9, 0xffffffff, 11, 12, 255, -128, 65535, -32768, 4294967295, -2147483648, 18446744073709551615ULL, -9223372036854775807LL - 1};

struct addresses {
	k_ip v4, v6, any, any4;
	k_ipv4 plain4;
	k_mac mac;
	k_be16 be16;
	__be16 raw16;
	__be32 raw32;
	struct in6_addr in6;
} addresses = {V4(192, 168, 1, 2), V6, {}, V4(0, 0, 0, 0), BE32(0x7f000001), {0x02, 0x42, 0xac, 0x11, 0x00, 0x0f}, BE16(8080), BE16(53), BE32(0x01020304), {{0xfe, 0x80, [15] = 1}}};

struct names {
	k_family family; k_ipproto proto; k_ethproto eth; k_tcpstate state; k_tcpflags flags;
	k_errno refused, negative, none; k_signal signal; k_syscall call; k_cap cap; k_bpfprog prog;
	k_oflags oflags; k_mntflags mflags; k_mode mode, full, none_mode; k_dev dev;
} names = {10, 6, 0x86dd, 10, 18, 111, -2, 0, 9, 39, 12, 6, 01101, 3, 0644, 0100755, 0, 8 << 20 | 1};

struct unnamed_values {
	k_family family; k_ipproto proto; k_ethproto eth; k_tcpstate state; k_errno error; k_signal signal;
	k_syscall call; k_cap cap; k_bpfprog prog; k_tcpflags flags; k_oflags oflags; k_mntflags mflags;
} unnamed_values = {999, 250, 0x1234, 99, 4000, 99, 99999, 99, 99, 0x100, 0, 0x40000000};

struct results { k_ret ok, zero, failed, large; } results = {42, 0, -13, -4096};

struct exits { k_exitcode ok, three, killed, dumped; } exits = {0, 3 << 8, 9, 11 | 0x80};

struct addrs { k_addr text, user; k_hex hex, zero; void *pointer; unsigned __int128 wide; } addrs = {
	0xffffffff81000010, 0x7fff12345678, 0xdeadbeef, 0, (void *)0x1000, ((unsigned __int128)1 << 64) + 5};

struct flags { k_bool yes; __u8 _pad[2]; k_bool no; bool on; __u8 __pad0; bool off; __u32 padlock; } flags = {1, {1, 2}, 0, true, 3, false, 4};

enum color { RED, GREEN = 5, BLUE = -3 };
enum wide { SMALL = 1, LARGE = 0x100000001 };
typedef enum color color_t;
struct enums { enum color red, green, blue, none; color_t typedefd; enum wide large; } enums = {RED, GREEN, BLUE, 77, GREEN, LARGE};

struct queries {
	k_dnsname name, root, compressed, odd, shortened;
} queries = {"\003www\007example\003org", "", "\003www\300\014", "\003a.b\002\033[", "\077" "0123456789012345678901234567890123456789012345678901234567890ab\077" "0123456789012345678901234567890123456789012345678901234567890a"};

struct strings {
	char full[4];
	char empty[4];
	char quote[16];
	char bad[8];
	char control[24];
	char utf8[16];
	char one, zero;
	char two[2][4];
} strings = {{'a', 'b', 'c', 'd'}, "", "a\"b\\c", "\xff" "x\xc3", "\x1b[31m\n\x7f\xc2\x9b\xe2\x80\xae", "gr\xc3\xb6\xc3\x9f\xe4\xb8\xad", 'R', 0, {"x", "yz"}};

#define ARGS(text) {sizeof(text), text}
struct args {
	k_args plain, quoted, blank, none, unended;
} args = {
	ARGS("ls\0-l\0/tmp"), ARGS("sh\0-c\0echo 'hi' there"), ARGS("a\0\0b\0"), {0, "junk"}, {5, "ab\0cd"},
};
struct long_args { k_args args; } long_args = {{5000, "find\0/"}};

struct bytes { __u8 data[6]; __u8 none[0]; __u8 rows[2][2]; unsigned char one; } bytes = {{0, 1, 0xab, 0xcd, 0xef, 0xff}, {}, {{1, 2}, {3, 4}}, 7};

struct lists { __u32 ports[3]; __s8 small[2]; bool set[2]; k_ns times[2]; struct { __u16 x, y; } points[2]; enum color colors[2]; k_ip ips[1]; } lists = {
	{1, 2, 3}, {-1, 1}, {true, false}, {5, 6}, {{1, 2}, {3, 4}}, {RED, GREEN}, {V6}};

struct inner { k_pid pid; char comm[8]; };
struct nested { struct inner from, to; struct { k_uid uid; struct { k_gid gid; }; }; union { __u32 first; __u8 other[4]; } u; union { k_ipv4 addr; __u64 big; }; struct {} empty; } nested = {
	{1, "init"}, {2, "kthread"}, {{}}, {0x01020304}, {BE32(0x0a000001)}, {}};

struct bits {
	__u32 low : 3, mid : 7; __s32 neg : 5; __u32 : 4; k_bool flag : 1; enum color color : 4;
	__u64 wide : 60; __u64 odd : 33; k_errno error : 9; __s64 all : 64;
} bits = {5, 100, -7, 1, GREEN, 0xabcdef012345678, 0x1ffffffff, 13, -1};

struct __attribute__((packed)) packed { __u8 head; __u64 far : 61; __u8 tail : 3; __u64 straddle : 62; __u32 last; } packed = {1, 0x1234567890abcdef, 5, 0x3fffffffffffffff, 9};

struct times { k_time now, never, absurd; k_boottime boot; } times = {5000000000, 0, 18446744073709551615ULL, 7123456789};

struct places { k_ifindex lo, unknown; k_cgroup root, gone; } places = {1, 4096, 1, 999999999};

struct stacks { k_pid pid; k_kstack kernel; k_ustack user; } stacks = {7, 3, -14};

struct stats { k_stats_ns latency; struct k_stats empty; k_stats_count size; } stats = {{4, 10, 1, 5}, {}, {3, 10, 1, 7}};

struct tail { k_count n; char rest[]; } tail = {3};

typedef k_ns my_latency;
typedef my_latency their_latency;
typedef const volatile __u32 plain_number;
struct typedefs { const their_latency a; plain_number b; volatile k_pid c; } typedefs = {1, 2, 3};

/* ---- types that cannot be shown ---------------------------------------------- */

struct unpid { k_ustack stack; __u32 pid; } unpid = {1};
struct fn { int (*call)(void); __u8 x; } fn = {(void *)2, 3};
struct huge { char text[65536]; __u8 more; } huge = {"x"};

/* ---- output maps --------------------------------------------------------------- */

#define OUT(kind, keytype, valuetype, mapname) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, 16); \
		__type(key, keytype); \
		__type(value, valuetype); \
	} mapname SEC(".maps") KGENT_OUTPUT

struct comm_key { char comm[16]; k_pid pid; };
struct sums { k_count calls; k_ns total; k_time last; char comm[8]; enum color color; k_pid pid; k_tcpflags flags; __s32 balance; __u32 low : 4; __u32 high : 12; k_bool seen; __u64 each[2]; };
struct stack_key { k_pid pid; k_kstack kernel; k_ustack user; char comm[16]; };
struct mixed { k_count n; k_hist_us latency; k_bytes size; };
struct comm_name { char comm[16]; };
struct linear_cell { K_LINEAR(value, 4096, 4, bytes); };

OUT(BPF_MAP_TYPE_HASH, k_pid, k_count, by_pid);
OUT(BPF_MAP_TYPE_PERCPU_HASH, struct comm_key, struct sums, by_comm);
OUT(BPF_MAP_TYPE_HASH, struct comm_name, k_hist_ns, hist);
OUT(BPF_MAP_TYPE_HASH, k_syscall, struct mixed, mixed);
OUT(BPF_MAP_TYPE_PERCPU_ARRAY, __u32, k_hist_bytes, global_hist);
OUT(BPF_MAP_TYPE_HASH, struct stack_key, k_count, stack_counts);
OUT(BPF_MAP_TYPE_HASH, k_kstack, k_ns, stack_ns);
OUT(BPF_MAP_TYPE_ARRAY, __u32, k_count, slots);
OUT(BPF_MAP_TYPE_ARRAY, enum color, __s64, by_color);
OUT(BPF_MAP_TYPE_HASH, k_errno, k_stats_ns, by_errno);
OUT(BPF_MAP_TYPE_HASH, k_ip, char[8], texts);
OUT(BPF_MAP_TYPE_PERCPU_HASH, k_pid, struct linear_cell, linear);
OUT(BPF_MAP_TYPE_HASH, k_kstack, k_hist_ns, stack_hist);
OUT(BPF_MAP_TYPE_HASH, k_ustack, k_count, lost_stack);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sums);
} total SEC(".maps") KGENT_OUTPUT;

SEC("raw_tp/sys_enter")
int nothing(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
