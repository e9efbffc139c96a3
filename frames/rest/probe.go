package rest

import (
	"net/http"

	"github.com/go-json-experiment/json"
)

// probes are the paths that service managers ask (wire.md section 4). They never wait
// for the pipeline: a busy gateway is live.
var probes = map[string]func(*Handler, http.ResponseWriter, *http.Request){
	"/health": (*Handler).live, "/healthz": (*Handler).live,
	"/ready": (*Handler).ready, "/readyz": (*Handler).ready,
	"/startup": (*Handler).startup, "/startupz": (*Handler).startup,
}

func (h *Handler) live(w http.ResponseWriter, r *http.Request) {
	h.answerProbe(w, r, http.StatusOK, map[string]any{"ok": true, "status": "live"})
}

func (h *Handler) ready(w http.ResponseWriter, r *http.Request) {
	state := h.Ready()
	if state.Failing == nil {
		state.Failing = []string{}
	}
	var body any = state
	if !h.seesDetails(r) {
		body = map[string]any{"ready": state.Ready}
	}
	h.answerProbe(w, r, statusOf(state.Ready), body)
}

func (h *Handler) startup(w http.ResponseWriter, r *http.Request) {
	state := h.Startup()
	body := struct {
		OK            bool   `json:"ok"`
		Status        string `json:"status"`
		Version       string `json:"version,omitempty"`
		UptimeMs      *int64 `json:"uptimeMs,omitempty"`
		PendingReason string `json:"pendingReason,omitempty"`
	}{OK: state.Started, Status: "started"}
	if !state.Started {
		body.Status = "starting"
	}
	if h.seesDetails(r) {
		body.Version, body.UptimeMs = state.Version, &state.UptimeMs
		if !state.Started {
			body.PendingReason = state.PendingReason
		}
	}
	h.answerProbe(w, r, statusOf(state.Started), body)
}

func statusOf(ok bool) int {
	if ok {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

// seesDetails: only a local or an authorised caller learns more than yes or no.
func (h *Handler) seesDetails(r *http.Request) bool {
	in, ok := h.WS.Ingress(r)
	if !ok {
		return false
	}
	return in.Local || r.Header.Get("Authorization") != "" && h.Authorize(r, in).OK
}

func (h *Handler) answerProbe(w http.ResponseWriter, r *http.Request, status int, body any) {
	if !isRead(r) {
		methodNotAllowed(w, "GET, HEAD")
		return
	}
	b, err := json.Marshal(body, json.Deterministic(true))
	if err != nil {
		h.Log.Error("rest: a probe's answer could not be encoded", "path", r.URL.Path, "error", err)
		status, b = http.StatusServiceUnavailable, []byte(`{"ok":false}`)
	}
	w.Header().Set("Cache-Control", "no-store")
	rawJSON(w, status, string(b))
}
