package rest

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// serveHook applies what holds for every webhook and hands it on (wire.md section 4).
// The order is the real gateway's: query token, method, then the token by the handler,
// and only then the body.
func (h *Handler) serveHook(w http.ResponseWriter, r *http.Request) {
	switch {
	case h.Hooks == nil:
		notFound(w)
	case r.URL.Query().Has("token"):
		plain(w, http.StatusBadRequest, "Hook token must be provided via Authorization: Bearer <token> or X-OpenClaw-Token header (query parameters are not allowed).")
	case r.Method != http.MethodPost:
		methodNotAllowed(w, "POST")
	default:
		r.Body = http.MaxBytesReader(w, r.Body, int64(h.Config.MaxHookBodyBytes))
		deadline := time.Now().Add(time.Duration(h.Config.HookBodyTimeoutMs) * time.Millisecond)
		_ = http.NewResponseController(w).SetReadDeadline(deadline) // not every writer can; ReadTimeoutMs bounds it then
		h.Hooks.ServeHTTP(w, r)
	}
}

// HookToken returns the token of a webhook request: Authorization: Bearer, or
// X-OpenClaw-Token; empty when there is none.
func HookToken(r *http.Request) string {
	if t := BearerToken(r); t != "" {
		return t
	}
	return strings.TrimSpace(r.Header.Get("X-OpenClaw-Token"))
}

// BearerToken returns the token of an Authorization: Bearer header; empty without one.
func BearerToken(r *http.Request) string {
	scheme, token, ok := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// HookBody reads a webhook's body within its bounds. ok is false when it was too large
// (413), too slow (408) or cut off (400), and the request is answered then.
func HookBody(w http.ResponseWriter, r *http.Request) (body []byte, ok bool) {
	body, err := io.ReadAll(r.Body) // bounded by serveHook
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return body, true
	case errors.As(err, &tooLarge):
		rawJSON(w, http.StatusRequestEntityTooLarge, `{"ok":false,"error":"payload too large"}`)
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		rawJSON(w, http.StatusRequestTimeout, `{"ok":false,"error":"request body timeout"}`)
	default:
		rawJSON(w, http.StatusBadRequest, `{"ok":false,"error":"request body could not be read"}`)
	}
	return nil, false
}
