package frames

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// The protocol's patterns are JavaScript regular expressions with the u flag. They are
// rewritten for Go's linear-time engine; the few with lookahead, which it has not, and
// the two most used are written by hand in handPatterns. A backtracking engine is not
// used: a client chooses the text it would backtrack on.

// jsSpace is what \s matches in JavaScript.
const jsSpace = `\t\n\v\f\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}`

// handPatterns are the patterns that are not left to regexp, by their source.
var handPatterns = map[string]matcher{
	`\S`:   hasInk,
	`^.*$`: oneLine,
	`^.+$`: func(q quoted) bool { return len(q.raw) > 2 && oneLine(q) },
	`^(?!\.{1,2}$)[A-Za-z0-9._-]+$`: func(q quoted) bool {
		return !dots(q) && dotNames.Match(unquoted(q))
	},
	`^(?!\.{1,2}$)(?:[^\uD800-\uDFFF]|[\uD800-\uDBFF][\uDC00-\uDFFF])+$`: func(q quoted) bool {
		return len(q.raw) > 2 && !dots(q) && wellFormed(q)
	},
	`^(?!.*--)[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$`: func(q quoted) bool {
		text := unquoted(q)
		return slugs.Match(text) && !strings.Contains(string(text), "--")
	},
}

var (
	dotNames = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	slugs    = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$`)
)

func dots(q quoted) bool { return q.is(".") || q.is("..") }

// hasInk reports whether the string has a character that is no white space.
func hasInk(q quoted) bool {
	body := q.raw[1 : len(q.raw)-1]
	for i := 0; i < len(body); {
		r, n := nextRune(body, i)
		if !isJSSpace(r) {
			return true
		}
		i += n
	}
	return false
}

func isJSSpace(r rune) bool {
	switch {
	case r == ' ', r >= '\t' && r <= '\r', r == 0xA0, r == 0x1680, r >= 0x2000 && r <= 0x200A,
		r == 0x2028, r == 0x2029, r == 0x202F, r == 0x205F, r == 0x3000, r == 0xFEFF:
		return true
	}
	return false
}

// oneLine reports whether the string has no line terminator.
func oneLine(q quoted) bool {
	body := q.raw[1 : len(q.raw)-1]
	if !q.escaped && plainASCII(body) {
		return true
	}
	for i := 0; i < len(body); {
		r, n := nextRune(body, i)
		if r == '\n' || r == '\r' || r == 0x2028 || r == 0x2029 {
			return false
		}
		i += n
	}
	return true
}

func plainASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// wellFormed reports whether the string has no lone surrogate.
func wellFormed(q quoted) bool {
	if !q.escaped {
		return true
	}
	body := q.raw[1 : len(q.raw)-1]
	for i := 0; i < len(body); {
		r, n := nextRune(body, i)
		if r >= 0xD800 && r <= 0xDFFF {
			return false
		}
		i += n
	}
	return true
}

// compilePattern returns the matcher for a JavaScript pattern.
func compilePattern(source string) (matcher, error) {
	if m, ok := handPatterns[source]; ok {
		return m, nil
	}
	translated, err := translatePattern(source)
	if err != nil {
		return nil, err
	}
	re, err := regexp.Compile(translated)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", source, err)
	}
	return func(q quoted) bool { return re.Match(unquoted(q)) }, nil
}

// translatePattern rewrites what JavaScript and RE2 read differently: \s, \S, the dot
// and \u escapes. It refuses what it does not know.
func translatePattern(source string) (string, error) {
	var out strings.Builder
	class := false
	for i := 0; i < len(source); i++ {
		c := source[i]
		switch {
		case c == '\\' && i+1 < len(source):
			i++
			n, err := translateEscape(&out, source, i, class)
			if err != nil {
				return "", err
			}
			i += n
		case class:
			class = c != ']'
			out.WriteByte(c)
		case c == '[':
			class = true
			out.WriteByte(c)
		case c == '.':
			out.WriteString(`[^\n\r\x{2028}\x{2029}]`)
		case c == '(' && strings.HasPrefix(source[i:], "(?") && !strings.HasPrefix(source[i:], "(?:"):
			return "", fmt.Errorf("pattern %q: no hand-written equivalent for its group", source)
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), nil
}

// translateEscape writes the escape whose letter is at i and returns how many bytes
// after the letter it used.
func translateEscape(out *strings.Builder, source string, i int, class bool) (int, error) {
	switch c := source[i]; {
	case c == 's' && class:
		out.WriteString(jsSpace)
	case c == 's':
		out.WriteString("[" + jsSpace + "]")
	case c == 'S' && !class:
		out.WriteString("[^" + jsSpace + "]")
	case c == 'u' && i+4 < len(source):
		v, ok := hex4([]byte(source), i+1)
		if !ok || v >= 0xD800 && v < 0xE000 {
			return 0, fmt.Errorf("pattern %q: no hand-written equivalent for its \\u escape", source)
		}
		fmt.Fprintf(out, `\x{%04x}`, v)
		return 4, nil
	case c == 'd', c == 'w', c == 'n', c == 'r', c == 't':
		out.WriteByte('\\')
		out.WriteByte(c)
	case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
		return 0, fmt.Errorf("pattern %q: escape \\%c is not known", source, c)
	default:
		out.WriteByte('\\')
		out.WriteByte(c)
	}
	return 0, nil
}

var (
	uuidFormat = regexp.MustCompile(`(?i)^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$`)
	dateTime   = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))$`)
)

// matchesFormat reports whether the string has the format (typebox/build/format).
func matchesFormat(format string, q quoted) bool {
	switch format {
	case "uuid":
		return uuidFormat.Match(unquoted(q))
	case "date-time":
		return isDateTime(string(unquoted(q)))
	}
	return false
}

// isDateTime is RFC 3339 with leap seconds only where they can be: 23:59:60 UTC.
func isDateTime(s string) bool {
	m := dateTime.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	if _, err := time.Parse(time.DateOnly, m[1]); err != nil && m[1] != "0000-02-29" {
		return false
	}
	two := func(s string) int {
		if s == "" {
			return 0
		}
		return int(s[0]-'0')*10 + int(s[1]-'0')
	}
	h, min, sec, zh, zm := two(m[2]), two(m[3]), two(m[4]), two(m[6]), two(m[7])
	if h > 23 || min > 59 || sec > 60 || zh > 23 || zm > 59 {
		return false
	}
	if sec < 60 {
		return true
	}
	sign := 1
	if m[5] == "-" {
		sign = -1
	}
	utc := h*60 + min - sign*(zh*60+zm)
	return (utc%1440+1440)%1440 == 1439
}
