package connect

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"sluice/frames"
)

// The auth modes.
const (
	ModeNone     = "none"
	ModeToken    = "token"
	ModePassword = "password"
)

// Auth is what of the configuration decides who may connect. It may change while the
// gateway runs: Handler.SetAuth.
type Auth struct {
	// Mode is ModeNone, ModeToken or ModePassword. Secret is the token or password; it is
	// not empty unless the mode is none.
	Mode   string
	Secret string
	// AllowedOrigins are origins ("https://ui.example") that may connect although they
	// are neither this machine's nor the gateway's own; "*" allows all.
	AllowedOrigins []string
	// AutoApproveLocal pairs devices of this machine without asking
	// (gateway.nodes.pairing.autoApproveLocal).
	AutoApproveLocal bool
}

// Validate names what is wrong with the settings.
func (a Auth) Validate() error {
	switch a.Mode {
	case ModeNone:
		return nil
	case ModeToken, ModePassword:
		if strings.TrimSpace(a.Secret) == "" {
			return fmt.Errorf("auth mode is %s, but no %s is configured; set gateway.auth.%s", a.Mode, a.Mode, a.Mode)
		}
		return nil
	}
	return fmt.Errorf("auth mode %q; one of none, token, password", a.Mode)
}

// generation is one immutable version of the settings.
type generation struct {
	Auth
	number uint64
	digest [sha256.Size]byte
	// name is the same after a restart with the same secret, and tells nothing about it.
	name string
}

func newGeneration(a Auth, number uint64) *generation {
	g := &generation{Auth: a, number: number, digest: sha256.Sum256([]byte(a.Secret))}
	sum := sha256.Sum256([]byte("sluice shared auth generation\x00" + a.Mode + "\x00" + a.Secret))
	g.name = base64.RawURLEncoding.EncodeToString(sum[:])
	return g
}

// matches compares in time that does not depend on the secret.
func (g *generation) matches(candidate string) bool {
	sum := sha256.Sum256([]byte(candidate))
	return subtle.ConstantTimeCompare(sum[:], g.digest[:]) == 1
}

var closeAuthChanged = frames.Close{Code: frames.CloseClientInvalid, Reason: "gateway auth changed"}

// SetAuth puts new settings into force. When the mode or the secret changed, every
// connection that the old ones let in is closed with 4001 "gateway auth changed", also
// one whose hello is on its way (GHSA-xmxx). Connections of paired devices that used
// their own token stay: their right to connect does not come from the secret, and ends
// with device.token.revoke or device.pair.remove.
func (h *Handler) SetAuth(a Auth) error {
	if err := a.Validate(); err != nil {
		return err
	}
	h.rotate.Lock()
	defer h.rotate.Unlock()
	old := h.auth.Load()
	number := old.number
	changed := old.Mode != a.Mode || old.Secret != a.Secret
	if changed {
		number++
	}
	h.auth.Store(newGeneration(a, number))
	if !changed {
		return nil
	}
	h.deps.CloseWhere(func(p *frames.Peer) bool { return stale(p, number) }, closeAuthChanged)
	return nil
}

// stale reports whether an older generation of the secret let the peer in.
func stale(p *frames.Peer, number uint64) bool {
	return p.AuthGeneration != 0 && p.AuthGeneration != number
}
