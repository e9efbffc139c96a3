package agent

import (
	"errors"
	"strings"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
)

// Start describes a request that starts a turn.
type Start struct {
	Kind    Kind
	RunID   string // the idempotency key
	AgentID string
	Text    string
	Model   string
	// MustExist refuses a session that does not exist (sessions.send); otherwise it is
	// created.
	MustExist bool
	// GivenKey is the session key as the client wrote it, for messages.
	GivenKey string
	// Answer builds the payload of the acknowledgement once the session is known.
	Answer func(row *storage.SessionRow) any
	// Prepare changes the session in the same transaction before the message is added
	// (sessions.create sets a label, /reset empties it).
	Prepare func(tx storage.Tx, row *storage.SessionRow, created bool) error
	// Reason is what sessions.changed says; "send" when empty.
	Reason string
}

// Start makes the request on e begin a turn: it stores the message and the run in one
// transaction, and puts the run on e for the lane to take when that is durable. Without
// a configured model it refuses at once and says what to set.
func (g *Registry) Start(e *pipeline.Envelope, s Start) error {
	if err := g.Ready(); err != nil {
		return err
	}
	if strings.ContainsRune(s.Text, 0) {
		return frames.Invalid("message must not contain null bytes")
	}
	msg := userMessage(s, e.Peer)
	run, conflict := g.New(Spec{ID: s.RunID, Kind: s.Kind, SessionKey: e.SessionKey, AgentID: s.AgentID,
		Model: s.Model, Input: Input{Text: s.Text, MessageID: msg.ID}, Claim: e.Claim, Ctx: e.Ctx})
	if conflict != nil {
		return conflict
	}
	if e.Claim != nil {
		e.Claim.Replace(run.inFlightPayload())
	}
	e.Work = run
	e.Effects = append(e.Effects, pipeline.EffectFunc(func(tx storage.Tx, e *pipeline.Envelope) error {
		return g.applyStart(tx, e, run, &msg, s)
	}))
	e.AfterAnswer(func(ok bool) {
		if !ok {
			g.Forget(run)
			return
		}
		reason := s.Reason
		if reason == "" {
			reason = "send"
		}
		g.SessionChanged(run.sessionKey, Change{Reason: reason})
		g.MessageAdded(run.sessionKey, msg, true)
	})
	return nil
}

func (g *Registry) applyStart(tx storage.Tx, e *pipeline.Envelope, run *Run, msg *storage.Message, s Start) error {
	row, created, err := EnsureSession(tx, run.sessionKey, run.agentID, s.MustExist, s.GivenKey)
	if err != nil {
		return err
	}
	if row.SendPolicy == "deny" {
		return frames.Invalid("send blocked by session policy")
	}
	if s.Prepare != nil {
		if err := s.Prepare(tx, &row, created); err != nil {
			return err
		}
	}
	if msg.Seq, err = storage.AppendMessage(tx, &row, *msg); err != nil {
		return err
	}
	row.UpdatedAtMs, row.LastInteractionAtMs, row.Unread = msg.TimestampMs, msg.TimestampMs, true
	if err := storage.PutSession(tx, &row); err != nil {
		return err
	}
	run.SetSession(row.SessionID)
	queued := run.QueuedRow()
	if err := storage.PutRun(tx, &queued); err != nil {
		return err
	}
	return e.AnswerValue(s.Answer(&row))
}

// userMessage is a client's message as it is stored; who sent it comes from the
// connection, never from params (advisories.md, CVE-2026-41299).
func userMessage(s Start, peer *frames.Peer) storage.Message {
	now := time.Now().UnixMilli()
	key := s.RunID + ":user"
	body, err := json.Marshal(map[string]any{"role": "user", "content": s.Text, "timestamp": now, "idempotencyKey": key},
		json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return storage.Message{ID: uuid.NewString(), RunID: s.RunID, Role: "user", Body: body, TimestampMs: now, IdempotencyKey: key}
}

// EnsureSession returns the session of key, and makes it if it may.
func EnsureSession(tx storage.Tx, key, agentID string, mustExist bool, given string) (row storage.SessionRow, created bool, err error) {
	row, found, err := FindSession(tx, key)
	if err != nil || found {
		return row, false, err
	}
	if mustExist && key != "agent:"+agentID+":main" {
		return row, false, frames.Invalid("session not found: %s", given)
	}
	row = NewSession(key, agentID)
	return row, true, nil
}

// FindSession returns the session of key; found is false when there is none.
func FindSession(r storage.Reader, key string) (row storage.SessionRow, found bool, err error) {
	row, err = storage.GetSession(r, key)
	if errors.Is(err, storage.ErrNotFound) {
		return row, false, nil
	}
	return row, err == nil, err
}

// NewSession is a session that did not exist before; the caller stores it.
func NewSession(key, agentID string) storage.SessionRow {
	now := time.Now().UnixMilli()
	return storage.SessionRow{Key: key, SessionID: uuid.NewString(), AgentID: agentID, CreatedAtMs: now,
		UpdatedAtMs: now, LifecycleRevision: uuid.NewString()}
}

// ResetSession empties a session: its transcript goes, its settings stay. The session
// id stays too, as in the real gateway; only lifecycleRevision is new.
func ResetSession(tx storage.Tx, row *storage.SessionRow) error {
	if err := ClearTranscript(tx, row.SessionID); err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	row.LifecycleRevision = uuid.NewString()
	row.UpdatedAtMs, row.StartedAtMs, row.EndedAtMs = now, 0, 0
	row.InputTokens, row.OutputTokens, row.TotalTokens = 0, 0, 0
	row.AbortedLastRun, row.Status, row.LastRunID = false, "", ""
	return nil
}

// ClearTranscript removes a session's messages within the caller's transaction.
func ClearTranscript(tx storage.Tx, sessionID string) error {
	const step = 2000
	for more := true; more; {
		var err error
		if _, more, err = storage.DeleteTranscript(tx, sessionID, step); err != nil {
			return err
		}
	}
	return nil
}

// inFlightPayload is what a duplicate gets while the run waits or runs.
func (r *Run) inFlightPayload() []byte {
	v := map[string]any{"runId": r.id, "status": "in_flight"}
	if r.kind == Direct {
		v["sessionKey"], v["agentId"] = r.sessionKey, r.agentID
	}
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return b
}
