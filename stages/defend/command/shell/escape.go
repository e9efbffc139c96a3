package shell

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// appendLit appends an unquoted literal with its backslashes undone.
func appendLit(dst []byte, s string) []byte {
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		if i+1 >= len(s) {
			return append(dst, '\\')
		}
		if s[i+1] != '\n' {
			dst = append(dst, s[i+1])
		}
		s = s[i+2:]
	}
}

// appendQuotedLit is appendLit between double quotes, where only a few characters can be
// escaped.
func appendQuotedLit(dst []byte, s string) []byte {
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		if i+1 >= len(s) {
			return append(dst, '\\')
		}
		switch s[i+1] {
		case '"', '\\', '$', '`':
			dst = append(dst, s[i+1])
		case '\n':
		default:
			dst = append(dst, '\\', s[i+1])
		}
		s = s[i+2:]
	}
}

// appendANSI appends the text of $'…', or of echo -e and printf: \n, \x41, \101, \u0041.
func appendANSI(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 >= len(s) {
			dst = append(dst, s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 'n':
			dst = append(dst, '\n')
		case 't':
			dst = append(dst, '\t')
		case 'r':
			dst = append(dst, '\r')
		case 'a', 'b', 'f', 'v':
			dst = append(dst, ' ')
		case 'e', 'E':
			dst = append(dst, 27)
		case 'x':
			n, width := digits(s[i+1:], 16, 2)
			dst = appendNonzero(dst, n)
			i += width
		case 'u', 'U':
			most := 4
			if c == 'U' {
				most = 8
			}
			n, width := digits(s[i+1:], 16, most)
			if n != 0 {
				dst = utf8.AppendRune(dst, rune(n))
			}
			i += width
		case '0', '1', '2', '3', '4', '5', '6', '7':
			most := 3
			if c == '0' {
				most = 4
			}
			n, width := digits(s[i:], 8, most)
			dst = appendNonzero(dst, n)
			i += width - 1
		case '\\', '\'', '"', '?':
			dst = append(dst, c)
		default:
			dst = append(dst, '\\', c)
		}
	}
	return dst
}

// digits reads up to most digits of the base.
func digits(s string, base, most int) (n, width int) {
	for width < len(s) && width < most {
		if _, err := strconv.ParseUint(s[width:width+1], base, 8); err != nil {
			break
		}
		width++
	}
	v, _ := strconv.ParseUint(s[:width], base, 32)
	return int(v), width
}

// appendNonzero appends a byte, but drops NUL as a shell does: it would pass for a hole.
func appendNonzero(dst []byte, n int) []byte {
	if byte(n) == 0 {
		return dst
	}
	return append(dst, byte(n))
}
