package auth

import (
	"testing"

	"sluice/storage"
)

// Each test here is a row of the advisories that OpenClaw published about pairing and
// tokens (reference/advisories.md): the mistake that was made there must not work here.

// CVE-2026-32042: an unpaired device identity was accepted with the shared secret.
func TestUnpairedKeyNeedsPairing(t *testing.T) {
	if got := Need(nil, Access{PublicKey: "key", Role: "operator"}); got != NeedPairing {
		t.Errorf("an unpaired key needs %q", got)
	}
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		_, err := a.EnsureToken(tx, device(1), "operator", nil, now)
		refused(t, err, ReasonUnknown)
	})
}

// CVE-2026-35663: a reconnecting device re-claimed scopes. They are the minimum of what
// is granted and what is asked for, whatever it had in between.
func TestReconnectScopesAreCapped(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		d := pair(t, a, tx, ask(1, "operator", "operator.admin"))
		read := []string{"operator.read"}
		_, err := a.Rotate(tx, Rotation{DeviceID: d.DeviceID, Role: "operator", Scopes: &read, Caller: admin}, now)
		must(t, err)
		d, err = GetDevice(tx, d.DeviceID)
		must(t, err)
		again := Access{PublicKey: "key", Role: "operator", Scopes: []string{"operator.admin"}, Platform: "linux", DeviceFamily: "Linux"}
		if got := Need(&d, again); got != NeedScope {
			t.Errorf("asking for admin again needs %q", got)
		}
		_, err = a.EnsureToken(tx, d.DeviceID, "operator", again.Scopes, now)
		refused(t, err, ReasonOutsideBaseline)
		issued, err := a.EnsureToken(tx, d.DeviceID, "operator", nil, now)
		must(t, err)
		same(t, "its token", issued.Scopes, "operator.read")
		got, err := a.VerifyToken(tx, d.DeviceID, "operator", issued.Token, nil)
		must(t, err)
		same(t, "asking for nothing gives", got)
	})
}

// GHSA-4jpw, CVE-2026-42422: device.token.rotate minted broader scopes, or another
// role, than the caller had.
func TestRotateIsBoundedByCallerAndGrant(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		pair(t, a, tx, ask(1, "operator", "operator.read", "operator.write", "operator.pairing"))
		pair(t, a, tx, ask(2, "operator", "operator.admin"))
		pair(t, a, tx, ask(3, "node"))
		list := func(s ...string) *[]string { return &s }
		self := Caller{DeviceID: device(1), Scopes: []string{"operator.read", "operator.pairing"}}
		for name, x := range map[string]struct {
			rot    Rotation
			reason string
		}{
			"broader than the caller":         {Rotation{DeviceID: device(1), Role: "operator", Scopes: list("operator.write"), Caller: self}, ReasonCallerMissingScope},
			"kept, broader than the caller":   {Rotation{DeviceID: device(1), Role: "operator", Caller: self}, ReasonCallerMissingScope},
			"broader than the grant":          {Rotation{DeviceID: device(1), Role: "operator", Scopes: list("operator.admin"), Caller: admin}, ReasonOutsideBaseline},
			"another device":                  {Rotation{DeviceID: device(2), Role: "operator", Scopes: list("operator.read"), Caller: self}, ReasonOwnership},
			"another role":                    {Rotation{DeviceID: device(1), Role: "node", Caller: self}, ReasonRoleNeedsAdmin},
			"a role it was not approved for":  {Rotation{DeviceID: device(1), Role: "node", Caller: admin}, ReasonUnknown},
			"a node's, without being admin":   {Rotation{DeviceID: device(3), Role: "node", Caller: operator("operator.pairing")}, ReasonRoleNeedsAdmin},
			"an operator's scope on a node":   {Rotation{DeviceID: device(3), Role: "node", Scopes: list("operator.admin"), Caller: admin}, ReasonOutsideBaseline},
			"an unknown device":               {Rotation{DeviceID: device(9), Role: "operator", Caller: admin}, ReasonUnknown},
			"an id with spaces is still own":  {Rotation{DeviceID: " " + device(2) + " ", Role: "operator", Caller: self}, ReasonOwnership},
			"shared-secret caller, no scopes": {Rotation{DeviceID: device(2), Role: "operator", Caller: operator("operator.pairing")}, ReasonCallerMissingScope},
		} {
			_, err := a.Rotate(tx, x.rot, now)
			t.Run(name, func(t *testing.T) { refused(t, err, x.reason) })
		}
		old, err := a.EnsureToken(tx, device(1), "operator", nil, now)
		must(t, err)
		got, err := a.Rotate(tx, Rotation{DeviceID: device(1), Role: "operator", Scopes: list("operator.read"), Caller: self}, now+9)
		must(t, err)
		if got.Delivery != "in-band" || got.Token == "" || got.Token == old.Token || got.RotatedAtMs != now+9 {
			t.Errorf("%+v", got)
		}
		got, err = a.Rotate(tx, Rotation{DeviceID: device(1), Role: "operator", Caller: admin}, now+10)
		must(t, err)
		if got.Delivery != "withheld-cross-device" || got.Token != "" {
			t.Errorf("%+v", got)
		}
	})
}

// GHSA-xmxx, CVE-2026-41916: the old bearer went on working after a rotation.
func TestOldTokenEndsWithRotation(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		pair(t, a, tx, ask(1, "operator", "operator.read"))
		old, err := a.EnsureToken(tx, device(1), "operator", nil, now)
		must(t, err)
		_, err = a.Rotate(tx, Rotation{DeviceID: device(1), Role: "operator", Caller: admin}, now)
		must(t, err)
		_, err = a.VerifyToken(tx, device(1), "operator", old.Token, nil)
		refused(t, err, "token-mismatch")
		// Approving it again is a rotation, too, and says whose sockets must close.
		old, err = a.EnsureToken(tx, device(1), "operator", nil, now)
		must(t, err)
		res := request(t, a, tx, ask(1, "operator", "operator.write"))
		ok, err := approveAs(a, tx, res.Request.RequestID, ViaOwner, admin)
		must(t, err)
		same(t, "replaced", ok.ReplacedRoles, "operator")
		_, err = a.VerifyToken(tx, device(1), "operator", old.Token, nil)
		refused(t, err, "token-mismatch")
	})
}

// CVE-2026-35639: device.pair.approve did not check the approver's scopes.
func TestApproverHoldsEveryScope(t *testing.T) {
	for name, x := range map[string]struct {
		ask    PairingRequest
		caller Caller
		reason string // "" is allowed
		text   string
	}{
		"admin for all":          {ask(1, "operator", "operator.admin"), admin, "", ""},
		"same scopes":            {ask(1, "operator", "operator.read"), operator("operator.read", "operator.pairing"), "", ""},
		"implied scope":          {ask(1, "operator", "operator.read"), operator("operator.write", "operator.pairing"), "", ""},
		"more than it has":       {ask(1, "operator", "operator.write"), operator("operator.read", "operator.pairing"), ReasonCallerMissingScope, "missing scope: operator.write"},
		"admin by a pairer":      {ask(1, "operator", "operator.admin"), operator("operator.pairing"), ReasonCallerMissingScope, "missing scope: operator.admin"},
		"a node by a pairer":     {ask(1, "node"), operator("operator.pairing", "operator.write"), ReasonRoleNeedsAdmin, "device pairing approval denied"},
		"a node by an admin":     {ask(1, "node"), admin, "", ""},
		"another device's":       {ask(1, "operator"), Caller{DeviceID: device(2), Scopes: []string{"operator.pairing"}}, ReasonOwnership, "device pairing approval denied"},
		"its own, more":          {ask(1, "operator", "operator.write"), Caller{DeviceID: device(1), Scopes: []string{"operator.pairing"}}, ReasonCallerMissingScope, "missing scope: operator.read"},
		"scope of another role":  {ask(1, "operator", "node.run"), admin, ReasonScopeOutsideRoles, "invalid scope for requested roles: node.run"},
		"operator scope, node":   {ask(1, "node", "operator.read"), admin, ReasonScopeOutsideRoles, "invalid scope for requested roles: operator.read"},
		"scope without any role": {ask(1, "operator", "root"), admin, ReasonScopeOutsideRoles, "invalid scope for requested roles: root"},
	} {
		t.Run(name, func(t *testing.T) {
			inUpdate(t, func(a *Authority, tx storage.Tx) {
				res := request(t, a, tx, x.ask)
				_, err := approveAs(a, tx, res.Request.RequestID, ViaOwner, x.caller)
				if x.reason == "" {
					must(t, err)
					return
				}
				refused(t, err, x.reason)
				if err.(*Error).Message != x.text {
					t.Errorf("message %q, want %q", err.(*Error).Message, x.text)
				}
				if _, err := GetDevice(tx, x.ask.DeviceID); !missing(err) {
					t.Error("a refused approval left a device")
				}
			})
		})
	}
}

// The same, by the long way: what the device has already counts as granted again.
func TestApproverHoldsWhatIsKept(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		pair(t, a, tx, ask(1, "operator", "operator.admin"))
		res := request(t, a, tx, ask(1, "operator", "operator.read"))
		_, err := approveAs(a, tx, res.Request.RequestID, ViaOwner, operator("operator.read", "operator.pairing"))
		refused(t, err, ReasonCallerMissingScope)
	})
}

// CVE-2026-53862: a bootstrap token was replayed and widened a waiting request.
func TestBootstrapIsUsedOnceAndFrozen(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		// A stranger's or the device's own earlier wish for more is not merged in.
		request(t, a, tx, ask(1, "operator", "operator.admin"))
		token, expires, err := a.IssueBootstrap(tx, []string{"operator"}, []string{"operator.read"}, operator("operator.write"), now)
		must(t, err)
		if expires != now+600_000 {
			t.Errorf("expires %d", expires)
		}
		redeem := func(p PairingRequest, at int64) (Approved, error) { return a.RedeemBootstrap(tx, token, p, at) }
		_, err = redeem(ask(1, "operator", "operator.write"), now)
		refused(t, err, ReasonBootstrapScope)
		_, err = redeem(ask(1, "node"), now)
		refused(t, err, ReasonBootstrapRole)
		_, err = redeem(ask(1, "operator", "node.run"), now)
		refused(t, err, ReasonBootstrapScope)
		_, err = redeem(ask(1, "operator", "operator.read"), expires+1)
		refused(t, err, "bootstrap-token-invalid")
		ok, err := redeem(ask(1, "operator", "operator.read"), now)
		must(t, err)
		same(t, "approved", ok.Device.ApprovedScopes, "operator.read")
		if left, err := ListPairings(tx, now); err != nil || len(left) != 0 {
			t.Errorf("the earlier request is still there: %+v, %v", left, err)
		}
		for _, p := range []PairingRequest{ask(1, "operator", "operator.read"), ask(2, "operator")} {
			_, err = redeem(p, now)
			refused(t, err, "bootstrap-token-invalid")
		}
		_, _, err = a.IssueBootstrap(tx, []string{"operator"}, []string{"operator.admin"}, operator("operator.write"), now)
		refused(t, err, ReasonCallerMissingScope)
		_, _, err = a.IssueBootstrap(tx, []string{"node"}, nil, operator("operator.write"), now)
		refused(t, err, ReasonRoleNeedsAdmin)
		raw := 0
		must(t, tx.Scan(storage.Pairings, storage.Range{}, func(string, []byte) error { raw++; return nil }))
		if raw != 0 {
			t.Errorf("%d rows are left", raw)
		}
	})
}

// CVE-2026-53862, the other half: what is approved under an id is what was shown.
func TestRequestNeverChangesUnderItsID(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		shown := request(t, a, tx, ask(1, "operator", "operator.read"))
		request(t, a, tx, ask(1, "operator", "operator.admin"))
		_, err := approveAs(a, tx, shown.Request.RequestID, ViaOwner, admin)
		refused(t, err, ReasonUnknownRequest)
		if _, err := GetDevice(tx, device(1)); !missing(err) {
			t.Error("the old id approved the new wish")
		}
	})
}

// CVE-2026-53852, CVE-2026-53843: re-pairing without scopes, or a reconnect, gave a
// revoked token back. Revoking is final, and empty does not mean "as before".
func TestRevokedStaysRevoked(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		for _, x := range []struct {
			n      byte
			role   string
			scopes []string
		}{{1, "operator", []string{"operator.admin"}}, {2, "node", nil}} {
			pair(t, a, tx, ask(x.n, x.role, x.scopes...))
			old, err := a.EnsureToken(tx, device(x.n), x.role, nil, now)
			must(t, err)
			_, err = a.Revoke(tx, device(x.n), x.role, admin, now)
			must(t, err)

			_, err = a.VerifyToken(tx, device(x.n), x.role, old.Token, nil)
			refused(t, err, ReasonRevoked)
			_, err = a.EnsureToken(tx, device(x.n), x.role, nil, now)
			refused(t, err, ReasonRevoked)
			_, err = a.Rotate(tx, Rotation{DeviceID: device(x.n), Role: x.role, Caller: admin}, now)
			refused(t, err, ReasonRevoked)

			d, err := GetDevice(tx, device(x.n))
			must(t, err)
			access := Access{PublicKey: "key", Role: x.role, Platform: "linux", DeviceFamily: "Linux"}
			if got := Need(&d, access); got != NeedRole {
				t.Errorf("%s: reconnecting needs %q", x.role, got)
			}
			again := ask(x.n, x.role)
			again.Silent = true
			res := request(t, a, tx, again)
			_, err = approveAs(a, tx, res.Request.RequestID, ViaSilent, Caller{})
			refused(t, err, ReasonRoleRevoked)

			// A person may give the role back, and then it has what was asked for now.
			ok, err := approveAs(a, tx, res.Request.RequestID, ViaOwner, admin)
			must(t, err)
			same(t, x.role+" after an approval without scopes", ok.Device.Grant(x.role))
			same(t, x.role+" baseline", ok.Device.ApprovedScopes)
			_, err = a.EnsureToken(tx, device(x.n), x.role, []string{x.role + ".read"}, now)
			refused(t, err, ReasonOutsideBaseline)
			_, err = a.VerifyToken(tx, device(x.n), x.role, old.Token, nil)
			refused(t, err, "token-mismatch")
		}
	})
}

// Revoking one role leaves the other alone, and takes what rotating takes.
func TestRevokeIsBounded(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		pair(t, a, tx, ask(1, "operator", "operator.write"))
		pair(t, a, tx, ask(1, "node", "node.run"))
		_, err := a.Revoke(tx, device(1), "operator", operator("operator.read", "operator.pairing"), now)
		refused(t, err, ReasonCallerMissingScope)
		_, err = a.Revoke(tx, device(1), "node", operator("operator.write"), now)
		refused(t, err, ReasonRoleNeedsAdmin)
		_, err = a.Revoke(tx, device(1), "operator", Caller{DeviceID: device(2), Scopes: []string{"operator.write"}}, now)
		refused(t, err, ReasonOwnership)
		_, err = a.Revoke(tx, device(1), "worker", admin, now)
		refused(t, err, ReasonUnknown)
		got, err := a.Revoke(tx, device(1), "operator", admin, now+3)
		must(t, err)
		if got.RevokedAtMs != now+3 {
			t.Errorf("%+v", got)
		}
		got, err = a.Revoke(tx, device(1), "operator", admin, now+4)
		must(t, err)
		if got.RevokedAtMs != now+3 {
			t.Errorf("revoked again: %+v", got)
		}
		d, err := GetDevice(tx, device(1))
		must(t, err)
		same(t, "effective roles", d.EffectiveRoles(), "node")
		same(t, "node grant", d.Grant("node"), "node.run")
	})
}
