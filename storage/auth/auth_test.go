package auth

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/storage"
	"sluice/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const now = int64(1_795_399_852_000)

var admin = Caller{Scopes: []string{"operator.admin"}}

func authority(t testing.TB) *Authority {
	t.Helper()
	a, err := New(Default(), bytes.Repeat([]byte{7}, SecretBytes))
	must(t, err)
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inUpdate runs fn in a transaction of a new store in memory.
func inUpdate(t *testing.T, fn func(a *Authority, tx storage.Tx)) {
	t.Helper()
	a := authority(t)
	must(t, storagetest.NewMemory().Update(context.Background(), func(tx storage.Tx) error { fn(a, tx); return nil }))
}

// refused checks that err is an *Error with a reason.
func refused(t testing.TB, err error, reason string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Reason != reason {
		t.Errorf("got %v, want the reason %s", err, reason)
	}
}

func same(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// device returns the id of the n-th test device.
func device(n byte) string {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	return deviceID(key.Public().(ed25519.PublicKey))
}

func ask(n byte, role string, scopes ...string) PairingRequest {
	return PairingRequest{
		DeviceID: device(n), PublicKey: "key", Role: role, Scopes: scopes, Platform: "linux", DeviceFamily: "Linux",
		ClientID: "cli", ClientMode: "cli", RemoteIP: "192.0.2.1",
	}
}

func request(t testing.TB, a *Authority, tx storage.Tx, p PairingRequest) PairingResult {
	t.Helper()
	res, err := a.RequestPairing(tx, p, now)
	must(t, err)
	return res
}

// pair lets a device be approved by an admin.
func pair(t testing.TB, a *Authority, tx storage.Tx, p PairingRequest) PairedDevice {
	t.Helper()
	res := request(t, a, tx, p)
	ok, err := a.Approve(tx, Approval{RequestID: res.Request.RequestID, Via: ViaOwner, Caller: admin}, now)
	must(t, err)
	return ok.Device
}

func approveAs(a *Authority, tx storage.Tx, id, via string, c Caller) (Approved, error) {
	return a.Approve(tx, Approval{RequestID: id, Via: via, Caller: c}, now)
}

func operator(scopes ...string) Caller { return Caller{Scopes: scopes} }

func TestScopes(t *testing.T) {
	same(t, "admin", NormalizeScopes([]string{" operator.admin ", "", "operator.admin"}), "operator.admin", "operator.read", "operator.write")
	same(t, "none", NormalizeScopes(nil))
	for _, x := range []struct{ role, requested, granted, missing string }{
		{"operator", "", "", ""},
		{"operator", "operator.read", "", "operator.read"},
		{"operator", "operator.read", "operator.write", ""},
		{"operator", "operator.write", "operator.read", "operator.write"},
		{"operator", "operator.approvals operator.talk.secrets", "operator.admin", ""},
		{"operator", "operator.talk", "operator.write", ""},
		{"operator", "operator.talk.secrets", "operator.write", "operator.talk.secrets"},
		{"operator", "operator.sessions.read", "operator.read", ""},
		{"operator", "operator.sessions.write", "operator.read", "operator.sessions.write"},
		{"operator", "operator.sessions.read", "operator.sessions.write", ""},
		{"operator", "node.x", "operator.admin node.x", "node.x"},
		{"operator", "admin", "operator.admin", "admin"},
		{"node", "operator.read", "operator.read", "operator.read"},
		{"node", "node.run", "node.run", ""},
		{"node", "node.run", "operator.admin", "node.run"},
		{"nodeX", "node.run", "node.run", "node.run"},
	} {
		if got := MissingScope(x.role, strings.Fields(x.requested), strings.Fields(x.granted)); got != x.missing {
			t.Errorf("%+v: missing %q", x, got)
		}
	}
	same(t, "cap", CapScopes("operator", []string{"operator.admin", "operator.read", "operator.pairing"}, []string{"operator.write"}), "operator.read")
}

func TestPairing(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		first := request(t, a, tx, ask(1, "operator", "operator.read"))
		if !first.Created || first.Request.IsRepair || len(first.Superseded) != 0 || first.Request.ExpiresAtMs != now+300_000 {
			t.Errorf("first: %+v", first)
		}
		// The same again, and less: the same request, refreshed.
		for _, p := range []PairingRequest{ask(1, "operator", "operator.read"), ask(1, "operator")} {
			again, err := a.RequestPairing(tx, p, now+1000)
			if err != nil || again.Created || again.Request.RequestID != first.Request.RequestID || again.Request.ExpiresAtMs != now+301_000 {
				t.Errorf("again: %+v, %v", again, err)
			}
			same(t, "refreshed scopes", again.Request.Scopes, "operator.read")
		}
		// More: another request for all of it, and the first is superseded.
		more := request(t, a, tx, ask(1, "operator", "operator.write"))
		if !more.Created || len(more.Superseded) != 1 || more.Superseded[0].RequestID != first.Request.RequestID {
			t.Errorf("more: %+v", more)
		}
		same(t, "merged scopes", more.Request.Scopes, "operator.read", "operator.write")
		if _, err := GetPairing(tx, first.Request.RequestID, now); !missing(err) {
			t.Errorf("the superseded request: %v", err)
		}
		ok, err := approveAs(a, tx, more.Request.RequestID, ViaOwner, admin)
		must(t, err)
		same(t, "roles", ok.Device.Roles, "operator")
		same(t, "grant", ok.Device.Grant("operator"), "operator.read", "operator.write")
		if ok.Device.ApprovedVia != ViaOwner || ok.Device.CreatedAtMs != now {
			t.Errorf("device: %+v", ok.Device)
		}
		if _, err := approveAs(a, tx, more.Request.RequestID, ViaOwner, admin); err == nil {
			t.Error("approved twice")
		}
		if left, err := ListPairings(tx, now); err != nil || len(left) != 0 {
			t.Errorf("left: %+v, %v", left, err)
		}
		// Silence ends with the first request that was not silent.
		loud, quiet := ask(2, "operator"), ask(2, "operator", "operator.read")
		quiet.Silent = true
		request(t, a, tx, loud)
		if res := request(t, a, tx, quiet); res.Request.Silent {
			t.Error("a silent request made a loud one silent")
		}
	})
}

func TestPairingExpires(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		p := request(t, a, tx, ask(1, "operator"))
		late := now + 300_001
		if _, err := GetPairing(tx, p.Request.RequestID, late); !missing(err) {
			t.Errorf("after five minutes: %v", err)
		}
		_, err := a.Approve(tx, Approval{RequestID: p.Request.RequestID, Via: ViaOwner, Caller: admin}, late)
		refused(t, err, ReasonUnknownRequest)
		if n, more, err := a.PrunePairings(tx, late, 10); n != 1 || more || err != nil {
			t.Errorf("pruned %d, %v, %v", n, more, err)
		}
	})
}

func TestPairingBounds(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		for n := range byte(8) {
			request(t, a, tx, ask(n, "operator"))
		}
		_, err := a.RequestPairing(tx, ask(8, "operator"), now)
		refused(t, err, ReasonTooManyPending)
		request(t, a, tx, ask(3, "operator", "operator.read")) // its own place is free for it
		other := ask(8, "operator")
		other.RemoteIP = "192.0.2.2"
		request(t, a, tx, other)
		for n := byte(9); n < 64; n++ {
			p := ask(n, "operator")
			p.RemoteIP = string('a' + rune(n))
			request(t, a, tx, p)
		}
		p := ask(99, "operator")
		p.RemoteIP = "203.0.113.1"
		_, err = a.RequestPairing(tx, p, now)
		refused(t, err, ReasonTooManyPending)
		_, err = a.RequestPairing(tx, p, now+300_001) // when they have expired there is room
		must(t, err)
	})
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		a.cfg.MaxDevices = 2
		pair(t, a, tx, ask(1, "operator"))
		pair(t, a, tx, ask(2, "operator"))
		pair(t, a, tx, ask(2, "operator", "operator.read"))
		res := request(t, a, tx, ask(3, "operator"))
		_, err := approveAs(a, tx, res.Request.RequestID, ViaOwner, admin)
		refused(t, err, ReasonTooManyDevices)
	})
}

func TestNeed(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		d := pair(t, a, tx, ask(1, "operator", "operator.write"))
		base := Access{PublicKey: "key", Role: "operator", Scopes: []string{"operator.read"}, ClientID: "cli", ClientMode: "cli", Platform: " LINUX ", DeviceFamily: "linux"}
		for name, x := range map[string]struct {
			change func(*Access)
			want   string
		}{
			"as approved":    {func(*Access) {}, NeedNothing},
			"no scopes":      {func(a *Access) { a.Scopes = nil }, NeedNothing},
			"another key":    {func(a *Access) { a.PublicKey = "other" }, NeedPairing},
			"platform":       {func(a *Access) { a.Platform = "darwin" }, NeedMetadata},
			"no platform":    {func(a *Access) { a.Platform = "" }, NeedMetadata},
			"family":         {func(a *Access) { a.DeviceFamily = "Mac" }, NeedMetadata},
			"role":           {func(a *Access) { a.Role = "node"; a.Scopes = nil }, NeedRole},
			"scope":          {func(a *Access) { a.Scopes = []string{"operator.admin"} }, NeedScope},
			"metadata first": {func(a *Access) { a.Platform, a.Role, a.Scopes = "x", "node", []string{"y"} }, NeedMetadata},
		} {
			access := base
			x.change(&access)
			if got := Need(&d, access); got != x.want {
				t.Errorf("%s: %q, want %q", name, got, x.want)
			}
		}
		if got := Need(nil, base); got != NeedPairing {
			t.Errorf("unknown: %q", got)
		}
		if PairingMessage(NeedPairing) != "pairing required: device is not approved yet" || RemediationHint(NeedMetadata) == "" {
			t.Error("texts")
		}
	})
	for _, x := range []struct {
		client, pinned, claimed string
		changed                 bool
	}{
		{"openclaw-ios", "iOS 18.1", "iOS 19.0", false},
		{"openclaw-ios", "iOS 18.1", "android 15", true},
		{"cli", "iOS 18.1", "iOS 19.0", true},
		{"openclaw-macos", "darwin", "macOS 26.1", false},
		{"node-host", "darwin", "macos", false},
		{"node-host", "macos 15.1", "darwin", false},
		{"node-host", "linux", "win32", true},
		{"openclaw-android", "android 14", "android 15", false},
	} {
		got := metadataChanged(&PairedDevice{Platform: x.pinned}, Access{ClientID: x.client, ClientMode: "node", Platform: x.claimed})
		if got != x.changed {
			t.Errorf("%+v: %v", x, got)
		}
	}
}

func TestTokens(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		pair(t, a, tx, ask(1, "operator", "operator.write"))
		id := device(1)
		first, err := a.EnsureToken(tx, id, "operator", []string{"operator.read"}, now+1)
		must(t, err)
		again, err := a.EnsureToken(tx, id, "operator", nil, now+2)
		must(t, err)
		if first.Token != again.Token || len(first.Token) != 43 || first.IssuedAtMs != now {
			t.Errorf("the same token on later connects: %+v, %+v", first, again)
		}
		scopes, err := a.VerifyToken(tx, id, "operator", first.Token, []string{"operator.read"})
		must(t, err)
		same(t, "scopes are those asked for", scopes, "operator.read")
		scopes, err = a.VerifyToken(tx, id, "operator", first.Token, nil)
		must(t, err)
		same(t, "none asked for", scopes)
		for name, x := range map[string]struct {
			id, role, token string
			scopes          []string
			code, reason    string
		}{
			"empty":       {id, "operator", "", nil, CodeDeviceTokenMismatch, "token-mismatch"},
			"wrong":       {id, "operator", first.Token + "x", nil, CodeDeviceTokenMismatch, "token-mismatch"},
			"other role":  {id, "node", first.Token, nil, CodeDeviceTokenMismatch, "token-missing"},
			"other id":    {device(2), "operator", first.Token, nil, CodeDeviceTokenMismatch, "device-not-paired"},
			"path as id":  {"../" + id, "operator", first.Token, nil, CodeDeviceTokenMismatch, "device-not-paired"},
			"more scopes": {id, "operator", first.Token, []string{"operator.admin"}, CodeScopeMismatch, "scope-mismatch"},
		} {
			_, err := a.VerifyToken(tx, x.id, x.role, x.token, x.scopes)
			refused(t, err, x.reason)
			if err.(*Error).Code != x.code {
				t.Errorf("%s: code %s, want %s", name, err.(*Error).Code, x.code)
			}
		}
		raw, err := tx.Get(storage.Devices, id)
		must(t, err)
		if strings.Contains(string(raw), first.Token) {
			t.Error("the token is stored in the clear")
		}
		must(t, a.Touch(tx, id, Seen{Role: "operator", Reason: "connect", RemoteIP: "192.0.2.9"}, now+5))
		d, err := GetDevice(tx, id)
		must(t, err)
		if d.LastSeenAtMs != now+5 || d.Tokens["operator"].LastUsedAtMs != now+5 || d.RemoteIP != "192.0.2.9" || a.TouchDue(&d, now+6) || !a.TouchDue(&d, now+60_005) {
			t.Errorf("touched: %+v", d)
		}
		must(t, a.Touch(tx, device(9), Seen{}, now))
	})
}

// TestSecretReplaced: a new secret ends every token, and devices get new ones with the
// same rights.
func TestSecretReplaced(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		pair(t, a, tx, ask(1, "operator", "operator.write"))
		old, err := a.EnsureToken(tx, device(1), "operator", nil, now)
		must(t, err)
		b, err := New(Default(), bytes.Repeat([]byte{8}, SecretBytes))
		must(t, err)
		_, err = b.VerifyToken(tx, device(1), "operator", old.Token, nil)
		refused(t, err, "token-mismatch")
		fresh, err := b.EnsureToken(tx, device(1), "operator", nil, now+7)
		must(t, err)
		if fresh.Token == old.Token || fresh.IssuedAtMs != now+7 {
			t.Errorf("%+v", fresh)
		}
		same(t, "scopes", fresh.Scopes, "operator.read", "operator.write")
		_, err = b.VerifyToken(tx, device(1), "operator", fresh.Token, nil)
		must(t, err)
	})
}

func TestView(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		d := pair(t, a, tx, ask(1, "operator", "operator.write"))
		yes := true
		v := d.View(&yes)
		if len(v.Tokens) != 1 || v.Tokens[0].Role != "operator" || *v.Connected != true {
			t.Errorf("%+v", v)
		}
		must(t, put(tx, storage.Meta, "view", v))
		raw, err := tx.Get(storage.Meta, "view")
		must(t, err)
		for _, secret := range []string{d.Tokens["operator"].Hash, d.Tokens["operator"].Generation, "hash", "generation"} {
			if strings.Contains(string(raw), secret) {
				t.Errorf("the view shows %q: %s", secret, raw)
			}
		}
	})
}
