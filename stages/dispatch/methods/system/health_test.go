package system_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/frames"
	"sluice/stages/dispatch/agent"
	"sluice/stages/dispatch/methods/system"
	"sluice/storage"

	"github.com/go-json-experiment/json"
)

// TestHealthCountsAllSessions, more than one page of the store holds, and names the
// newest.
func TestHealthCountsAllSessions(t *testing.T) {
	w := newWorld(t)
	err := w.Store.Update(t.Context(), func(tx storage.Tx) error {
		for i := range storage.MaxSessionList + 10 {
			row := agent.NewSession(fmt.Sprintf("agent:main:s%05d", i), "main")
			row.UpdatedAtMs = int64(i)
			if err := storage.PutSession(tx, &row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.build(w.Events)
	var h struct {
		Sessions struct {
			Count  int
			Recent []struct{ Key string }
		}
	}
	json.Unmarshal(w.health.JSON(), &h, json.MatchCaseInsensitiveNames(true))
	if h.Sessions.Count != storage.MaxSessionList+10 || len(h.Sessions.Recent) != 5 || h.Sessions.Recent[0].Key != fmt.Sprintf("agent:main:s%05d", storage.MaxSessionList+9) {
		t.Errorf("%+v", h)
	}
}

// TestHealthIsRenewed: on a change of what it warns of, when it is old and asked for,
// and by probe, but not by every probe.
func TestHealthIsRenewed(t *testing.T) {
	w := newWorld(t)
	synctest.Test(t, func(t *testing.T) {
		w.build(w.Events)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.health.Run(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		w.Events.Take()
		renewed := func() int {
			synctest.Wait()
			n := 0
			for _, ev := range w.Events.Take() {
				if ev.Name == "health" {
					n++
				}
			}
			return n
		}
		time.Sleep(10 * time.Second)
		if n := renewed(); n != 0 {
			t.Errorf("renewed %d times although nothing happened", n)
		}
		text := "the disk is full"
		w.warning.Store(&text)
		time.Sleep(1100 * time.Millisecond)
		if n := renewed(); n != 1 || !strings.Contains(string(w.health.JSON()), text) {
			t.Errorf("renewed %d times after a change: %s", n, w.health.JSON())
		}
		if hello := string(w.health.HelloJSON()); strings.Contains(hello, "warnings") || strings.Contains(hello, "modelRuntime") || !strings.Contains(hello, `"ok":true`) {
			t.Errorf("hello's schema forbids part of %s", hello)
		}
		time.Sleep(10 * time.Second)
		w.health.JSON()
		if n := renewed(); n != 0 {
			t.Error("renewed although it is fresh")
		}
		time.Sleep(time.Minute)
		for range 50 {
			w.health.JSON()
		}
		if n := renewed(); n < 1 || n > 2 {
			t.Errorf("renewed %d times when it was old and asked for often", n)
		}
	})
}

// TestStateVersionsRise: a later event never has the smaller version, whoever sends it.
func TestStateVersionsRise(t *testing.T) {
	w := newWorld(t)
	w.Events.Take()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 50 {
				w.presence.Report(fmt.Sprint(i), system.Entry{Text: "x", TS: int64(k)})
			}
		})
	}
	wg.Wait()
	last := uint64(0)
	for _, ev := range w.Events.Take() {
		if ev.State.Presence <= last {
			t.Fatalf("version %d after %d", ev.State.Presence, last)
		}
		last = ev.State.Presence
	}
}

func peer(id, mode string) *frames.Peer {
	return &frames.Peer{ConnID: id, Role: frames.RoleOperator, Client: frames.ClientInfo{ID: "webchat", Mode: mode, DisplayName: "Ann's <phone>", Version: "1"}}
}

func TestPresence(t *testing.T) {
	w := newWorld(t)
	w.Events.Take()
	w.presence.Connected(peer("c1", "ui"))
	for _, mode := range []string{"cli", "backend", "probe"} {
		w.presence.Connected(peer("x"+mode, mode))
	}
	var rows []struct{ Mode, Host, Text, Reason string }
	read := func() {
		rows = nil
		w.OK("system-presence", `{"ignored":1}`, &rows)
	}
	if read(); len(rows) != 2 || rows[0].Reason != "self" || rows[1].Host != "Ann's <phone>" || rows[1].Text != "Node: Ann's <phone> · mode ui" {
		t.Errorf("%+v", rows)
	}
	if evs := w.Events.Take(); len(evs) != 1 || evs[0].Name != "presence" || !strings.HasPrefix(string(evs[0].Payload), `{"presence":[{`) {
		t.Errorf("%+v", evs)
	}
	// Connections stay when the list is full of reports.
	for i := range 20 {
		w.presence.Report(fmt.Sprint(i), system.Entry{Text: fmt.Sprint("report ", i), TS: time.Now().UnixMilli() + int64(i)})
	}
	if read(); len(rows) != 6 || !slices.ContainsFunc(rows, func(r struct{ Mode, Host, Text, Reason string }) bool { return r.Mode == "ui" }) {
		t.Errorf("%+v", rows)
	}
	w.presence.Expire(time.Now().Add(time.Hour))
	if read(); len(rows) != 2 {
		t.Errorf("after the expiry: %+v", rows)
	}
	w.presence.Disconnected(peer("c1", "ui"))
	w.presence.Disconnected(peer("never", "ui"))
	if read(); len(rows) != 1 || w.presence.Rows() != 1 {
		t.Errorf("after the disconnect: %+v", rows)
	}
}

// TestHealthDoesNotAllocate: answering health is handing out bytes.
func TestHealthDoesNotAllocate(t *testing.T) {
	w := newWorld(t)
	if n := testing.AllocsPerRun(1000, func() { w.health.JSON(); w.presence.JSON() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHealthJSON(b *testing.B) {
	w := newWorld(b)
	b.ReportAllocs()
	for b.Loop() {
		w.health.JSON()
	}
}
