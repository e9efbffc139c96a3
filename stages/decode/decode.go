// Package decode is the first stage: it turns bytes into a request that is well formed
// and permitted, or refuses it with the protocol's own words.
//
// Besides the frame it checks role, scope, write budget and params, in the order of the
// real gateway (wire.md 3.6): a request that may not run never reaches a stage that
// holds state, such as a place in a lane or an entry in the dedupe table. Dispatch then
// only finds the handler.
package decode

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"

	"sluice/frames"
	"sluice/pipeline"
)

// Stage implements pipeline.Stage. It is safe for concurrent use.
type Stage struct {
	cfg    Config
	log    *slog.Logger
	budget *budget
	native func(*frames.Method) bool

	strikes  *strikes
	requests []atomic.Uint64
	unknown  atomic.Uint64
}

var _ pipeline.Stage = (*Stage)(nil)

// New returns the stage. native says whether a known method is answered here at all;
// those that are not are refused as unknown ones are (law 12).
func New(cfg Config, native func(*frames.Method) bool, log *slog.Logger) (*Stage, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Stage{cfg: cfg, log: log, native: native, budget: newBudget(cfg), strikes: newStrikes(cfg.MaxStruckConnections),
		requests: make([]atomic.Uint64, len(frames.Methods()))}, nil
}

// Name implements pipeline.Stage.
func (s *Stage) Name() string { return "decode" }

// Process implements pipeline.Stage.
func (s *Stage) Process(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	if e.Source == pipeline.SourceWire || e.Source == pipeline.SourceReplay {
		if err := s.decode(ctx, e); err != nil {
			return pipeline.Done, err
		}
	}
	if e.Frame.Spec != nil {
		s.requests[e.Frame.Spec.Index].Add(1)
	} else {
		s.unknown.Add(1)
	}
	if e.Peer == nil {
		return pipeline.Next, s.beforeHello(e)
	}
	if err := s.authorize(e); err != nil {
		return pipeline.Done, err
	}
	return pipeline.Next, nil
}

// decode reads the envelope of the frame. Before hello every defect ends the
// connection; after it, broken JSON is ignored and anything else is answered.
func (s *Stage) decode(ctx context.Context, e *pipeline.Envelope) error {
	err := frames.Decode(e.Bytes(), &e.Frame)
	if err == nil && e.Frame.Kind == frames.KindRequest {
		return nil
	}
	if e.Peer == nil {
		if err != nil && err.Silent {
			return &frames.Error{Silent: true, Close: &frames.Close{Code: frames.CloseNormal}}
		}
		return &frames.Error{Silent: true, Close: &frames.Close{Code: frames.ClosePolicyViolation, Reason: "invalid request frame"}}
	}
	if err == nil {
		err = frames.RefuseFrame(e.Bytes())
	}
	if err.Silent {
		s.log.LogAttrs(ctx, slog.LevelDebug, "broken JSON ignored", slog.String("conn", e.Peer.ConnID), slog.Int("bytes", len(e.Bytes())))
		return err
	}
	if len(e.Frame.ID) == 0 {
		e.Frame.ID = frames.EncodedIDInvalid
	}
	return err
}

// errFirstConnect is what a client gets whose first request is not connect.
var errFirstConnect = frames.Invalid("invalid handshake: first request must be connect").Closing(frames.ClosePolicyViolation)

func (s *Stage) beforeHello(e *pipeline.Envelope) error {
	if e.Frame.Method != "connect" {
		return errFirstConnect
	}
	return nil
}

var (
	errConnectAgain    = frames.Invalid("connect is only valid as the first request")
	errProfileMismatch = frames.Invalid("Selected account changed or is unavailable. Select the account again before retrying.").
				WithDetails(map[string]any{"reason": "EXPECTED_PROFILE_MISMATCH", "execution": "not_started"})
)

// authorize checks role, scope, profile, existence, budget and params, in that order.
func (s *Stage) authorize(e *pipeline.Envelope) error {
	m, peer := e.Frame.Spec, e.Peer
	if err := s.permit(m, peer, e.Frame.Params); err != nil {
		return err
	}
	switch {
	case len(e.Frame.ExpectedProfile) > 0:
		return errProfileMismatch // Sluice has no user profiles; none can be the expected one
	case e.Frame.Method == "connect":
		return errConnectAgain
	case m == nil || !s.native(m):
		return frames.Invalid("unknown method: %s", e.Frame.Method)
	}
	if m.ControlPlane && peer.Role != frames.RoleSystem {
		if err := s.budget.take(m.Name, peer); err != nil {
			return err
		}
	}
	// Without a schema this still refuses a name that is given twice (law 11).
	if err := m.Params.Validate(m.Name, e.Frame.Params); err != nil {
		return preferTarget(m.Name, e.Frame.Params, err)
	}
	return nil
}

// preferTarget: methods that change a session say that they were given none before they
// say anything else about their params, as upstream does.
func preferTarget(method string, params []byte, err *frames.Error) *frames.Error {
	var p struct {
		SessionKey string `json:"sessionKey"`
		Key        string `json:"key"`
	}
	frames.UnmarshalParams(params, &p)
	if (method == "chat.send" && p.SessionKey == "") || (method == "sessions.send" && p.Key == "") {
		return frames.Invalid("session mutation target is unavailable").
			WithDetails(map[string]any{"code": "SESSION_MUTATION_TARGET_REQUIRED", "method": method})
	}
	return err
}

// permit checks role and scope; the eleventh call of the other role's methods in a row
// ends the connection (wire.md 3.6). Work of Sluice's own needs no grant.
func (s *Stage) permit(m *frames.Method, peer *frames.Peer, params []byte) error {
	if peer.Role == frames.RoleSystem {
		return nil
	}
	err := frames.Authorize(m, peer.Role, peer.Scopes, params)
	if err == nil || !strings.HasPrefix(err.Message, "unauthorized role:") {
		s.strikes.forgive(peer.ConnID)
		if err == nil {
			return nil // not err: a nil *frames.Error in an error is not nil
		}
		return err
	}
	if s.strikes.strike(peer.ConnID) > s.cfg.MaxUnauthorizedCalls {
		err = err.WithDetails(err.Details)
		err.Close = &frames.Close{Code: frames.ClosePolicyViolation, Reason: "repeated unauthorized calls"}
	}
	return err
}

// Forget drops what is kept about a connection that has ended.
func (s *Stage) Forget(conn string) { s.strikes.forgive(conn) }

// Requests returns how often the method was asked for; -1 is all unknown ones.
func (s *Stage) Requests(index int) uint64 {
	if index < 0 {
		return s.unknown.Load()
	}
	return s.requests[index].Load()
}
