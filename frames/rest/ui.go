package rest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"time"
)

// controlUI serves the files of a Control UI. They come from an installed openclaw
// package; a dumb static server is enough for it (wire.md section 5).
//
// All opens go through an os.Root: no path and no symbolic link leaves the folder.
type controlUI struct {
	root *os.Root

	mu    sync.Mutex
	index *indexPage // the prepared index.html, as long as the file does not change
}

// indexPage is index.html made ready: absolute addresses, and its policy.
type indexPage struct {
	modified time.Time
	size     int64
	body     string
	csp      string
}

// maxIndexBytes bounds what is read into memory for index.html (the real one has 18 KiB).
const maxIndexBytes = 4 << 20

func openControlUI(dir string) (*controlUI, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("controlUi: the folder cannot be opened: %w; name an installed openclaw's dist/control-ui", err)
	}
	ui := &controlUI{root: root}
	if _, err := ui.page(); err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("controlUi: %s has no readable index.html: %w; name an installed openclaw's dist/control-ui", dir, err)
	}
	return ui, nil
}

// contentTypes are the static files of a Control UI. One of these that does not exist
// is 404; any other path is a page of the single-page application.
var contentTypes = map[string]string{
	".js": "application/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".json": "application/json; charset=utf-8", ".map": "application/json; charset=utf-8",
	".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
	".gif": "image/gif", ".webp": "image/webp", ".ico": "image/x-icon",
	".txt": "text/plain; charset=utf-8", ".wasm": "application/wasm",
	".webmanifest": "application/manifest+json; charset=utf-8", ".woff2": "font/woff2",
}

// compressible are those of which a package may hold .br and .gz beside the original.
var compressible = map[string]bool{".css": true, ".js": true, ".json": true, ".svg": true,
	".txt": true, ".wasm": true, ".webmanifest": true}

func (ui *controlUI) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", contentPolicy(nil))
	h.Set("Permissions-Policy", "camera=(self), microphone=*, geolocation=*, clipboard-write=*")
	name, ok := fileName(r.URL.Path)
	if !ok {
		notFound(w)
		return
	}
	ext := strings.ToLower(path.Ext(name))
	switch {
	case ext == ".br" || ext == ".gz": // only as a representation of the original
		notFound(w)
	case name != "index.html" && ui.serveFile(w, r, name, ext):
	case contentTypes[ext] != "" || !acceptsHTML(r):
		notFound(w)
	default:
		ui.serveIndex(w, r)
	}
}

// fileName maps a request path to a file of the package. Assets are found below any
// page, because a deep link loads them relative to itself.
func fileName(urlPath string) (string, bool) {
	rel := strings.TrimPrefix(urlPath, "/")
	if i := strings.Index(urlPath, "/assets/"); i >= 0 {
		rel = urlPath[i+1:]
	}
	if rel == "" || strings.HasSuffix(rel, "/") {
		rel += "index.html"
	}
	// ValidPath refuses "..", empty elements and absolute paths; the rest are bytes that
	// no file of a package has and that some file systems read in their own way.
	if !fs.ValidPath(rel) || strings.ContainsAny(rel, "\x00\\") {
		return "", false
	}
	return rel, true
}

// serveFile serves one file; false means that there is none.
func (ui *controlUI) serveFile(w http.ResponseWriter, r *http.Request, name, ext string) bool {
	f, info, err := ui.open(name)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(name, "assets/") { // its name holds the hash of its content
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	ct := contentTypes[ext]
	if ct == "" {
		ct = "application/octet-stream"
	}
	h.Set("Content-Type", ct)
	h.Set("Vary", "Accept-Encoding")
	if compressible[ext] {
		for _, enc := range []struct{ token, suffix string }{{"br", ".br"}, {"gzip", ".gz"}} {
			if !acceptsEncoding(r, enc.token) {
				continue
			}
			if c, cinfo, err := ui.open(name + enc.suffix); err == nil {
				defer func() { _ = c.Close() }()
				h.Set("Content-Encoding", enc.token)
				http.ServeContent(w, r, name, cinfo.ModTime(), c)
				return true
			}
		}
	}
	http.ServeContent(w, r, name, info.ModTime(), f)
	return true
}

// open opens a regular file of the package.
func (ui *controlUI) open(name string) (*os.File, fs.FileInfo, error) {
	// A fifo would block the open for ever: look first.
	info, err := ui.root.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fs.ErrNotExist
	}
	f, err := ui.root.Open(name)
	return f, info, err
}

func (ui *controlUI) serveIndex(w http.ResponseWriter, r *http.Request) {
	page, err := ui.page()
	if err != nil {
		plain(w, http.StatusServiceUnavailable, "The Control UI's index.html cannot be read; check the folder given by --control-ui.")
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", page.csp)
	h.Set("Cache-Control", "no-cache")
	send(w, http.StatusOK, "text/html; charset=utf-8", page.body)
}

// page returns index.html, prepared again when the file changed.
func (ui *controlUI) page() (*indexPage, error) {
	ui.mu.Lock()
	defer ui.mu.Unlock()
	f, info, err := ui.open("index.html")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if p := ui.index; p != nil && p.modified.Equal(info.ModTime()) && p.size == info.Size() {
		return p, nil
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxIndexBytes+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxIndexBytes {
		return nil, errors.New("it is larger than 4 MiB")
	}
	// Below a page such as /chat/x, "./assets" would be /chat/assets.
	body := strings.ReplaceAll(string(raw), `="./`, `="/`)
	ui.index = &indexPage{modified: info.ModTime(), size: info.Size(), body: body, csp: contentPolicy(inlineScripts(body))}
	return ui.index, nil
}

// acceptsHTML reports whether a page may be the answer: a script's fetch that asks for
// JSON must get 404, not index.html.
func acceptsHTML(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	if strings.TrimSpace(accept) == "" {
		return true
	}
	for part := range strings.SplitSeq(accept, ",") {
		media, params, _ := strings.Cut(part, ";")
		switch strings.ToLower(strings.TrimSpace(media)) {
		case "text/html", "text/*", "*/*", "application/xhtml+xml":
			return !refusedByQuality(params)
		}
	}
	return false
}

// acceptsEncoding reports whether the client names the encoding and does not refuse it.
func acceptsEncoding(r *http.Request, token string) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, params, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(name), token) {
			return !refusedByQuality(params)
		}
	}
	return false
}

// refusedByQuality reports a q of zero: "not acceptable".
func refusedByQuality(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		if k, v, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(k, "q") {
			return strings.Trim(v, "0.") == "" && v != ""
		}
	}
	return false
}
