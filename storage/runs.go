package storage

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// The collection Runs holds
//
//	run/<run id>                          -> RunRow
//	open/<run id>                         -> (empty) for each run that has not ended
//	done/<13-digit end time>/<run id>     -> (empty) for each run that has
//
// so that a boot finds what was interrupted, and pruning what is oldest, without
// reading every run.

// RunStatus is where a run is.
type RunStatus string

// The statuses of a run. The last four are final.
const (
	RunQueued      RunStatus = "queued"
	RunRunning     RunStatus = "running"
	RunOK          RunStatus = "ok"
	RunError       RunStatus = "error"
	RunAborted     RunStatus = "aborted"
	RunInterrupted RunStatus = "interrupted" // the process ended before the run did
)

// Ended reports whether the status is final.
func (s RunStatus) Ended() bool {
	return s == RunOK || s == RunError || s == RunAborted || s == RunInterrupted
}

// RunRow is one agent run. Times are Unix milliseconds, 0 for not yet.
type RunRow struct {
	RunID       string         `json:"runId"`
	SessionKey  string         `json:"sessionKey"`
	SessionID   string         `json:"sessionId,omitempty"`
	AgentID     string         `json:"agentId,omitempty"`
	Status      RunStatus      `json:"status"`
	Prompt      jsontext.Value `json:"prompt,omitzero"` // what was asked, as its method took it
	CreatedAtMs int64          `json:"createdAtMs"`
	StartedAtMs int64          `json:"startedAtMs,omitzero"`
	EndedAtMs   int64          `json:"endedAtMs,omitzero"`
	StopReason  string         `json:"stopReason,omitempty"`
	Error       string         `json:"error,omitempty"`
	Result      jsontext.Value `json:"result,omitzero"`
}

// GetRun returns a run, or ErrNotFound.
func GetRun(r Reader, runID string) (RunRow, error) {
	row, err := getJSON[RunRow](r, Runs, idKey("run", runID))
	if err == nil && row.RunID != runID {
		return RunRow{}, ErrNotFound
	}
	return row, err
}

// PutRun stores a run and keeps its indexes. A run that has ended needs EndedAtMs.
func PutRun(tx Tx, row *RunRow) error {
	if row.RunID == "" {
		return fmt.Errorf("%w: a run needs an id", ErrInvalidKey)
	}
	if row.Status.Ended() != (row.EndedAtMs > 0) {
		return fmt.Errorf("store the run %.64q: status %q and end time %d contradict each other", row.RunID, row.Status, row.EndedAtMs)
	}
	old, err := GetRun(tx, row.RunID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if before, now := indexOfRun(&old), indexOfRun(row); err != nil || before != now {
		if err == nil {
			if err := tx.Delete(Runs, before); err != nil {
				return err
			}
		}
		if err := tx.Put(Runs, now, nil); err != nil {
			return err
		}
	}
	return putJSON(tx, Runs, idKey("run", row.RunID), row)
}

func indexOfRun(row *RunRow) string {
	if row.Status.Ended() {
		return idKey("done/"+timeKey(row.EndedAtMs), row.RunID)
	}
	return idKey("open", row.RunID)
}

// OpenRuns returns at most limit runs that have not ended, in the order of their ids:
// at boot those that a restart interrupted. 0 means no bound.
func OpenRuns(r Reader, limit int) (rows []RunRow, err error) {
	for _, prefix := range []string{"open/", "open#"} {
		keys, err := keysOf(r, Runs, Range{Prefix: prefix}, limit)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			if limit > 0 && len(rows) == limit {
				return rows, nil
			}
			row, err := getJSON[RunRow](r, Runs, "run"+key[len("open"):])
			if err != nil {
				return rows, fmt.Errorf("the open run %s: %w", key, err)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// PruneRuns removes at most step ended runs: those that ended before beforeMs, and of
// the rest the oldest beyond keep (0 keeps all). more says that it should be called
// again, in another transaction.
func PruneRuns(tx Tx, beforeMs int64, keep, step int) (deleted int, more bool, err error) {
	drop, err := oldRuns(tx, beforeMs, keep, step+1)
	if err != nil {
		return 0, false, err
	}
	for _, key := range drop {
		if deleted == step {
			return deleted, true, nil
		}
		// done/<time>/<id> or done/<time>#<hash>: the rest after the time is the run's.
		rest := key[len("done/")+timeDigits:]
		if err := errors.Join(tx.Delete(Runs, key), tx.Delete(Runs, "run"+rest)); err != nil {
			return deleted, false, err
		}
		deleted++
	}
	return deleted, false, nil
}

func oldRuns(r Reader, beforeMs int64, keep, limit int) (drop []string, err error) {
	end := "done/" + timeKey(beforeMs)
	err = r.Scan(Runs, Range{Prefix: "done/", Limit: limit}, func(key string, _ []byte) error {
		if key >= end {
			return ErrStop
		}
		drop = append(drop, key)
		return nil
	})
	if err != nil || keep <= 0 || len(drop) == limit {
		return drop, err
	}
	n, beyond := 0, []string{}
	err = r.Scan(Runs, Range{Prefix: "done/", Reverse: true}, func(key string, _ []byte) error {
		if n++; n <= keep {
			return nil
		}
		if key < end || len(beyond) == limit-len(drop) {
			return ErrStop
		}
		beyond = append(beyond, strings.Clone(key))
		return nil
	})
	return append(drop, beyond...), err
}
