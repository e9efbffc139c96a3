package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sluice/storage/internal/disk"
)

// SecretBytes is the size of the install's secret and of every token.
const SecretBytes = 32

// MintToken returns a random bearer token (32 bytes, base64url) and its hash to store.
func MintToken() (token, hash string) {
	var b [SecretBytes]byte
	rand.Read(b[:]) // never fails: it ends the process instead
	token = base64.RawURLEncoding.EncodeToString(b[:])
	return token, HashToken(token)
}

// HashToken returns the hex SHA-256 of a token. Tokens have 256 random bits, so a slow
// hash would protect nothing.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// TokenMatches compares a presented token with a stored hash in constant time. An empty
// token or hash matches nothing.
func TokenMatches(token, hash string) bool {
	same := subtle.ConstantTimeCompare([]byte(HashToken(token)), []byte(hash)) == 1
	return same && token != ""
}

// derive returns the token of a device's role in one generation. The lengths in front
// keep ("a", "bc") apart from ("ab", "c").
func (a *Authority) derive(deviceID, role, generation string) string {
	mac := hmac.New(sha256.New, a.secret)
	fmt.Fprintf(mac, "sluice device token 1|%d:%s|%d:%s|%d:%s", len(deviceID), deviceID, len(role), role, len(generation), generation)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// newGeneration makes a token that no earlier one of the device equals.
func newGeneration() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// LoadOrCreateSecret reads the install's secret from path (0600), or makes it on the
// first start. A file that is there and is no secret is an error, not replaced: that
// would end every device's token.
func LoadOrCreateSecret(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createSecret(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the server secret: %w", err)
	}
	secret, err := base64.RawURLEncoding.DecodeString(string(raw))
	if err != nil || len(secret) != SecretBytes {
		return nil, fmt.Errorf("%s is not a server secret; restore it from a backup, or remove it to have a new one made (every device then pairs again)", path)
	}
	return secret, disk.Private(path)
}

func createSecret(path string) (secret []byte, err error) {
	if err := disk.EnsureDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	secret = make([]byte, SecretBytes)
	rand.Read(secret)
	// Written beside and linked into place: of two processes that start at once one wins,
	// and a crash leaves no half secret.
	tmp, err := os.CreateTemp(filepath.Dir(path), ".secret-*")
	if err != nil {
		return nil, fmt.Errorf("create the server secret: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(base64.RawURLEncoding.EncodeToString(secret))
	err = errors.Join(err, tmp.Chmod(disk.FileMode), tmp.Sync(), tmp.Close())
	if err != nil {
		return nil, fmt.Errorf("create the server secret: %w", err)
	}
	if err := os.Link(tmp.Name(), path); errors.Is(err, fs.ErrExist) {
		return LoadOrCreateSecret(path)
	} else if err != nil {
		return nil, fmt.Errorf("create the server secret: %w", err)
	}
	return secret, disk.SyncDir(filepath.Dir(path))
}
