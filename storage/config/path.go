package config

import (
	"fmt"
	"strconv"
	"strings"
)

// joinPath appends a key to a dotted path: a.b, or a["x.y"] for a key that a dot would
// not delimit.
func joinPath(parent, key string) string {
	switch {
	case !plainKey(key):
		return parent + "[" + strconv.Quote(key) + "]"
	case parent == "":
		return key
	}
	return parent + "." + key
}

func itemPath(parent string, i int) string { return parent + "[" + strconv.Itoa(i) + "]" }

func plainKey(key string) bool { return key != "" && !strings.ContainsAny(key, ".[]\"\\") }

// splitPath reads what joinPath writes, except list indexes.
func splitPath(path string) ([]string, error) {
	var keys []string
	rest := path
	for rest != "" {
		if rest[0] == '[' {
			quoted, err := strconv.QuotedPrefix(rest[1:])
			if err != nil || !strings.HasPrefix(rest[1+len(quoted):], "]") {
				return nil, fmt.Errorf("the path %q has an unquoted or open [ ]; write a[\"b.c\"]", path)
			}
			key, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, fmt.Errorf("the path %q: %w", path, err)
			}
			keys = append(keys, key)
			if rest = rest[len(quoted)+2:]; strings.HasPrefix(rest, ".") {
				rest = rest[1:]
			}
			continue
		}
		end := strings.IndexAny(rest, ".[")
		if end < 0 {
			end = len(rest)
		}
		if end == 0 {
			return nil, fmt.Errorf("the path %q has an empty segment", path)
		}
		keys = append(keys, rest[:end])
		if rest = rest[end:]; strings.HasPrefix(rest, ".") {
			if rest = rest[1:]; rest == "" {
				return nil, fmt.Errorf("the path %q ends with a dot", path)
			}
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("the path is empty")
	}
	return keys, nil
}

// envName is the variable of a key: gateway.auth.maxTries -> SLUICE_GATEWAY_AUTH_MAX_TRIES.
func envName(key string) string {
	var b strings.Builder
	b.WriteString(envPrefix)
	for i := 0; i < len(key); i++ {
		c := key[i]
		switch {
		case c == '.' || c == '-':
			b.WriteByte('_')
		case c >= 'A' && c <= 'Z':
			// An inner capital starts a word, a run of them is one word: maxURLBytes -> MAX_URL_BYTES.
			if i > 0 && isLowerOrDigit(key[i-1]) || i > 0 && isUpper(key[i-1]) && i+1 < len(key) && isLowerOrDigit(key[i+1]) {
				b.WriteByte('_')
			}
			b.WriteByte(c)
		case c >= 'a' && c <= 'z':
			b.WriteByte(c - 'a' + 'A')
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isLowerOrDigit(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
func isUpper(c byte) bool        { return c >= 'A' && c <= 'Z' }
