package ledger

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
)

// sealInfo binds the derived key to this use.
const sealInfo = "sluice ledger content v1"

// seal encrypts text to a public key: an ephemeral X25519 key, HKDF-SHA256 over the
// shared secret with both public keys as salt, AES-256-GCM. The key is used once, so the
// nonce is zero. The content's SHA-256 is authenticated with it, so that a sealed
// content cannot be moved to another entry.
// The result is base64(ephemeral public key, ciphertext).
func seal(to *ecdh.PublicKey, text []byte, bind string) (string, error) {
	own, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	shared, err := own.ECDH(to)
	if err != nil {
		return "", err
	}
	aead, err := sealer(shared, own.PublicKey(), to)
	if err != nil {
		return "", err
	}
	out := append([]byte(nil), own.PublicKey().Bytes()...)
	out = aead.Seal(out, make([]byte, aead.NonceSize()), text, []byte(bind))
	return base64.StdEncoding.EncodeToString(out), nil
}

func sealer(shared []byte, own, to *ecdh.PublicKey) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, shared, append(own.Bytes(), to.Bytes()...), sealInfo, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// ErrNotSealed says that an entry has no encrypted content.
var ErrNotSealed = errors.New("ledger: the entry has no encrypted content")

// Decrypt returns the content of e, which is cut at Config.MaxContentBytes. It fails for
// another key and for content that was changed or belongs to another entry.
func Decrypt(key *ecdh.PrivateKey, e *Entry) ([]byte, error) {
	if e.ContentEncrypted == "" {
		return nil, ErrNotSealed
	}
	raw, err := base64.StdEncoding.DecodeString(e.ContentEncrypted)
	if err != nil || len(raw) < 32 {
		return nil, fmt.Errorf("ledger: entry %d: the encrypted content is damaged", e.Seq)
	}
	own, err := ecdh.X25519().NewPublicKey(raw[:32])
	if err != nil {
		return nil, fmt.Errorf("ledger: entry %d: %w", e.Seq, err)
	}
	shared, err := key.ECDH(own)
	if err != nil {
		return nil, fmt.Errorf("ledger: entry %d: %w", e.Seq, err)
	}
	aead, err := sealer(shared, own, key.PublicKey())
	if err != nil {
		return nil, err
	}
	text, err := aead.Open(nil, make([]byte, aead.NonceSize()), raw[32:], []byte(e.ContentSHA256))
	if err != nil {
		return nil, fmt.Errorf("ledger: entry %d: the key does not fit, or the content was changed", e.Seq)
	}
	return text, nil
}

// GenerateKey makes a pair for Config.EncryptTo; both are base64. The private one belongs
// on another machine.
func GenerateKey() (public, private string, err error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	return base64.StdEncoding.EncodeToString(key.PublicKey().Bytes()), base64.StdEncoding.EncodeToString(key.Bytes()), nil
}

// ParsePrivateKey reads a private key as GenerateKey gives it.
func ParsePrivateKey(text string) (*ecdh.PrivateKey, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("ledger: not an X25519 private key in base64")
	}
	return ecdh.X25519().NewPrivateKey(raw)
}
