package jsonfile

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// A key never becomes a path: it becomes one file name out of [a-z0-9_+,^%-], the same
// on file systems that ignore case, that normalise Unicode, or that reserve ".".
//
//	a-z 0-9 _ -   themselves
//	:             +        /  ,        (the usual separators of our keys, kept readable)
//	A-Z           ^a-^z
//	other bytes   %hh
//
// A name longer than maxName is cut and ends in ~ and a hash of the key; the key then
// stands in the file.
const (
	maxName   = 160 // leaves room for the suffixes below within 255 bytes
	cutName   = 100
	hashBytes = 16

	// plainExt holds the value as it is; envelopeExt holds {"key","value"} or
	// {"key","base64","crc32c"}, for long keys and for values that are not JSON.
	plainExt    = ".json"
	envelopeExt = ".env.json"
	tmpPrefix   = ".tmp-"
)

const hexDigits = "0123456789abcdef"

// encodeName returns the file name for a key, without extension, and whether the key
// can be read back from it.
func encodeName(key string) (name string, reversible bool) {
	b := make([]byte, 0, len(key)+16)
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '-':
			b = append(b, c)
		case c == ':':
			b = append(b, '+')
		case c == '/':
			b = append(b, ',')
		case 'A' <= c && c <= 'Z':
			b = append(b, '^', c+('a'-'A'))
		default:
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	if len(b) <= maxName {
		return string(b), true
	}
	sum := sha256.Sum256([]byte(key))
	return string(b[:cutName]) + "~" + hex.EncodeToString(sum[:hashBytes]), false
}

// decodeName is encodeName's inverse for reversible names.
func decodeName(name string) (key string, ok bool) {
	b := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', c == '-':
			b = append(b, c)
		case c == '+':
			b = append(b, ':')
		case c == ',':
			b = append(b, '/')
		case c == '^' && i+1 < len(name) && 'a' <= name[i+1] && name[i+1] <= 'z':
			b = append(b, name[i+1]-('a'-'A'))
			i++
		case c == '%' && i+2 < len(name):
			high, low := strings.IndexByte(hexDigits, name[i+1]), strings.IndexByte(hexDigits, name[i+2])
			if high < 0 || low < 0 {
				return "", false
			}
			b = append(b, byte(high<<4|low))
			i += 2
		default:
			return "", false
		}
	}
	// Only the spelling that encodeName chooses: one key, one name.
	back, reversible := encodeName(string(b))
	return string(b), reversible && back == name
}

// fileNames returns both names that a key's file may have.
func fileNames(key string) (plain, envelope string) {
	name, reversible := encodeName(key)
	if reversible {
		plain = name + plainExt
	}
	return plain, name + envelopeExt
}
