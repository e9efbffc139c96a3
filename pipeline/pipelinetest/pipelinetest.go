// Package pipelinetest runs stages alone and as a pipeline: a client that collects
// answers, a function that is a stage, and the conformance suite that every stage
// passes.
package pipelinetest

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"sluice/bufpool"
	"sluice/frames"
	"sluice/pipeline"
)

// Stage is a stage made of a function; a nil one passes everything on.
type Stage struct {
	StageName string
	Fn        func(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error)
}

// Name implements pipeline.Stage.
func (s Stage) Name() string { return s.StageName }

// Process implements pipeline.Stage.
func (s Stage) Process(ctx context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	if s.Fn == nil {
		return pipeline.Next, nil
	}
	return s.Fn(ctx, e)
}

// Client is a connection without a socket. It is safe for concurrent use.
type Client struct {
	PeerInfo *frames.Peer
	HS       frames.Handshake
	Answers  chan Answer
	Closed   chan frames.Close

	subs frames.Subscriptions
	mu   sync.Mutex
}

// Answer is one response frame.
type Answer struct {
	Type    string          `json:"type"`
	ID      string          `json:"id"`
	OK      bool            `json:"ok"`
	Payload json.RawMessage `json:"payload"`
	Error   *struct {
		Code      string          `json:"code"`
		Message   string          `json:"message"`
		Details   json.RawMessage `json:"details"`
		Retryable bool            `json:"retryable"`

		RetryAfterMs int64 `json:"retryAfterMs"`
	} `json:"error"`
}

// NewClient returns a client that was granted everything.
func NewClient() *Client {
	return &Client{Answers: make(chan Answer, 4096), Closed: make(chan frames.Close, 4),
		PeerInfo: &frames.Peer{ConnID: "test", Role: frames.RoleOperator, Scopes: frames.ParseScopes([]string{"operator.admin"}),
			Protocol: 4, Identity: "shared", Client: frames.ClientInfo{ID: "test", Mode: "test"}, Local: true, RemoteIP: "127.0.0.1"}}
}

// ID, Peer, Handshake, Accept and Subscriptions implement frames.Client.
func (c *Client) ID() string                           { return "test" }
func (c *Client) Handshake() *frames.Handshake         { return &c.HS }
func (c *Client) Subscriptions() *frames.Subscriptions { return &c.subs }

// Peer implements frames.Conn.
func (c *Client) Peer() *frames.Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.PeerInfo
}

// Accept implements frames.Client.
func (c *Client) Accept(p *frames.Peer) {
	c.mu.Lock()
	c.PeerInfo = p
	c.mu.Unlock()
}

// Send implements frames.Conn.
func (c *Client) Send(b frames.Buffer) bool {
	defer b.Release()
	var a Answer
	if err := json.Unmarshal(b.Bytes(), &a); err != nil {
		a.Type = "broken: " + string(b.Bytes())
	}
	c.Answers <- a
	return true
}

// Close implements frames.Conn.
func (c *Client) Close(cl frames.Close) { c.Closed <- cl }

// Next returns the next answer or fails after five seconds.
func (c *Client) Next(tb testing.TB) Answer {
	tb.Helper()
	select {
	case a := <-c.Answers:
		return a
	case <-time.After(5 * time.Second):
		tb.Fatal("no answer within 5 s")
		return Answer{}
	}
}

// Request makes an envelope of a request frame that is already decoded: what a stage
// after decode sees.
func Request(tb testing.TB, c *Client, method, params string) *pipeline.Envelope {
	tb.Helper()
	return RequestID(tb, c, "r1", method, params)
}

// RequestID is Request with an id of the caller's.
func RequestID(tb testing.TB, c *Client, id, method, params string) *pipeline.Envelope {
	tb.Helper()
	l := bufpool.Get(128)
	l.B = append(l.B, `{"type":"req","id":"`+id+`","method":"`+method+`","params":`+params+`}`...)
	e := pipeline.NewEnvelope(pipeline.SourceWire, l)
	e.Client, e.Peer = c, c.Peer()
	if err := frames.Decode(l.B, &e.Frame); err != nil {
		tb.Fatalf("decode: %v", err)
	}
	return e
}

// Raw makes an envelope of bytes as they come from the wire: what decode sees.
func Raw(c *Client, b string) *pipeline.Envelope {
	e := pipeline.NewEnvelope(pipeline.SourceWire, bufpool.Copy([]byte(b)))
	e.Client, e.Peer = c, c.Peer()
	return e
}

// Start runs a pipeline over stages and stops it with the test.
func Start(tb testing.TB, cfg pipeline.Config, stages ...pipeline.Stage) *pipeline.Pipeline {
	tb.Helper()
	p, err := pipeline.New(cfg, stages, nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.Start(context.Background()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		p.Drain(ctx)
		if err := p.Stop(ctx); err != nil {
			tb.Error(err)
		}
	})
	return p
}
