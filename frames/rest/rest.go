// Package rest is the HTTP edge on the gateway's one port (wire.md section 4): probes,
// metrics, the Control UI's files and webhooks. WebSocket upgrades, on any path, go to
// package ws first; whatever is not named here is 404.
package rest

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"

	"sluice/frames/ws"
)

// Readiness is what /readyz reports.
type Readiness struct {
	Ready bool `json:"ready"`
	// Failing names what is not ready; never nil on the wire.
	Failing  []string `json:"failing"`
	UptimeMs int64    `json:"uptimeMs"`
	// EventLoop is the real gateway's load summary; nil leaves it out.
	EventLoop any `json:"eventLoop,omitempty"`
}

// Startup is what /startupz reports.
type Startup struct {
	Started  bool
	Version  string
	UptimeMs int64
	// PendingReason says what a start still waits for.
	PendingReason string
}

// Verdict is what Authorize says about a request's credentials.
type Verdict struct {
	OK bool
	// RetryAfterMs, when OK is false, says that the address is locked out.
	RetryAfterMs int64
}

// Deps is what the HTTP edge is made of.
type Deps struct {
	Config Config
	// WS takes the upgrades and attributes requests to addresses.
	WS *ws.Server
	// Ready and Startup answer the probes.
	Ready   func() Readiness
	Startup func() Startup
	// Authorize checks the Authorization header against the gateway's secret. It is only
	// asked when there is one.
	Authorize func(r *http.Request, in ws.Ingress) Verdict
	// Metrics serves /metrics and /api/diagnostics/prometheus; nil is 404.
	Metrics http.Handler
	// Hooks takes everything under HooksPath, and bounds it itself; nil is 404.
	Hooks     http.Handler
	HooksPath string
	Log       *slog.Logger
}

// Handler is the HTTP edge.
type Handler struct {
	Deps
	ui *controlUI // nil without one
}

// New checks deps, opens the Control UI's folder, and returns the edge. Close it.
func New(d Deps) (*Handler, error) {
	if err := d.Config.Validate(); err != nil {
		return nil, err
	}
	if d.WS == nil || d.Ready == nil || d.Startup == nil || d.Authorize == nil {
		return nil, errors.New("rest: WS, Ready, Startup and Authorize must be given: without them a probe or a secret would be answered by nobody")
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	h := &Handler{Deps: d}
	if d.Config.ControlUI != "" {
		ui, err := openControlUI(d.Config.ControlUI)
		if err != nil {
			return nil, err
		}
		h.ui = ui
	}
	return h, nil
}

// Close gives the Control UI's folder back.
func (h *Handler) Close() error {
	if h.ui == nil {
		return nil
	}
	return h.ui.root.Close()
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if ws.IsUpgrade(r) {
		h.WS.ServeHTTP(w, r)
		return
	}
	defer h.recover(w, r)
	head := w.Header()
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Permissions-Policy", "camera=(), microphone=(self), geolocation=()")
	h.route(w, r)
}

func (h *Handler) route(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if probe := probes[path]; probe != nil {
		probe(h, w, r)
		return
	}
	if h.Hooks != nil && h.HooksPath != "" && (path == h.HooksPath || strings.HasPrefix(path, h.HooksPath+"/")) {
		h.Hooks.ServeHTTP(w, r)
		return
	}
	switch {
	case path == "/metrics":
		h.serveMetrics(w, r, h.Config.MetricsAuth)
	case path == "/api/diagnostics/prometheus":
		h.serveMetrics(w, r, true)
	case h.ui != nil && isRead(r) && !reserved(path):
		h.ui.serve(w, r)
	case path == "/" && h.ui == nil && isRead(r):
		plain(w, http.StatusNotFound, "No Control UI is served here: start the gateway with --control-ui DIR, or connect a client to this address by WebSocket.")
	default:
		notFound(w)
	}
}

// reserved are paths that are never the Control UI's: an API that does not exist must
// be 404, or a client would take index.html for its answer.
func reserved(path string) bool {
	for _, p := range []string{"/api", "/v1", "/tools", "/__openclaw__", "/__openclaw", "/j", "/ui"} {
		if path == p || strings.HasPrefix(path, p+"/") {
			return true
		}
	}
	return path == "/control-ui-config.json"
}

// serveMetrics serves the Prometheus text, to authorised requests only when auth is set.
func (h *Handler) serveMetrics(w http.ResponseWriter, r *http.Request, auth bool) {
	switch {
	case h.Metrics == nil:
		notFound(w)
	case !isRead(r):
		methodNotAllowed(w, "GET, HEAD")
	case r.URL.Query().Has("token"):
		plain(w, http.StatusBadRequest, tokenInQuery)
	case !auth || h.authorized(w, r):
		h.Metrics.ServeHTTP(w, r)
	}
}

// tokenInQuery: addresses end up in logs and histories, secrets must not.
const tokenInQuery = "The token must be provided via Authorization: Bearer <token> (query parameters are not allowed)."

// authorized checks the gateway's secret and answers the request when it is not there.
func (h *Handler) authorized(w http.ResponseWriter, r *http.Request) bool {
	in, ok := h.WS.Ingress(r)
	if !ok {
		ws.RefuseProxy(w)
		return false
	}
	var v Verdict
	if r.Header.Get("Authorization") != "" {
		v = h.Authorize(r, in)
	}
	switch {
	case v.OK:
		return true
	case v.RetryAfterMs > 0:
		w.Header().Set("Retry-After", strconv.FormatInt((v.RetryAfterMs+999)/1000, 10))
		rawJSON(w, http.StatusTooManyRequests, `{"error":{"message":"Too many failed authentication attempts. Please try again later.","type":"rate_limited"}}`)
	default:
		rawJSON(w, http.StatusUnauthorized, `{"error":{"message":"Unauthorized","type":"unauthorized"}}`)
	}
	return false
}

// recover answers 500 for a handler that panicked, without its text.
func (h *Handler) recover(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	h.Log.Error("rest: panic while answering a request", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	w.Header().Set("Cache-Control", "no-store")
	plain(w, http.StatusInternalServerError, "Internal Server Error")
}

func isRead(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}

const (
	textPlain = "text/plain; charset=utf-8"
	appJSON   = "application/json; charset=utf-8"
)

func plain(w http.ResponseWriter, status int, body string) { send(w, status, textPlain, body) }

func rawJSON(w http.ResponseWriter, status int, body string) { send(w, status, appJSON, body) }

// send answers with a whole body; net/http leaves it out for HEAD.
func send(w http.ResponseWriter, status int, contentType, body string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func notFound(w http.ResponseWriter) { plain(w, http.StatusNotFound, "Not Found") }

func methodNotAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	plain(w, http.StatusMethodNotAllowed, "Method Not Allowed")
}
