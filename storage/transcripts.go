package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// The collection Transcripts holds, for each session id,
//
//	<session id>/<12-digit seq>      -> Message
//	<session id>/~id/<message id>    -> seq, so that a repeated append is found at once
//	<session id>/~idem/<key>         -> seq, the same for idempotency keys
//
// Session ids have no "/" (CheckSessionID). The small keys stand beside the messages, as
// each page that an append touches is one more random write of its commit.

// Bounds of one ReadTranscript. A single message larger than the bytes is still read.
const (
	MaxTranscriptPage      = 1000
	MaxTranscriptPageBytes = 16 << 20
)

// Message is one entry of a transcript.
type Message struct {
	ID          string         `json:"id"`
	Seq         int64          `json:"seq"`
	RunID       string         `json:"runId,omitempty"`
	Role        string         `json:"role"` // user, assistant, toolResult, system
	Body        jsontext.Value `json:"body"` // the message as it is shown to clients
	TimestampMs int64          `json:"timestampMs"`
	// IdempotencyKey is that of the request that made the message, if any.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
	// Foreign names where a user's message comes from when its sender is not the owner
	// ("sender", "tool", "web").
	Foreign string `json:"foreign,omitzero"`
}

// FromOwner reports whether the message is the owner's own.
func (m *Message) FromOwner() bool { return m.Role == "user" && m.Foreign == "" }

// AppendMessage appends m to row's transcript, sets and stores row with its new LastSeq
// and UpdatedAtMs, and returns the message's sequence number, from 1. A message whose ID
// or IdempotencyKey is there already is not written again: the first one's number is
// returned and row stays as it is. row must be the stored one (ErrStaleRow otherwise).
func AppendMessage(tx Tx, row *SessionRow, m Message) (seq int64, err error) {
	if err := CheckSessionID(row.SessionID); err != nil {
		return 0, err
	}
	if m.ID == "" || !m.Body.IsValid() {
		return 0, fmt.Errorf("append to the transcript of %s: a message needs an id and a JSON body", row.SessionID)
	}
	seq, err = FindMessage(tx, row.SessionID, m.ID)
	if errors.Is(err, ErrNotFound) && m.IdempotencyKey != "" {
		seq, err = FindMessageByIdempotencyKey(tx, row.SessionID, m.IdempotencyKey)
	}
	if !errors.Is(err, ErrNotFound) {
		return seq, err
	}
	m.Seq = row.LastSeq + 1
	key := row.SessionID + "/" + seqKey(m.Seq)
	if _, err := tx.Get(Transcripts, key); !errors.Is(err, ErrNotFound) {
		return 0, errors.Join(fmt.Errorf("%w: %s has a message %d already; read the row in the same transaction", ErrStaleRow, row.Key, m.Seq), err)
	}
	if err := putJSON(tx, Transcripts, key, &m); err != nil {
		return 0, err
	}
	number := strconv.AppendInt(nil, m.Seq, 10)
	if err := tx.Put(Transcripts, indexKey(row.SessionID, "~id", m.ID), number); err != nil {
		return 0, err
	}
	if m.IdempotencyKey != "" {
		if err := tx.Put(Transcripts, indexKey(row.SessionID, "~idem", m.IdempotencyKey), number); err != nil {
			return 0, err
		}
	}
	row.LastSeq = m.Seq
	row.UpdatedAtMs = max(row.UpdatedAtMs, m.TimestampMs)
	return m.Seq, PutSession(tx, row)
}

func indexKey(sessionID, index, id string) string { return idKey(sessionID+"/"+index, id) }

// messagePrefix selects the messages of a session and not its indexes: 12 digits start
// with a zero for the first hundred billion.
func messagePrefix(sessionID string) string { return sessionID + "/0" }

// FindMessage returns the sequence number of a message id, or ErrNotFound.
func FindMessage(r Reader, sessionID, id string) (int64, error) {
	return findSeq(r, sessionID, "~id", id)
}

// FindMessageByIdempotencyKey returns the sequence number of the message that a request
// with this key made, or ErrNotFound.
func FindMessageByIdempotencyKey(r Reader, sessionID, key string) (int64, error) {
	return findSeq(r, sessionID, "~idem", key)
}

func findSeq(r Reader, sessionID, index, id string) (int64, error) {
	if err := CheckSessionID(sessionID); err != nil {
		return 0, err
	}
	key := indexKey(sessionID, index, id)
	raw, err := r.Get(Transcripts, key)
	if err != nil {
		return 0, err
	}
	seq, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: the record %s/%s: %w", ErrCorrupt, Transcripts, key, err)
	}
	return seq, nil
}

// GetMessage returns the message with a sequence number, or ErrNotFound.
func GetMessage(r Reader, sessionID string, seq int64) (Message, error) {
	if err := CheckSessionID(sessionID); err != nil {
		return Message{}, err
	}
	return getJSON[Message](r, Transcripts, sessionID+"/"+seqKey(seq))
}

// ReadTranscript returns at most limit messages of a session: those after afterSeq in
// order; or, with reverse, the newest first, those before afterSeq if it is not 0. It
// ends early at MaxTranscriptPageBytes. The messages are the caller's.
func ReadTranscript(r Reader, sessionID string, afterSeq int64, limit int, reverse bool) (messages []Message, err error) {
	if limit <= 0 || limit > MaxTranscriptPage {
		limit = MaxTranscriptPage
	}
	size := 0
	err = ScanTranscript(r, sessionID, afterSeq, reverse, func(m *Message) error {
		messages = append(messages, *m)
		size += len(m.Body)
		if len(messages) == limit || size >= MaxTranscriptPageBytes {
			return ErrStop
		}
		return nil
	})
	return messages, err
}

// ScanTranscript is ReadTranscript without bounds, one message at a time; ErrStop from
// fn ends it. Each *Message is fn's to keep.
func ScanTranscript(r Reader, sessionID string, afterSeq int64, reverse bool, fn func(*Message) error) error {
	if err := CheckSessionID(sessionID); err != nil {
		return err
	}
	rng := Range{Prefix: messagePrefix(sessionID), Reverse: reverse}
	switch {
	case !reverse && afterSeq > 0:
		rng.From = sessionID + "/" + seqKey(afterSeq+1)
	case reverse && afterSeq == 1:
		return nil // nothing is before the first
	case reverse && afterSeq > 1:
		rng.From = sessionID + "/" + seqKey(afterSeq-1)
	}
	return r.Scan(Transcripts, rng, func(key string, raw []byte) error {
		var m Message
		if err := decode(Transcripts, key, raw, &m); err != nil {
			return err
		}
		return fn(&m)
	})
}

// DeleteTranscript removes at most step keys of a session's transcript and reports
// whether more are left: large ones are deleted over several transactions, as one that
// frees many pages makes every commit wait.
func DeleteTranscript(tx Tx, sessionID string, step int) (deleted int, more bool, err error) {
	if err := CheckSessionID(sessionID); err != nil {
		return 0, false, err
	}
	return deleteSome(tx, Transcripts, sessionID+"/", step)
}

// NewMessageID returns the id that an append of this content under this key always
// gets, for writers that have no id of their own: 32 hex digits of a hash.
func NewMessageID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
