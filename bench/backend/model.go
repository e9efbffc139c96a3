package backend

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Model is an OpenAI-compatible chat endpoint that answers every prompt with the same
// words, streamed with a pause before each. It remembers nothing.
type Model struct {
	// Chunks is the number of streamed pieces, Pause the time before each.
	Chunks int
	Pause  time.Duration

	calls, cut atomic.Uint64
}

var _ http.Handler = (*Model)(nil)

// Validate names the field that cannot work.
func (m *Model) Validate() error {
	switch {
	case m.Chunks < 1 || m.Chunks > 10_000:
		return fmt.Errorf("bench model: %d chunks, must be 1 to 10000", m.Chunks)
	case m.Pause < 0 || m.Pause > time.Minute:
		return fmt.Errorf("bench model: a pause of %s, must be 0 to 1m", m.Pause)
	}
	return nil
}

// Calls returns how many answers were begun, and how many the caller cut short.
func (m *Model) Calls() (begun, cut uint64) { return m.calls.Load(), m.cut.Load() }

// maxPromptBytes of a request are read; the rest is left to the connection's end.
const maxPromptBytes = 4 << 20

// ServeHTTP takes POST …/chat/completions, streamed or not.
func (m *Model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/chat/completions") {
		http.Error(w, `{"error":{"message":"POST /v1/chat/completions"}}`, http.StatusNotFound)
		return
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxPromptBytes)); err != nil {
		return // the caller is gone
	}
	m.calls.Add(1)
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	tick := time.NewTimer(m.Pause)
	defer tick.Stop()
	for i := range m.Chunks {
		select {
		case <-tick.C:
			tick.Reset(m.Pause)
		case <-r.Context().Done():
			m.cut.Add(1)
			return
		}
		fmt.Fprintf(w, `data: {"id":"bench","object":"chat.completion.chunk","model":"bench","choices":[{"index":0,"delta":{"content":"word %d "},"finish_reason":null}]}`+"\n\n", i)
		if flush.Flush() != nil {
			m.cut.Add(1)
			return
		}
	}
	fmt.Fprintf(w, `data: {"id":"bench","object":"chat.completion.chunk","model":"bench","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\n"+
		`data: {"id":"bench","object":"chat.completion.chunk","model":"bench","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":%d,"total_tokens":%d}}`+"\n\ndata: [DONE]\n\n", m.Chunks, m.Chunks+10)
	_ = flush.Flush()
}
