package rest_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/frames/rest"
	"sluice/frames/ws"
)

// fakeUI makes a package folder with a secret beside it and links that lead out.
func fakeUI(t *testing.T) string {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "ui")
	for name, content := range map[string]string{
		"secret.txt":          "secret",
		"ui/index.html":       `<html><head><script>let a=1</script><script data-src="x">let b=2</script><script type="module" src="./assets/i.js"></script><link href="./favicon.svg"></head></html>`,
		"ui/favicon.svg":      "<svg/>",
		"ui/sw.js":            "sw",
		"ui/assets/i.js":      "console.log(1)",
		"ui/assets/i.js.br":   "brotli bytes",
		"ui/assets/i.js.gz":   "gzip bytes",
		"ui/assets/font.bin":  "bin",
		"ui/themes/claw.css":  "css",
		"ui/.hidden/file.txt": "hidden",
	} {
		p := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(top, "secret.txt"), filepath.Join(dir, "out.txt")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", filepath.Join(dir, "up")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestControlUI(t *testing.T) {
	dir := fakeUI(t)
	h := mustEdge(t, func(d *rest.Deps) { d.Config.ControlUI = dir })
	const index = `<html><head><script>let a=1</script><script data-src="x">let b=2</script><script type="module" src="/assets/i.js"></script><link href="/favicon.svg"></head></html>`
	html := "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
	for _, tc := range []struct {
		method, path, header string
		status               int
		body, contentType    string
	}{
		{"GET", "/", html, 200, index, "text/html; charset=utf-8"},
		{"HEAD", "/", html, 200, "", "text/html; charset=utf-8"},
		{"GET", "/index.html", "", 200, index, "text/html; charset=utf-8"},
		{"GET", "/chat/agent:main:main", html, 200, index, "text/html; charset=utf-8"},
		{"GET", "/chat/agent:main:telegram:1.5", html, 200, index, "text/html; charset=utf-8"},
		{"GET", "/?token=x", html, 200, index, "text/html; charset=utf-8"},
		{"GET", "/themes/", html, 200, index, "text/html; charset=utf-8"},
		{"GET", "/themes", html, 200, index, "text/html; charset=utf-8"},
		{"GET", "/sessions", "Accept: application/json", 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "/favicon.svg", "", 200, "<svg/>", "image/svg+xml"},
		{"GET", "/assets/i.js", "", 200, "console.log(1)", "application/javascript; charset=utf-8"},
		{"GET", "/chat/assets/i.js", "", 200, "console.log(1)", "application/javascript; charset=utf-8"},
		{"GET", "/assets/i.js", "Accept-Encoding: gzip, br;q=0", 200, "gzip bytes", "application/javascript; charset=utf-8"},
		{"GET", "/assets/i.js", "Accept-Encoding: gzip, br", 200, "brotli bytes", "application/javascript; charset=utf-8"},
		{"GET", "/assets/i.js.br", "", 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "/assets/font.bin", "", 200, "bin", "application/octet-stream"},
		{"GET", "/assets/nope.js", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"HEAD", "/assets/nope.js", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "/nope.json", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"POST", "/", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"POST", "/nope", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "/control-ui-config.json", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "/__openclaw__/control-ui-config.json", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "/api/x", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "/v1/models", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "/../secret.txt", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "/%2e%2e/secret.txt", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "/..%2fsecret.txt", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "/assets/..%2f..%2f..%2fsecret.txt", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "/..%5csecret.txt", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "/secret.txt%00.js", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "/out.txt", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "/up/secret.txt", html, 404, "Not Found", "text/plain; charset=utf-8"},
		{"GET", "//etc/passwd", html, 404, "Not Found", "text/plain; charset=utf-8"},
	} {
		w := ask(h, tc.method, tc.path, remote, "", tc.header)
		body := w.Body.String()
		if tc.method == "HEAD" { // a recorder keeps what net/http leaves out
			tc.body = body
		}
		if w.Code != tc.status || body != tc.body || w.Header().Get("Content-Type") != tc.contentType {
			t.Errorf("%s %s %q: %d %s %s, want %d %s %s", tc.method, tc.path, tc.header, w.Code, w.Header().Get("Content-Type"), body, tc.status, tc.contentType, tc.body)
		}
	}
	w := ask(h, "GET", "/", remote, "", html)
	csp := w.Header().Get("Content-Security-Policy")
	const want = "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; frame-src 'self' http: https:; script-src 'self' 'sha256-"
	if !strings.HasPrefix(csp, want) {
		t.Errorf("policy %q, want %q…", csp, want)
	}
	if n := strings.Count(csp, "'sha256-"); n != 2 {
		t.Errorf("%d script hashes in %q, want 2", n, csp)
	}
	if w.Header().Get("X-Frame-Options") != "DENY" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", w.Header())
	}
	if got := ask(h, "GET", "/assets/i.js", remote, "").Header().Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("assets: Cache-Control %q", got)
	}
	// A changed index is served anew, without a restart.
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("<html>new</html>"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := ask(h, "GET", "/", remote, "").Body.String(); got != "<html>new</html>" {
		t.Errorf("after a change: %s", got)
	}
}

// TestInlineHash is the policy of the real package's page, as the real gateway computed
// it (captures/http.jsonl).
func TestInlineHash(t *testing.T) {
	const dir = "/opt/oc/node_modules/openclaw/dist/control-ui"
	if _, err := os.Stat(dir); err != nil {
		t.Skip("openclaw is not installed at ", dir)
	}
	h := mustEdge(t, func(d *rest.Deps) { d.Config.ControlUI = dir })
	csp := ask(h, "GET", "/", local, "").Header().Get("Content-Security-Policy")
	const want = "script-src 'self' 'sha256-g30CWRMlZumMHvjOkMce6NnzY9k1/zZU+9vzyMq8ETQ=' 'sha256-L6xeA4XnuquPxjSq0zkDDAXzWgCngcLdAr9Hgdf/GYU=';"
	if !strings.Contains(csp, want) {
		t.Errorf("policy %s, want %s", csp, want)
	}
}

func TestBadFolder(t *testing.T) {
	for _, dir := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		w, _ := ws.New(ws.Default(), closer{}, ws.Options{})
		d := rest.Deps{Config: rest.Default(), WS: w, Ready: func() rest.Readiness { return rest.Readiness{} },
			Startup: func() rest.Startup { return rest.Startup{} }, Authorize: func(*http.Request, ws.Ingress) rest.Verdict { return rest.Verdict{} }}
		d.Config.ControlUI = dir
		if _, err := rest.New(d); err == nil || !strings.Contains(err.Error(), "dist/control-ui") {
			t.Errorf("%s: %v", dir, err)
		}
		_ = w.Shutdown(t.Context(), "")
	}
}

// FuzzPath: no path leads out of the folder.
func FuzzPath(f *testing.F) {
	for _, p := range []string{"/", "/../secret.txt", "/assets/../../secret.txt", "/a//b", "/up/secret.txt", "/out.txt", "/\x00", "/.hidden/file.txt"} {
		f.Add(p)
	}
	top := f.TempDir()
	dir := filepath.Join(top, "ui")
	if err := os.MkdirAll(filepath.Join(dir, "assets"), 0o755); err != nil {
		f.Fatal(err)
	}
	for name, content := range map[string]string{"secret.txt": "TOP-SECRET", "ui/index.html": "index"} {
		if err := os.WriteFile(filepath.Join(top, name), []byte(content), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Symlink("..", filepath.Join(dir, "up")); err != nil {
		f.Fatal(err)
	}
	w, err := ws.New(ws.Default(), closer{}, ws.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = w.Shutdown(context.Background(), "") })
	d := rest.Deps{Config: rest.Default(), WS: w, Ready: func() rest.Readiness { return rest.Readiness{} },
		Startup: func() rest.Startup { return rest.Startup{} }, Authorize: func(*http.Request, ws.Ingress) rest.Verdict { return rest.Verdict{} }}
	d.Config.ControlUI = dir
	h, err := rest.New(d)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = h.Close() })
	f.Fuzz(func(t *testing.T, p string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = p
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if strings.Contains(w.Body.String(), "TOP-SECRET") {
			t.Fatalf("%q leads out of the folder", p)
		}
	})
}
