package connect

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"
	"sluice/storage/auth"
)

// pairingDetails are the details of PAIRING_REQUIRED (wire.md 3.4). openclaw-node and
// the apps show the request id and poll by retryable.
type pairingDetails struct {
	Code                string   `json:"code"`
	Reason              string   `json:"reason"`
	RequestID           string   `json:"requestId,omitempty"`
	RemediationHint     string   `json:"remediationHint"`
	RecommendedNextStep string   `json:"recommendedNextStep,omitempty"`
	Retryable           bool     `json:"retryable,omitzero"`
	PauseReconnect      *bool    `json:"pauseReconnect,omitempty"`
	DeviceID            string   `json:"deviceId"`
	RequestedRole       string   `json:"requestedRole"`
	RequestedScopes     []string `json:"requestedScopes,omitempty"`
	ApprovedRoles       []string `json:"approvedRoles,omitempty"`
	ApprovedScopes      []string `json:"approvedScopes,omitempty"`
}

// errNeedsWrite stops a read-only look at a device that turns out to need a change.
var errNeedsWrite = errors.New("connect: needs a write")

// readOnly lets a function that may write run inside a View.
type readOnly struct{ storage.Reader }

func (readOnly) Put(storage.Collection, string, []byte) error { return errNeedsWrite }
func (readOnly) Delete(storage.Collection, string) error      { return errNeedsWrite }

var errCopilotIdentity = &frames.Error{Code: frames.CodeNotPaired, Message: "browser copilot requires a dedicated paired device identity"}

// authorize decides what the connection gets: at once when nothing has to be written,
// else inside the write, so that hello tells only what is durable.
func (a *attempt) authorize() error {
	if a.kind.copilot {
		// Its pairing is bound to the extension's origin, which records here do not hold.
		return closing(errCopilotIdentity)
	}
	if a.device.DeviceID == "" {
		return a.welcome(nil, auth.Issued{})
	}
	nodeHostMetadata(&a.p.Client)
	err := a.h.deps.Store.View(context.Background(), func(r storage.Reader) error {
		d, err := a.load(r)
		if err != nil {
			return err
		}
		if !a.skipsPairing() && auth.Need(d, a.access()) != auth.NeedNothing {
			return errNeedsWrite
		}
		token, err := a.token(readOnly{r}, d)
		if err != nil {
			return err
		}
		if d != nil && a.touchDue(d) {
			return errNeedsWrite
		}
		return a.welcome(d, token)
	})
	if !errors.Is(err, errNeedsWrite) {
		var refusal *frames.Error
		if err != nil && !errors.As(err, &refusal) {
			return a.h.internal(a, "device record", err)
		}
		return err
	}
	a.hook()
	a.e.Effects = append(a.e.Effects, pipeline.EffectFunc(a.write))
	return nil
}

// load returns the device's record, nil when it is not paired.
func (a *attempt) load(r storage.Reader) (*auth.PairedDevice, error) {
	d, err := auth.GetDevice(r, a.device.DeviceID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	return &d, err
}

// skipsPairing: a local tool of the gateway itself, and the Control UI when nothing is
// asked of anyone, come in without an approval (wire.md 3.4).
func (a *attempt) skipsPairing() bool {
	return a.localBackend() || a.kind.controlUI && a.role == frames.RoleOperator && a.gen.Mode == ModeNone
}

func (a *attempt) access() auth.Access {
	c := &a.p.Client
	return auth.Access{PublicKey: a.device.PublicKey, Role: a.p.Role, Scopes: a.scopes,
		ClientID: c.ID, ClientMode: c.Mode, Platform: c.Platform, DeviceFamily: c.DeviceFamily}
}

// token returns the device's token for hello; the zero value when it has none to get.
func (a *attempt) token(tx storage.Tx, d *auth.PairedDevice) (auth.Issued, error) {
	if d == nil || d.PublicKey != a.device.PublicKey {
		return auth.Issued{}, nil
	}
	t, err := a.h.deps.Authority.EnsureToken(tx, d.DeviceID, a.p.Role, a.scopes, a.now.UnixMilli())
	var refusal *auth.Error
	if errors.As(err, &refusal) {
		return auth.Issued{}, nil // a revoked role of a client that needs no pairing
	}
	return t, err
}

// touchDue reports whether the device's last-seen time must be written: not while the
// disk refuses writes, as that would keep its owner out for a nicety.
func (a *attempt) touchDue(d *auth.PairedDevice) bool {
	return (a.h.deps.Authority.TouchDue(d, a.now.UnixMilli()) || a.newVersion(d) != "") && a.h.deps.Store.Health().Degraded == ""
}

// newVersion is the platform of an app that was updated since it was paired.
func (a *attempt) newVersion(d *auth.PairedDevice) string {
	c := &a.p.Client
	switch c.ID {
	case idMacOS, idIOS, idAndroid, idWatchOS:
		if d.Platform != "" && auth.NormalizeMetadata(c.Platform) != auth.NormalizeMetadata(d.Platform) {
			return c.Platform
		}
	}
	return ""
}

// maxNeeds bounds how often one connect is approved: pairing or metadata, role, scopes.
const maxNeeds = 4

// write is the connect's effect: it looks again, as others wrote meanwhile, pairs or
// upgrades the device where that needs nobody's leave, and prepares hello. Otherwise it
// records the request and prepares the refusal; that too is written.
func (a *attempt) write(tx storage.Tx, _ *pipeline.Envelope) error {
	if a.creds.method == methodDevice {
		if err := a.verifyToken(tx); err != nil {
			return a.revokedMeanwhile(err)
		}
	}
	for range maxNeeds {
		d, err := a.load(tx)
		if err != nil {
			return err
		}
		need := auth.NeedNothing
		if !a.skipsPairing() {
			need = auth.Need(d, a.access())
		}
		if need == auth.NeedNothing {
			return a.finish(tx, d)
		}
		approved, err := a.approve(tx, need, d)
		if err != nil || !approved {
			return err
		}
	}
	return errors.New("connect: a device needs approval after it was approved")
}

func (a *attempt) revokedMeanwhile(err error) error {
	var refusal *auth.Error
	if !errors.As(err, &refusal) {
		return err
	}
	a.creds.why = failure{reason: deviceTokenMismatch}
	return closing(a.unauthorized())
}

// finish issues the token, notes that the device was here, and prepares hello.
func (a *attempt) finish(tx storage.Tx, d *auth.PairedDevice) error {
	t, err := a.token(tx, d)
	if err != nil {
		return err
	}
	if d != nil && d.PublicKey == a.device.PublicKey {
		seen := auth.Seen{Reason: "connect", DisplayName: a.p.Client.DisplayName, RemoteIP: a.reportedIP(), Platform: a.newVersion(d)}
		if a.creds.method == methodDevice {
			seen.Role = a.p.Role
		}
		if err := a.h.deps.Authority.Touch(tx, d.DeviceID, seen, a.now.UnixMilli()); err != nil {
			return err
		}
	}
	return a.welcome(d, t)
}

// reportedIP is the address that device records show: none for this machine.
func (a *attempt) reportedIP() string {
	if a.hs.Local {
		return ""
	}
	return a.hs.RemoteIP
}

// approve records what the device asks for and grants it if that needs nobody's leave.
// Otherwise it prepares the refusal and reports false.
func (a *attempt) approve(tx storage.Tx, need string, d *auth.PairedDevice) (bool, error) {
	c := &a.p.Client
	ms := a.now.UnixMilli()
	res, err := a.h.deps.Authority.RequestPairing(tx, auth.PairingRequest{
		DeviceID: a.device.DeviceID, PublicKey: a.device.PublicKey, DisplayName: c.DisplayName,
		Platform: c.Platform, DeviceFamily: c.DeviceFamily, ClientID: c.ID, ClientMode: c.Mode,
		Role: a.p.Role, Scopes: a.scopes, RemoteIP: a.reportedIP(), Silent: a.silent(need, d),
	}, ms)
	if err != nil {
		return false, notPaired(err)
	}
	for _, old := range res.Superseded {
		a.announce(resolved(old.RequestID, old.DeviceID, "rejected", ms))
	}
	req := res.Request.PairingRequest
	if !req.Silent || !a.coveredBy(req, d) {
		if res.Created {
			a.announce(requested(req))
		}
		return false, a.refusePairing(need, req.RequestID, d)
	}
	_, err = a.h.deps.Authority.Approve(tx, auth.Approval{RequestID: req.RequestID, Via: auth.ViaSilent,
		DisplayName: c.DisplayName, RemoteIP: a.reportedIP()}, ms)
	var refusal *auth.Error
	switch {
	case errors.As(err, &refusal) && refusal.Reason == auth.ReasonTooManyDevices:
		return false, notPaired(err)
	case refusal != nil: // a revoked role, or scopes of another role: a person decides
		a.announce(requested(req))
		return false, a.refusePairing(need, req.RequestID, d)
	case err != nil:
		return false, err
	}
	a.announce(resolved(req.RequestID, req.DeviceID, "approved", ms))
	a.paired++
	gone, err := a.h.deps.Authority.PruneSilent(tx, req.DeviceID, a.h.deps.DeviceConnected, ms)
	a.pruned = append(a.pruned, gone...)
	return true, err
}

// coveredBy: a request that took over more from an earlier one than this connect asks
// for and the device has is not approved by it.
func (a *attempt) coveredBy(req auth.PairingRequest, d *auth.PairedDevice) bool {
	have := slices.Clone(a.scopes)
	if d != nil {
		have = append(have, d.ApprovedScopes...)
	}
	return auth.MissingScope(a.p.Role, req.Scopes, have) == "" && len(req.Roles) == 1 && req.Roles[0] == a.p.Role
}

// silent reports whether the need is granted without asking: to clients of this machine
// that no web page can be, and to the UI pages that the origin check let in.
func (a *attempt) silent(need string, d *auth.PairedDevice) bool {
	origin, k := hasOrigin(a.hs), a.kind
	switch {
	case !a.hs.Local, origin && !k.controlUI && !k.webchat:
		return false
	case d != nil && a.role != frames.RoleOperator:
		return false
	case need == auth.NeedMetadata:
		return !origin && !k.controlUI && !k.webchat && k.nativeApp
	case !a.gen.AutoApproveLocal:
		return false
	case need == auth.NeedScope:
		return a.creds.method != methodDevice
	}
	return true
}

// refusePairing makes PAIRING_REQUIRED the answer; what was recorded is kept.
func (a *attempt) refusePairing(need, requestID string, d *auth.PairedDevice) error {
	details := pairingDetails{Code: auth.CodePairingRequired, Reason: need, RequestID: requestID,
		RemediationHint: auth.RemediationHint(need), DeviceID: a.device.DeviceID,
		RequestedRole: a.p.Role, RequestedScopes: a.scopes}
	if a.kind.controlUI && a.role == frames.RoleOperator {
		details.RecommendedNextStep, details.Retryable, details.PauseReconnect = "wait_then_retry", true, new(bool)
	}
	if d != nil && d.PublicKey == a.device.PublicKey {
		details.ApprovedRoles = d.Roles
		details.ApprovedScopes = slices.Sorted(slices.Values(d.ApprovedScopes))
	}
	message := auth.PairingMessage(need)
	err := &frames.Error{Code: frames.CodeNotPaired, Message: message, Details: details,
		Close: &frames.Close{Code: frames.ClosePolicyViolation, Reason: frames.CutReason(message + " (requestId: " + requestID + ")")}}
	a.refuse(err)
	return nil
}

// notPaired turns a refusal of storage/auth into the answer; nothing is kept then.
func notPaired(err error) error {
	var refusal *auth.Error
	if !errors.As(err, &refusal) {
		return err
	}
	return closing(&frames.Error{Code: frames.CodeNotPaired, Message: refusal.Message,
		Details: proofDetails{cmp.Or(refusal.Code, auth.CodePairingRequired), refusal.Reason}})
}

func (a *attempt) logPairing() {
	log := a.h.deps.Log
	for _, ev := range a.events {
		log.LogAttrs(context.Background(), slog.LevelInfo, "device pairing", slog.String("event", ev.name),
			slog.String("device", a.device.DeviceID), slog.String("role", a.p.Role), slog.Any("scopes", known(a.scopes)),
			slog.String("client", a.p.Client.ID), slog.String("ip", a.hs.RemoteIP), slog.String("auth", a.creds.method))
	}
	for _, id := range a.pruned {
		log.LogAttrs(context.Background(), slog.LevelInfo, "device pairing superseded", slog.String("device", id))
	}
}
