package storage_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/storage"
	"sluice/storage/bolt"
	"sluice/storage/storagetest"
)

func msg(id string) storage.Message {
	return storage.Message{ID: id, Role: "user", Body: jsontext.Value(`{"role":"user","content":"` + id + `"}`), TimestampMs: 7}
}

func seqs(messages []storage.Message) string {
	var s []string
	for _, m := range messages {
		s = append(s, fmt.Sprint(m.Seq))
	}
	return strings.Join(s, " ")
}

func TestTranscript(t *testing.T) {
	inUpdate(t, func(tx storage.Tx) {
		row := storage.SessionRow{Key: "agent:main:main", SessionID: "s"}
		other := storage.SessionRow{Key: "agent:main:other", SessionID: "s2"}
		for i := range 12 {
			for _, r := range []*storage.SessionRow{&row, &other} {
				seq, err := storage.AppendMessage(tx, r, msg(fmt.Sprintf("m%d", i)))
				if err != nil || seq != int64(i+1) || r.LastSeq != seq {
					t.Fatalf("append %d: %d, %v", i, seq, err)
				}
			}
		}
		stored, err := storage.GetSession(tx, row.Key)
		if err != nil || stored.LastSeq != 12 || stored.UpdatedAtMs != 7 {
			t.Errorf("the stored row: %+v, %v", stored, err)
		}
		for _, x := range []struct {
			after   int64
			limit   int
			reverse bool
			want    string
		}{
			{0, 0, false, "1 2 3 4 5 6 7 8 9 10 11 12"},
			{9, 0, false, "10 11 12"},
			{12, 0, false, ""},
			{3, 2, false, "4 5"},
			{0, 3, true, "12 11 10"},
			{3, 9, true, "2 1"},
			{1, 9, true, ""},
		} {
			got, err := storage.ReadTranscript(tx, "s", x.after, x.limit, x.reverse)
			if err != nil || seqs(got) != x.want {
				t.Errorf("%+v: %s, %v", x, seqs(got), err)
			}
		}
		if m, err := storage.GetMessage(tx, "s", 5); err != nil || m.ID != "m4" || string(m.Body) != string(msg("m4").Body) {
			t.Errorf("%+v, %v", m, err)
		}
		if _, err := storage.ReadTranscript(tx, "../s", 0, 0, false); !errors.Is(err, storage.ErrInvalidKey) {
			t.Errorf("a path as a session id: %v", err)
		}
	})
}

func TestAppendIsIdempotent(t *testing.T) {
	inUpdate(t, func(tx storage.Tx) {
		row := storage.SessionRow{Key: "k", SessionID: "s"}
		long := strings.Repeat("long id ", 200)
		for i, id := range []string{"a", "b/../c", long, "~", "s"} {
			for range 3 {
				if seq, err := storage.AppendMessage(tx, &row, msg(id)); err != nil || seq != int64(i+1) {
					t.Errorf("%.10q: %d, %v", id, seq, err)
				}
			}
		}
		// The same request again, its message under another id.
		m := msg("x")
		m.IdempotencyKey = "key"
		first, err := storage.AppendMessage(tx, &row, m)
		must(t, err)
		m.ID = "y"
		if second, err := storage.AppendMessage(tx, &row, m); err != nil || second != first {
			t.Errorf("by idempotency key: %d, %v; want %d", second, err, first)
		}
		if seq, err := storage.FindMessage(tx, "s", long); err != nil || seq != 3 {
			t.Errorf("find: %d, %v", seq, err)
		}
		if _, err := storage.FindMessage(tx, "s2", "a"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("another session's message: %v", err)
		}
		stale := storage.SessionRow{Key: "k", SessionID: "s", LastSeq: 2}
		if _, err := storage.AppendMessage(tx, &stale, msg("new")); !errors.Is(err, storage.ErrStaleRow) {
			t.Errorf("a stale row: %v", err)
		}
		if _, err := storage.AppendMessage(tx, &row, storage.Message{ID: "n", Body: jsontext.Value("{")}); err == nil {
			t.Error("a broken body was stored")
		}
	})
}

func TestDeleteTranscript(t *testing.T) {
	inUpdate(t, func(tx storage.Tx) {
		rows := map[string]*storage.SessionRow{}
		for _, id := range []string{"s", "s2", "s#", "sx"} {
			rows[id] = &storage.SessionRow{Key: "k" + id, SessionID: id}
			for i := range 10 {
				m := msg(fmt.Sprint(i) + strings.Repeat("x", i*100))
				m.IdempotencyKey = m.ID
				_, err := storage.AppendMessage(tx, rows[id], m)
				must(t, err)
			}
		}
		steps, total := 0, 0
		for more := true; more; steps++ {
			var n int
			var err error
			n, more, err = storage.DeleteTranscript(tx, "s", 7)
			if err != nil || n > 7 || n == 0 {
				t.Fatalf("step %d: %d, %v", steps, n, err)
			}
			total += n
		}
		if total != 30 || steps != 5 {
			t.Errorf("%d keys in %d steps, want 30 in 5", total, steps)
		}
		for id := range rows {
			got, err := storage.ReadTranscript(tx, id, 0, 0, false)
			if want := map[bool]int{true: 0, false: 10}[id == "s"]; err != nil || len(got) != want {
				t.Errorf("%s has %d messages, %v; want %d", id, len(got), err, want)
			}
			if _, err := storage.FindMessage(tx, id, "0"); errors.Is(err, storage.ErrNotFound) != (id == "s") {
				t.Errorf("%s: %v", id, err)
			}
		}
	})
}

func TestPageBytes(t *testing.T) {
	inUpdate(t, func(tx storage.Tx) {
		row := storage.SessionRow{Key: "k", SessionID: "s"}
		body := jsontext.Value(`"` + strings.Repeat("x", 6<<20) + `"`)
		for i := range 5 {
			_, err := storage.AppendMessage(tx, &row, storage.Message{ID: fmt.Sprint(i), Body: body})
			must(t, err)
		}
		if got, err := storage.ReadTranscript(tx, "s", 0, 0, false); err != nil || seqs(got) != "1 2 3" {
			t.Errorf("%s, %v", seqs(got), err)
		}
	})
}

func TestRuns(t *testing.T) {
	inUpdate(t, func(tx storage.Tx) {
		ids := []string{"a", "../b", strings.Repeat("long", 200), "open/a", "done/1"}
		for _, id := range ids {
			must(t, storage.PutRun(tx, &storage.RunRow{RunID: id, Status: storage.RunQueued, CreatedAtMs: 1}))
			must(t, storage.PutRun(tx, &storage.RunRow{RunID: id, Status: storage.RunRunning, CreatedAtMs: 1, StartedAtMs: 2}))
		}
		open, err := storage.OpenRuns(tx, 0)
		if err != nil || len(open) != len(ids) {
			t.Fatalf("%d open, %v", len(open), err)
		}
		if some, err := storage.OpenRuns(tx, 2); err != nil || len(some) != 2 {
			t.Errorf("%d of 2, %v", len(some), err)
		}
		for i, row := range open {
			row.Status, row.EndedAtMs = storage.RunInterrupted, int64(100+i)
			must(t, storage.PutRun(tx, &row))
			must(t, storage.PutRun(tx, &row))
		}
		if open, err := storage.OpenRuns(tx, 0); err != nil || len(open) != 0 {
			t.Errorf("%d still open, %v", len(open), err)
		}
		for _, id := range ids {
			if row, err := storage.GetRun(tx, id); err != nil || row.RunID != id || row.Status != storage.RunInterrupted {
				t.Errorf("%.10q: %+v, %v", id, row, err)
			}
		}
		if err := storage.PutRun(tx, &storage.RunRow{RunID: "x", Status: storage.RunOK}); err == nil {
			t.Error("an end without a time was stored")
		}
	})
}

func TestPruneRuns(t *testing.T) {
	fill := func(tx storage.Tx) {
		for i := range 20 {
			must(t, storage.PutRun(tx, &storage.RunRow{RunID: fmt.Sprintf("%02d", i), Status: storage.RunOK, EndedAtMs: int64(1000 + i)}))
		}
		must(t, storage.PutRun(tx, &storage.RunRow{RunID: "open", Status: storage.RunRunning}))
	}
	left := func(tx storage.Tx) (n int) {
		for i := range 20 {
			if _, err := storage.GetRun(tx, fmt.Sprintf("%02d", i)); err == nil {
				n++
			}
		}
		return n
	}
	for _, x := range []struct {
		before             int64
		keep, step         int
		deleted, remaining int
		more               bool
	}{
		{1005, 0, 100, 5, 15, false},
		{0, 12, 100, 8, 12, false},
		{1005, 12, 100, 8, 12, false},
		{1010, 12, 100, 10, 10, false},
		{1005, 12, 6, 6, 14, true},
		{1005, 0, 5, 5, 15, false},
		{9999, 0, 3, 3, 17, true},
		{0, 0, 3, 0, 20, false},
	} {
		inUpdate(t, func(tx storage.Tx) {
			fill(tx)
			n, more, err := storage.PruneRuns(tx, x.before, x.keep, x.step)
			if err != nil || n != x.deleted || left(tx) != x.remaining || more != x.more {
				t.Errorf("%+v: deleted %d, left %d, more %v, %v", x, n, left(tx), more, err)
			}
			if open, err := storage.OpenRuns(tx, 0); err != nil || len(open) != 1 {
				t.Errorf("the open run: %d, %v", len(open), err)
			}
		})
	}
}

func TestIdempotency(t *testing.T) {
	inUpdate(t, func(tx storage.Tx) {
		long := strings.Repeat("key", 300)
		for i, key := range []string{"a", "b/../c", long, "d", "exp/1"} {
			row := storage.IdempotencyRow{Key: key, Method: "send", ContentHash: "h", Answer: jsontext.Value(`{"ok":true}`), ExpiresAtMs: int64(1000 + i)}
			must(t, storage.PutIdempotency(tx, &row))
			row.ExpiresAtMs += 10 // a new life moves its expiry
			must(t, storage.PutIdempotency(tx, &row))
		}
		load := func(now int64) (keys []string) {
			must(t, storage.LoadIdempotency(tx, now, func(row *storage.IdempotencyRow) error {
				keys = append(keys, row.Key)
				if string(row.Answer) != `{"ok":true}` {
					t.Errorf("%.10q answers %s", row.Key, row.Answer)
				}
				return nil
			}))
			return keys
		}
		if got := load(1011); strings.Join(got, "|") != "exp/1|d|"+long {
			t.Errorf("not expired at 1011: %.40q", got)
		}
		n, more, err := storage.PruneIdempotency(tx, 1012, 2)
		if n != 2 || !more || err != nil {
			t.Errorf("first step: %d %v %v", n, more, err)
		}
		n, more, err = storage.PruneIdempotency(tx, 1012, 2)
		if n != 1 || more || err != nil {
			t.Errorf("second step: %d %v %v", n, more, err)
		}
		if got := load(0); len(got) != 2 {
			t.Errorf("left: %q", got)
		}
		must(t, storage.DeleteIdempotency(tx, "d"))
		must(t, storage.DeleteIdempotency(tx, "d"))
		if _, err := storage.GetIdempotency(tx, "d"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%v", err)
		}
		if got := load(0); len(got) != 1 {
			t.Errorf("left: %q", got)
		}
		keys := 0
		must(t, tx.Scan(storage.Idempotency, storage.Range{}, func(string, []byte) error { keys++; return nil }))
		if keys != 2 {
			t.Errorf("%d keys for one row: an index is left behind", keys)
		}
	})
}

func TestNewMessageID(t *testing.T) {
	if storage.NewMessageID("a", "bc") == storage.NewMessageID("ab", "c") || len(storage.NewMessageID("a")) != 32 {
		t.Error("parts run into each other")
	}
}

// BenchmarkAppendMessage is an append of a 1 KiB message to one of 64 sessions, with
// its row read and stored, in batches of 64 on bolt: what chat.inject costs.
func BenchmarkAppendMessage(b *testing.B) {
	for name, open := range map[string]func() (storage.Store, error){
		"bolt":   func() (storage.Store, error) { return bolt.Open(filepath.Join(b.TempDir(), "s.db"), bolt.Default()) },
		"memory": func() (storage.Store, error) { return storagetest.NewMemory(), nil },
	} {
		b.Run(name, func(b *testing.B) {
			s, err := open()
			must(b, err)
			defer s.Close()
			body := jsontext.Value(`{"role":"user","content":"` + strings.Repeat("x", 1000) + `"}`)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				err := s.Update(context.Background(), func(tx storage.Tx) error {
					for i := range 64 {
						key := fmt.Sprintf("agent:main:%d", i)
						row, err := storage.GetSession(tx, key)
						if errors.Is(err, storage.ErrNotFound) {
							row, err = storage.SessionRow{Key: key, SessionID: fmt.Sprintf("session-%d", i)}, nil
						}
						if err != nil {
							return err
						}
						n++
						if _, err := storage.AppendMessage(tx, &row, storage.Message{ID: fmt.Sprint(n), Role: "user", Body: body}); err != nil {
							return err
						}
					}
					return nil
				})
				must(b, err)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/append")
		})
	}
}
