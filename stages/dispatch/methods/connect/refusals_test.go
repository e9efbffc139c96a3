package connect

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/frames"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// TestCapturedRefusals replays connects that the real gateway refused (captures
// errors, auth_password, pairing, node_role, gateway_client, and a matrix of clients
// and credentials measured on openclaw 2026.9.6) and compares error and close to the
// letter.
func TestCapturedRefusals(t *testing.T) {
	raw, err := os.ReadFile("testdata/refusals.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Name, Mode, Secret, Origin, Device string
		Params                             jsontext.Value
		Error                              jsontext.Value
		Close                              struct {
			Code   uint16
			Reason string
		}
	}
	if err := json.Unmarshal(raw, &rows, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	if len(rows) < 80 {
		t.Fatalf("%d rows, some are lost", len(rows))
	}
	for _, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // wrong secrets wait on a fake clock
				w := newWorld(t, func(d *Deps) { d.Auth.Mode, d.Auth.Secret = row.Mode, row.Secret })
				hs := local()
				hs.Origin = row.Origin
				a := w.connect(hs, withDevice(t, row.Params, row.Device))
				var got struct {
					Error jsontext.Value `json:"error"`
				}
				if err := json.Unmarshal([]byte(a.raw), &got); err != nil {
					t.Fatal(err)
				}
				if want := canonical(t, row.Error); canonical(t, got.Error) != want {
					t.Errorf("error\n  %s\nwant\n  %s", got.Error, want)
				}
				if a.close == nil || a.close.Code != row.Close.Code || a.close.Reason != row.Close.Reason {
					t.Errorf("close %+v, want %+v", a.close, row.Close)
				}
				if ev := w.take(); len(ev) != 0 {
					t.Errorf("a refusal announced %v", ev)
				}
			})
		})
	}
}

// withDevice adds a fresh device to captured params; flaw says what is wrong with it.
func withDevice(t *testing.T, raw jsontext.Value, flaw string) string {
	if flaw == "" {
		return string(raw)
	}
	var p frames.ConnectParams
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	d := newDevice(0)
	flaws := map[string]func(*frames.ConnectDevice){
		"good":                  func(*frames.ConnectDevice) {},
		"no-nonce":              func(*frames.ConnectDevice) {},
		"device-signature":      func(c *frames.ConnectDevice) { c.Signature = strings.Repeat("A", 86) },
		"device-nonce-mismatch": func(c *frames.ConnectDevice) { c.Nonce = "zzz" },
		"device-nonce-missing":  func(c *frames.ConnectDevice) { c.Nonce = " " },
		"device-id-mismatch":    func(c *frames.ConnectDevice) { c.ID = strings.Repeat("0", 64) },
		"device-signature-stale": func(c *frames.ConnectDevice) {
			c.SignedAt -= (130 * time.Second).Milliseconds()
		},
	}
	f, ok := flaws[flaw]
	if !ok {
		t.Fatalf("unknown flaw %q", flaw)
	}
	d.sign(f)(&p)
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if flaw == "no-nonce" {
		return strings.Replace(string(b), `,"nonce":"nonce-1"`, "", 1)
	}
	return string(b)
}

func canonical(t *testing.T, v jsontext.Value) string {
	c := v.Clone()
	if err := c.Canonicalize(); err != nil {
		t.Fatalf("%s: %v", v, err)
	}
	return string(c)
}
