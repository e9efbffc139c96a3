package methodstest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
)

// Model is a model endpoint without a socket. It answers "echo: " and the last message;
// one that contains HOLD waits in between until Release, and FAIL is answered with 400.
type Model struct {
	mu    sync.Mutex
	calls []ModelCall
	hold  chan struct{}
	held  chan struct{}
}

// ModelCall is one request.
type ModelCall struct {
	Model    string
	Messages []struct{ Role, Content string }
}

// Last is the newest message.
func (c ModelCall) Last() string {
	if len(c.Messages) == 0 {
		return ""
	}
	return c.Messages[len(c.Messages)-1].Content
}

func newModel() *Model {
	return &Model{hold: make(chan struct{}), held: make(chan struct{}, 1024)}
}

// Calls returns what was asked so far.
func (m *Model) Calls() []ModelCall {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]ModelCall(nil), m.calls...)
}

// Held is sent to when a HOLD has begun to wait.
func (m *Model) Held() <-chan struct{} { return m.held }

// Release lets one HOLD go on.
func (m *Model) Release() { m.hold <- struct{}{} }

// RoundTrip implements http.RoundTripper.
func (m *Model) RoundTrip(r *http.Request) (*http.Response, error) {
	var call ModelCall
	if err := json.UnmarshalRead(r.Body, &call, json.MatchCaseInsensitiveNames(true)); err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.calls = append(m.calls, call)
	m.mu.Unlock()
	if strings.Contains(call.Last(), "FAIL") {
		return &http.Response{StatusCode: 400, Status: "400", Header: http.Header{}, Request: r,
			Body: io.NopCloser(strings.NewReader(`{"error":{"message":"no such model"}}`))}, nil
	}
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(m.answer(pw, r, call.Last())) }()
	return &http.Response{StatusCode: 200, Status: "200 OK", Header: http.Header{}, Body: pr, Request: r}, nil
}

func (m *Model) answer(w io.Writer, r *http.Request, prompt string) error {
	pieces := []string{"echo: ", prompt}
	if strings.Contains(prompt, "HOLD") {
		pieces = []string{"word0", " released"}
	}
	for i, piece := range pieces {
		if i == 1 && strings.Contains(prompt, "HOLD") {
			m.held <- struct{}{}
			select {
			case <-m.hold:
			case <-r.Context().Done():
				return r.Context().Err()
			}
		}
		b, err := json.Marshal(map[string]any{"id": "resp", "model": "fake-1",
			"choices": []any{map[string]any{"delta": map[string]any{"content": piece}}}})
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", b); err != nil {
			return err
		}
	}
	_, err := io.Copy(w, bytes.NewReader([]byte(`data: {"choices":[{"delta":{},"finish_reason":"stop"}]}

data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}

data: [DONE]

`)))
	return err
}
