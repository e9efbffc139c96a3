package policy

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

type ctx = context.Context

// TestParity holds canonical form and signature to the first runtime's.
func TestParity(t *testing.T) {
	raw, err := os.ReadFile("testdata/policy-bundle-signature.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Key       string         `json:"key"`
			Unsigned  jsontext.Value `json:"unsigned"`
			Canonical string         `json:"canonical"`
			Signature string         `json:"signature"`
			Valid     bool           `json:"valid"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(raw, &file); err != nil || len(file.Cases) != 3 {
		t.Fatal(err, len(file.Cases))
	}
	for i, c := range file.Cases {
		doc, _, err := Canonical(c.Unsigned)
		if err != nil || c.Canonical != "" && string(doc) != c.Canonical {
			t.Errorf("case %d: %s %v", i, doc, err)
		}
		if VerifyHMAC(c.Key, doc, c.Signature) != c.Valid {
			t.Errorf("case %d: valid is not %v", i, c.Valid)
		}
		// The whole way: with the signature in the document.
		whole := strings.TrimSuffix(strings.TrimSpace(string(c.Unsigned)), "}") + `,"signature":"` + c.Signature + `"}`
		cfg := bare()
		cfg.Bundle.HMACKey = c.Key
		p := mustNew(t, cfg, Deps{Now: func() time.Time { return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC) }})
		b, err := p.Accept([]byte(whole))
		if (err == nil) != c.Valid || c.Valid && *b.Policy.BlockThreshold != 55 {
			t.Errorf("case %d: %v", i, err)
		}
	}
}

// bundles makes signed bundles in a file.
type bundles struct {
	t     *testing.T
	path  string
	key   ed25519.PrivateKey
	cfg   Config
	state *memory
	clock *clock
	told  []Change
}

func newBundles(t *testing.T) *bundles {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &bundles{t: t, key: private, path: filepath.Join(t.TempDir(), "bundle.json"), state: newMemory(), cfg: bare(),
		clock: &clock{now: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)}}
	b.cfg.Bundle.Path = b.path
	b.cfg.Bundle.PublicKeys = map[string]string{"ops": base64.StdEncoding.EncodeToString(public)}
	b.cfg.Bundle.HMACKey = "secret"
	b.cfg.Bundle.HMACKeys = map[string]string{"old": "older secret"}
	return b
}

func (b *bundles) deps() Deps {
	return Deps{State: b.state, Now: b.clock.Now, Changed: func(_ ctx, c Change) { b.told = append(b.told, c) }}
}

// sign writes a bundle; sign with key "" is Ed25519.
func (b *bundles) sign(hmacKey, doc string) {
	b.t.Helper()
	var sig string
	var err error
	if hmacKey == "" {
		sig, err = SignEd25519(b.key, []byte(doc))
	} else {
		sig, err = SignHMAC(hmacKey, []byte(doc))
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.write(strings.TrimSuffix(doc, "}") + `,"signature":"` + sig + `"}`)
}

func (b *bundles) write(text string) {
	b.t.Helper()
	if err := os.WriteFile(b.path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func doc(sequence int, policy string) string {
	return fmt.Sprintf(`{"version":1,"bundleId":"b%d","keyId":"ops","signedAt":"2026-04-30T00:00:00Z","expiresAt":"2026-06-01T00:00:00Z","sequence":%d,"policy":%s}`,
		sequence, sequence, policy)
}

func TestBundle(t *testing.T) {
	b := newBundles(t)
	b.sign("", doc(5, `{"reviewThreshold":20,"blockThreshold":50,"toolPolicies":{"exec":"block"}}`))
	p := mustNew(t, b.cfg, b.deps())
	if got := judge(t, p, call("s", "bash", "")); got != "block 0 tool_policy" {
		t.Error(got)
	}
	if e, ok := p.Effective(); !ok || *e.ReviewThreshold != 20 {
		t.Errorf("%+v", e)
	}
	refuse := func(what string, want error) {
		t.Helper()
		err := p.LoadBundle(t.Context())
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
		if got := judge(t, p, call(what, "bash", "")); got != "block 0 tool_policy" {
			t.Errorf("%s: the last good policy is gone: %s", what, got)
		}
	}
	weaker := `{"toolPolicies":{"exec":"allow"}}`
	b.sign("", doc(4, weaker))
	refuse("an older sequence", ErrRollback)
	b.sign("", doc(5, weaker))
	refuse("the same sequence", ErrRollback)
	b.sign("secret", strings.Replace(strings.Replace(doc(0, weaker), `"keyId":"ops",`, "", 1), `,"sequence":0`, "", 1))
	refuse("without a sequence after one", ErrRollback)
	b.write(strings.Replace(string(read(t, b.path)), "allow", "block", 1))
	refuse("changed after signing", ErrSignature)
	b.sign("", strings.Replace(doc(6, weaker), "2026-06-01", "2026-04-30", 1))
	refuse("expired", ErrExpired)
	b.sign("", strings.Replace(doc(6, weaker), "2026-04-30", "2026-05-02", 1))
	refuse("from the future", nil)
	b.sign("", strings.Replace(doc(6, weaker), `"expiresAt":"2026-06-01T00:00:00Z",`, "", 1))
	refuse("without an end", nil)
	b.sign("", strings.Replace(doc(6, weaker), `"ops"`, `"who"`, 1))
	refuse("unknown key", ErrKey)
	b.sign("", strings.Replace(doc(6, weaker), `"policy"`, `"other":1,"policy"`, 1))
	refuse("unknown member", nil)
	b.sign("", doc(6, `{"blockedCommandPatterns":[]}`))
	refuse("an emptied list", nil)
	b.sign("", doc(6, `{"blockedCommandPatterns":["("]}`))
	refuse("no pattern", nil)
	b.sign("", doc(6, `{"reviewThreshold":50,"blockThreshold":50}`))
	refuse("thresholds", nil)
	b.write("{")
	refuse("no JSON", nil)
	os.Remove(b.path)
	refuse("no file", nil)
	b.sign("", doc(6, weaker))
	b.state.fail = errDisk
	refuse("a state that fails", errDisk)
	b.state.fail = nil
	if err := p.LoadBundle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := judge(t, p, call("s", "bash", "")); got != "allow 0" {
		t.Error(got)
	}
	if last := b.told[len(b.told)-1]; last.Version != 6 || last.Refused != "" || last.SHA256 == "" || b.told[1].Refused == "" {
		t.Errorf("%+v", b.told)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestBundleAtStart(t *testing.T) {
	b := newBundles(t)
	if _, err := New(t.Context(), b.cfg, b.deps()); err == nil {
		t.Error("a missing bundle did not keep it from starting")
	}
	b.sign("", doc(5, `{}`))
	mustNew(t, b.cfg, b.deps())
	mustNew(t, b.cfg, b.deps()) // the same again after a restart
	b.sign("", doc(4, `{}`))
	if _, err := New(t.Context(), b.cfg, b.deps()); !errors.Is(err, ErrRollback) {
		t.Errorf("an old bundle after a restart: %v", err)
	}
	b.state.m[StateKey] = []byte("{")
	if _, err := New(t.Context(), b.cfg, b.deps()); err == nil {
		t.Error("a damaged state")
	}
	if _, err := New(t.Context(), b.cfg, Deps{}); err == nil {
		t.Error("without a state")
	}
}

func TestBundleHMACKeys(t *testing.T) {
	b := newBundles(t)
	plain := `{"version":1,"bundleId":"x","signedAt":"2026-04-%02dT00:00:00Z","policy":{}}`
	keyed := `{"version":1,"bundleId":"x","keyId":"%s","signedAt":"2026-04-%02dT00:00:00Z","policy":{}}`
	p := (*Policy)(nil)
	for i, c := range []struct {
		key, doc string
		ok       bool
	}{
		{"secret", fmt.Sprintf(plain, 1), true},
		{"older secret", fmt.Sprintf(plain, 2), true}, // without a keyId all are tried
		{"older secret", fmt.Sprintf(keyed, "old", 3), true},
		{"secret", fmt.Sprintf(keyed, "old", 4), false},
		{"secret", fmt.Sprintf(keyed, "new", 4), false},
		{"wrong", fmt.Sprintf(plain, 4), false},
		{"secret", fmt.Sprintf(plain, 2), false}, // signed before the last
	} {
		b.sign(c.key, c.doc)
		var err error
		if p == nil {
			p, err = New(t.Context(), b.cfg, b.deps())
		} else {
			err = p.LoadBundle(t.Context())
		}
		if (err == nil) != c.ok {
			t.Errorf("case %d: %v", i, err)
		}
	}
	b.cfg.Bundle.HMACKey, b.cfg.Bundle.HMACKeys = "", nil
	q := mustNew(t, func() Config { c := b.cfg; c.Bundle.Path = ""; return c }(), Deps{Now: b.clock.Now})
	if _, err := q.Accept(read(t, b.path)); !errors.Is(err, ErrKey) {
		t.Errorf("an HMAC where only Ed25519 is configured: %v", err)
	}
}

func TestBundleExpiresInForce(t *testing.T) {
	b := newBundles(t)
	b.sign("", doc(5, `{"toolPolicies":{"exec":"block"}}`))
	p := mustNew(t, b.cfg, b.deps())
	if p.Health() != "" {
		t.Error(p.Health())
	}
	b.clock.advance(60 * 24 * time.Hour)
	if p.Health() == "" || judge(t, p, call("s", "exec", "")) != "block 0 tool_policy" {
		t.Error("an expired bundle is silent or gone")
	}
}

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		`{"b":1,"a":{"d":[1, 2.50,{"z":null,"y":true}],"c":"\u00e9\u0001\"/"}}`: `{"a":{"c":"é\u0001\"/","d":[1,2.50,{"y":true,"z":null}]},"b":1}`,
		`{"signature":"x","a":{"signature":"y"}}`:                               `{"a":{"signature":"y"}}`,
		` { } `: `{}`,
	} {
		if got, _, err := Canonical([]byte(in)); err != nil || string(got) != want {
			t.Errorf("%s: %s %v, want %s", in, got, err, want)
		}
	}
	for _, bad := range []string{`{"a":1,"a":2}`, `[]`, `{"signature":1}`, `x`, "{\"a\":\"\xff\"}", strings.Repeat(`{"a":`, 50) + "1" + strings.Repeat("}", 50)} {
		if _, _, err := Canonical([]byte(bad)); err == nil {
			t.Errorf("%.40s is taken", bad)
		}
	}
}

func FuzzBundle(f *testing.F) {
	f.Add([]byte(doc(5, `{"reviewThreshold":20}`)))
	f.Add([]byte(`{"version":1,"bundleId":"x","signedAt":"2026-04-01T00:00:00Z","policy":{"toolPolicies":{"a":"block"}}}`))
	cfg := bare()
	cfg.Bundle.HMACKey = "k"
	p, err := New(context.Background(), cfg, Deps{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := p.Accept(raw); err == nil {
			t.Error("accepted without a signature")
		}
		canon, _, err := Canonical(raw)
		if err == nil {
			again, _, err := Canonical(canon)
			if err != nil || string(again) != string(canon) {
				t.Errorf("%s becomes %s: %v", canon, again, err)
			}
		}
		if b, err := parseBundle(raw, time.Hour); err == nil {
			if _, err := prepare(cfg, b); err != nil {
				t.Error(err)
			}
		}
	})
}
