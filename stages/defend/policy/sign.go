package policy

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// signed is what of a document says how it is signed.
type signed struct {
	keyID     string
	signature string
}

// maxBundleDepth bounds the nesting of a bundle, which has three levels.
const maxBundleDepth = 32

// Canonical returns the bytes that are signed: the document as compact JSON with the names
// of every object in byte order and without its "signature". Numbers stay as they are
// written. Names that come twice are refused.
func Canonical(raw []byte) ([]byte, signed, error) {
	var s signed
	if len(raw) > maxBundleBytes {
		return nil, s, fmt.Errorf("it is larger than %d bytes", maxBundleBytes)
	}
	v := jsontext.Value(raw)
	if !v.IsValid() || v.Kind() != '{' {
		return nil, s, errors.New("it is no JSON object, or a name comes twice")
	}
	out, err := canonical(nil, v, 0, &s)
	return out, s, err
}

type member struct {
	name  string
	value jsontext.Value
}

func canonical(dst []byte, v jsontext.Value, depth int, s *signed) ([]byte, error) {
	if depth > maxBundleDepth {
		return nil, errors.New("it is nested too deep")
	}
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	switch v.Kind() {
	case '{':
		members, err := readMembers(dec)
		if err != nil {
			return nil, err
		}
		return canonicalObject(dst, members, depth, s)
	case '[':
		if _, err := dec.ReadToken(); err != nil {
			return nil, err
		}
		dst = append(dst, '[')
		for first := true; dec.PeekKind() != ']'; first = false {
			item, err := dec.ReadValue()
			if err != nil {
				return nil, err
			}
			if !first {
				dst = append(dst, ',')
			}
			if dst, err = canonical(dst, item, depth+1, nil); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case '"':
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		return jsontext.AppendQuote(dst, tok.String())
	}
	return append(dst, bytes.TrimSpace(v)...), nil
}

func readMembers(dec *jsontext.Decoder) ([]member, error) {
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	var members []member
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		m := member{name: name.String()}
		value, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		m.value = value.Clone()
		members = append(members, m)
	}
	sort.Slice(members, func(i, j int) bool { return members[i].name < members[j].name })
	return members, nil
}

func canonicalObject(dst []byte, members []member, depth int, s *signed) ([]byte, error) {
	dst = append(dst, '{')
	first := true
	for _, m := range members {
		if s != nil && (m.name == "signature" || m.name == "keyId") {
			text, err := jsontext.AppendUnquote(nil, m.value)
			if err != nil {
				return nil, fmt.Errorf("%s is no string", m.name)
			}
			if m.name == "signature" {
				s.signature = string(text)
				continue
			}
			s.keyID = string(text)
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		var err error
		if dst, err = jsontext.AppendQuote(dst, m.name); err != nil {
			return nil, err
		}
		dst = append(dst, ':')
		if dst, err = canonical(dst, m.value, depth+1, nil); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// The forms of a signature.
const (
	formHMAC    = "hmac"
	formEd25519 = "ed25519"

	ed25519Prefix = "ed25519:"
	sha256Prefix  = "sha256:"
)

// verify checks the signature by the keys that are configured: with a keyId by that key
// alone, without one by all (the first runtime's rule).
func (c *BundleConfig) verify(canonical []byte, s signed) (form string, err error) {
	if s.signature == "" {
		return "", fmt.Errorf("%w: there is none", ErrSignature)
	}
	if text, ok := strings.CutPrefix(s.signature, ed25519Prefix); ok {
		return formEd25519, c.verifyEd25519(canonical, s.keyID, text)
	}
	return formHMAC, c.verifyHMAC(canonical, s.keyID, s.signature)
}

func (c *BundleConfig) verifyEd25519(canonical []byte, keyID, text string) error {
	sig, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(sig) != ed25519.SignatureSize {
		return fmt.Errorf("%w: it is not 64 bytes in base64", ErrSignature)
	}
	ids := sorted(c.PublicKeys)
	if keyID != "" {
		if c.PublicKeys[keyID] == "" {
			return fmt.Errorf("%w (%q)", ErrKey, keyID)
		}
		ids = []string{keyID}
	}
	for _, id := range ids {
		key, err := publicKey(c.PublicKeys[id])
		if err == nil && ed25519.Verify(key, canonical, sig) {
			return nil
		}
	}
	return ErrSignature
}

func (c *BundleConfig) verifyHMAC(canonical []byte, keyID, signature string) error {
	if c.HMACKey == "" && len(c.HMACKeys) == 0 {
		return fmt.Errorf("%w: it is an HMAC, and no hmacKey is configured", ErrKey)
	}
	var keys []string
	switch {
	case keyID == "":
		if c.HMACKey != "" {
			keys = append(keys, c.HMACKey)
		}
		for _, id := range sorted(c.HMACKeys) {
			keys = append(keys, c.HMACKeys[id])
		}
	case c.HMACKeys[keyID] == "":
		return fmt.Errorf("%w (%q)", ErrKey, keyID)
	default:
		keys = []string{c.HMACKeys[keyID]}
	}
	fits := false
	for _, key := range keys { // all of them: the time says nothing of which
		fits = VerifyHMAC(key, canonical, signature) || fits
	}
	if !fits {
		return ErrSignature
	}
	return nil
}

// VerifyHMAC checks the first runtime's signature: HMAC-SHA256 in hexadecimal of either
// case, with or without "sha256:". It compares in constant time.
func VerifyHMAC(key string, canonical []byte, signature string) bool {
	signature = strings.TrimSpace(signature)
	if len(signature) >= len(sha256Prefix) && strings.EqualFold(signature[:len(sha256Prefix)], sha256Prefix) {
		signature = signature[len(sha256Prefix):]
	}
	got, err := hex.DecodeString(signature)
	if err != nil {
		return false
	}
	return hmac.Equal(got, macOf(key, canonical))
}

func macOf(key string, canonical []byte) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(canonical)
	return mac.Sum(nil)
}

// SignHMAC returns the first runtime's signature of a document.
func SignHMAC(key string, raw []byte) (string, error) {
	doc, _, err := Canonical(raw)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(macOf(key, doc)), nil
}

// SignEd25519 returns the Ed25519 signature of a document, as its "signature".
func SignEd25519(key ed25519.PrivateKey, raw []byte) (string, error) {
	doc, _, err := Canonical(raw)
	if err != nil {
		return "", err
	}
	return ed25519Prefix + base64.StdEncoding.EncodeToString(ed25519.Sign(key, doc)), nil
}
