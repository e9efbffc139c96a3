package auth

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"sluice/storage"
)

// How a device got its latest approval.
const (
	ViaOwner     = "owner"     // an operator approved the request
	ViaSilent    = "silent"    // local, approved without asking
	ViaBootstrap = "bootstrap" // a bootstrap token
)

// PairedDevice is the stored record of a device. The members' names are those of
// device.pair.list; Tokens and ApprovedScopes stay inside (View).
type PairedDevice struct {
	DeviceID      string   `json:"deviceId"`
	PublicKey     string   `json:"publicKey"` // raw, base64url
	DisplayName   string   `json:"displayName,omitempty"`
	OperatorLabel string   `json:"operatorLabel,omitempty"` // given by device.pair.rename
	Platform      string   `json:"platform,omitempty"`
	DeviceFamily  string   `json:"deviceFamily,omitempty"`
	ClientID      string   `json:"clientId,omitempty"`
	ClientMode    string   `json:"clientMode,omitempty"`
	Role          string   `json:"role,omitempty"` // of the latest approval
	Roles         []string `json:"roles,omitempty"`
	// ApprovedScopes is the most that any token of the device may ever have, for all
	// its roles together; it grows by approvals only, and a revocation shrinks it.
	ApprovedScopes []string         `json:"scopes"`
	RemoteIP       string           `json:"remoteIp,omitempty"`
	ApprovedVia    string           `json:"approvedVia,omitempty"`
	CreatedAtMs    int64            `json:"createdAtMs"`
	ApprovedAtMs   int64            `json:"approvedAtMs"`
	LastSeenAtMs   int64            `json:"lastSeenAtMs,omitzero"`
	LastSeenReason string           `json:"lastSeenReason,omitempty"`
	Tokens         map[string]Token `json:"tokens,omitempty"` // by role
}

// Token is the stored part of a role's token: everything but the token.
type Token struct {
	Hash         string   `json:"hash"`       // hex SHA-256
	Generation   string   `json:"generation"` // random; with the secret it makes the token
	Scopes       []string `json:"scopes"`
	CreatedAtMs  int64    `json:"createdAtMs"`
	RotatedAtMs  int64    `json:"rotatedAtMs,omitzero"`
	RevokedAtMs  int64    `json:"revokedAtMs,omitzero"`
	LastUsedAtMs int64    `json:"lastUsedAtMs,omitzero"`
}

// DeviceView is a device as device.pair.list and device.pair.approve show it: without
// hashes and generations.
type DeviceView struct {
	DeviceID       string      `json:"deviceId"`
	PublicKey      string      `json:"publicKey"`
	DisplayName    string      `json:"displayName,omitempty"`
	OperatorLabel  string      `json:"operatorLabel,omitempty"`
	Platform       string      `json:"platform,omitempty"`
	DeviceFamily   string      `json:"deviceFamily,omitempty"`
	ClientID       string      `json:"clientId,omitempty"`
	ClientMode     string      `json:"clientMode,omitempty"`
	Role           string      `json:"role,omitempty"`
	Roles          []string    `json:"roles,omitempty"`
	Scopes         []string    `json:"scopes"`
	RemoteIP       string      `json:"remoteIp,omitempty"`
	ApprovedVia    string      `json:"approvedVia,omitempty"`
	CreatedAtMs    int64       `json:"createdAtMs"`
	ApprovedAtMs   int64       `json:"approvedAtMs"`
	LastSeenAtMs   int64       `json:"lastSeenAtMs,omitzero"`
	LastSeenReason string      `json:"lastSeenReason,omitempty"`
	Connected      *bool       `json:"connected,omitzero"`
	Tokens         []TokenView `json:"tokens,omitempty"`
}

// TokenView is what is shown of a token.
type TokenView struct {
	Role         string   `json:"role"`
	Scopes       []string `json:"scopes"`
	CreatedAtMs  int64    `json:"createdAtMs"`
	RotatedAtMs  int64    `json:"rotatedAtMs,omitzero"`
	RevokedAtMs  int64    `json:"revokedAtMs,omitzero"`
	LastUsedAtMs int64    `json:"lastUsedAtMs,omitzero"`
}

// View returns what may be shown of a device. connected is nil where it is not known.
func (d *PairedDevice) View(connected *bool) DeviceView {
	v := DeviceView{
		DeviceID: d.DeviceID, PublicKey: d.PublicKey, DisplayName: d.DisplayName, OperatorLabel: d.OperatorLabel,
		Platform: d.Platform, DeviceFamily: d.DeviceFamily, ClientID: d.ClientID, ClientMode: d.ClientMode,
		Role: d.Role, Roles: d.Roles, Scopes: d.ApprovedScopes, RemoteIP: d.RemoteIP, ApprovedVia: d.ApprovedVia,
		CreatedAtMs: d.CreatedAtMs, ApprovedAtMs: d.ApprovedAtMs,
		LastSeenAtMs: d.LastSeenAtMs, LastSeenReason: d.LastSeenReason, Connected: connected,
	}
	for role, t := range d.Tokens {
		v.Tokens = append(v.Tokens, TokenView{
			Role: role, Scopes: t.Scopes, CreatedAtMs: t.CreatedAtMs,
			RotatedAtMs: t.RotatedAtMs, RevokedAtMs: t.RevokedAtMs, LastUsedAtMs: t.LastUsedAtMs,
		})
	}
	slices.SortFunc(v.Tokens, func(a, b TokenView) int { return cmp.Compare(a.Role, b.Role) })
	return v
}

// EffectiveRoles returns the approved roles that have a live token: a revoked role is
// not one until it is approved again.
func (d *PairedDevice) EffectiveRoles() (roles []string) {
	for _, role := range d.Roles {
		if t, ok := d.Tokens[role]; ok && t.RevokedAtMs == 0 {
			roles = append(roles, role)
		}
	}
	return roles
}

// Grant returns the scopes that a role of the device has now: those of its live token,
// within what is approved. It is what a connection's scopes are capped to.
func (d *PairedDevice) Grant(role string) []string {
	t, ok := d.Tokens[role]
	if !ok || t.RevokedAtMs != 0 || !slices.Contains(d.Roles, role) {
		return []string{}
	}
	return CapScopes(role, t.Scopes, d.ApprovedScopes)
}

// onlyOperator reports whether the device has no role, and no token, but the operator's.
func (d *PairedDevice) onlyOperator() bool {
	for role := range d.Tokens {
		if role != RoleOperator {
			return false
		}
	}
	return !slices.ContainsFunc(append([]string{d.Role}, d.Roles...), func(r string) bool { return r != "" && r != RoleOperator })
}

// validDeviceID: ids in params are looked up only if they can be one.
func validDeviceID(id string) bool {
	return len(id) == 64 && strings.Trim(id, "0123456789abcdef") == ""
}

// GetDevice returns a paired device, or storage.ErrNotFound.
func GetDevice(r storage.Reader, deviceID string) (PairedDevice, error) {
	var d PairedDevice
	if !validDeviceID(deviceID) {
		return d, storage.ErrNotFound
	}
	return d, get(r, storage.Devices, deviceID, &d)
}

// ListDevices returns all paired devices, the latest approval first. Their number is
// bounded by Config.MaxDevices.
func ListDevices(r storage.Reader) (devices []PairedDevice, err error) {
	err = r.Scan(storage.Devices, storage.Range{}, func(key string, raw []byte) error {
		var d PairedDevice
		err := decode(storage.Devices, key, raw, &d)
		devices = append(devices, d)
		return err
	})
	slices.SortStableFunc(devices, func(a, b PairedDevice) int { return cmp.Compare(b.ApprovedAtMs, a.ApprovedAtMs) })
	return devices, err
}

func putDevice(tx storage.Tx, d *PairedDevice) error {
	return put(tx, storage.Devices, d.DeviceID, d)
}

func get(r storage.Reader, c storage.Collection, key string, into any) error {
	raw, err := r.Get(c, key)
	if err != nil {
		return err
	}
	return decode(c, key, raw, into)
}

func decode(c storage.Collection, key string, raw []byte, into any) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%w: the record %s/%s: %w", storage.ErrCorrupt, c, key, err)
	}
	return nil
}

func put(tx storage.Tx, c storage.Collection, key string, rec any) error {
	raw, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode the record %s/%s: %w", c, key, err)
	}
	return tx.Put(c, key, raw)
}

func missing(err error) bool { return errors.Is(err, storage.ErrNotFound) }
