package sessions_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"sluice/storage"

	"github.com/go-json-experiment/json/jsontext"
)

// TestPatch: members change one by one, null clears, unknown ones are kept for clients.
func TestPatch(t *testing.T) {
	w := newWorld(t)
	w.Events.Take()
	var p struct {
		Entry    map[string]any
		Path     string
		Resolved struct{ Model string }
	}
	w.OK("sessions.patch", `{"key":"agent:main:p","label":" L ","icon":"🦞","color":"red","unread":true,"pinned":true,"model":"fake/other","sendPolicy":"deny","verboseLevel":"on"}`, &p)
	if p.Path != "/state/sluice.db" || p.Entry["label"] != "L" || p.Entry["icon"] != "🦞" || p.Entry["modelOverride"] != "other" ||
		p.Entry["providerOverride"] != "fake" || p.Entry["sendPolicy"] != "deny" || p.Resolved.Model != "other" {
		t.Errorf("%+v", p)
	}
	if r := describe(w, "agent:main:p"); r.Label != "L" || r.DisplayName != "L" || r.Icon != "🦞" || r.Color != "red" || !r.Unread || !r.Pinned || r.Model != "other" {
		t.Errorf("%+v", r)
	}
	p.Entry = nil
	w.OK("sessions.patch", `{"key":"agent:main:p","label":null,"icon":null,"unread":false,"model":null,"sendPolicy":null}`, &p)
	for _, gone := range []string{"label", "icon", "modelOverride", "providerOverride", "sendPolicy"} {
		if v, ok := p.Entry[gone]; ok {
			t.Errorf("%s is still %v", gone, v)
		}
	}
	if r := describe(w, "agent:main:p"); r.Label != "" || r.Icon != "" || r.Color != "red" || r.Unread || !r.Pinned || r.Model != "fake-1" {
		t.Errorf("%+v", r)
	}
	if got := changes(w); !slices.Equal(got, []string{"patch agent:main:p", "patch agent:main:p"}) {
		t.Errorf("events: %q", got)
	}
	// The label is free again.
	w.OK("sessions.patch", `{"key":"agent:main:q","label":"L"}`, nil)
	w.OK("sessions.delete", `{"key":"agent:main:q"}`, nil)
	w.OK("sessions.patch", `{"key":"agent:main:p","label":"L"}`, nil)
}

// TestPatchesDoNotLoseUpdates: two clients change different members a thousand times.
func TestPatchesDoNotLoseUpdates(t *testing.T) {
	w := newWorld(t)
	const n = 1000
	var wg sync.WaitGroup
	for _, member := range []string{"icon", "color"} {
		wg.Go(func() {
			c := w.Client()
			for i := range n {
				w.Send(c, "sessions.patch", fmt.Sprintf(`{"key":"agent:main:p","%s":"%d"}`, member, i))
				if a := c.Next(t); !a.OK {
					t.Error(a.Error.Message)
					return
				}
				if i%100 != 0 {
					continue
				}
				// What was acknowledged is there.
				var got map[string]any
				err := w.Store.View(t.Context(), func(r storage.Reader) error {
					row, err := storage.GetSession(r, "agent:main:p")
					got = map[string]any{"icon": string(row.Extra["icon"]), "color": string(row.Extra["color"])}
					return err
				})
				if want := fmt.Sprintf("%q", fmt.Sprint(i)); err != nil || got[member] != want {
					t.Errorf("%s is %v after %s, %v", member, got[member], want, err)
				}
			}
		})
	}
	wg.Wait()
	if r := describe(w, "agent:main:p"); r.Icon != fmt.Sprint(n-1) || r.Color != fmt.Sprint(n-1) {
		t.Errorf("%+v", r)
	}
}

// TestLabelsAreUnique also when many want the same one at once.
func TestLabelsAreUnique(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 30 {
		wg.Go(func() {
			a := w.As(w.Client(), "sessions.patch", fmt.Sprintf(`{"key":"agent:main:s%d","label":"the one"}`, i))
			mu.Lock()
			defer mu.Unlock()
			if a.OK {
				won++
			} else if a.Error.Message != "label already in use: the one" {
				t.Error(a.Error.Message)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d sessions got the label", won)
	}
}

// FuzzPatch: whatever is sent, the answer is an answer and the row stays readable.
func FuzzPatch(f *testing.F) {
	for _, s := range []string{`{"label":"x"}`, `{"icon":null,"model":"a/b"}`, `{"archived":false,"expectedSessionId":"x"}`, `{"fastMode":"auto","toolOverrides":{}}`} {
		f.Add(s)
	}
	w := newWorld(f)
	w.OK("sessions.create", `{"key":"agent:main:p"}`, nil)
	c := w.Client()
	f.Fuzz(func(t *testing.T, members string) {
		params := strings.TrimSpace(members)
		if !strings.HasPrefix(params, "{") {
			return
		}
		params = `{"key":"agent:main:p",` + strings.TrimPrefix(params, "{")
		if !jsontext.Value(params).IsValid() {
			return // such frames are not answered
		}
		w := w.With(t)
		w.Send(c, "sessions.patch", params)
		c.Next(t)
		if describe(w, "agent:main:p") == nil {
			t.Fatal("the session is gone")
		}
	})
}
