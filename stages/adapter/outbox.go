package adapter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"sync"
	"time"
	"unicode/utf8"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/storage"

	"github.com/go-json-experiment/json"
)

// Unconfirmed is a delivery whose outcome is unknown: a row of storage.Outbox. The
// message itself is not kept.
type Unconfirmed struct {
	Key       string `json:"key"`
	Channel   string `json:"channel"`
	AccountID string `json:"accountId,omitzero"`
	To        string `json:"to"`
	// State is "started" when the process ended during it, "unknown" when the channel
	// could not tell.
	State    string `json:"state"`
	Attempts int    `json:"attempts"`
	AtMs     int64  `json:"atMs"`
	Reason   string `json:"reason,omitzero"`
}

// The states of a row.
const (
	StateStarted = "started"
	StateUnknown = "unknown"
)

// outbox is the durable memory of deliveries that have begun.
type outbox struct {
	store storage.Store
	log   *slog.Logger
	cfg   Config

	mu   sync.Mutex
	open map[string]Unconfirmed // by row key: outcome unknown
}

// rowKey is the key of a delivery's row: its own, or a hash if the store could not keep it.
func rowKey(key string) string {
	if len(key) <= 256 && utf8.ValidString(key) {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// maxLogged bounds the deliveries that are named in the log at start.
const maxLogged = 20

// load reads the rows of an earlier process: each is a delivery whose outcome nobody
// knows. Rows beyond the retention or the bound are removed.
func (o *outbox) load(ctx context.Context) error {
	var rows []Unconfirmed
	var broken []string
	err := o.store.View(ctx, func(r storage.Reader) error {
		return r.Scan(storage.Outbox, storage.Range{}, func(key string, value []byte) error {
			var row Unconfirmed
			if err := json.Unmarshal(value, &row); err != nil {
				broken = append(broken, key)
				return nil
			}
			row.Key = key
			rows = append(rows, row)
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("adapter: the outbox cannot be read: %w", err)
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].AtMs < rows[j].AtMs })
	old := time.Now().UnixMilli() - o.cfg.RetentionMs
	remove := broken
	for len(rows) > 0 && (rows[0].AtMs < old || len(rows) > o.cfg.MaxUnconfirmed) {
		remove = append(remove, rows[0].Key)
		rows = rows[1:]
	}
	if len(remove) > 0 {
		o.log.Warn("outbox: old or unreadable rows are removed", "rows", len(remove), "unreadable", len(broken))
		if err := o.forget(ctx, remove); err != nil {
			return fmt.Errorf("adapter: the outbox cannot be written: %w", err)
		}
	}
	o.mu.Lock()
	for _, row := range rows {
		o.open[row.Key] = row
	}
	o.mu.Unlock()
	for i, row := range rows {
		if i == maxLogged {
			o.log.Warn("more deliveries of unknown outcome", "count", len(rows)-maxLogged)
			break
		}
		o.log.Warn("a delivery has an unknown outcome; it is not repeated by itself", "key", row.Key,
			"channel", row.Channel, "to", row.To, "state", row.State, "attempts", row.Attempts, "at", time.UnixMilli(row.AtMs))
	}
	return nil
}

// begin writes the row of j before its first try; it is durable when begin returns. A
// key whose outcome is open is refused, unless the receiver recognises repetitions.
func (o *outbox) begin(ctx context.Context, j *job, idempotent bool) *frames.Error {
	key := rowKey(j.d.Key)
	row := Unconfirmed{Key: j.d.Key, Channel: j.lane.name, AccountID: j.d.AccountID, To: j.d.To,
		State: StateStarted, Attempts: 1, AtMs: time.Now().UnixMilli()}
	var open *frames.Error
	err := o.store.Update(ctx, func(tx storage.Tx) error {
		value, err := tx.Get(storage.Outbox, key)
		switch {
		case errors.Is(err, storage.ErrNotFound):
		case err != nil:
			return err
		default:
			var was Unconfirmed
			if err := json.Unmarshal(value, &was); err == nil {
				row.Attempts = was.Attempts + 1
			}
			if !idempotent {
				open = stillOpen(was)
				return open
			}
		}
		body, err := json.Marshal(row)
		if err != nil {
			return err
		}
		return tx.Put(storage.Outbox, key, body)
	})
	switch {
	case open != nil:
		return open
	case err != nil:
		o.log.Error("a delivery was not begun: its outbox row cannot be written", "channel", row.Channel, "err", err)
		return frames.Unavailable(5000, "the delivery was not begun: the outbox cannot be written")
	}
	j.row = key
	return nil
}

func stillOpen(was Unconfirmed) *frames.Error {
	return &frames.Error{Code: frames.CodeUnavailable,
		Message: fmt.Sprintf("an earlier delivery with this key, begun %s, may or may not have arrived; look at the receiver and use a new key to send again",
			time.UnixMilli(was.AtMs).UTC().Format(time.RFC3339)),
		Details: map[string]any{"code": CodeDeliveryUnknown, "channel": was.Channel, "state": was.State,
			"attempts": was.Attempts, "atMs": was.AtMs}}
}

// close takes a row whose outcome is known out of the list.
func (o *outbox) close(key string) {
	o.mu.Lock()
	delete(o.open, key)
	o.mu.Unlock()
}

func (o *outbox) isOpen(key string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.open[key]
	return ok
}

// markUnknown keeps the row of j with the reason. If it cannot be written the row stays
// as it was begun, which says the same without the reason.
func (o *outbox) markUnknown(j *job, cause error) {
	row := Unconfirmed{Key: j.row, Channel: j.lane.name, AccountID: j.d.AccountID, To: j.d.To, State: StateUnknown,
		Attempts: j.attempts, AtMs: time.Now().UnixMilli(), Reason: cause.Error()}
	o.mu.Lock()
	o.open[j.row] = row
	forgotten := o.oldestBeyond()
	o.mu.Unlock()
	o.log.Warn("a delivery has an unknown outcome; it is not repeated by itself", "key", row.Key, "channel", row.Channel,
		"to", row.To, "attempts", row.Attempts, "err", cause)
	// The stage may be stopping: this write must still happen.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := o.store.Update(ctx, func(tx storage.Tx) error {
		body, err := json.Marshal(row)
		if err != nil {
			return err
		}
		if forgotten != "" {
			if err := tx.Delete(storage.Outbox, forgotten); err != nil {
				return err
			}
		}
		return tx.Put(storage.Outbox, j.row, body)
	})
	if err != nil {
		o.log.Error("outbox row not written", "key", row.Key, "err", err)
	}
}

// oldestBeyond takes the oldest open row out when there are too many. o.mu is held.
func (o *outbox) oldestBeyond() string {
	if len(o.open) <= o.cfg.MaxUnconfirmed {
		return ""
	}
	oldest := ""
	for key, row := range o.open {
		if oldest == "" || row.AtMs < o.open[oldest].AtMs {
			oldest = key
		}
	}
	delete(o.open, oldest)
	o.log.Warn("too many deliveries of unknown outcome; the oldest is forgotten", "key", oldest, "maxUnconfirmed", o.cfg.MaxUnconfirmed)
	return oldest
}

func (o *outbox) list() []Unconfirmed {
	o.mu.Lock()
	rows := make([]Unconfirmed, 0, len(o.open))
	for _, row := range o.open {
		rows = append(rows, row)
	}
	o.mu.Unlock()
	sort.Slice(rows, func(i, j int) bool {
		if rows[i].AtMs != rows[j].AtMs {
			return rows[i].AtMs < rows[j].AtMs
		}
		return rows[i].Key < rows[j].Key
	})
	return rows
}

// dismiss removes an open row.
func (o *outbox) dismiss(ctx context.Context, key string) error {
	key = rowKey(key)
	if !o.isOpen(key) {
		return storage.ErrNotFound
	}
	if err := o.forget(ctx, []string{key}); err != nil {
		return err
	}
	o.close(key)
	return nil
}

// forget deletes rows now.
func (o *outbox) forget(ctx context.Context, keys []string) error {
	return o.store.Update(ctx, func(tx storage.Tx) error { return deleteRows(tx, keys) })
}

// forget deletes rows with the effects of an envelope.
func forget(keys []string) pipeline.Effect {
	return pipeline.EffectFunc(func(tx storage.Tx, _ *pipeline.Envelope) error { return deleteRows(tx, keys) })
}

func deleteRows(tx storage.Tx, keys []string) error {
	for _, k := range keys {
		if err := tx.Delete(storage.Outbox, k); err != nil {
			return err
		}
	}
	return nil
}
