package codegen

import (
	"fmt"
	"net/netip"
	"strings"
)

// helpers are functions that programs have where they need them.
var helpers = map[string]string{
	"divide": `/* a / b; 0 if b is 0. */
static __always_inline __u64 divide(__u64 a, __u64 b)
{
	return b ? a / b : 0;
}
`,
	"remainder": `/* a % b; a if b is 0. */
static __always_inline __u64 remainder(__u64 a, __u64 b)
{
	return b ? a % b : a;
}
`,
	"signed_divide": `/* a / b towards zero; 0 if b is 0. */
static __always_inline __s64 signed_divide(__s64 a, __s64 b)
{
	__u64 x = a < 0 ? -(__u64)a : a, y = b < 0 ? -(__u64)b : b;
	__u64 n = y ? x / y : 0;

	return (a < 0) != (b < 0) ? -n : n;
}
`,
	"signed_remainder": `/* What a / b leaves, with the sign of a; a if b is 0. */
static __always_inline __s64 signed_remainder(__s64 a, __s64 b)
{
	__u64 x = a < 0 ? -(__u64)a : a, y = b < 0 ? -(__u64)b : b;
	__u64 n = y ? x % y : x;

	return a < 0 ? -n : n;
}
`,
	"same_text": `/* Whether two texts are the same up to their NUL; one may fill its array. */
static __always_inline bool same_text(const volatile char *a, __u32 a_size, const volatile char *b, __u32 b_size)
{
	bool same = true, ended = false;

	for (__u32 i = 0; same && !ended && i < a_size && i < b_size; i++) {
		char c = a[i];

		same = c == b[i];
		ended = !c;
	}
	if (same && !ended && a_size < b_size)
		same = !b[a_size];
	if (same && !ended && b_size < a_size)
		same = !a[b_size];
	return same;
}
`,
	"begins_with": `/* Whether a text begins with another. */
static __always_inline bool begins_with(const volatile char *text, __u32 text_size, const volatile char *prefix, __u32 prefix_size)
{
	bool same = true;

	for (__u32 i = 0; same && i < prefix_size; i++) {
		char c = prefix[i];

		if (!c)
			break;
		same = i < text_size && c == text[i];
	}
	return same;
}
`,
	"same_bytes": `/* Whether some bytes are the same. */
static __always_inline bool same_bytes(const void *a, const void *b, __u32 size)
{
	bool same = true;

	for (__u32 i = 0; i < size; i++)
		same = same && ((const char *)a)[i] == ((const char *)b)[i];
	return same;
}
`,
	"copy_parameter": `/* Copies a parameter, which is volatile: user space has set it. */
static __always_inline void copy_parameter(void *to, const volatile void *from, __u32 size)
{
	for (__u32 i = 0; i < size; i++)
		((char *)to)[i] = ((const volatile char *)from)[i];
}
`,
	"copy_text": `/* Copies a text up to its NUL into zeroes. */
static __always_inline void copy_text(char *to, const char *from, __u32 size)
{
	for (__u32 i = 0; i < size; i++) {
		if (!from[i])
			break;
		to[i] = from[i];
	}
}
`,
	"end_text": `/* Leaves nothing behind the NUL of a text. */
static __always_inline void end_text(char *text, __u32 size)
{
	bool ended = false;

	for (__u32 i = 0; i < size; i++) {
		ended = ended || !text[i];
		if (ended)
			text[i] = 0;
	}
}
`,
	"end_text_at": `/* Leaves nothing behind the NUL of a text, nor behind its first bytes, as many as length says. */
static __always_inline void end_text_at(char *text, __u32 size, __u64 length)
{
	bool ended = false;

	for (__u32 i = 0; i < size; i++) {
		ended = ended || i >= length || !text[i];
		if (ended)
			text[i] = 0;
	}
}
`,
	"packet_read": `/* Reads bytes of a packet into zeroes; those behind its end stay 0. */
static __always_inline void packet_read(struct __sk_buff *ctx, __u64 length, __u64 off, void *to, __u32 size)
{
	if (length >= size && off <= length - size) {
		bpf_skb_load_bytes(ctx, off, to, size);
		return;
	}
	for (__u32 i = 0; i + 1 < size; i++) {
		if (off + i >= length)
			break;
		bpf_skb_load_bytes(ctx, off + i, to + i, 1);
	}
	barrier(); /* keeps these calls and the one above apart */
}
`,
	"packet_read_long": `/* Reads many bytes of a packet into zeroes; those behind its end stay 0. */
static __always_inline void packet_read_long(struct __sk_buff *ctx, __u64 length, __u64 off, void *to, __u32 size)
{
	__u64 left = length - off;

	if (off >= length)
		return;
	if (left >= size) {
		bpf_skb_load_bytes(ctx, off, to, size);
	} else {
		barrier_var(left); /* keeps what is known of it */
		if (left > 0 && left < size)
			bpf_skb_load_bytes(ctx, off, to, left);
	}
}
`,
	"frame_read_long": `/* Reads many bytes of a frame into zeroes; those behind its end stay 0. */
static __always_inline void frame_read_long(struct xdp_md *ctx, __u64 length, __u64 off, void *to, __u32 size)
{
	barrier_var(length); /* a number from here on, no difference of addresses */
	__u64 left = length - off;

	if (off >= length)
		return;
	if (left >= size) {
		bpf_xdp_load_bytes(ctx, off, to, size);
	} else {
		barrier_var(left); /* keeps what is known of it */
		if (left > 0 && left < size)
			bpf_xdp_load_bytes(ctx, off, to, left);
	}
}
`,
	"frame_read": `/* Reads bytes of a frame into zeroes; those behind its end stay 0. */
static __always_inline void frame_read(struct xdp_md *ctx, __u64 length, __u64 off, void *to, __u32 size)
{
	barrier_var(length); /* a number from here on, no difference of addresses */
	if (length >= size && off <= length - size) {
		bpf_xdp_load_bytes(ctx, off, to, size);
		return;
	}
	for (__u32 i = 0; i + 1 < size; i++) {
		if (off + i >= length)
			break;
		bpf_xdp_load_bytes(ctx, off + i, to + i, 1);
	}
	barrier(); /* keeps these calls and the one above apart */
}
`,
	"keep_most": `/* Sets what all CPUs share to v, if that is larger. After eight CPUs that were faster it is given up, and counted. */
#define keep_most(at, v) ({ \
	typeof(*(at)) _new = (v), _have = *(at); \
	for (int _i = 0; _i < 8 && _have < _new; _i++) { \
		typeof(*(at)) _was = __sync_val_compare_and_swap(at, _have, _new); \
		if (_was == _have) \
			_have = _new; \
		else \
			_have = _was; \
	} \
	if (_have < _new) \
		kgent_count_map_full(); \
})
`,
	"keep_least": `/* Sets what all CPUs share to v, if that is smaller. After eight CPUs that were faster it is given up, and counted. */
#define keep_least(at, v) ({ \
	typeof(*(at)) _new = (v), _have = *(at); \
	for (int _i = 0; _i < 8 && _have > _new; _i++) { \
		typeof(*(at)) _was = __sync_val_compare_and_swap(at, _have, _new); \
		if (_was == _have) \
			_have = _new; \
		else \
			_have = _was; \
	} \
	if (_have > _new) \
		kgent_count_map_full(); \
})
`,
	"frame_read_at": `/* Reads bytes of a frame at a fixed place into zeroes; those behind its end stay 0. */
static __always_inline void frame_read_at(void *frame, void *end, __u32 off, void *to, __u32 size)
{
	void *from = frame + off;

	if (from + size <= end) {
		__builtin_memcpy(to, from, size);
		return;
	}
	for (__u32 i = 0; i + 1 < size; i++)
		if (from + i + 1 <= end)
			((char *)to)[i] = ((char *)from)[i];
}
`,
}

// use makes sure that the program has a helper.
func (g *generator) use(name string) string {
	g.helpers[name] = true
	return name
}

// textEnds makes a function that cuts a text before the first of some characters.
func (g *generator) textEnds(stops string) string {
	key := "until " + stops
	if name := g.texts[key]; name != "" {
		return name
	}
	name := g.globals.pick("cut_at_" + strings.Trim(identifier(stops), "_"))
	g.texts[key] = name
	var tests []string
	for i := range len(stops) {
		tests = append(tests, fmt.Sprintf("text[i] == '%s'", escape(stops[i], '\'')))
	}
	g.compares = append(g.compares, fmt.Sprintf("%sstatic __always_inline void %s(char *text, __u32 size)\n{\n\tbool ended = false;\n\n"+
		"\tfor (__u32 i = 0; i < size; i++) {\n\t\tended = ended || !text[i] || %s;\n\t\tif (ended)\n\t\t\ttext[i] = 0;\n\t}\n}\n",
		remark("", "Leaves of a text what is before the first of "+quote(stops)+"."), name, strings.Join(tests, " || ")))
	return name
}

// isWithin makes a function that tells whether an address has the first n bits of another.
func (g *generator) isWithin(network string, n int) string {
	p := netip.AddrFrom16([16]byte([]byte(network)))
	bits := n
	if p = p.Unmap(); p.Is4() {
		bits -= 96
	}
	words := fmt.Sprintf("%s/%d", p, bits)
	key := "within " + words
	if name := g.texts[key]; name != "" {
		return name
	}
	name := g.globals.pick("within_" + strings.Trim(identifier(words), "_"))
	g.texts[key] = name
	tests := []string{}
	for i := 0; i*8 < n; i++ {
		if low := 8 - min(n-i*8, 8); low == 0 {
			tests = append(tests, fmt.Sprintf("ip->b[%d] == %#02x", i, network[i]))
		} else {
			tests = append(tests, fmt.Sprintf("(ip->b[%d] & %#02x) == %#02x", i, byte(0xff<<low), network[i]))
		}
	}
	if len(tests) == 0 {
		tests = []string{"true"}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%sstatic __always_inline bool %s(const volatile k_ip *ip)\n{\n\treturn ", remark("", "Whether an address is one of "+words+"."), name)
	for i, t := range tests {
		switch {
		case i > 0 && i%4 == 0:
			b.WriteString(" &&\n\t       ")
		case i > 0:
			b.WriteString(" && ")
		}
		b.WriteString(t)
	}
	b.WriteString(";\n}\n")
	g.compares = append(g.compares, b.String())
	return name
}

// textIs makes a function that compares a text of some size with a constant, or with as much as
// the constant has.
func (g *generator) textIs(text string, size int, whole bool) string {
	verb, word := "Whether a text is", "is_"
	if !whole {
		verb, word = "Whether a text begins with", "begins_"
	}
	key := fmt.Sprint(word, size, text)
	if name := g.texts[key]; name != "" {
		return name
	}
	name := g.globals.pick(word + strings.Trim(identifier(text[:min(len(text), 24)]), "_"))
	g.texts[key] = name
	n := len(text)
	var tests []string
	for i := range n {
		if i >= size {
			tests = []string{"false"}
			break
		}
		tests = append(tests, fmt.Sprintf("text[%d] == '%s'", i, escape(text[i], '\'')))
	}
	if whole && n < size {
		tests = append(tests, fmt.Sprintf("!text[%d]", n))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%sstatic __always_inline bool %s(const volatile char *text)\n{\n\treturn ", remark("", verb+" "+quote(text)+"."), name)
	for i, t := range tests {
		if i > 0 {
			b.WriteString(" &&")
			if i%4 == 0 {
				b.WriteString("\n\t       ")
			} else {
				b.WriteString(" ")
			}
		}
		b.WriteString(t)
	}
	b.WriteString(";\n}\n")
	g.compares = append(g.compares, b.String())
	return name
}
