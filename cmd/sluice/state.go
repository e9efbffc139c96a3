package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sluice/stages/dispatch/methods/system"
)

// The files of the state folder that are no database. All are owner-only.
const (
	tokenFile    = "token"        // the gateway's token, made on first start
	secretFile   = "secret"       // key that device tokens and config hashes are derived with
	identityFile = "identity.key" // the gateway's own Ed25519 seed
)

// prepareState makes the folder, owner-only.
func prepareState(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the state folder cannot be made: %w; choose another with --state DIR", err)
	}
	return nil
}

// secretText returns the text of a file of the state folder, which is made with n
// random bytes when it is missing. made says that this was the first start.
func secretText(dir, name string, n int) (text string, made bool, err error) {
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		text = strings.TrimSpace(string(b))
		if text == "" {
			return "", false, fmt.Errorf("%s is empty; remove it to have a new one made", path)
		}
		return text, false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", false, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	raw := make([]byte, n)
	rand.Read(raw)
	text = base64.RawURLEncoding.EncodeToString(raw)
	if err := writeNew(path, text+"\n"); err != nil {
		return "", false, err
	}
	return text, true, nil
}

// writeNew creates a file that must not exist yet and makes it durable.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("%s cannot be made: %w", path, err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(path)
		return fmt.Errorf("%s cannot be written: %w", path, err)
	}
	return nil
}

// identity is the gateway's own key pair: its public half names it to clients.
func identity(dir string) (system.Identity, error) {
	text, _, err := secretText(dir, identityFile, ed25519.SeedSize)
	if err != nil {
		return system.Identity{}, err
	}
	seed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(seed) != ed25519.SeedSize {
		return system.Identity{}, fmt.Errorf("%s is no Ed25519 seed; remove it to have a new one made", filepath.Join(dir, identityFile))
	}
	pub := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	sum := sha256.Sum256(pub)
	return system.Identity{DeviceID: hex.EncodeToString(sum[:]), PublicKey: base64.RawURLEncoding.EncodeToString(pub)}, nil
}
