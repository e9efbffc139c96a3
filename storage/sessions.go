package storage

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// The collection Sessions holds SessionRows under their session key as it is. Meta has
// "sid/<session id>" -> session key, so that a session id in a request is resolved to
// the row that is then authorised.

// MaxSessionList is the largest number of rows that ListSessions returns at once.
const MaxSessionList = 5000

// SessionRow is one session: what sessions.list shows and what a turn needs to know.
// Times are Unix milliseconds, 0 for never. The wire's names differ from the fields in
// places; the method handlers translate.
type SessionRow struct {
	Key       string `json:"key"`
	SessionID string `json:"sessionId"`
	AgentID   string `json:"agentId,omitempty"`
	Label     string `json:"label,omitempty"`

	CreatedAtMs         int64 `json:"createdAtMs,omitzero"`
	UpdatedAtMs         int64 `json:"updatedAtMs,omitzero"`
	LastInteractionAtMs int64 `json:"lastInteractionAtMs,omitzero"`

	Archived     bool  `json:"archived,omitzero"`
	ArchivedAtMs int64 `json:"archivedAtMs,omitzero"`
	Pinned       bool  `json:"pinned,omitzero"`
	Unread       bool  `json:"unread,omitzero"`
	PinnedAtMs   int64 `json:"pinnedAtMs,omitzero"`

	// What sessions.patch sets; empty means the default.
	ModelOverride    string `json:"modelOverride,omitempty"`
	ProviderOverride string `json:"providerOverride,omitempty"`
	ThinkingLevel    string `json:"thinkingLevel,omitempty"`
	VerboseLevel     string `json:"verboseLevel,omitempty"`
	ReasoningLevel   string `json:"reasoningLevel,omitempty"`
	QueueMode        string `json:"queueMode,omitempty"`
	GroupActivation  string `json:"groupActivation,omitempty"` // mention, always
	SendPolicy       string `json:"sendPolicy,omitempty"`      // allow, deny

	ParentKey string `json:"parentKey,omitempty"`
	ChatType  string `json:"chatType,omitempty"` // direct, group, channel
	Channel   string `json:"channel,omitempty"`

	// LastSeq is the sequence number of the newest message of SessionID's transcript.
	LastSeq int64 `json:"lastSeq,omitzero"`

	Status         string `json:"status,omitempty"` // queued, running, done, failed, killed, timeout
	StartedAtMs    int64  `json:"startedAtMs,omitzero"`
	EndedAtMs      int64  `json:"endedAtMs,omitzero"`
	LastRunID      string `json:"lastRunId,omitempty"`
	AbortedLastRun bool   `json:"abortedLastRun,omitzero"`

	InputTokens  int64 `json:"inputTokens,omitzero"`
	OutputTokens int64 `json:"outputTokens,omitzero"`
	TotalTokens  int64 `json:"totalTokens,omitzero"`

	// LifecycleRevision changes when the session is reset, archived or replaced.
	LifecycleRevision string `json:"lifecycleRevision,omitempty"`

	// Extra keeps patchable members that nothing here interprets, as they came.
	Extra map[string]jsontext.Value `json:"extra,omitempty"`
}

// GetSession returns the row of a session key, or ErrNotFound.
func GetSession(r Reader, key string) (SessionRow, error) {
	return getJSON[SessionRow](r, Sessions, key)
}

// SessionKeyByID returns the session key that a session id belongs to, or ErrNotFound.
func SessionKeyByID(r Reader, sessionID string) (string, error) {
	raw, err := r.Get(Meta, idKey("sid", sessionID))
	if err != nil {
		return "", err
	}
	key := string(raw)
	row, err := GetSession(r, key)
	if err != nil {
		return "", err
	}
	if row.SessionID != sessionID {
		return "", ErrNotFound
	}
	return key, nil
}

// PutSession stores row under row.Key. Its SessionID must be valid (CheckSessionID) and
// must not belong to another key.
func PutSession(tx Tx, row *SessionRow) error {
	if err := CheckSessionID(row.SessionID); err != nil {
		return err
	}
	index := idKey("sid", row.SessionID)
	owner, err := tx.Get(Meta, index)
	switch {
	case err == nil && string(owner) == row.Key:
	case err == nil:
		return fmt.Errorf("%w: the session id %s belongs to another session", ErrInvalidKey, row.SessionID)
	default:
		if err := replaceSessionID(tx, row, index); err != nil {
			return err
		}
	}
	return putJSON(tx, Sessions, row.Key, row)
}

// replaceSessionID moves the index of a row that is new or has got a new session id.
func replaceSessionID(tx Tx, row *SessionRow, index string) error {
	if old, err := GetSession(tx, row.Key); err == nil && old.SessionID != row.SessionID {
		if err := tx.Delete(Meta, idKey("sid", old.SessionID)); err != nil {
			return err
		}
	}
	return tx.Put(Meta, index, []byte(row.Key))
}

// DeleteSession removes the row of key; a missing one is no error. Its transcript is
// removed by DeleteTranscript, in steps.
func DeleteSession(tx Tx, key string) error {
	if row, err := GetSession(tx, key); err == nil {
		if err := tx.Delete(Meta, idKey("sid", row.SessionID)); err != nil {
			return err
		}
	}
	return tx.Delete(Sessions, key)
}

// SessionFilter chooses rows for ListSessions. The zero value takes all.
type SessionFilter struct {
	AgentID       string // only this agent's
	KeyPrefix     string // only keys that start with it
	AfterKey      string // only keys after it: the last key of the page before
	Archived      *bool  // only archived ones, or only others
	UpdatedFromMs int64  // only rows updated at or after it
	Limit         int    // at most so many; 0 and more than MaxSessionList mean MaxSessionList
	// Match, when set, has the last word on each row.
	Match func(*SessionRow) bool
}

func (f *SessionFilter) takes(row *SessionRow) bool {
	return (f.AgentID == "" || row.AgentID == f.AgentID) &&
		(f.Archived == nil || row.Archived == *f.Archived) &&
		row.UpdatedAtMs >= f.UpdatedFromMs &&
		(f.Match == nil || f.Match(row))
}

// ListSessions returns rows in the order of their keys.
func ListSessions(r Reader, f SessionFilter) (rows []SessionRow, err error) {
	limit := f.Limit
	if limit <= 0 || limit > MaxSessionList {
		limit = MaxSessionList
	}
	rng := Range{Prefix: f.KeyPrefix}
	if f.AfterKey != "" {
		rng.From = f.AfterKey + "\x00"
	}
	err = r.Scan(Sessions, rng, func(key string, raw []byte) error {
		var row SessionRow
		if err := decode(Sessions, key, raw, &row); err != nil {
			return err
		}
		if f.takes(&row) {
			rows = append(rows, row)
		}
		if len(rows) == limit {
			return ErrStop
		}
		return nil
	})
	return rows, err
}

// CountSessions returns the number of sessions, for caps and health.
func CountSessions(r Reader) (n int, err error) {
	err = r.Scan(Sessions, Range{}, func(string, []byte) error { n++; return nil })
	return n, err
}

// CheckSessionID returns an error that wraps ErrInvalidKey unless id can name a
// transcript: 1 to 256 bytes of UTF-8 without "/".
func CheckSessionID(id string) error {
	if err := CheckKey(Transcripts, id); err != nil {
		return err
	}
	if len(id) > 256 || strings.Contains(id, "/") {
		return fmt.Errorf("%w: %.64q is not a session id", ErrInvalidKey, id)
	}
	return nil
}
