package auth

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
)

const challenge = "40dac246-f755-4cee-bf33-c25cd5b868db"

func testKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize))
}

func signed() Proof {
	p := Proof{
		SignedAtMs: now, Nonce: challenge, ClientID: "cli", ClientMode: "cli", Platform: "Linux ", DeviceFamily: "Linux",
		Role: "operator", Scopes: []string{"operator.read", "operator.write"}, Token: "secret",
	}
	p.Sign(testKey())
	return p
}

func TestProof(t *testing.T) {
	a := authority(t)
	public := testKey().Public().(ed25519.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	must(t, err)
	v2 := signed()
	v2.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(testKey(), v2.Payload("v2")))
	for name, x := range map[string]struct {
		change  func(*Proof)
		version string // of an accepted proof
		code    string // of a refused one
		reason  string
	}{
		"v3":                 {func(*Proof) {}, "v3", "", ""},
		"v2":                 {func(p *Proof) { *p = v2 }, "v2", "", ""},
		"nonce with spaces":  {func(p *Proof) { p.Nonce = " " + challenge + "\n" }, "v3", "", ""},
		"platform in caps":   {func(p *Proof) { p.Platform, p.DeviceFamily = "LINUX", " linux" }, "v3", "", ""},
		"PEM":                {func(p *Proof) { p.PublicKey = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})) }, "v3", "", ""},
		"base64":             {func(p *Proof) { p.PublicKey = base64.StdEncoding.EncodeToString(public) }, "v3", "", ""},
		"padded signature":   {func(p *Proof) { p.Signature += "==" }, "v3", "", ""},
		"edge of the skew":   {func(p *Proof) { p.SignedAtMs = now - 120_000; p.Sign(testKey()) }, "v3", "", ""},
		"v2, other platform": {func(p *Proof) { *p = v2; p.Platform = "darwin" }, "v2", "", ""},

		"wrong id":          {func(p *Proof) { p.DeviceID = strings.Repeat("0", 64) }, "", CodeDeviceIDMismatch, "device-id-mismatch"},
		"id in caps":        {func(p *Proof) { p.DeviceID = strings.ToUpper(p.DeviceID) }, "", CodeDeviceIDMismatch, "device-id-mismatch"},
		"no key":            {func(p *Proof) { p.PublicKey = "" }, "", CodeDeviceIDMismatch, "device-id-mismatch"},
		"garbage key":       {func(p *Proof) { p.PublicKey = "-----BEGIN NOTHING" }, "", CodeDeviceIDMismatch, "device-id-mismatch"},
		"huge key":          {func(p *Proof) { p.PublicKey = strings.Repeat("A", 5000) }, "", CodeDeviceIDMismatch, "device-id-mismatch"},
		"short key":         {func(p *Proof) { p.PublicKey = "AAAA"; p.DeviceID = deviceID([]byte{0, 0, 0}) }, "", CodeSignatureInvalid, "device-signature"},
		"old":               {func(p *Proof) { p.SignedAtMs = now - 120_001; p.Sign(testKey()) }, "", CodeSignatureExpired, "device-signature-stale"},
		"from the future":   {func(p *Proof) { p.SignedAtMs = now + 120_001; p.Sign(testKey()) }, "", CodeSignatureExpired, "device-signature-stale"},
		"no time":           {func(p *Proof) { p.SignedAtMs = 0 }, "", CodeSignatureExpired, "device-signature-stale"},
		"no nonce":          {func(p *Proof) { p.Nonce = "  " }, "", CodeNonceRequired, "device-nonce-missing"},
		"replayed nonce":    {func(p *Proof) { p.Nonce = "another" }, "", CodeNonceMismatch, "device-nonce-mismatch"},
		"no signature":      {func(p *Proof) { p.Signature = "" }, "", CodeSignatureInvalid, "device-signature"},
		"bad base64":        {func(p *Proof) { p.Signature = "!!!!" }, "", CodeSignatureInvalid, "device-signature"},
		"more scopes":       {func(p *Proof) { p.Scopes = append(p.Scopes, "operator.admin") }, "", CodeSignatureInvalid, "device-signature"},
		"scopes reordered":  {func(p *Proof) { p.Scopes = []string{"operator.write", "operator.read"} }, "", CodeSignatureInvalid, "device-signature"},
		"other role":        {func(p *Proof) { p.Role = "node" }, "", CodeSignatureInvalid, "device-signature"},
		"other token":       {func(p *Proof) { p.Token = "stolen" }, "", CodeSignatureInvalid, "device-signature"},
		"other client":      {func(p *Proof) { p.ClientID = "openclaw-control-ui" }, "", CodeSignatureInvalid, "device-signature"},
		"v3 other platform": {func(p *Proof) { p.Platform = "darwin" }, "", CodeSignatureInvalid, "device-signature"},
		"fields run over":   {func(p *Proof) { p.ClientID, p.ClientMode = "cli|cli", "" }, "", CodeSignatureInvalid, "device-signature"},
		"id before time":    {func(p *Proof) { p.DeviceID, p.SignedAtMs, p.Nonce = "x", 0, "" }, "", CodeDeviceIDMismatch, "device-id-mismatch"},
		"time before nonce": {func(p *Proof) { p.SignedAtMs, p.Nonce, p.Signature = 0, "", "" }, "", CodeSignatureExpired, "device-signature-stale"},
	} {
		t.Run(name, func(t *testing.T) {
			p := signed()
			x.change(&p)
			id, err := a.VerifyProof(p, challenge, now)
			if x.code == "" {
				if err != nil || id.Version != x.version || id.DeviceID != p.DeviceID || id.PublicKey != base64.RawURLEncoding.EncodeToString(public) {
					t.Errorf("%+v, %v", id, err)
				}
				return
			}
			refused(t, err, x.reason)
			if e := err.(*Error); e.Code != x.code || e.Message == "" {
				t.Errorf("%+v, want the code %s", e, x.code)
			}
		})
	}
}

// TestRecordedProofs verifies the signatures that real clients made, from recordings of
// the real gateway (testdata/connects.jsonl).
func TestRecordedProofs(t *testing.T) {
	file, err := os.Open(filepath.Join("testdata", "connects.jsonl"))
	must(t, err)
	defer file.Close()
	a := authority(t)
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	n := 0
	for ; lines.Scan(); n++ {
		var rec struct {
			Capture string `json:"capture"`
			AtMs    int64  `json:"atMs"`
			Nonce   string `json:"nonce"`
			Params  struct {
				Client struct {
					ID, Mode, Platform, DeviceFamily string
				} `json:"client"`
				Role   string   `json:"role"`
				Scopes []string `json:"scopes"`
				Auth   struct {
					Token          *string `json:"token"`
					DeviceToken    *string `json:"deviceToken"`
					BootstrapToken *string `json:"bootstrapToken"`
				} `json:"auth"`
				Device struct {
					ID        string `json:"id"`
					PublicKey string `json:"publicKey"`
					Signature string `json:"signature"`
					SignedAt  int64  `json:"signedAt"`
					Nonce     string `json:"nonce"`
				} `json:"device"`
			} `json:"params"`
			Want string `json:"want"`
		}
		must(t, json.Unmarshal(lines.Bytes(), &rec, json.MatchCaseInsensitiveNames(true)))
		c := rec.Params
		p := Proof{
			DeviceID: c.Device.ID, PublicKey: c.Device.PublicKey, Signature: c.Device.Signature, SignedAtMs: c.Device.SignedAt,
			Nonce: c.Device.Nonce, ClientID: c.Client.ID, ClientMode: c.Client.Mode, Platform: c.Client.Platform,
			DeviceFamily: c.Client.DeviceFamily, Role: c.Role, Scopes: c.Scopes,
		}
		if p.Role == "" {
			p.Role = RoleOperator
		}
		for _, token := range []*string{c.Auth.Token, c.Auth.DeviceToken, c.Auth.BootstrapToken} {
			if token != nil {
				p.Token = *token
				break
			}
		}
		id, err := a.VerifyProof(p, rec.Nonce, rec.AtMs)
		got := id.Version
		if err != nil {
			got = err.(*Error).Code
		}
		if got != rec.Want {
			t.Errorf("line %d, %s, %s/%s: %s, want %s", n+1, rec.Capture, p.ClientID, p.ClientMode, got, rec.Want)
		}
	}
	must(t, lines.Err())
	if n < 5 {
		t.Errorf("only %d recordings", n)
	}
}

func FuzzVerifyProof(f *testing.F) {
	p := signed()
	f.Add(p.DeviceID, p.PublicKey, p.Signature, p.Nonce, now)
	f.Add("", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "=", "", int64(-1)<<63)
	a := authority(f)
	f.Fuzz(func(t *testing.T, id, key, signature, nonce string, at int64) {
		q := signed()
		q.DeviceID, q.PublicKey, q.Signature, q.Nonce, q.SignedAtMs = id, key, signature, nonce, at
		got, err := a.VerifyProof(q, challenge, now)
		if err == nil && (got.DeviceID != p.DeviceID || at != now) {
			t.Fatalf("accepted %+v", q)
		}
	})
}

func TestMintToken(t *testing.T) {
	token, hash := MintToken()
	if len(token) != 43 || !TokenMatches(token, hash) {
		t.Errorf("%s %s", token, hash)
	}
	for _, x := range [][2]string{{"", ""}, {"", HashToken("")}, {token, ""}, {token + "x", hash}, {hash, hash}} {
		if TokenMatches(x[0], x[1]) {
			t.Errorf("%q matches", x)
		}
	}
}

func TestLoadOrCreateSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "secret")
	var wg sync.WaitGroup
	secrets := make([][]byte, 8)
	for i := range secrets {
		wg.Go(func() {
			var err error
			if secrets[i], err = LoadOrCreateSecret(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range secrets {
		if len(s) != SecretBytes || !bytes.Equal(s, secrets[0]) {
			t.Errorf("two starts at once made %x and %x", s, secrets[0])
		}
	}
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".secret-*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	must(t, os.WriteFile(path, []byte("garbage"), 0o600))
	if _, err := LoadOrCreateSecret(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "garbage" {
		t.Error("a file that is no secret was replaced")
	}
	if _, err := New(Default(), []byte("short")); err == nil {
		t.Error("a short secret was taken")
	}
	bad := Default()
	bad.SkewMs = 0
	if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), "skewMs") {
		t.Errorf("%v", err)
	}
}
