package auth

import (
	"slices"
	"testing"

	"sluice/storage"
)

func TestRemoveRenameReject(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		pair(t, a, tx, ask(1, "operator", "operator.read"))
		pair(t, a, tx, ask(2, "node"))
		self := Caller{DeviceID: device(1), Scopes: []string{"operator.pairing"}}
		refused(t, a.Rename(tx, device(2), "x", self), ReasonOwnership)
		refused(t, a.Rename(tx, device(1), "  ", self), "label-required")
		refused(t, a.Rename(tx, device(9), "x", admin), ReasonUnknown)
		must(t, a.Rename(tx, device(1), " desk ", self))
		if d, err := GetDevice(tx, device(1)); err != nil || d.OperatorLabel != "desk" {
			t.Errorf("%+v, %v", d, err)
		}
		waiting := request(t, a, tx, ask(1, "operator", "operator.write"))
		stranger := request(t, a, tx, ask(3, "operator"))
		_, err := a.Reject(tx, stranger.Request.RequestID, self, now)
		refused(t, err, ReasonOwnership)
		_, err = a.Reject(tx, "no such id", self, now)
		refused(t, err, ReasonUnknownRequest)
		if p, err := a.Reject(tx, stranger.Request.RequestID, operator("operator.pairing"), now); err != nil || p.DeviceID != device(3) {
			t.Errorf("%+v, %v", p, err)
		}
		_, err = a.Remove(tx, device(2), self)
		refused(t, err, ReasonOwnership)
		_, err = a.Remove(tx, device(2), Caller{DeviceID: device(2), Scopes: []string{"operator.pairing"}})
		refused(t, err, ReasonRoleNeedsAdmin)
		removed, err := a.Remove(tx, device(1), self)
		must(t, err)
		if removed != device(1) {
			t.Errorf("removed %s", removed)
		}
		if _, err := GetPairing(tx, waiting.Request.RequestID, now); !missing(err) {
			t.Errorf("its request: %v", err)
		}
		_, err = a.Remove(tx, device(1), admin)
		refused(t, err, ReasonUnknown)
		if VisibleTo(self, device(2)) || !VisibleTo(self, device(1)) || !VisibleTo(admin, device(2)) {
			t.Error("visibility")
		}
	})
}

func TestPruneSilent(t *testing.T) {
	inUpdate(t, func(a *Authority, tx storage.Tx) {
		silent := func(n byte, at int64) {
			p := ask(n, "operator")
			p.Silent = true
			res, err := a.RequestPairing(tx, p, at)
			must(t, err)
			_, err = a.Approve(tx, Approval{RequestID: res.Request.RequestID, Via: ViaSilent}, at)
			must(t, err)
		}
		for n := byte(1); n <= 4; n++ {
			silent(n, now)
		}
		pair(t, a, tx, ask(5, "operator")) // by a person: stays
		silent(6, now+100_000)
		silent(7, now+120_000) // the anchor; 6 is too young to go
		busy := func(id string) bool { return id == device(2) }
		removed, err := a.PruneSilent(tx, device(7), busy, now+120_000)
		must(t, err)
		slices.Sort(removed)
		want := []string{device(1), device(3), device(4)}
		slices.Sort(want)
		same(t, "removed", removed, want...)
	})
}
