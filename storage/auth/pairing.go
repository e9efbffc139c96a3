package auth

import (
	"cmp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"sluice/storage"
)

// The collection Pairings holds request/<request id> -> PendingPairing and
// bootstrap/<hash> -> bootstrapRow.
const requestPrefix = "request/"

// PairingRequest is what a device asks for. Its members are those of the event
// device.pair.requested and of device.pair.list's pending.
type PairingRequest struct {
	RequestID    string   `json:"requestId"`
	DeviceID     string   `json:"deviceId"`
	PublicKey    string   `json:"publicKey"`
	DisplayName  string   `json:"displayName,omitempty"`
	Platform     string   `json:"platform,omitempty"`
	DeviceFamily string   `json:"deviceFamily,omitempty"`
	ClientID     string   `json:"clientId,omitempty"`
	ClientMode   string   `json:"clientMode,omitempty"`
	Role         string   `json:"role"`
	Roles        []string `json:"roles"`
	Scopes       []string `json:"scopes"`
	RemoteIP     string   `json:"remoteIp,omitempty"`
	Silent       bool     `json:"silent"`   // it may be approved without asking
	IsRepair     bool     `json:"isRepair"` // the device is paired already
	TsMs         int64    `json:"ts"`
}

// PendingPairing is the stored request. What it asks for never changes under one
// request id: whoever approves an id approves what was shown with it.
type PendingPairing struct {
	PairingRequest
	RefreshedAtMs int64 `json:"refreshedAtMs,omitzero"`
	ExpiresAtMs   int64 `json:"expiresAtMs"`
}

// PairingResult is the outcome of RequestPairing.
type PairingResult struct {
	Request PendingPairing
	// Created says that device.pair.requested is to be broadcast; a request that was
	// only refreshed is known already.
	Created bool
	// Superseded are the device's earlier requests that this one replaced; for each,
	// device.pair.resolved with decision "rejected" is to be broadcast.
	Superseded []PairingRequest
}

// RequestPairing records what a device that has proven its identity asks for. ask's
// RequestID, Roles, IsRepair and TsMs are filled in here. A request that an earlier one
// of the device covers refreshes that one; any other replaces them, under a new id,
// asking for all that they asked for together.
func (a *Authority) RequestPairing(tx storage.Tx, ask PairingRequest, nowMs int64) (PairingResult, error) {
	if !validDeviceID(ask.DeviceID) {
		return PairingResult{}, &Error{Reason: "invalid-device-id", Message: "device identity mismatch", Code: CodeDeviceIDMismatch}
	}
	if _, _, err := a.PrunePairings(tx, nowMs, pruneStep); err != nil {
		return PairingResult{}, err
	}
	all, err := ListPairings(tx, nowMs)
	if err != nil {
		return PairingResult{}, err
	}
	ask.Role = strings.TrimSpace(ask.Role)
	ask.Roles = trimmed(ask.Roles, []string{ask.Role})
	ask.Scopes = trimmed(ask.Scopes)
	ask.TsMs = nowMs
	if _, err := GetDevice(tx, ask.DeviceID); err == nil {
		ask.IsRepair = true
	} else if !missing(err) {
		return PairingResult{}, err
	}
	mine := slices.DeleteFunc(slices.Clone(all), func(p PendingPairing) bool { return p.DeviceID != ask.DeviceID })
	if len(mine) == 1 && mine[0].covers(&ask) {
		p := mine[0].refreshed(&ask, nowMs, a.cfg.PendingTTLMs)
		return PairingResult{Request: p}, put(tx, storage.Pairings, requestPrefix+p.RequestID, &p)
	}
	if err := a.roomForPairing(all, mine, ask.RemoteIP); err != nil {
		return PairingResult{}, err
	}
	res := PairingResult{Created: true}
	for _, old := range mine {
		if err := tx.Delete(storage.Pairings, requestPrefix+old.RequestID); err != nil {
			return PairingResult{}, err
		}
		ask.Roles = trimmed(old.Roles, ask.Roles)
		ask.Scopes = trimmed(old.Scopes, ask.Scopes)
		ask.Silent = ask.Silent && old.Silent
		res.Superseded = append(res.Superseded, old.PairingRequest)
	}
	ask.RequestID = uuid.NewString()
	res.Request = PendingPairing{PairingRequest: ask, ExpiresAtMs: nowMs + a.cfg.PendingTTLMs}
	return res, put(tx, storage.Pairings, requestPrefix+ask.RequestID, &res.Request)
}

// roomForPairing keeps strangers from filling the table, or one stranger all of it.
func (a *Authority) roomForPairing(all, mine []PendingPairing, address string) error {
	sameAddress := 0
	for _, p := range all {
		if p.RemoteIP == address {
			sameAddress++
		}
	}
	for _, p := range mine {
		if p.RemoteIP == address {
			sameAddress--
		}
	}
	if len(all)-len(mine) >= a.cfg.MaxPending || sameAddress >= a.cfg.MaxPendingPerAddress {
		return &Error{Code: CodePairingRequired, Reason: ReasonTooManyPending,
			Message: "too many pairing requests are waiting; approve or reject some, or retry in five minutes"}
	}
	return nil
}

// covers reports whether a waiting request asks for all that another one does.
func (p *PendingPairing) covers(ask *PairingRequest) bool {
	if p.PublicKey != ask.PublicKey || p.Role != ask.Role {
		return false
	}
	for _, role := range ask.Roles {
		if !slices.Contains(p.Roles, role) {
			return false
		}
	}
	have := NormalizeScopes(p.Scopes)
	for _, scope := range NormalizeScopes(ask.Scopes) {
		if !slices.ContainsFunc(ask.Roles, func(role string) bool { return MissingScope(role, []string{scope}, have) == "" }) {
			return false
		}
	}
	return true
}

func (p PendingPairing) refreshed(ask *PairingRequest, nowMs, ttlMs int64) PendingPairing {
	p.DisplayName = cmp.Or(ask.DisplayName, p.DisplayName)
	p.Platform = cmp.Or(ask.Platform, p.Platform)
	p.DeviceFamily = cmp.Or(ask.DeviceFamily, p.DeviceFamily)
	p.ClientID = cmp.Or(ask.ClientID, p.ClientID)
	p.ClientMode = cmp.Or(ask.ClientMode, p.ClientMode)
	p.RemoteIP = cmp.Or(ask.RemoteIP, p.RemoteIP)
	p.Silent = p.Silent && ask.Silent
	p.IsRepair = p.IsRepair || ask.IsRepair
	p.RefreshedAtMs = nowMs
	p.ExpiresAtMs = nowMs + ttlMs
	return p
}

// GetPairing returns a waiting request that has not expired, or storage.ErrNotFound.
func GetPairing(r storage.Reader, requestID string, nowMs int64) (PendingPairing, error) {
	var p PendingPairing
	if len(requestID) > 128 || requestID == "" || storage.CheckKey(storage.Pairings, requestID) != nil {
		return p, storage.ErrNotFound
	}
	if err := get(r, storage.Pairings, requestPrefix+requestID, &p); err != nil {
		return p, err
	}
	if nowMs > p.ExpiresAtMs {
		return PendingPairing{}, storage.ErrNotFound
	}
	return p, nil
}

// ListPairings returns the waiting requests that have not expired, the newest first.
func ListPairings(r storage.Reader, nowMs int64) (pending []PendingPairing, err error) {
	err = r.Scan(storage.Pairings, storage.Range{Prefix: requestPrefix}, func(key string, raw []byte) error {
		var p PendingPairing
		if err := decode(storage.Pairings, key, raw, &p); err != nil {
			return err
		}
		if nowMs <= p.ExpiresAtMs {
			pending = append(pending, p)
		}
		return nil
	})
	slices.SortStableFunc(pending, func(a, b PendingPairing) int { return cmp.Compare(b.TsMs, a.TsMs) })
	return pending, err
}

// pruneStep bounds what one transaction prunes by the way.
const pruneStep = 100

// PrunePairings removes at most step expired requests and bootstrap tokens; more says
// that it should be called again, in another transaction.
func (a *Authority) PrunePairings(tx storage.Tx, nowMs int64, step int) (deleted int, more bool, err error) {
	var drop []string
	err = tx.Scan(storage.Pairings, storage.Range{}, func(key string, raw []byte) error {
		var rec struct {
			ExpiresAtMs int64 `json:"expiresAtMs"`
		}
		if err := decode(storage.Pairings, key, raw, &rec); err != nil {
			return err
		}
		if nowMs > rec.ExpiresAtMs {
			drop = append(drop, key)
		}
		if len(drop) > step {
			return storage.ErrStop
		}
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	for _, key := range drop[:min(len(drop), step)] {
		if err := tx.Delete(storage.Pairings, key); err != nil {
			return deleted, false, err
		}
		deleted++
	}
	return deleted, len(drop) > step, nil
}

// dropPairings removes the waiting requests of a device.
func dropPairings(tx storage.Tx, deviceID string) error {
	all, err := ListPairings(tx, 0) // also those that have expired
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.DeviceID == deviceID {
			if err := tx.Delete(storage.Pairings, requestPrefix+p.RequestID); err != nil {
				return err
			}
		}
	}
	return nil
}
