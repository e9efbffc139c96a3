package hooks

import (
	"crypto/sha256"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/pipeline"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// request is what a hook turned out to ask of the pipeline.
type request struct {
	method string
	params any
	runID  string // agent
	mode   string // wake
}

// plan turns a request's payload into a request of the protocol. A nil request without a
// problem means that nothing is mapped to the path.
func (h *Handler) plan(cfg *Config, r *http.Request, sub string, p payload) (*request, string) {
	var channels []string
	if h.deps.Channels != nil {
		channels = h.deps.Channels()
	}
	switch sub {
	case "wake":
		w, problem := parseWake(p)
		if problem != "" {
			return nil, problem
		}
		return h.planWake(cfg, w, !cfg.AllowRequestSessionKey)
	case "agent":
		run, problem := parseRun(p, channels)
		if problem == "" && run.SessionMode == "persistent" {
			switch {
			case run.SessionKey == "":
				problem = "sessionKey is required when sessionMode is persistent"
			case len(cfg.AllowedSessionKeyPrefixes) == 0:
				problem = "hooks.allowedSessionKeyPrefixes is required when direct hook sessionMode is persistent"
			}
		}
		if problem != "" {
			return nil, problem
		}
		return h.planRun(cfg, r, sub, p, run, !cfg.AllowRequestSessionKey)
	}
	c := hookContext{payload: p, request: r, path: sub}
	m := find(cfg.Mappings, c)
	if m == nil {
		return nil, ""
	}
	// A fixed session key is the operator's; a rendered one is the sender's.
	fromSender := hasTemplate(m.SessionKey) && !cfg.AllowRequestSessionKey
	if m.Action == "wake" {
		w, problem := m.wake(c)
		if problem != "" {
			return nil, problem
		}
		return h.planWake(cfg, w, fromSender)
	}
	run, problem := m.run(c, channels)
	if problem == "" && run.SessionMode == "persistent" && run.SessionKey == "" && cfg.DefaultSessionKey == "" {
		problem = "sessionKey or hooks.defaultSessionKey is required when mapped hook sessionMode is persistent"
	}
	if problem != "" {
		return nil, problem
	}
	return h.planRun(cfg, r, sub, p, run, fromSender)
}

const problemSessionKey = "sessionKey is disabled for externally supplied hook payload values; set hooks.allowRequestSessionKey=true to enable"

// session applies the session policy to the key that was asked for.
func (h *Handler) session(cfg *Config, asked, fallback, agent string, refuseAsked bool) (key, problem string) {
	key = asked
	switch {
	case asked != "" && refuseAsked:
		return "", problemSessionKey
	case asked == "" && cfg.DefaultSessionKey != "":
		key = cfg.DefaultSessionKey
	case asked == "":
		key = fallback
	}
	if key == "" {
		return "", ""
	}
	// A key of another agent is re-scoped to the agent that runs.
	if parsed, err := frames.ParseSessionKey(key); err != nil {
		return "", "invalid sessionKey: " + err.Error()
	} else if parsed.Agent != "" {
		_, rest, _ := strings.Cut(strings.TrimPrefix(parsed.Key, "agent:"), ":")
		key = "agent:" + agent + ":" + rest
	}
	if !cfg.prefixAllowed(key) {
		return "", "sessionKey must start with one of: " + strings.Join(cfg.AllowedSessionKeyPrefixes, ", ")
	}
	return key, ""
}

// agent resolves and authorises the agent that was asked for.
func (h *Handler) agent(cfg *Config, asked string) (id, problem string) {
	id = strings.ToLower(asked)
	if id == "" {
		id = h.deps.DefaultAgent
	}
	if !frames.ValidAgentID(id) || h.deps.AgentExists != nil && !h.deps.AgentExists(id) {
		return "", "unknown agentId " + strconv.Quote(asked)
	}
	if !cfg.agentAllowed(id) {
		return "", "agentId is not allowed by hooks.allowedAgentIds"
	}
	return id, ""
}

type wakeParams struct {
	Mode       string `json:"mode"`
	Text       string `json:"text"`
	AgentID    string `json:"agentId,omitzero"`
	SessionKey string `json:"sessionKey,omitzero"`
}

func (h *Handler) planWake(cfg *Config, w wake, refuseSession bool) (*request, string) {
	agent, problem := h.agent(cfg, w.AgentID)
	if problem != "" {
		return nil, problem
	}
	params := wakeParams{Mode: w.Mode, Text: w.Text, AgentID: agent}
	if w.SessionKey != "" {
		if params.SessionKey, problem = h.session(cfg, w.SessionKey, "", agent, refuseSession); problem != "" {
			return nil, problem
		}
	}
	return &request{method: "wake", params: params, mode: w.Mode}, ""
}

// agentParams are the params of the method agent.
type agentParams struct {
	Message         string     `json:"message"`
	AgentID         string     `json:"agentId"`
	SessionKey      string     `json:"sessionKey"`
	IdempotencyKey  string     `json:"idempotencyKey"`
	Model           string     `json:"model,omitzero"`
	Thinking        string     `json:"thinking,omitzero"`
	Timeout         int64      `json:"timeout,omitzero"`
	Deliver         bool       `json:"deliver,omitzero"`
	Channel         string     `json:"channel,omitzero"`
	To              string     `json:"to,omitzero"`
	AccountID       string     `json:"accountId,omitzero"`
	InputProvenance provenance `json:"inputProvenance"`
}

// provenance says that the message is of foreign origin.
type provenance struct {
	Kind          string `json:"kind"`
	SourceChannel string `json:"sourceChannel"`
	SourceTool    string `json:"sourceTool"`
}

func (h *Handler) planRun(cfg *Config, r *http.Request, sub string, p payload, run run, refuseSession bool) (*request, string) {
	agent, problem := h.agent(cfg, run.AgentID)
	if problem != "" {
		return nil, problem
	}
	run.AgentID = agent
	id, problem := runID(sub, idempotencyKey(r, p), run)
	if problem != "" {
		return nil, problem
	}
	key, problem := h.session(cfg, run.SessionKey, "hook:"+id, agent, refuseSession)
	if problem != "" {
		return nil, problem
	}
	return &request{method: "agent", runID: id, params: agentParams{Message: run.Message, AgentID: agent, SessionKey: key,
		IdempotencyKey: id, Model: run.Model, Thinking: run.Thinking, Timeout: run.Timeout, Deliver: run.Deliver,
		Channel: run.Channel, To: run.To, AccountID: run.AccountID,
		InputProvenance: provenance{Kind: "external_user", SourceChannel: "webhook", SourceTool: "hook:" + run.Name}}}, ""
}

// hookSpace is the namespace of run ids that are made from a sender's key.
var hookSpace = uuid.MustParse("6f1de1c4-2a0b-5c63-9a55-0d3c1b1f7a10")

// runID is random, or, with an idempotency key, made from the key and everything that
// the run is about: a repetition asks for the same run, which the dedupe stage answers
// for, also after a restart, and the same key with other content is another run, as
// upstream has it.
func runID(sub, key string, run run) (string, string) {
	if key == "" {
		return uuid.NewString(), ""
	}
	scope, err := json.Marshal([]any{sub, key, run}, json.Deterministic(true))
	if err != nil {
		return "", "the request cannot be encoded"
	}
	return uuid.NewHash(sha256.New(), hookSpace, scope, 8).String(), ""
}

// submit sends the request through the pipeline and answers when it was accepted.
func (h *Handler) submit(w http.ResponseWriter, r *http.Request, cfg *Config, req *request) {
	params, err := json.Marshal(req.params, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		failure(w, http.StatusInternalServerError, "the request cannot be encoded")
		return
	}
	id := "hook-" + uuid.NewString()
	lease := bufpool.Get(len(params) + 128)
	lease.B = frames.AppendRequest(lease.B, id, req.method, params)
	e := pipeline.NewEnvelope(pipeline.SourceHook, lease)
	c := &caller{id: id, result: make(chan result, 1), handshake: frames.Handshake{RemoteIP: h.deps.ClientIP(r), UserAgent: r.UserAgent()}}
	c.peer = &frames.Peer{ConnID: id, Role: frames.RoleSystem, Scopes: frames.Scopes(frames.ScopeRead | frames.ScopeWrite),
		Protocol: frames.ProtocolVersion, Identity: "system:hook", AuthMethod: "token", RemoteIP: c.handshake.RemoteIP,
		Client: frames.ClientInfo{ID: "hook", Mode: "backend"}}
	e.Client, e.Peer = c, c.peer
	e.Shard = h.shard.Add(1)
	e.OnSettle(c)
	if err := frames.Decode(e.Bytes(), &e.Frame); err != nil {
		h.deps.Pipeline.Refuse(e, err)
	} else if err := h.deps.Pipeline.Submit(e); err != nil {
		h.deps.Pipeline.Refuse(e, pipeline.Refusal(err))
	}
	timer := time.NewTimer(time.Duration(cfg.AdmissionTimeoutMs) * time.Millisecond)
	defer timer.Stop()
	select {
	case res := <-c.result:
		h.answer(w, req, res)
	case <-timer.C:
		h.stats.Refused.Add(1)
		reply(w, http.StatusServiceUnavailable, answer{Error: "hook agent run did not start before admission timeout", RunID: req.runID})
	case <-r.Context().Done():
		// The sender is gone; what it asked for goes on.
	}
}

// answer words the pipeline's answer as upstream's hooks do.
func (h *Handler) answer(w http.ResponseWriter, req *request, res result) {
	if res.OK {
		h.stats.Accepted.Add(1)
		if req.method == "wake" {
			var p struct {
				EventOutcome string `json:"eventOutcome"`
			}
			if len(res.Payload) == 0 || json.Unmarshal(res.Payload, &p) != nil || p.EventOutcome == "" {
				p.EventOutcome = "queued"
			}
			reply(w, http.StatusOK, answer{OK: true, Mode: req.mode, EventOutcome: p.EventOutcome})
			return
		}
		reply(w, http.StatusOK, answer{OK: true, RunID: req.runID})
		return
	}
	h.stats.Refused.Add(1)
	status := http.StatusInternalServerError
	switch res.Error.Code {
	case frames.CodeInvalidRequest:
		status = http.StatusBadRequest
		if strings.HasPrefix(res.Error.Message, "unknown method") {
			status = http.StatusNotImplemented
		}
	case frames.CodeForbidden:
		status = http.StatusForbidden
	case frames.CodeUnavailable:
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", strconv.FormatInt(max(1, (res.Error.RetryAfterMs+999)/1000), 10))
	}
	reply(w, status, answer{Error: res.Error.Message, RunID: req.runID, Details: res.Error.Details})
}

// result is a response frame.
type result struct {
	Type    string         `json:"type"`
	OK      bool           `json:"ok"`
	Payload jsontext.Value `json:"payload"`
	Error   struct {
		Code         frames.Code    `json:"code"`
		Message      string         `json:"message"`
		Details      jsontext.Value `json:"details"`
		RetryAfterMs int64          `json:"retryAfterMs"`
	} `json:"error"`
}

// caller is the "connection" of a hook: it takes the first response. The method agent
// answers twice, when it accepts a run and when the run has ended; a hook wants to know
// of the first. Later ones may come after the HTTP request is long over.
type caller struct {
	id        string
	peer      *frames.Peer
	handshake frames.Handshake
	subs      frames.Subscriptions
	result    chan result
	answered  atomic.Bool
}

var (
	_ frames.Client    = (*caller)(nil)
	_ pipeline.Settler = (*caller)(nil)
)

// ID implements frames.Conn.
func (c *caller) ID() string { return c.id }

// Peer implements frames.Conn.
func (c *caller) Peer() *frames.Peer { return c.peer }

// Send implements frames.Conn.
func (c *caller) Send(b frames.Buffer) bool {
	defer b.Release()
	var res result
	if json.Unmarshal(b.Bytes(), &res, jsontext.AllowInvalidUTF8(true)) != nil || res.Type != "res" {
		return true
	}
	// Payload and details are parts of a buffer that is about to be reused.
	res.Payload, res.Error.Details = res.Payload.Clone(), res.Error.Details.Clone()
	c.take(res)
	return true
}

func (c *caller) take(res result) {
	if c.answered.CompareAndSwap(false, true) {
		c.result <- res
	}
}

// Settle implements pipeline.Settler: an envelope that ended without an answer.
func (c *caller) Settle(*pipeline.Envelope) {
	var res result
	res.Error.Message = "the request ended without an answer"
	c.take(res)
}

// Close implements frames.Conn; there is nothing to close.
func (c *caller) Close(frames.Close) {}

// Handshake implements frames.Client.
func (c *caller) Handshake() *frames.Handshake { return &c.handshake }

// Accept implements frames.Client; a hook never says hello.
func (c *caller) Accept(*frames.Peer) {}

// Subscriptions implements frames.Client.
func (c *caller) Subscriptions() *frames.Subscriptions { return &c.subs }
