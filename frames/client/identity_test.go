package client

import (
	"crypto/ed25519"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
)

func TestIdentityFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device.json")
	ids := make([]*Identity, 8)
	var wg sync.WaitGroup
	for i := range ids { // all at once: one file, one key
		wg.Go(func() { ids[i], _ = LoadIdentity(path) })
	}
	wg.Wait()
	for _, id := range ids {
		if id == nil || id.DeviceID != ids[0].DeviceID {
			t.Fatalf("identities differ: %+v", ids)
		}
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".identity-*"))
	if len(left) > 0 {
		t.Errorf("temporary files stay: %v", left)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("world-readable key: %v", err)
	}
}

func TestIdentityDamaged(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	if _, err := LoadIdentity(good); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(good)
	for name, body := range map[string]string{
		"empty":     "",
		"not json":  "{",
		"no pem":    `{"deviceId":"x","publicKey":"y","pem":"z"}`,
		"wrong id":  strings.Replace(string(b), `"deviceId":"`, `"deviceId":"0`, 1),
		"too large": strings.Repeat(" ", maxIdentityBytes+1),
	} {
		p := filepath.Join(dir, "bad")
		if err := os.WriteFile(p, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadIdentity(p); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestProof checks the signed text against wire.md 3.4, letter by letter.
func TestProof(t *testing.T) {
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	o := testOptions("")
	o.Identity = id
	o.Client = Info{ID: "cli", Version: "1", Platform: " LinuX ", DeviceFamily: "É-Box", Mode: "cli"}
	o.Scopes = []string{"operator.read", "operator.write"}
	connected := make(chan request, 1)
	o.URL = serve(t, func(p peer) {
		connected <- p.greet()
		p.next()
	})
	mustDial(t, o)
	var params struct {
		Device deviceBlock `json:"device"`
		Auth   Auth        `json:"auth"`
	}
	r := <-connected
	if err := json.Unmarshal(r.Params, &params); err != nil || r.Method != "connect" {
		t.Fatal(err, r.Method)
	}
	text := "v3|" + id.DeviceID + "|cli|cli|operator|operator.read,operator.write|1795398882925|tok|" + testNonce + "|linux|É-box"
	pub, _ := base64.RawURLEncoding.DecodeString(params.Device.PublicKey)
	sig, _ := base64.RawURLEncoding.DecodeString(params.Device.Signature)
	if !ed25519.Verify(pub, []byte(text), sig) {
		t.Error("the proof does not verify")
	}
	if params.Device.ID != id.DeviceID || params.Device.SignedAt != 1795398882925 || params.Auth.Token != "tok" {
		t.Errorf("%+v", params)
	}
}

func FuzzParseIdentity(f *testing.F) {
	f.Add([]byte(`{"deviceId":"x","publicKey":"y","pem":"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, err := parseIdentity(b); err == nil && len(id.DeviceID) != 64 {
			t.Fatalf("%+v", id)
		}
	})
}
