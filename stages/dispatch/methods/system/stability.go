package system

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/frames"
	"sluice/pipeline"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Stability is a ring of what happened to the gateway itself: starts, config reloads,
// store failures, slow consumers, timeouts (diagnostics.stability).
type Stability struct {
	mu      sync.Mutex
	events  []StabilityEvent
	next    uint64
	dropped uint64
}

// StabilityEvent is one of them.
type StabilityEvent struct {
	Seq    uint64 `json:"seq"`
	TS     int64  `json:"ts"`
	Type   string `json:"type"`
	Detail string `json:"detail,omitzero"`
}

const stabilityCapacity = 1000

// NewStability returns an empty ring.
func NewStability() *Stability { return &Stability{next: 1} }

// Add records an event; at the capacity the oldest goes and is counted as dropped.
func (s *Stability) Add(kind, detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) == stabilityCapacity {
		s.events = s.events[1:]
		s.dropped++
	}
	s.events = append(s.events, StabilityEvent{s.next, time.Now().UnixMilli(), kind, detail})
	s.next++
}

// stability answers diagnostics.stability; its params are checked by hand, as upstream
// does.
func (f *Family) stability(_ context.Context, e *pipeline.Envelope) error {
	var p struct {
		Limit    jsontext.Value `json:"limit"`
		Type     jsontext.Value `json:"type"`
		SinceSeq jsontext.Value `json:"sinceSeq"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	limit, set, ok := wholeNumber(p.Limit)
	switch {
	case !ok:
		return frames.Invalid("limit must be a non-negative integer")
	case !set:
		limit = 50
	case limit < 1 || limit > 1000:
		return frames.Invalid("limit must be between 1 and 1000")
	}
	since, _, ok := wholeNumber(p.SinceSeq)
	if !ok {
		return frames.Invalid("sinceSeq must be a non-negative integer")
	}
	kind := ""
	if len(p.Type) > 0 && p.Type.Kind() != 'n' {
		if json.Unmarshal(p.Type, &kind) != nil || strings.TrimSpace(kind) == "" {
			return frames.Invalid("type must be a non-empty string")
		}
	}
	return e.AnswerValue(f.deps.Stability.view(int(limit), kind, uint64(since)))
}

func (s *Stability) view(limit int, kind string, since uint64) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	matching, byType := []StabilityEvent{}, map[string]int{}
	for _, ev := range s.events {
		if ev.Seq > since && (kind == "" || ev.Type == kind) {
			matching = append(matching, ev)
			byType[ev.Type]++
		}
	}
	out := map[string]any{"generatedAt": time.Now().UTC().Format(time.RFC3339Nano), "capacity": stabilityCapacity,
		"count": len(matching), "dropped": s.dropped, "summary": map[string]any{"byType": byType}}
	if len(matching) > 0 {
		out["firstSeq"], out["lastSeq"] = matching[0].Seq, matching[len(matching)-1].Seq
	}
	out["events"] = matching[max(0, len(matching)-limit):]
	return out
}

// wholeNumber reads a non-negative integer that may be written as a string; "" and
// null count as absent.
func wholeNumber(v jsontext.Value) (n int64, set, ok bool) {
	text := string(v)
	switch {
	case len(v) == 0 || v.Kind() == 'n':
		return 0, false, true
	case v.Kind() == '"':
		if json.Unmarshal(v, &text) != nil {
			return 0, false, false
		}
		if text == "" {
			return 0, false, true
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, true, err == nil && n >= 0
}
