package badinput_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// model is an OpenAI-compatible endpoint: it says "fine", and with the word HANG in a
// request it says nothing until the caller gives up.
type model struct {
	*httptest.Server
	calls atomic.Int64
}

func startModel(t testing.TB) *model {
	t.Helper()
	m := &model{}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 64<<20))
		m.calls.Add(1)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Connection", "close") // a kept connection would look like a leak
		if strings.Contains(string(body), "HANG") {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		for _, s := range []string{`{"choices":[{"delta":{"role":"assistant","content":"fine"}}]}`, `{"choices":[{"delta":{},"finish_reason":"stop"}]}`, `[DONE]`} {
			fmt.Fprintf(w, "data: %s\n\n", s)
		}
	}))
	t.Cleanup(m.Close)
	return m
}

// settings configure a gateway to ask the model.
func (m *model) settings() settings {
	return settings{"agent.model.baseUrl": m.URL + "/v1", "agent.model.name": "stub", "agent.retries": 0}
}
