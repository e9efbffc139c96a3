package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func mustOpen(tb testing.TB, path string, more ...func(*Options)) *Manager {
	tb.Helper()
	o := Options{Schema: mustSchema(tb), Path: path}
	for _, f := range more {
		f(&o)
	}
	m, err := Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func mustRead(tb testing.TB, path string) string {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func mustGet(tb testing.TB, m *Manager) *GetResult {
	tb.Helper()
	g, err := m.Get()
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// eventually polls with a deadline: the watcher runs on real files and real time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

func TestReloadKeepsTheLastGood(t *testing.T) {
	path := mustWrite(t, "sluice.json5", `{gateway:{port:1000},config:{reloadDebounceMs:5}}`)
	var kept []string
	m := mustOpen(t, path, func(o *Options) {
		o.OnRevision = func(r Revision) error { kept = append(kept, r.Reason+string(r.Raw)); return nil }
	})
	type change struct{ old, new int }
	seen := make(chan change, 10)
	cancel := m.Subscribe(func(old, now *Snapshot) {
		seen <- change{mustOf[gatewayConfig](t, old, "gateway").Port, mustOf[gatewayConfig](t, now, "gateway").Port}
	})
	m.Subscribe(func(_, _ *Snapshot) { panic("a bad subscriber") })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Watch(ctx) }()

	// An editor: writes a neighbour and renames it over the file.
	replace := func(text string) {
		t.Helper()
		if err := replaceFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	first := m.Current()
	replace(`{gateway:{port:2000},config:{reloadDebounceMs:5}}`)
	if c := <-seen; c != (change{1000, 2000}) {
		t.Errorf("change %+v", c)
	}
	if mustOf[gatewayConfig](t, first, "gateway").Port != 1000 {
		t.Error("an old snapshot changed")
	}
	good := m.Current().Hash
	if p := m.Status().RestartPending; len(p) != 1 || p[0] != "gateway.port" {
		t.Errorf("restart pending %v", p)
	}
	for _, bad := range []string{`{gateway:{prot:3000}}`, `{gateway:`, `{gateway:{port:0}}`} {
		replace(bad)
		eventually(t, bad, func() bool { st := m.Status(); return st.Error != "" && len(st.Issues) == 1 })
		st := m.Status()
		if st.LastGoodHash != good || m.Current().Hash != good {
			t.Errorf("%s: the last good one was lost: %+v", bad, st)
		}
		g := mustGet(t, m)
		if g.Valid || len(g.Issues) != 1 || g.Raw != nil {
			t.Errorf("%s: config.get %+v", bad, g)
		}
		replace(`{gateway:{port:2000},config:{reloadDebounceMs:5}}`)
		eventually(t, "recovery", func() bool { return m.Status().Error == "" })
		<-seen
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file to be gone", func() bool { return strings.Contains(m.Status().Error, "is gone") })
	if mustOf[gatewayConfig](t, m.Current(), "gateway").Port != 2000 {
		t.Error("a removed file took the configuration with it")
	}
	cancel()
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if len(kept) == 0 || !strings.HasPrefix(kept[0], "file{gateway:{port:1000}") {
		t.Errorf("revisions %q", kept)
	}
}

func TestPollingAlone(t *testing.T) {
	// The folder does not exist yet, so it cannot be watched.
	path := filepath.Join(t.TempDir(), "later", "sluice.json5")
	m := mustOpen(t, path, func(o *Options) { o.Flags = map[string]string{"config.pollIntervalMs": "5"} })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Watch(ctx) }()
	if err := replaceFile(path, []byte(`{gateway:{port:7}}`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new file", func() bool { return mustOf[gatewayConfig](t, m.Current(), "gateway").Port == 7 })
	stop()
	<-done
}

func TestCompareAndSwap(t *testing.T) {
	path := mustWrite(t, "sluice.json5", `{gateway:{port:1000}}`)
	m := mustOpen(t, path)
	g := mustGet(t, m)
	for _, c := range []struct{ base, want string }{
		{"", "config base hash required; re-run config.get and retry"},
		{"x", "config changed since last load; re-run config.get and retry"},
	} {
		for name, f := range map[string]func(WriteRequest) (*WriteResult, error){"set": m.Set, "apply": m.Apply, "patch": m.Patch} {
			c := c
			_, err := f(WriteRequest{Raw: `{gateway:{port:2}}`, BaseHash: c.base})
			var req *RequestError
			if name == "patch" && c.base == "" { // it names what it would have changed
				c.want = "config base hash required for gateway.port; re-run config.get and retry with baseHash"
			}
			if !errors.As(err, &req) || req.Message != c.want {
				t.Errorf("%s base %q: %v", name, c.base, err)
			}
		}
	}
	// Somebody edits the file behind our back: the hash of the snapshot is stale.
	if err := os.WriteFile(path, []byte(`{gateway:{port:1001}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Set(WriteRequest{Raw: `{}`, BaseHash: g.Hash}); err == nil || err.Error() != msgChanged {
		t.Errorf("an edit on disk was overwritten: %v", err)
	}
	res, err := m.Set(WriteRequest{Raw: `{gateway:{port:2}}`, BaseHash: mustGet(t, m).Hash})
	if err != nil || res.Hash == g.Hash || m.Current().Hash != res.Hash {
		t.Fatalf("%+v %v", res, err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*tmp")); len(left) > 0 {
		t.Errorf("left over %v", left)
	}
	// ui.prefs needs no hash: last write wins.
	if _, err := m.Patch(WriteRequest{Raw: `{ui:{prefs:{theme:'dark'}}}`}); err != nil {
		t.Error(err)
	}
	if _, err := m.Patch(WriteRequest{Raw: `{ui:{prefs:{theme:'dark'}},gateway:{port:3}}`}); err == nil ||
		err.Error() != "config base hash required for gateway.port; re-run config.get and retry with baseHash" {
		t.Errorf("%v", err)
	}
	// A patch that changes nothing needs none.
	if res, err := m.Patch(WriteRequest{Raw: `{gateway:{port:2}}`}); err != nil || !res.Noop {
		t.Errorf("%+v %v", res, err)
	}
}

func TestFirstWriteNeedsNoHash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "sluice.json5")
	m := mustOpen(t, path)
	g := mustGet(t, m)
	if g.Exists || g.Raw != nil || !g.Valid || g.Hash == "" {
		t.Errorf("%+v", g)
	}
	if _, err := m.Patch(WriteRequest{Raw: `{gateway:{port:5}}`}); err != nil {
		t.Fatal(err)
	}
	if got := mustRead(t, path); !strings.Contains(got, `"port": 5`) || strings.Contains(got, "tickMs") {
		t.Errorf("written: %s", got)
	}
}

func TestPatchKeepsComments(t *testing.T) {
	path := mustWrite(t, "sluice.json5", `// my gateway
{
  gateway: {
    port: 1000, // the port
    bind: 'lan',
    /* old
       stuff */
    auth: { token: 'abc' },
    ws: { tickMs: 1000 } // ticks
    // the end
  },
}
`)
	m := mustOpen(t, path)
	res, err := m.Patch(WriteRequest{BaseHash: m.Current().Hash, Raw: `{
		gateway: { port: 2000, bind: null, ws: { ratio: 0.25 }, auth: { mode: 'none' } },
		models: { providers: { 'a.b': { baseUrl: 'u', apiKey: 'k', models: [{id:'m', context: 1}] } } } }`})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "patched.json5", mustRead(t, path))
	want := `gateway.auth.mode gateway.bind gateway.port gateway.ws.ratio models.providers["a.b"].apiKey models.providers["a.b"].baseUrl models.providers["a.b"].models`
	if got := strings.Join(res.ChangedPaths, " "); got != want {
		t.Errorf("changed %s", got)
	}
	if got := strings.Join(res.RestartPaths, " "); got != "gateway.auth.mode gateway.bind gateway.port gateway.ws.ratio" {
		t.Errorf("restart %s", got)
	}
	text := inline(res.Conf)
	if strings.Contains(text, `"abc"`) || strings.Contains(text, `"k"`) {
		t.Errorf("the answer shows a secret: %s", text)
	}
	again, err := m.Patch(WriteRequest{BaseHash: res.Hash, Raw: `{gateway:{port:2000}}`})
	if err != nil || !again.Noop || again.ChangedPaths == nil {
		t.Errorf("%+v %v", again, err)
	}
}

func TestPatchArrays(t *testing.T) {
	const start = `{gateway:{ws:{origins:['a','b']}},hooks:{list:[{id:'x',baseUrl:'1',models:[{id:'m',context:1}]},{id:'y',baseUrl:'2'}]}}`
	for _, c := range []struct {
		name, patch string
		replace     []string
		want, err   string
	}{
		{"merge by id", `{hooks:{list:[{id:'y',baseUrl:'3'},{id:'z'}]}}`, nil, `[{"baseUrl":"1","id":"x","models":[{"context":1,"id":"m"}]},{"baseUrl":"3","id":"y"},{"id":"z"}]`, ""},
		{"inner array by id", `{hooks:{list:[{id:'x',models:[{id:'n',context:2}]}]}}`, nil, `[{"baseUrl":"1","id":"x","models":[{"context":1,"id":"m"},{"context":2,"id":"n"}]},{"baseUrl":"2","id":"y"}]`, ""},
		{"replace named", `{hooks:{list:[{id:'z'}]}}`, []string{"hooks.list"}, `[{"id":"z"}]`, ""},
		{"replace inner", `{hooks:{list:[{id:'x',models:[]}]}}`, []string{"hooks.list[0].models[]"}, `[{"baseUrl":"1","id":"x","models":[]},{"baseUrl":"2","id":"y"}]`, ""},
		{"delete array", `{hooks:{list:null}}`, nil, "", "config.patch would remove entries from array path(s): hooks.list. Pass replacePaths"},
		{"delete parent", `{hooks:null}`, nil, "", "array path(s): hooks.list."},
		{"shorten plain", `{gateway:{ws:{origins:['a']}}}`, nil, "", "array path(s): gateway.ws.origins."},
		{"two shortened", `{gateway:{ws:{origins:[]}},hooks:null}`, []string{"hooks.list"}, "", "array path(s): gateway.ws.origins."},
		{"duplicate id", `{hooks:{list:[{id:'x'},{id:'x'}]}}`, nil, "", "Ambiguous duplicate ID x in array at hooks.list."},
		{"not an object", `[1]`, nil, "", "config.patch raw must be an object"},
		{"syntax", `{a:}`, nil, "", "SyntaxError: JSON5: invalid character '}' at 1:4"},
		{"invalid", `{gateway:{prot:1}}`, nil, "", `invalid config: gateway.prot: unknown key; did you mean "gateway.port"?`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := mustWrite(t, "sluice.json5", start)
			m := mustOpen(t, path)
			_, err := m.Patch(WriteRequest{BaseHash: m.Current().Hash, Raw: c.patch, ReplacePaths: c.replace})
			if c.err != "" {
				var req *RequestError
				if !errors.As(err, &req) || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v", err)
				}
				if mustRead(t, path) != start {
					t.Error("a refused patch was written")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if v, _ := m.Current().Value("hooks.list"); inline(v) != c.want {
				t.Errorf("got  %s\nwant %s", inline(v), c.want)
			}
		})
	}
	t.Run("plain array grows", func(t *testing.T) {
		m := mustOpen(t, mustWrite(t, "sluice.json5", start))
		if _, err := m.Patch(WriteRequest{BaseHash: m.Current().Hash, Raw: `{gateway:{ws:{origins:['b','c','a']}}}`}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTOMLRoundTrip(t *testing.T) {
	path := mustWrite(t, "sluice.toml", "[gateway]\nport = 1000\n[gateway.auth]\ntoken = \"abc\"\n")
	m := mustOpen(t, path)
	g := mustGet(t, m)
	if g.Raw == nil || strings.Contains(*g.Raw, "abc") {
		t.Fatalf("raw %v", g.Raw)
	}
	raw := strings.Replace(*g.Raw, "1000", "2000", 1)
	if _, err := m.Set(WriteRequest{Raw: raw, BaseHash: g.Hash}); err != nil {
		t.Fatal(err)
	}
	if got := mustRead(t, path); !strings.Contains(got, "port = 2000") || !strings.Contains(got, "token = 'abc'") {
		t.Errorf("written: %s", got)
	}
}

func TestRevisionCallbackGuardsTheWrite(t *testing.T) {
	path := mustWrite(t, "sluice.json5", `{gateway:{port:1}}`)
	var got Revision
	fail := errors.New("no space")
	m := mustOpen(t, path, func(o *Options) { o.OnRevision = func(r Revision) error { got = r; return fail } })
	if _, err := m.Set(WriteRequest{Raw: `{gateway:{port:2}}`, BaseHash: m.Current().Hash}); !errors.Is(err, fail) {
		t.Fatal(err)
	}
	if mustRead(t, path) != `{gateway:{port:1}}` || mustOf[gatewayConfig](t, m.Current(), "gateway").Port != 1 {
		t.Error("written although the previous revision was not kept")
	}
	fail = nil
	if _, err := m.Set(WriteRequest{Raw: `{gateway:{port:2}}`, BaseHash: m.Current().Hash}); err != nil {
		t.Fatal(err)
	}
	if string(got.Raw) != `{gateway:{port:1}}` || got.Reason != "config.set" {
		t.Errorf("%+v", got)
	}
}

func TestSymlinkStays(t *testing.T) {
	real := mustWrite(t, "real.json5", `{gateway:{port:1}}`)
	link := filepath.Join(t.TempDir(), "sluice.json5")
	if err := os.Symlink(real, link); err != nil {
		t.Skip(err)
	}
	m := mustOpen(t, link)
	if _, err := m.Set(WriteRequest{Raw: `{gateway:{port:2}}`, BaseHash: m.Current().Hash}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(mustRead(t, real), "2") {
		t.Error("the target was not written")
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
}

// A value that a flag hides for now is still checked: a start without the flag would
// refuse the file that was acknowledged.
func TestShadowedValueIsChecked(t *testing.T) {
	m := mustOpen(t, filepath.Join(t.TempDir(), "sluice.json5"), func(o *Options) { o.Flags = map[string]string{"gateway.port": "18789"} })
	for raw, ok := range map[string]bool{`{"gateway":{"port":-1}}`: false, `{"gateway":{"port":18790}}`: true} {
		if _, err := m.Set(WriteRequest{Raw: raw, BaseHash: m.Current().Hash}); (err == nil) != ok {
			t.Errorf("%s: %v", raw, err)
		}
	}
}
