package output

import (
	"unicode"
	"unicode/utf8"
)

// AppendString appends s as a JSON string. Whatever the bytes, the result is
// valid UTF-8 and may be written to a terminal as it is: invalid bytes become
// \ufffd, and control characters, bidirectional overrides and everything else
// that has no shape of its own are escaped. Apart from the invalid bytes,
// decoding gives back exactly s.
func AppendString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	dst = AppendStringPart(dst, s)
	return append(dst, '"')
}

// AppendStringPart appends what [AppendString] puts between the quotation
// marks. A string may be written in parts that are cut at ASCII bytes.
func AppendStringPart[T string | []byte](dst []byte, s T) []byte {
	start := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b < utf8.RuneSelf {
			if plainByte[b] {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			if b == '"' || b == '\\' {
				dst = append(dst, '\\', b)
			} else {
				dst = appendEscape(dst, rune(b))
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
			dst = append(dst, s[start:i]...)
			dst = appendEscape(dst, r)
			start = i + size
		}
		i += size
	}
	return append(dst, s[start:]...)
}

// plainByte tells the ASCII bytes that stand for themselves in a JSON string.
var plainByte = func() (t [utf8.RuneSelf]bool) {
	for b := ' '; b < 0x7f; b++ {
		t[b] = b != '"' && b != '\\'
	}
	return t
}()

// appendEscape appends \uXXXX, as a surrogate pair beyond the first plane.
func appendEscape(dst []byte, r rune) []byte {
	if r > 0xffff {
		r -= 0x10000
		dst = appendEscape(dst, 0xd800+r>>10)
		return appendEscape(dst, 0xdc00+r&0x3ff)
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', hex[r>>12&0xf], hex[r>>8&0xf], hex[r>>4&0xf], hex[r&0xf])
}

// escapeLine makes an encoded record safe for a terminal in the same way:
// outside ASCII there is nothing in it but the content of strings.
func escapeLine(line []byte) []byte {
	safe := true
	for _, r := range string(line) {
		if r >= 0x7f && !unicode.IsPrint(r) {
			safe = false
			break
		}
	}
	if safe {
		return line
	}
	out := make([]byte, 0, len(line)+64)
	for _, r := range string(line) {
		if r >= 0x7f && !unicode.IsPrint(r) {
			out = appendEscape(out, r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}
