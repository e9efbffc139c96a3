package policy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
)

// Bundle is a signed policy (first-runtime.md 6.7). sequence and expiresAt are not in
// the first runtime's form; with an Ed25519 signature both are needed.
type Bundle struct {
	Version  int    `json:"version"` // of the format: 1
	BundleID string `json:"bundleId"`
	KeyID    string `json:"keyId,omitzero"`
	SignedAt string `json:"signedAt"`
	// Sequence may not go back; a bundle without one may not be signed earlier than the
	// last.
	Sequence  uint64       `json:"sequence,omitzero"`
	ExpiresAt string       `json:"expiresAt,omitzero"`
	Policy    BundlePolicy `json:"policy"`
	Signature string       `json:"signature"`

	signed  time.Time
	expires time.Time
	sha     string // of the canonical form
}

// BundlePolicy is what a bundle may set; what is absent stays as configured. Lists may not
// be empty, for that would switch a check off.
type BundlePolicy struct {
	ReviewThreshold         *int              `json:"reviewThreshold,omitzero"`
	BlockThreshold          *int              `json:"blockThreshold,omitzero"`
	AllowedCommandPrefixes  []string          `json:"allowedCommandPrefixes,omitzero"`
	BlockedCommandPatterns  []string          `json:"blockedCommandPatterns,omitzero"`
	PromptInjectionPatterns []string          `json:"promptInjectionPatterns,omitzero"`
	ToolPolicies            map[string]string `json:"toolPolicies,omitzero"`
	ToolRiskBonus           map[string]int    `json:"toolRiskBonus,omitzero"`
	ChannelRiskBonus        map[string]int    `json:"channelRiskBonus,omitzero"`
}

// Why a bundle is refused.
var (
	ErrSignature = errors.New("the signature does not fit")
	ErrKey       = errors.New("no key of that keyId is configured")
	ErrExpired   = errors.New("it has expired")
	ErrRollback  = errors.New("a later bundle was in force: the version may not go back")
)

// Bounds of a bundle.
const (
	maxBundleBytes  = 1 << 20
	maxBundleList   = 256
	maxPatterns     = 40
	maxPatternBytes = 1024
	maxClockAhead   = 5 * time.Minute
	bundleFormat    = 1
)

// parseBundle reads and checks everything but signature, time and order.
func parseBundle(raw []byte, maxAge time.Duration) (*Bundle, error) {
	var b Bundle
	if err := json.Unmarshal(raw, &b, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	if b.Version != bundleFormat {
		return nil, fmt.Errorf("version %d; this build reads version %d", b.Version, bundleFormat)
	}
	if b.BundleID == "" || len(b.BundleID) > maxKey {
		return nil, errors.New("bundleId: 1 to 512 bytes")
	}
	var err error
	if b.signed, err = time.Parse(time.RFC3339, b.SignedAt); err != nil {
		return nil, fmt.Errorf("signedAt: %q is no RFC 3339 time", b.SignedAt)
	}
	b.expires = b.signed.Add(maxAge)
	if b.ExpiresAt != "" {
		if b.expires, err = time.Parse(time.RFC3339, b.ExpiresAt); err != nil {
			return nil, fmt.Errorf("expiresAt: %q is no RFC 3339 time", b.ExpiresAt)
		}
	}
	return &b, b.Policy.check()
}

func (p *BundlePolicy) check() error {
	for key, list := range map[string][]string{"allowedCommandPrefixes": p.AllowedCommandPrefixes,
		"blockedCommandPatterns": p.BlockedCommandPatterns, "promptInjectionPatterns": p.PromptInjectionPatterns} {
		if list != nil && len(list) == 0 {
			return fmt.Errorf("policy.%s: an empty list would switch the check off", key)
		}
		most := maxPatterns
		if key == "allowedCommandPrefixes" {
			most = maxBundleList
		}
		if len(list) > most {
			return fmt.Errorf("policy.%s: %d; at most %d", key, len(list), most)
		}
		for i, text := range list {
			if text == "" || len(text) > maxPatternBytes {
				return fmt.Errorf("policy.%s[%d]: 1 to %d bytes", key, i, maxPatternBytes)
			}
			if key == "allowedCommandPrefixes" {
				continue
			}
			if _, err := regexp.Compile(text); err != nil {
				return fmt.Errorf("policy.%s[%d]: %w", key, i, err)
			}
		}
	}
	for key, v := range map[string]*int{"reviewThreshold": p.ReviewThreshold, "blockThreshold": p.BlockThreshold} {
		if v != nil && (*v < 1 || *v > 100) {
			return fmt.Errorf("policy.%s: %d; 1 to 100", key, *v)
		}
	}
	if p.ReviewThreshold != nil && p.BlockThreshold != nil && *p.ReviewThreshold >= *p.BlockThreshold {
		return fmt.Errorf("policy.reviewThreshold: %d is not below blockThreshold (%d)", *p.ReviewThreshold, *p.BlockThreshold)
	}
	if len(p.ToolPolicies)+len(p.ToolRiskBonus)+len(p.ChannelRiskBonus) > 3*1024 {
		return errors.New("policy: more than 3072 tools and channels")
	}
	if err := checkMaps(p.ToolRiskBonus, p.ChannelRiskBonus, p.ToolPolicies); err != nil {
		return fmt.Errorf("policy.%w", err)
	}
	return nil
}

// readBundle reads the file, bounded, and nothing but a file.
func readBundle(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is no regular file", path))
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxBundleBytes+1))
	if err == nil && len(raw) > maxBundleBytes {
		err = fmt.Errorf("it is larger than %d bytes", maxBundleBytes)
	}
	return raw, err
}

// LoadBundle reads the bundle's file and puts it in force. On an error the policy in
// force stays: the last good bundle, or the configuration alone.
func (p *Policy) LoadBundle(ctx context.Context) error {
	p.reload.Lock()
	defer p.reload.Unlock()
	b, err := p.loadBundle(ctx)
	c := Change{Source: "bundle"}
	if b != nil {
		c.BundleID, c.Version, c.SHA256 = b.BundleID, b.Sequence, b.sha
	}
	if err != nil {
		err = fmt.Errorf("policy: bundle %s: %w", p.cfg.Bundle.Path, err)
		c.Refused = err.Error()
	}
	p.tell(ctx, c)
	return err
}

// loadBundle returns the bundle also when it refuses one that its signature is good for.
func (p *Policy) loadBundle(ctx context.Context) (*Bundle, error) {
	if p.cfg.Bundle.Path == "" {
		return nil, errors.New("defend.policy.bundle.path is not set")
	}
	raw, err := readBundle(p.cfg.Bundle.Path)
	if err != nil {
		return nil, err
	}
	b, err := p.Accept(raw)
	if err != nil {
		return nil, err
	}
	if err := p.order(ctx, b); err != nil {
		return b, err
	}
	f, err := prepare(p.cfg, b)
	if err != nil {
		return b, err
	}
	p.bundle = b
	p.force.Store(f)
	return b, nil
}

// Accept checks a bundle's form, signature and time, and nothing that depends on what was
// in force before: what a command to check a bundle needs.
func (p *Policy) Accept(raw []byte) (*Bundle, error) {
	c := &p.cfg.Bundle
	raw = trimBOM(raw)
	// The signature first: what nobody has signed is not read any further.
	canonical, head, err := Canonical(raw)
	if err != nil {
		return nil, err
	}
	form, err := c.verify(canonical, head)
	if err != nil {
		return nil, err
	}
	b, err := parseBundle(raw, time.Duration(c.MaxAgeDays)*24*time.Hour)
	if err != nil {
		return nil, err
	}
	sha := sha256.Sum256(canonical)
	b.sha = hex.EncodeToString(sha[:])
	if form == formEd25519 && (b.Sequence == 0 || b.ExpiresAt == "") {
		return nil, errors.New("sequence and expiresAt are needed with an Ed25519 signature")
	}
	now := p.deps.Now()
	switch {
	case b.signed.After(now.Add(maxClockAhead)):
		return nil, fmt.Errorf("signedAt: %s is in the future", b.SignedAt)
	case !now.Before(b.expires):
		return nil, fmt.Errorf("%w at %s", ErrExpired, b.expires.Format(time.RFC3339))
	}
	return b, nil
}

// accepted is what State keeps of the last bundle.
type accepted struct {
	Sequence   uint64 `json:"sequence"`
	SignedAtMs int64  `json:"signedAtMs"`
	BundleID   string `json:"bundleId"`
	SHA256     string `json:"sha256"`
}

// StateKey is the last bundle's key in the State.
const StateKey = "defend.policy.bundle"

// order refuses to go back and notes b as the last.
func (p *Policy) order(ctx context.Context, b *Bundle) error {
	raw, err := p.deps.State.Get(ctx, StateKey)
	if err != nil {
		return fmt.Errorf("the last bundle's version cannot be read: %w", err)
	}
	next := accepted{b.Sequence, b.signed.UnixMilli(), b.BundleID, b.sha}
	if raw != nil {
		var last accepted
		if err := json.Unmarshal(raw, &last); err != nil {
			return fmt.Errorf("the last bundle's version is damaged (%w): remove %q from the state if you know why", err, StateKey)
		}
		if last.SHA256 == next.SHA256 {
			return nil
		}
		if err := next.follows(last); err != nil {
			return err
		}
	}
	value, err := json.Marshal(next)
	if err == nil {
		err = p.deps.State.Put(ctx, StateKey, value)
	}
	if err != nil {
		return fmt.Errorf("its version was not stored: %w", err)
	}
	return nil
}

func (a accepted) follows(last accepted) error {
	switch {
	case a.Sequence < last.Sequence:
		return fmt.Errorf("%w (sequence %d, was %d)", ErrRollback, a.Sequence, last.Sequence)
	case a.Sequence == last.Sequence && a.Sequence != 0:
		return fmt.Errorf("%w (sequence %d was another bundle)", ErrRollback, a.Sequence)
	case a.Sequence == 0 && a.SignedAtMs <= last.SignedAtMs:
		return fmt.Errorf("%w (signed no later than the last)", ErrRollback)
	}
	return nil
}

// Effective are the parts of the bundle in force that other packages apply: thresholds
// and patterns. ok is false when there is none.
func (p *Policy) Effective() (policy BundlePolicy, ok bool) {
	p.reload.Lock()
	defer p.reload.Unlock()
	if p.bundle == nil {
		return BundlePolicy{}, false
	}
	return p.bundle.Policy, true
}

// Health says that the bundle in force has expired; empty when not. It stays in force:
// dropping it could weaken the policy without anybody having asked.
func (p *Policy) Health() string {
	f := p.force.Load()
	if !f.expires.IsZero() && !p.deps.Now().Before(f.expires) {
		return "policy: the signed bundle expired at " + f.expires.UTC().Format(time.RFC3339) + "; it stays in force; sign a new one"
	}
	return ""
}

// trimBOM makes files of editors that add a byte order mark readable.
func trimBOM(raw []byte) []byte { return bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")) }
