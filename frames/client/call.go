package client

import (
	"context"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// call is one request in flight. answers is closed when the connection ends.
type call struct {
	answers  chan answer // room for the accepted and the final one, so that read never waits
	final    bool        // wait past payload.status == "accepted"
	accepted bool        // that one came
	bounded  bool        // the context has a deadline
}

type answer struct {
	payload  jsontext.Value
	err      *RemoteError
	accepted bool
}

type traceKey struct{}

// WithTraceparent returns a context whose calls carry traceparent in their frame
// (W3C trace context, at most 128 bytes by the protocol).
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	return context.WithValue(ctx, traceKey{}, traceparent)
}

// Call sends one request and returns the payload of its first response. params is
// marshalled as JSON; a jsontext.Value goes as it is and nil sends none. A refusal is a
// *RemoteError. When ctx ends first, a late answer is dropped (Stats.Unsolicited).
func (c *Client) Call(ctx context.Context, method string, params any) (jsontext.Value, error) {
	return c.call(ctx, method, params, false, nil)
}

// CallFinal is Call for the methods that answer twice (agent, exec.approval.request,
// plugin.approval.request: wire.md 3.2): a first response with status "accepted" goes
// to accepted, which may be nil, and the final one is returned. A method that answers
// once works as with Call.
func (c *Client) CallFinal(ctx context.Context, method string, params any, accepted func(jsontext.Value)) (jsontext.Value, error) {
	return c.call(ctx, method, params, true, accepted)
}

func (c *Client) call(ctx context.Context, method string, params any, final bool, accepted func(jsontext.Value)) (jsontext.Value, error) {
	raw, err := marshalParams(params)
	if err != nil {
		return nil, fmt.Errorf("client: params of %s: %w", method, err)
	}
	_, bounded := ctx.Deadline()
	k := &call{answers: make(chan answer, 2), final: final, bounded: bounded}
	id, err := c.register(k)
	if err != nil {
		return nil, err
	}
	defer c.forget(id, k)
	if err := c.send(ctx, id, method, raw); err != nil {
		return nil, err
	}
	for {
		select {
		case a, ok := <-k.answers:
			switch {
			case !ok:
				return nil, c.lost(method)
			case a.err != nil:
				return nil, a.err
			case !a.accepted:
				return a.payload, nil
			case accepted != nil:
				accepted(a.payload)
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("client: waiting for the answer to %s: %w", method, context.Cause(ctx))
		}
	}
}

func marshalParams(params any) (jsontext.Value, error) {
	switch p := params.(type) {
	case nil:
		return nil, nil
	case jsontext.Value:
		if p != nil && !p.IsValid() {
			return nil, fmt.Errorf("not valid JSON: %s", clip(p))
		}
		return p, nil
	}
	return json.Marshal(params)
}

func (c *Client) register(k *call) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return "", c.err
	}
	if len(c.pending) >= c.opt.MaxPending {
		return "", fmt.Errorf("%w: %d, the limit maxPending", ErrBusy, len(c.pending))
	}
	c.next++
	id := strconv.FormatUint(c.next, 10)
	c.pending[id] = k
	if k.bounded {
		c.bounded++
	}
	return id, nil
}

func (c *Client) forget(id string, k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
	if k.bounded {
		c.bounded--
	}
}

func (c *Client) send(ctx context.Context, id, method string, raw jsontext.Value) error {
	trace, _ := ctx.Value(traceKey{}).(string)
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("client: sending %s: %w", method, context.Cause(ctx))
	}
	c.conn.End(appendRequest(c.conn.Begin(), id, method, raw, trace))
	if err := c.conn.Flush(); err != nil {
		// Part of the frame may be on the wire: the connection is of no more use.
		c.fail(fmt.Errorf("client: writing to the gateway: %w", err))
		_ = c.conn.Close()
		return c.lost(method)
	}
	return nil
}

// answer hands a response to its call. It runs on the read goroutine and never waits:
// answers has room for the two responses that a call can take.
func (c *Client) answer(f *inbound) {
	a := answer{payload: f.Payload}
	switch {
	case f.OK:
		a.accepted = c.wantsFinal(f.ID) && acceptedStatus(f.Payload)
	case f.Error != nil:
		a.err = f.Error
	default:
		a.err = &RemoteError{Code: "UNKNOWN", Message: "the gateway refused without an error object"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.pending[f.ID]
	switch {
	case k == nil, a.accepted && k.accepted:
		c.nUnsolicited.Add(1)
		return
	case a.accepted:
		k.accepted = true
	default:
		delete(c.pending, f.ID)
	}
	k.answers <- a
}

func (c *Client) wantsFinal(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.pending[id]
	return k != nil && k.final
}

func acceptedStatus(payload jsontext.Value) bool {
	var s struct {
		Status jsontext.Value `json:"status"`
	}
	return payload.Kind() == '{' && json.Unmarshal(payload, &s) == nil && string(s.Status) == `"accepted"`
}
