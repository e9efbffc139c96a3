package connect

import (
	"context"
	"errors"
	"strings"
	"time"

	"sluice/frames"
	"sluice/storage"
	"sluice/storage/auth"
)

// methodDevice is hello's auth.method of a client that used its device token.
const methodDevice = "device-token"

// credentials is what became of what the client offered.
type credentials struct {
	// method is hello's auth.method if ok, else the mode's own.
	method string
	// sharedOK: the gateway's token or password was right.
	sharedOK bool
	ok       bool
	why      failure
	// pending: the shared secret was wrong, but it may have been a device token; the
	// failure counts only if that is wrong too.
	pending bool
	// wrongSetupCode is pending's like for a setup code.
	wrongSetupCode bool
	// generation is the generation of the secret that the connection depends on; 0 for
	// none.
	generation uint64

	token, password, device, bootstrap string // trimmed
}

// offered reports whether any shared secret was sent.
func (c *credentials) offered() bool { return c.token != "" || c.password != "" }

// candidate is what may be a device token: the explicit one, else the token.
func (c *credentials) candidate() string {
	if c.device != "" {
		return c.device
	}
	return c.token
}

// shared judges the shared secret. It never refuses by itself: whether a wrong one ends
// the handshake depends on what else the client has.
func (a *attempt) shared() *frames.Error {
	c := &a.creds
	if auth := a.p.Auth; auth != nil {
		c.token, c.password = strings.TrimSpace(auth.Token), strings.TrimSpace(auth.Password)
		if a.p.Device != nil {
			c.device, c.bootstrap = strings.TrimSpace(auth.DeviceToken), strings.TrimSpace(auth.BootstrapToken)
		}
	}
	c.method = a.gen.Mode
	if a.gen.Mode == ModeNone {
		c.ok, c.generation = true, a.gen.number
		return nil
	}
	if !c.offered() {
		c.why.reason = pickReason(a.gen.Mode, tokenMissing, passwordMissing)
		return nil
	}
	secret := c.token // either field may carry it; the mode's own goes first
	if a.gen.Mode == ModePassword && c.password != "" || secret == "" {
		secret = c.password
	}
	right := a.gen.matches(secret)
	c.sharedOK = right
	if retry, ok := a.h.limiter.check(classShared, a.who, a.now); !ok {
		c.why = failure{reason: rateLimited, retryMs: retry}
		return nil
	}
	if right {
		a.h.limiter.reset(classShared, a.who)
		c.ok, c.generation = true, a.gen.number
		return nil
	}
	c.why.reason = pickReason(a.gen.Mode, tokenMismatch, passwordMismatch)
	if a.p.Device != nil && c.candidate() != "" {
		c.pending = true
		return nil
	}
	a.delay = a.h.limiter.fail(classShared, a.who, a.now)
	return nil
}

func pickReason(mode string, token, password reason) reason {
	if mode == ModePassword {
		return password
	}
	return token
}

// AuthorizeSecret judges a shared secret that came another way than by connect, such as
// an HTTP Bearer token, with the same limiter: who is locked out on one path is on the
// other (CVE-2026-62220). from needs RemoteIP, Origin, PeerLoopback and Local.
// retryAfterMs is above 0 while the client is locked out. In mode none all are let in.
func (h *Handler) AuthorizeSecret(from *frames.Handshake, secret string) (ok bool, retryAfterMs int64) {
	gen, who, now := h.auth.Load(), subjectOf(from), time.Now()
	if gen.Mode == ModeNone {
		return true, 0
	}
	if secret = strings.TrimSpace(secret); secret == "" {
		return false, 0
	}
	if retry, allowed := h.limiter.check(classShared, who, now); !allowed {
		return false, retry
	}
	if !gen.matches(secret) {
		h.limiter.fail(classShared, who, now)
		return false, 0
	}
	h.limiter.reset(classShared, who)
	return true, 0
}

// settle counts wrong credentials that no other one made good.
func (a *attempt) settle() {
	if a.creds.ok {
		return
	}
	if a.creds.pending {
		a.delay = max(a.delay, a.h.limiter.fail(classShared, a.who, a.now))
	}
	if a.creds.wrongSetupCode {
		a.h.limiter.fail(classBootstrap, a.who, a.now)
	}
}

func (a *attempt) unauthorized() *frames.Error {
	return unauthorized(a.creds.why, a.p, a.kind, a.hs.Local)
}

// credential decides, after the device has proved its key, whether the client may come
// in: by the shared secret, by a setup code, or by its device token.
func (a *attempt) credential() *frames.Error {
	c := &a.creds
	if c.bootstrap != "" {
		a.bootstrap()
	}
	if !c.ok && a.p.Device != nil && c.candidate() != "" {
		if err := a.deviceToken(); err != nil {
			return err
		}
	}
	if !c.ok {
		return a.unauthorized()
	}
	return nil
}

// bootstrap judges a setup code. None was ever issued, so none is right.
func (a *attempt) bootstrap() {
	c := &a.creds
	why := failure{reason: bootstrapInvalid}
	if retry, ok := a.h.limiter.check(classBootstrap, a.who, a.now); !ok {
		why = failure{reason: rateLimited, retryMs: retry}
	} else {
		c.wrongSetupCode = true
	}
	if !c.ok {
		c.why = why
	}
}

// deviceToken judges the device's own token.
func (a *attempt) deviceToken() *frames.Error {
	c := &a.creds
	if retry, ok := a.h.limiter.check(classDevice, a.who, a.now); !ok {
		c.why = failure{reason: rateLimited, retryMs: retry}
		return nil
	}
	err := a.h.deps.Store.View(context.Background(), a.verifyToken)
	var refusal *auth.Error
	switch {
	case err == nil:
		a.h.limiter.reset(classDevice, a.who)
		c.ok, c.method = true, methodDevice
		return nil
	case !errors.As(err, &refusal):
		return a.h.internal(a, "device token", err)
	case refusal.Code == auth.CodeScopeMismatch:
		c.why = failure{reason: scopeMismatch}
	case c.device != "" || c.why.reason == "":
		c.why = failure{reason: deviceTokenMismatch}
	}
	a.h.limiter.fail(classDevice, a.who, a.now)
	return nil
}

func (a *attempt) verifyToken(r storage.Reader) error {
	_, err := a.h.deps.Authority.VerifyToken(r, a.device.DeviceID, a.p.Role, a.creds.candidate(), a.scopes)
	return err
}
