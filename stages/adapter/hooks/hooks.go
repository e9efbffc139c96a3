// Package hooks accepts work over HTTP: POST /hooks/wake, /hooks/agent and configured
// paths (wire.md section 4, upstream's hooks of openclaw 2026.9.6). Each request becomes
// a request frame of the system peer "system:hook" and enters the pipeline at its first
// stage: it is deduplicated, scheduled, defended and stored like any other (law 4).
//
// It is off by default. The order of checks, the texts and the codes are upstream's:
// 400 for a token in the query, 405, 401 and 429 for authentication, 404, then the body
// (413, 408, 400), then 409 when the configuration changed meanwhile. Beyond upstream, a
// request may have to be signed, and then works once.
//
// Lifecycle: New, ServeHTTP from any goroutine, Reload at any time.
package hooks

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/adapter/webhook"

	"github.com/go-json-experiment/json/jsontext"
)

// Submitter is where the envelopes go: *pipeline.Pipeline.
type Submitter interface {
	Submit(*pipeline.Envelope) error
	Refuse(*pipeline.Envelope, *frames.Error)
}

// Deps are what the handler needs from outside.
type Deps struct {
	Pipeline Submitter
	// ClientIP is the address that failed authentications count against; nil takes the
	// socket's peer, which behind a proxy is the proxy.
	ClientIP func(*http.Request) string
	// Channels lists the channels that an answer may be delivered to; nil = none.
	Channels func() []string
	// AgentExists reports whether an agent is configured; nil accepts any.
	AgentExists func(id string) bool
	// DefaultAgent is the agent of hooks that name none; empty means frames.DefaultAgent.
	DefaultAgent string
	// Log may be nil.
	Log *slog.Logger
}

// Handler implements http.Handler. It is safe for concurrent use.
type Handler struct {
	state    atomic.Pointer[state]
	deps     Deps
	failures *limiter
	replays  *replays
	inflight chan struct{}
	shard    atomic.Uint32 // spreads envelopes over workers
	stats    Stats
}

// state is a configuration in force.
type state struct {
	cfg   Config
	token [sha256.Size]byte
}

// Stats are the handler's counters.
type Stats struct {
	Accepted     atomic.Uint64
	Refused      atomic.Uint64 // by the payload's content or by a stage
	Unauthorized atomic.Uint64
	Throttled    atomic.Uint64
	Busy         atomic.Uint64
}

var _ http.Handler = (*Handler)(nil)

// New returns the handler. With hooks enabled and no token it is an error.
func New(cfg Config, deps Deps) (*Handler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Pipeline == nil {
		return nil, errors.New("hooks: Deps.Pipeline is missing")
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.DefaultAgent == "" {
		deps.DefaultAgent = frames.DefaultAgent
	}
	if deps.ClientIP == nil {
		deps.ClientIP = peerIP
	}
	h := &Handler{deps: deps, failures: newLimiter(cfg.AuthClients), replays: newReplays(cfg.ReplayEntries),
		inflight: make(chan struct{}, cfg.MaxInFlight)}
	h.state.Store(newState(cfg))
	return h, nil
}

func newState(cfg Config) *state {
	return &state{cfg: cfg, token: sha256.Sum256([]byte(strings.TrimSpace(cfg.Token)))}
}

func peerIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// Reload makes cfg valid for the next request; on an error the one in force stays. Path,
// MaxInFlight, AuthClients and ReplayEntries need a restart.
func (h *Handler) Reload(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	h.state.Store(newState(cfg))
	return nil
}

// Path is where the handler wants to be mounted, with and without what follows.
func (h *Handler) Path() string { return h.state.Load().cfg.Path }

// Stats returns the handler's counters.
func (h *Handler) Stats() *Stats { return &h.stats }

// Texts that upstream sends.
const (
	textQueryToken = "Hook token must be provided via Authorization: Bearer <token> or X-OpenClaw-Token header (query parameters are not allowed)."
	textChanged    = "hook configuration changed; retry request"
)

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := h.state.Load()
	rest, ok := strings.CutPrefix(r.URL.Path, s.cfg.Path)
	if !s.cfg.Enabled || !ok || rest != "" && rest[0] != '/' {
		text(w, http.StatusNotFound, "Not Found")
		return
	}
	switch {
	case r.URL.Query().Has("token"):
		text(w, http.StatusBadRequest, textQueryToken)
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		text(w, http.StatusMethodNotAllowed, "Method Not Allowed")
		return
	}
	if !h.authorized(w, r, s) {
		return
	}
	sub := strings.TrimLeft(rest, "/")
	if sub == "" {
		text(w, http.StatusNotFound, "Not Found")
		return
	}
	select {
	case h.inflight <- struct{}{}:
		defer func() { <-h.inflight }()
	default:
		h.stats.Busy.Add(1)
		w.Header().Set("Retry-After", "1")
		failure(w, http.StatusServiceUnavailable, "too many hook requests; retry")
		return
	}
	h.serve(w, r, s, sub)
}

// serve handles an authenticated request.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, s *state, sub string) {
	body, status, problem := readBody(w, r, &s.cfg)
	if status == 0 && s.cfg.SigningSecret != "" {
		status, problem = h.signed(r, &s.cfg, sub, body)
	}
	var p payload
	if status == 0 {
		if p, problem = parsePayload(body); problem != "" {
			status = http.StatusBadRequest
		}
	}
	if status == 0 && h.state.Load() != s {
		status, problem = http.StatusConflict, textChanged
	}
	if status != 0 {
		h.stats.Refused.Add(1)
		failure(w, status, problem)
		return
	}
	req, problem := h.plan(&s.cfg, r, sub, p)
	switch {
	case problem != "":
		h.stats.Refused.Add(1)
		failure(w, http.StatusBadRequest, problem)
	case req == nil:
		text(w, http.StatusNotFound, "Not Found")
	default:
		h.submit(w, r, &s.cfg, req)
	}
}

// authorized checks the token; failures of an address lock it out, a success clears them.
func (h *Handler) authorized(w http.ResponseWriter, r *http.Request, s *state) bool {
	client := clientKey(h.deps.ClientIP(r))
	got := sha256.Sum256([]byte(bearer(r)))
	// Both sides are hashes of one length: the time says nothing about the token's.
	if subtle.ConstantTimeCompare(got[:], s.token[:]) == 1 && s.cfg.Token != "" {
		h.failures.reset(client)
		return true
	}
	if wait := h.failures.fail(client, time.Now(), &s.cfg); wait > 0 {
		h.stats.Throttled.Add(1)
		h.deps.Log.Warn("hook authentication throttled", "client", client, "retryAfter", wait)
		w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
		text(w, http.StatusTooManyRequests, "Too Many Requests")
		return false
	}
	h.stats.Unauthorized.Add(1)
	text(w, http.StatusUnauthorized, "Unauthorized")
	return false
}

func bearer(r *http.Request) string {
	auth := strings.TrimSpace(r.Header.Get("Authorization"))
	if len(auth) > 7 && strings.EqualFold(auth[:7], "bearer ") {
		if token := strings.TrimSpace(auth[7:]); token != "" {
			return token
		}
	}
	return strings.TrimSpace(r.Header.Get("X-OpenClaw-Token"))
}

// signed checks the signature of a body and that it was not used before on this path.
func (h *Handler) signed(r *http.Request, cfg *Config, sub string, body []byte) (status int, problem string) {
	window := time.Duration(cfg.SignatureWindowMs) * time.Millisecond
	now := time.Now()
	header := r.Header.Get(webhook.SignatureHeader)
	if err := webhook.Verify(cfg.SigningSecret, header, body, now, window); err != nil {
		h.stats.Unauthorized.Add(1)
		return http.StatusUnauthorized, err.Error()
	}
	// What is remembered is the signed content, not the header, which has many forms.
	switch h.replays.use(sha256.Sum256([]byte(sub+"\x00"+signedTime(header)+"\x00"+string(body))), now, 2*window) {
	case replayUsed:
		return http.StatusConflict, "this signed request was already accepted; sign it anew to send it again"
	case replayFull:
		h.stats.Busy.Add(1)
		return http.StatusServiceUnavailable, "too many signed requests; retry"
	}
	return 0, ""
}

func signedTime(header string) string {
	for part := range strings.SplitSeq(header, ",") {
		if t, ok := strings.CutPrefix(strings.TrimSpace(part), "t="); ok {
			return t
		}
	}
	return ""
}

// readBody reads at most MaxBodyBytes within BodyTimeoutMs.
func readBody(w http.ResponseWriter, r *http.Request, cfg *Config) (body []byte, status int, problem string) {
	control := http.NewResponseController(w)
	// A writer without deadlines (a test's recorder) has no slow peer either.
	_ = control.SetReadDeadline(time.Now().Add(time.Duration(cfg.BodyTimeoutMs) * time.Millisecond))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, cfg.MaxBodyBytes))
	var large *http.MaxBytesError
	var network net.Error
	switch {
	case err == nil:
		_ = control.SetReadDeadline(time.Time{})
		return body, 0, ""
	case errors.As(err, &large):
		w.Header().Set("Connection", "close")
		return nil, http.StatusRequestEntityTooLarge, "payload too large"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		w.Header().Set("Connection", "close")
		return nil, http.StatusRequestTimeout, "request body timeout"
	}
	return nil, http.StatusBadRequest, "connection closed"
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // the sender is gone if this fails
}

func failure(w http.ResponseWriter, status int, problem string) {
	reply(w, status, answer{Error: problem})
}

// answer is the body of every JSON answer.
type answer struct {
	OK           bool           `json:"ok"`
	Error        string         `json:"error,omitzero"`
	Mode         string         `json:"mode,omitzero"`
	EventOutcome string         `json:"eventOutcome,omitzero"`
	RunID        string         `json:"runId,omitzero"`
	Details      jsontext.Value `json:"details,omitzero"`
}

func reply(w http.ResponseWriter, status int, a answer) {
	body, err := frames.MarshalPayload(a)
	if err != nil {
		text(w, http.StatusInternalServerError, "Internal Server Error")
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the sender is gone if this fails
}
