package auth

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strconv"
	"strings"
)

// maxKeyText bounds a public key or signature as text; a PEM key has some 110 bytes.
const maxKeyText = 4096

// Proof is what a connect frame's device block claims, with the fields of the frame
// that its signature covers. They come from the frame as they are; Verify normalises.
type Proof struct {
	DeviceID   string // device.id
	PublicKey  string // device.publicKey: raw base64url or base64, or PEM
	Signature  string // device.signature: base64url
	SignedAtMs int64  // device.signedAt
	Nonce      string // device.nonce

	ClientID     string // client.id
	ClientMode   string // client.mode
	Platform     string // client.platform
	DeviceFamily string // client.deviceFamily
	Role         string
	Scopes       []string
	// Token is auth.token, else auth.deviceToken, else auth.bootstrapToken, else "".
	Token string
}

// Identity is a device that has proven that it holds its key.
type Identity struct {
	DeviceID  string // lowercase hex SHA-256 of the raw key
	PublicKey string // raw, base64url
	Version   string // v3 or v2: the payload that was signed
}

// VerifyProof checks a proof against the nonce of this connection's challenge, in the
// order and with the codes of wire.md 3.4. The error is an *Error.
func (a *Authority) VerifyProof(p Proof, challenge string, nowMs int64) (Identity, error) {
	raw, keyErr := decodePublicKey(p.PublicKey)
	id := deviceID(raw)
	if len(raw) == 0 || id != p.DeviceID {
		return Identity{}, &Error{Code: CodeDeviceIDMismatch, Reason: "device-id-mismatch", Message: "device identity mismatch"}
	}
	if skew := nowMs - p.SignedAtMs; skew > a.cfg.SkewMs || skew < -a.cfg.SkewMs {
		return Identity{}, &Error{Code: CodeSignatureExpired, Reason: "device-signature-stale", Message: "device signature expired"}
	}
	nonce := strings.TrimSpace(p.Nonce)
	if nonce == "" {
		return Identity{}, &Error{Code: CodeNonceRequired, Reason: "device-nonce-missing", Message: "device nonce required"}
	}
	if nonce != challenge {
		return Identity{}, &Error{Code: CodeNonceMismatch, Reason: "device-nonce-mismatch", Message: "device nonce mismatch"}
	}
	p.Nonce = nonce
	version := p.signedVersion(raw)
	if version == "" {
		return Identity{}, &Error{Code: CodeSignatureInvalid, Reason: "device-signature", Message: "device signature invalid"}
	}
	if keyErr != nil {
		return Identity{}, &Error{Code: CodePublicKeyInvalid, Reason: "device-public-key", Message: "device public key invalid"}
	}
	return Identity{DeviceID: id, PublicKey: base64.RawURLEncoding.EncodeToString(raw), Version: version}, nil
}

// signedVersion returns which payload the signature is over, v3 before v2, or "".
func (p *Proof) signedVersion(key []byte) string {
	signature, err := decodeBase64(p.Signature)
	if err != nil || len(key) != ed25519.PublicKeySize || len(signature) != ed25519.SignatureSize {
		return ""
	}
	for _, version := range []string{"v3", "v2"} {
		if ed25519.Verify(key, p.Payload(version), signature) {
			return version
		}
	}
	return ""
}

// Payload returns the bytes that a device signs, for version v3 or v2. It is exported
// for clients of this program (the call command, the load generator).
func (p *Proof) Payload(version string) []byte {
	fields := []string{
		version, p.DeviceID, p.ClientID, p.ClientMode, p.Role, strings.Join(p.Scopes, ","),
		strconv.FormatInt(p.SignedAtMs, 10), p.Token, p.Nonce,
	}
	if version == "v3" {
		fields = append(fields, NormalizeMetadata(p.Platform), NormalizeMetadata(p.DeviceFamily))
	}
	return []byte(strings.Join(fields, "|"))
}

// Sign fills in the device block of a proof for a private key, as v3.
func (p *Proof) Sign(key ed25519.PrivateKey) {
	public := key.Public().(ed25519.PublicKey)
	p.DeviceID = deviceID(public)
	p.PublicKey = base64.RawURLEncoding.EncodeToString(public)
	p.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, p.Payload("v3")))
}

// DeviceIDOf returns the device id of a public key in any accepted form.
func DeviceIDOf(publicKey string) (string, error) {
	raw, err := decodePublicKey(publicKey)
	if err != nil {
		return "", err
	}
	return deviceID(raw), nil
}

func deviceID(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// NormalizeMetadata trims a platform or device family and lowers A-Z, only those: what
// is signed must not depend on anybody's Unicode tables.
func NormalizeMetadata(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, strings.TrimSpace(s))
}

// decodePublicKey returns the raw key. With an error the bytes may still be there: the
// protocol compares the id first, and then calls the signature invalid.
func decodePublicKey(text string) ([]byte, error) {
	if len(text) > maxKeyText {
		return nil, errors.New("public key is too long")
	}
	if strings.Contains(text, "BEGIN") {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return nil, errors.New("public key is not PEM")
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		key, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return nil, errors.New("public key is not Ed25519")
		}
		return key, nil
	}
	raw, err := decodeBase64(text)
	if err == nil && len(raw) != ed25519.PublicKeySize {
		err = errors.New("public key is not 32 bytes")
	}
	return raw, err
}

// decodeBase64 takes base64url or base64, padded or not, as clients send all of them.
func decodeBase64(text string) ([]byte, error) {
	if len(text) > maxKeyText {
		return nil, errors.New("base64 text is too long")
	}
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimSpace(text))
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
}
