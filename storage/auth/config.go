// Package auth decides which device may do what: Ed25519 proofs of a device's identity,
// pairing requests and their approval, and the tokens of paired devices.
//
// It knows nothing of sockets: it is functions over storage.Reader and storage.Tx, with
// an Authority that holds the bounds and the install's secret. Tokens are never stored:
// a token is derived from the secret and a random generation in the device's record, so
// that the same one can be handed out again, and only its hash is kept.
package auth

import (
	"errors"
	"fmt"
)

// Config holds the bounds of pairing and proofs. Times are milliseconds.
type Config struct {
	// SkewMs is how far a proof's signedAt may be from the server's clock (wire.md 3.4).
	SkewMs int64 `json:"skewMs"`
	// PendingTTLMs is how long a pairing request waits for its approval.
	PendingTTLMs int64 `json:"pendingTtlMs"`
	// MaxPending bounds the waiting requests, MaxPendingPerAddress those of one address.
	MaxPending           int `json:"maxPending"`
	MaxPendingPerAddress int `json:"maxPendingPerAddress"`
	// MaxDevices bounds the paired devices.
	MaxDevices int `json:"maxDevices"`
	// BootstrapTTLMs is how long a bootstrap token is good; MaxBootstrap how many may
	// be out at once.
	BootstrapTTLMs int64 `json:"bootstrapTtlMs"`
	MaxBootstrap   int   `json:"maxBootstrap"`
	// TouchEveryMs is how often a device's last-seen time is written at most.
	TouchEveryMs int64 `json:"touchEveryMs"`
}

// Default returns the protocol's numbers (wire.md 3.4) and bounds of our own.
func Default() Config {
	return Config{
		SkewMs:               120_000,
		PendingTTLMs:         300_000,
		MaxPending:           64,
		MaxPendingPerAddress: 8,
		MaxDevices:           1000,
		BootstrapTTLMs:       600_000,
		MaxBootstrap:         16,
		TouchEveryMs:         60_000,
	}
}

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	const day = 86_400_000
	for _, f := range []struct {
		name         string
		v, low, high int64
	}{
		{"skewMs", c.SkewMs, 1000, 3_600_000},
		{"pendingTtlMs", c.PendingTTLMs, 1000, day},
		{"maxPending", int64(c.MaxPending), 1, 10_000},
		{"maxPendingPerAddress", int64(c.MaxPendingPerAddress), 1, 10_000},
		{"maxDevices", int64(c.MaxDevices), 1, 100_000},
		{"bootstrapTtlMs", c.BootstrapTTLMs, 1000, day},
		{"maxBootstrap", int64(c.MaxBootstrap), 1, 1000},
		{"touchEveryMs", c.TouchEveryMs, 0, day},
	} {
		if f.v < f.low || f.v > f.high {
			return fmt.Errorf("auth.%s is %d: it must be between %d and %d", f.name, f.v, f.low, f.high)
		}
	}
	return nil
}

// Authority makes the decisions. It is immutable and safe for concurrent use; what
// changes is in the store.
type Authority struct {
	cfg    Config
	secret []byte
}

// New returns an Authority. secret is the install's own (LoadOrCreateSecret): whoever
// has it and the store has every device's token, and replacing it ends all of them.
func New(cfg Config, secret []byte) (*Authority, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if len(secret) < SecretBytes {
		return nil, errors.New("auth: the server secret is shorter than 32 bytes; remove its file to have a new one made (every device then pairs again)")
	}
	return &Authority{cfg: cfg, secret: append([]byte(nil), secret...)}, nil
}
