package connect

import (
	"context"
	"errors"
	"slices"

	"sluice/frames"
	"sluice/storage"
	"sluice/storage/auth"
)

// outcome is what happens once an attempt's answer is out.
type outcome struct {
	granted *grant
	refusal *frames.Error
	events  []announcement
	pruned  []string // devices that this pairing took the place of
	paired  int
	hooked  bool
}

// announcement is an event for operators that may pair.
type announcement struct {
	name    string
	payload any
}

type resolvedPayload struct {
	RequestID string `json:"requestId"`
	DeviceID  string `json:"deviceId"`
	Decision  string `json:"decision"`
	Ts        int64  `json:"ts"`
}

func resolved(requestID, deviceID, decision string, ms int64) announcement {
	return announcement{"device.pair.resolved", resolvedPayload{requestID, deviceID, decision, ms}}
}

func requested(req auth.PairingRequest) announcement {
	return announcement{"device.pair.requested", req}
}

func (a *attempt) announce(ev announcement) { a.events = append(a.events, ev) }

// errNodeIdentity: a node is known by its token, so one without can do nothing.
var errNodeIdentity = &frames.Error{Code: frames.CodeNotPaired, Message: "authenticated node pairing identity unavailable"}

// welcome prepares hello for a client that may come in; d is nil when its device is not
// paired or it has none.
func (a *attempt) welcome(d *auth.PairedDevice, t auth.Issued) error {
	if a.role == frames.RoleNode && t.Token == "" {
		return closing(errNodeIdentity)
	}
	paired := d != nil && d.PublicKey == a.device.PublicKey
	g := &grant{peer: a.peer(paired), scopes: known(a.scopes), token: t.Token, issuedMs: t.IssuedAtMs}
	w := &a.h.hello
	w.once.Do(w.prepare)
	presence, health := a.h.deps.Presence(), a.h.deps.Health()
	lease := a.e.Scratch(w.size(presence, health))
	lease.B = w.append(lease.B[:0], g, a.gen.Mode, a.gen.name, presence, health, a.now)
	a.e.Answer(lease.B)
	a.granted = g
	a.hook()
	return nil
}

// known drops scopes that the protocol does not have: they grant nothing, so hello does
// not list them.
func known(scopes []string) []string {
	i := slices.IndexFunc(scopes, unknownScope)
	if i < 0 {
		return scopes
	}
	return slices.DeleteFunc(slices.Clone(scopes), unknownScope)
}

func unknownScope(s string) bool {
	_, ok := frames.ScopeByName(s)
	return !ok
}

// refuse prepares a refusal whose effects are kept.
func (a *attempt) refuse(err *frames.Error) {
	a.refusal = err
	a.e.Fail(err)
	a.hook()
}

func (a *attempt) hook() {
	if !a.hooked {
		a.hooked = true
		a.e.AfterAnswer(a.after)
	}
}

// after runs when the answer is queued: the events first, as their news is older than
// the connection, then the connection itself.
func (a *attempt) after(ok bool) {
	if _, err, _ := a.e.Result(); err != a.refusal {
		// The store could not write, or a bound was reached: nothing of this happened.
		a.h.refused(a, err)
		if err.Close == nil {
			a.e.Client.Close(closeNotSaved)
		}
		return
	}
	a.publish()
	if !ok {
		a.h.Stats.Pending.Add(1)
		a.h.refused(a, a.refusal)
		return
	}
	h, peer, client := a.h, a.granted.peer, a.e.Client
	h.Stats.Accepted.Add(1)
	client.Accept(peer)
	if c := a.ended(); c != nil {
		client.Close(*c)
		return
	}
	h.deps.Connected(peer)
}

func (a *attempt) publish() {
	if len(a.events) == 0 {
		return
	}
	a.h.Stats.Paired.Add(uint64(a.paired))
	a.logPairing()
	if len(a.pruned) > 0 {
		a.h.revoked.Add(1)
	}
	for _, ev := range a.events {
		payload, err := frames.MarshalPayload(ev.payload)
		if err != nil {
			a.h.deps.Log.Error("event not encoded", "event", ev.name, "err", err)
			continue
		}
		a.h.deps.Broadcaster.Broadcast(frames.Event{Name: ev.name, Payload: payload, DropIfSlow: true})
	}
}

// closeNotSaved ends a handshake whose changes the store refused; the client may retry.
var closeNotSaved = frames.Close{Code: frames.CloseTryAgainLater, Reason: "state could not be saved"}

// closeDeviceRemoved is the close of a connection whose device, or whose device's
// token, is no longer good.
var closeDeviceRemoved = frames.Close{Code: frames.CloseClientInvalid, Reason: "device removed"}

// ended looks once more at what let the connection in. It runs after Accept, so that a
// change either finds the connection in CloseWhere or is found here.
func (a *attempt) ended() *frames.Close {
	h, peer := a.h, a.granted.peer
	if stale(peer, h.auth.Load().number) {
		return &closeAuthChanged
	}
	if a.device.DeviceID == "" || a.granted.token == "" || h.revoked.Load() == a.revoked {
		return nil
	}
	err := h.deps.Store.View(context.Background(), func(r storage.Reader) error {
		_, err := h.deps.Authority.VerifyToken(r, a.device.DeviceID, a.p.Role, a.granted.token, a.scopes)
		return err
	})
	var refusal *auth.Error
	if errors.As(err, &refusal) {
		return &closeDeviceRemoved
	}
	return nil
}

// Disconnect closes the connections of a device after its record changed: all of them,
// or those in one role when role is not frames.RoleNone. A connect of the device that
// is under way looks at the record again. Call it after the change is durable.
func (h *Handler) Disconnect(deviceID string, role frames.Role) {
	h.revoked.Add(1)
	h.deps.CloseWhere(func(p *frames.Peer) bool {
		return p.DeviceID == deviceID && (role == frames.RoleNone || p.Role == role)
	}, closeDeviceRemoved)
}
