package client

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// maxIdentityBytes bounds an identity file; a real one has about 350 bytes.
const maxIdentityBytes = 16 << 10

// Identity is a device's Ed25519 key pair. DeviceID is the lower-case hex SHA-256 of
// the raw public key (wire.md 3.4).
type Identity struct {
	DeviceID string
	key      ed25519.PrivateKey
}

// identityFile is the file's form, shared with tools/lib.mjs of the protocol pack.
type identityFile struct {
	DeviceID  string `json:"deviceId"`
	PublicKey string `json:"publicKey"`
	PEM       string `json:"pem"`
}

// NewIdentity makes a key pair that is kept nowhere.
func NewIdentity() (*Identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("client: making a device key: %w", err)
	}
	return fromKey(key), nil
}

func fromKey(key ed25519.PrivateKey) *Identity {
	sum := sha256.Sum256(key.Public().(ed25519.PublicKey))
	return &Identity{DeviceID: hex.EncodeToString(sum[:]), key: key}
}

// PublicKey is the raw public key in base64url without padding.
func (i *Identity) PublicKey() string {
	return base64.RawURLEncoding.EncodeToString(i.key.Public().(ed25519.PublicKey))
}

// LoadIdentity reads the identity in path, or makes one and stores it there with mode
// 0600. It refuses a file that others can read, and a file whose id is not its key's.
func LoadIdentity(path string) (*Identity, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createIdentity(path)
	}
	if err != nil {
		return nil, fmt.Errorf("client: device identity: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("client: device identity %s can be read by others (mode %04o); run chmod 600 on it", path, st.Mode().Perm())
	}
	if st.Size() > maxIdentityBytes {
		return nil, fmt.Errorf("client: device identity %s has %d bytes, more than %d; it is not an identity file", path, st.Size(), maxIdentityBytes)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("client: device identity: %w", err)
	}
	id, err := parseIdentity(raw)
	if err != nil {
		return nil, fmt.Errorf("client: device identity %s: %w; move it away to get a new one (which must be paired again)", path, err)
	}
	return id, nil
}

func parseIdentity(raw []byte) (*Identity, error) {
	var f identityFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("not JSON of the expected form: %w", err)
	}
	block, _ := pem.Decode([]byte(f.PEM))
	if block == nil {
		return nil, errors.New("no PEM block in \"pem\"")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("\"pem\" is no PKCS #8 key: %w", err)
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("\"pem\" is a %T, an Ed25519 key is needed", k)
	}
	id := fromKey(key)
	if f.DeviceID != id.DeviceID {
		return nil, errors.New("deviceId does not belong to the key")
	}
	return id, nil
}

// createIdentity writes a new identity to a temporary file and links it to path, so
// that of two processes that start at once one wins and both use its key.
func createIdentity(path string) (*Identity, error) {
	id, err := NewIdentity()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(id.key)
	if err != nil {
		return nil, fmt.Errorf("client: device identity: %w", err)
	}
	body, err := json.Marshal(identityFile{DeviceID: id.DeviceID, PublicKey: id.PublicKey(),
		PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))})
	if err != nil {
		return nil, fmt.Errorf("client: device identity: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".identity-*") // CreateTemp makes it 0600
	if err != nil {
		return nil, fmt.Errorf("client: storing the device identity: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(body)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return nil, fmt.Errorf("client: storing the device identity: %w", err)
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return LoadIdentity(path)
		}
		return nil, fmt.Errorf("client: storing the device identity: %w", err)
	}
	return id, nil
}

// deviceBlock is connect.params.device.
type deviceBlock struct {
	ID        string `json:"id"`
	PublicKey string `json:"publicKey"`
	Signature string `json:"signature"`
	SignedAt  int64  `json:"signedAt"`
	Nonce     string `json:"nonce"`
}

// proof signs the v3 text of wire.md 3.4. signedAt is the challenge's ts, as upstream's
// clients do: the gateway's own clock is never skewed.
func (i *Identity) proof(o *Options, ch Challenge) deviceBlock {
	text := strings.Join([]string{"v3", i.DeviceID, o.Client.ID, o.Client.Mode, o.Role, strings.Join(o.Scopes, ","),
		strconv.FormatInt(ch.TS, 10), o.Auth.signed(), ch.Nonce, asciiLower(o.Client.Platform), asciiLower(o.Client.DeviceFamily)}, "|")
	return deviceBlock{ID: i.DeviceID, PublicKey: i.PublicKey(), SignedAt: ch.TS, Nonce: ch.Nonce,
		Signature: base64.RawURLEncoding.EncodeToString(ed25519.Sign(i.key, []byte(text)))}
}

// asciiLower trims and lower-cases A-Z only: strings.ToLower would also change letters
// that the gateway leaves alone, and the proof would not verify.
func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, strings.TrimSpace(s))
}
