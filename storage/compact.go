package storage

import (
	"errors"
	"fmt"
	"strconv"
)

// TrimTranscript removes the messages of a session before the sequence number keepFrom
// and, with a summary, puts that in place of the last one removed, so that the
// transcript still reads in order. It returns how many were removed.
func TrimTranscript(tx Tx, sessionID string, keepFrom int64, summary *Message) (removed int, err error) {
	var old []*Message
	err = ScanTranscript(tx, sessionID, 0, false, func(m *Message) error {
		if m.Seq >= keepFrom {
			return ErrStop
		}
		old = append(old, m)
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, m := range old {
		err := errors.Join(tx.Delete(Transcripts, sessionID+"/"+seqKey(m.Seq)),
			tx.Delete(Transcripts, indexKey(sessionID, "~id", m.ID)))
		if m.IdempotencyKey != "" {
			err = errors.Join(err, tx.Delete(Transcripts, indexKey(sessionID, "~idem", m.IdempotencyKey)))
		}
		if err != nil {
			return 0, err
		}
	}
	if summary == nil || len(old) == 0 {
		return len(old), nil
	}
	if summary.ID == "" || !summary.Body.IsValid() {
		return 0, fmt.Errorf("trim the transcript of %s: a summary needs an id and a JSON body", sessionID)
	}
	summary.Seq = old[len(old)-1].Seq
	if err := putJSON(tx, Transcripts, sessionID+"/"+seqKey(summary.Seq), summary); err != nil {
		return 0, err
	}
	return len(old), tx.Put(Transcripts, indexKey(sessionID, "~id", summary.ID), strconv.AppendInt(nil, summary.Seq, 10))
}
