package telemetry

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

// redacted stands where a secret was.
const redacted = "[redacted]"

// Redactor removes secrets from log text: values of keys that are named like secrets
// (token=…, "apiKey":"…"), credentials of known shape (bearer headers, sk-…, ghp_…, JSON
// web tokens, private keys, user:password@ in URLs), and the very values that Add was
// told. One pass, no allocation when nothing is found. Safe for concurrent use.
type Redactor struct {
	max   int // longest text, bytes; longer is cut
	exact atomic.Pointer[[]string]
}

// maxExact bounds the values of Add: each costs one search of every line.
const maxExact = 64

// NewRedactor returns a redactor that cuts texts after maxBytes.
func NewRedactor(maxBytes int) *Redactor { return &Redactor{max: maxBytes} }

// Add tells values that must never be logged, such as the gateway's own token, which has
// no shape of its own. Values under 8 bytes are ignored: they would blank ordinary text.
func (r *Redactor) Add(values ...string) {
	for {
		old := r.exact.Load()
		var list []string
		if old != nil {
			list = slices.Clone(*old)
		}
		for _, v := range values {
			if len(v) >= 8 && len(list) < maxExact && !slices.Contains(list, v) {
				list = append(list, v)
			}
		}
		if r.exact.CompareAndSwap(old, &list) {
			return
		}
	}
}

// String returns the text without secrets, and s itself when there is none.
func (r *Redactor) String(s string) string {
	cut := 0
	if len(s) > r.max {
		cut = len(s) - r.max
		s = strings.ToValidUTF8(s[:r.max], "")
	}
	if exact := r.exact.Load(); exact != nil {
		for _, v := range *exact {
			if strings.Contains(s, v) {
				s = strings.ReplaceAll(s, v, redacted)
			}
		}
	}
	s = scrub(s)
	if cut > 0 {
		s += fmt.Sprintf("… (%d bytes more)", cut)
	}
	return s
}

// What a byte may be the start of.
const (
	clsAssign = 1 + iota // = or :
	clsPrefix            // first byte of a known prefix
)

var byteClass = func() (t [256]uint8) {
	t['='], t[':'] = clsAssign, clsAssign
	for _, p := range shapes {
		t[p.prefix[0]] = clsPrefix
	}
	for _, c := range "bB" { // bearer and basic in any case
		t[c] = clsPrefix
	}
	return t
}()

// shape is a kind of credential that its first letters give away.
type shape struct {
	prefix string
	min    int // least length of what follows
}

// shapes are the prefixes that services give their credentials so that they can be found
// in text.
var shapes = []shape{
	{"sk-", 16}, {"sk_live_", 16}, {"sk_test_", 16}, {"rk_live_", 16}, {"rk_test_", 16}, {"pk_live_", 16},
	{"ghp_", 30}, {"gho_", 30}, {"ghu_", 30}, {"ghs_", 30}, {"ghr_", 30}, {"github_pat_", 30}, {"glpat-", 16},
	{"xoxb-", 10}, {"xoxp-", 10}, {"xoxa-", 10}, {"xoxr-", 10}, {"xoxs-", 10}, {"xapp-", 10},
	{"AKIA", 16}, {"ASIA", 16}, {"AIza", 30}, {"ya29.", 20}, {"eyJ", 30}, {"hf_", 30}, {"npm_", 30}, {"pypi-", 30},
	{"SG.", 30}, {"dop_v1_", 40}, {"gsk_", 20}, {"xai-", 20}, {"r8_", 30}, {"tvly-", 16}, {"-----BEGIN ", 5},
}

// scrub is the single pass.
func scrub(s string) string {
	var out []byte
	last := 0
	for i := 0; i < len(s); i++ {
		from, to := 0, 0
		switch byteClass[s[i]] {
		case clsAssign:
			from, to = assigned(s, i)
		case clsPrefix:
			if i == 0 || !isWord(s[i-1]) {
				from, to = shaped(s, i)
			}
		}
		if to <= from || from < last {
			continue
		}
		out = append(append(out, s[last:from]...), redacted...)
		last, i = to, to-1
	}
	if out == nil {
		return s
	}
	return string(append(out, s[last:]...))
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// isToken tells which bytes credentials are made of.
func isToken(c byte) bool {
	return isWord(c) || c == '-' || c == '.' || c == '+' || c == '/' || c == '=' || c == '~'
}

// shaped finds a credential that starts at i.
func shaped(s string, i int) (from, to int) {
	if s[i]|0x20 == 'b' {
		return scheme(s, i)
	}
	for _, p := range shapes {
		if !strings.HasPrefix(s[i:], p.prefix) {
			continue
		}
		if p.prefix[0] == '-' {
			return privateKey(s, i)
		}
		end := i + len(p.prefix)
		for end < len(s) && isToken(s[end]) {
			end++
		}
		if end-i-len(p.prefix) >= p.min {
			return i, end
		}
	}
	return 0, 0
}

// scheme finds the credential of an Authorization header: Bearer … or Basic ….
func scheme(s string, i int) (from, to int) {
	for _, name := range [2]string{"bearer ", "basic "} {
		if len(s)-i > len(name) && strings.EqualFold(s[i:i+len(name)], name) {
			from = i + len(name)
			for to = from; to < len(s) && isToken(s[to]); {
				to++
			}
			if to-from >= 8 {
				return from, to
			}
		}
	}
	return 0, 0
}

// privateKey covers a PEM block to its end, or all of the text when the end is cut off.
func privateKey(s string, i int) (from, to int) {
	head, _, ok := strings.Cut(s[i+len("-----BEGIN "):], "-----")
	if !ok || len(head) > 40 || !strings.Contains(head, "PRIVATE KEY") {
		return 0, 0
	}
	if end := strings.Index(s[i:], "-----END "); end >= 0 {
		rest := s[i+end+len("-----END "):]
		if close := strings.Index(rest, "-----"); close >= 0 {
			return i, i + end + len("-----END ") + close + 5
		}
	}
	return i, len(s)
}

// assigned looks at what stands before and after = or :.
func assigned(s string, i int) (from, to int) {
	if s[i] == ':' && strings.HasPrefix(s[i:], "://") {
		return userinfo(s, i+3)
	}
	// The key: a word, maybe quoted, maybe with blanks before the sign.
	end := i
	for end > 0 && (s[end-1] == ' ' || s[end-1] == '"' || s[end-1] == '\'' || s[end-1] == '\\') {
		end--
	}
	start := end
	for start > 0 && end-start < 64 && (isWord(s[start-1]) || s[start-1] == '-' || s[start-1] == '.') {
		start--
	}
	if start == end || !SecretKey(s[start:end]) {
		return 0, 0
	}
	quoted := end < i && s[i-1] != ' '
	from = i + 1
	for from < len(s) && (s[from] == ' ' || s[from] == '"' || s[from] == '\'' || s[from] == '\\') {
		quoted = quoted || s[from] != ' '
		from++
	}
	if f, t := scheme(s, from); t > f {
		return f, t
	}
	for to = from; to < len(s) && !strings.ContainsRune(" \t\r\n\"'\\,;&})]>", rune(s[to])); {
		to++
	}
	// "token: missing" is prose, "token: 8f3a…" is not.
	if s[i] == ':' && !quoted && (to-from < 8 || !strings.ContainsAny(s[from:to], "0123456789")) {
		return 0, 0
	}
	if to == from || strings.HasPrefix(s[from:], redacted) {
		return 0, 0
	}
	return from, to
}

// userinfo covers the password of scheme://user:password@host.
func userinfo(s string, i int) (from, to int) {
	for j := i; j < len(s) && j-i < 512; j++ {
		switch s[j] {
		case ':':
			if from == 0 {
				from = j + 1
			}
		case '@':
			if from > 0 && j > from {
				return from, j
			}
			return 0, 0
		case '/', '?', '#', ' ', '"', '\'', '\n':
			return 0, 0
		}
	}
	return 0, 0
}

// secretSuffixes end the names of keys whose values are secrets; compared without case,
// "-" and "_".
var secretSuffixes = []string{"token", "secret", "password", "passwd", "passphrase", "authorization", "apikey", "privatekey",
	"cookie", "credential", "credentials", "signature", "accesskey", "clientsecret", "bearer", "xapikey", "otp", "pairingcode"}

// SecretKey reports whether a key is named like a secret. It does not allocate.
func SecretKey(key string) bool {
	var buf [64]byte
	n := 0
	for i := max(0, len(key)-len(buf)); i < len(key); i++ {
		if c := key[i]; c != '-' && c != '_' && c != '.' {
			if c >= 'A' && c <= 'Z' {
				c |= 0x20
			}
			buf[n] = c
			n++
		}
	}
	for _, suffix := range secretSuffixes {
		if n >= len(suffix) && string(buf[n-len(suffix):n]) == suffix {
			return true
		}
	}
	return false
}
