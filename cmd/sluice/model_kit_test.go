package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// fakeModel is an OpenAI-compatible endpoint whose behaviour the prompt chooses:
//
//	HOLD      sends one word and waits until the test releases it
//	SLOW      sends a word every 5 ms until the caller hangs up
//	FAIL500   answers 500, always
//	ONCE503   answers 503 the first time that it sees the prompt
//	ONCE429   answers 429 with Retry-After: 0.05 the first time
//	CUT       sends half an answer and cuts the connection
//	GARBAGE   sends an event that is no JSON
//	SILENT    answers nothing until the caller hangs up
//
// Anything else is answered with "echo: " and the prompt, a word at a time.
type fakeModel struct {
	*httptest.Server

	mu    sync.Mutex
	calls []modelCall
	seen  map[string]int
	holds chan chan struct{} // one for each HOLD that waits
}

// modelCall is one request as the endpoint saw it.
type modelCall struct {
	Model    string
	Messages []struct{ Role, Content string }
}

// last is the newest message: what is asked.
func (c modelCall) last() string {
	if len(c.Messages) == 0 {
		return ""
	}
	return c.Messages[len(c.Messages)-1].Content
}

func newFakeModel(tb testing.TB) *fakeModel {
	tb.Helper()
	m := &fakeModel{seen: make(map[string]int), holds: make(chan chan struct{}, 256)}
	m.Server = httptest.NewServer(m)
	tb.Cleanup(func() {
		m.CloseClientConnections()
		m.Close()
	})
	return m
}

// requests returns what was asked so far.
func (m *fakeModel) requests() []modelCall {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]modelCall(nil), m.calls...)
}

// held waits until a HOLD has sent its first word and returns what releases it.
func (m *fakeModel) held(tb testing.TB) func() {
	tb.Helper()
	select {
	case h := <-m.holds:
		return sync.OnceFunc(func() { close(h) })
	case <-time.After(patience):
		tb.Fatal("the model was not asked")
		return nil
	}
}

func (m *fakeModel) record(r *http.Request) (call modelCall, before int, ok bool) {
	if json.UnmarshalRead(r.Body, &call, json.MatchCaseInsensitiveNames(true)) != nil {
		return call, 0, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, call)
	before = m.seen[call.last()]
	m.seen[call.last()]++
	return call, before, true
}

func (m *fakeModel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call, before, ok := m.record(r)
	if !ok || r.URL.Path != "/v1/chat/completions" {
		http.Error(w, "not a chat completion", http.StatusBadRequest)
		return
	}
	text := call.last()
	has := func(word string) bool { return strings.Contains(text, word) }
	switch {
	case has("FAIL500"), has("ONCE503") && before == 0:
		status := http.StatusInternalServerError
		if has("ONCE503") {
			status = http.StatusServiceUnavailable
		}
		http.Error(w, `{"error":{"message":"the model fell over"}}`, status)
		return
	case has("ONCE429") && before == 0:
		w.Header().Set("Retry-After", "0.05")
		http.Error(w, `{"error":{"message":"slow down"}}`, http.StatusTooManyRequests)
		return
	case has("SILENT"):
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	s := sse{w: w, id: fmt.Sprintf("resp-%d", len(m.requests()))}
	switch {
	case has("HOLD"):
		s.piece("word0")
		h := make(chan struct{})
		m.holds <- h
		select {
		case <-h:
		case <-r.Context().Done():
			return
		}
		s.piece(" released")
	case has("SLOW"):
		for i := 0; r.Context().Err() == nil && i < 20_000; i++ {
			s.piece(fmt.Sprintf("word%d ", i))
			select {
			case <-time.After(5 * time.Millisecond): // the pace of a slow model
			case <-r.Context().Done():
			}
		}
		return
	case has("CUT"):
		s.piece("half an ")
		panic(http.ErrAbortHandler)
	case has("GARBAGE"):
		s.line("data: {this is not json")
		return
	default:
		for _, word := range strings.SplitAfter("echo: "+text, " ") {
			s.piece(word)
		}
	}
	s.end()
}

// sse writes one streamed answer.
type sse struct {
	w  http.ResponseWriter
	id string
	n  int
}

func (s *sse) line(text string) {
	fmt.Fprintf(s.w, "%s\n\n", text)
	s.w.(http.Flusher).Flush()
}

func (s *sse) piece(text string) {
	s.n++
	b, err := json.Marshal(map[string]any{"id": s.id, "model": "fake-1",
		"choices": []any{map[string]any{"delta": map[string]any{"content": text}}}})
	if err != nil {
		panic(err)
	}
	s.line("data: " + string(b))
}

func (s *sse) end() {
	s.line(`data: {"choices":[{"delta":{},"finish_reason":"stop"}]}`)
	s.line(fmt.Sprintf(`data: {"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":%d,"total_tokens":%d}}`, s.n, 100+s.n))
	s.line("data: [DONE]")
}
