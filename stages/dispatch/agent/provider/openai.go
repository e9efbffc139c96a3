package provider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// OpenAI speaks the OpenAI chat completions protocol with streaming, which most model
// servers offer (base URL …/v1, POST /chat/completions).
type OpenAI struct {
	name   string
	url    string
	key    string
	client *http.Client
	limits Limits
}

// Limits bound one call.
type Limits struct {
	// FirstByte is how long the endpoint may take to start answering, Idle how long it
	// may be silent in between.
	FirstByte time.Duration
	Idle      time.Duration
	// Bytes bounds the whole answer as it is sent, and so each of its lines.
	Bytes int64
}

// NewOpenAI returns a provider for the endpoint at baseURL ("https://host/v1"). name is
// shown to clients. client carries proxies and TLS; it must not have a Timeout, which
// would cut long streams. Redirects are not followed: a conversation goes to the address
// that was configured and to no other.
func NewOpenAI(name, baseURL, apiKey string, client *http.Client, limits Limits) (*OpenAI, error) {
	u, err := url.Parse(baseURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("baseUrl: %q is no http(s) URL; it looks like https://host/v1", baseURL)
	}
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &OpenAI{name: name, url: strings.TrimRight(baseURL, "/") + "/chat/completions",
		key: apiKey, client: &own, limits: limits}, nil
}

// Name implements Provider.
func (o *OpenAI) Name() string { return o.name }

type openAIRequest struct {
	Model       string         `json:"model"`
	Messages    []Message      `json:"messages"`
	Stream      bool           `json:"stream"`
	Options     map[string]any `json:"stream_options"`
	MaxTokens   int            `json:"max_tokens,omitzero"`
	Temperature *float64       `json:"temperature,omitzero"`
	User        string         `json:"user,omitzero"`
}

type openAIChunk struct {
	ID      string `json:"id"`
	Model   string `json:"model"`
	Choices []struct {
		Delta struct {
			Content string `json:"content"`
		} `json:"delta"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
		Total      int64 `json:"total_tokens"`
	} `json:"usage"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// Stream implements Provider.
func (o *OpenAI) Stream(ctx context.Context, req Request, text func(string)) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(o.limits.FirstByte, func() { cancel(errSilent) })
	defer watchdog.Stop()

	resp, err := o.post(ctx, req)
	if err != nil {
		return Result{}, o.wrap(ctx, err)
	}
	defer resp.Body.Close()
	watchdog.Reset(o.limits.Idle)
	body := &pacedReader{r: resp.Body, left: o.limits.Bytes, beat: func() { watchdog.Reset(o.limits.Idle) }}
	if resp.StatusCode != http.StatusOK {
		return Result{}, o.refused(resp, body)
	}
	res, err := o.read(body, text)
	if err != nil {
		return res, o.wrap(ctx, err)
	}
	return res, nil
}

func (o *OpenAI) post(ctx context.Context, req Request) (*http.Response, error) {
	body, err := json.Marshal(openAIRequest{Model: req.Model, Messages: req.Messages, Stream: true,
		Options: map[string]any{"include_usage": true}, MaxTokens: req.MaxOutputTokens,
		Temperature: req.Temperature, User: req.User}, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return nil, err
	}
	hr, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	hr.Header.Set("Content-Type", "application/json")
	hr.Header.Set("Accept", "text/event-stream")
	if o.key != "" {
		hr.Header.Set("Authorization", "Bearer "+o.key)
	}
	return o.client.Do(hr)
}

// What can be wrong with an answer, in words for the user.
var (
	// errSilent: the endpoint kept the connection open and said nothing.
	errSilent = errors.New("the model endpoint stopped answering")
	// errCut: the stream ended before the endpoint said that it was done.
	errCut = errors.New("the model endpoint cut the stream")
	// errTooLong: the endpoint sent more than Limits.Bytes.
	errTooLong = errors.New("the model endpoint sends more than is taken (agent.answerBytes)")
)

// read takes server-sent events until [DONE]. A stream that ends without it and
// without a finish_reason was cut, and half an answer is not passed off as a whole one.
func (o *OpenAI) read(r io.Reader, text func(string)) (Result, error) {
	var res Result
	events := newEventReader(r)
	for {
		data, err := events.next()
		switch {
		case errors.Is(err, io.EOF):
			if res.StopReason == "" {
				return res, errCut
			}
			return res, nil
		case err != nil:
			return res, err
		}
		for _, chunk := range chunks(data) {
			if string(chunk) == "[DONE]" {
				return res, nil
			}
			if err := o.chunk(&res, chunk, text); err != nil {
				return res, err
			}
		}
	}
}

// chunks are the JSON texts of an event: one, or several where an endpoint forgets the
// blank lines between its events.
func chunks(data []byte) [][]byte {
	if len(data) == 0 {
		return nil
	}
	if !bytes.Contains(data, []byte("\n")) || jsontext.Value(data).IsValid() {
		return [][]byte{data}
	}
	return bytes.Split(data, []byte("\n"))
}

func (o *OpenAI) chunk(res *Result, data []byte, text func(string)) error {
	var c openAIChunk
	if err := json.Unmarshal(data, &c, jsontext.AllowInvalidUTF8(true)); err != nil {
		return &Error{Provider: o.name, Status: http.StatusOK, Message: "an event of its answer is not readable: " + o.cut(err.Error())}
	}
	if c.Error != nil {
		return &Error{Provider: o.name, Status: http.StatusBadGateway, Message: o.cut(c.Error.Message)}
	}
	o.apply(res, &c, text)
	return nil
}

func (o *OpenAI) apply(res *Result, c *openAIChunk, text func(string)) {
	if c.ID != "" {
		res.ResponseID = c.ID
	}
	if c.Model != "" {
		res.Model = c.Model
	}
	for _, ch := range c.Choices {
		if ch.Delta.Content != "" {
			text(ch.Delta.Content)
		}
		if ch.FinishReason != "" {
			res.StopReason = ch.FinishReason
		}
	}
	if c.Usage != nil {
		res.Usage = Usage{Input: c.Usage.Prompt, Output: c.Usage.Completion, Total: c.Usage.Total}
	}
}

// refusalBytes is how much of an error's body is read.
const refusalBytes = 64 << 10

func (o *OpenAI) refused(resp *http.Response, body io.Reader) error {
	b, _ := io.ReadAll(io.LimitReader(body, refusalBytes))
	e := &Error{Provider: o.name, Status: resp.StatusCode, Message: o.cut(string(b))}
	var c openAIChunk
	if json.Unmarshal(b, &c, jsontext.AllowInvalidUTF8(true)) == nil && c.Error != nil {
		e.Message = o.cut(c.Error.Message)
	}
	if to := resp.Header.Get("Location"); resp.StatusCode/100 == 3 && to != "" {
		e.Message = o.cut("it redirects to " + to + "; put the final address into agent.model.baseUrl")
	}
	if s, err := strconv.ParseFloat(resp.Header.Get("Retry-After"), 64); err == nil && s > 0 && s < 3600 {
		e.RetryAfter = time.Duration(s * float64(time.Second))
	}
	return e
}

// wrap names the cause of a failed call: the caller's own end, silence, or the network.
func (o *OpenAI) wrap(ctx context.Context, err error) error {
	var own *Error
	if errors.As(err, &own) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil {
		if !errors.Is(cause, errSilent) {
			return cause
		}
		err = errSilent
	}
	if errors.Is(err, errTooLong) { // the same call would end the same way
		return &Error{Provider: o.name, Status: http.StatusOK, Message: errTooLong.Error(), Err: err}
	}
	return &Error{Provider: o.name, Message: o.cut(err.Error()), Err: err}
}

// cut shortens foreign words for an error, which clients see; an endpoint that repeats
// the key does not publish it.
func (o *OpenAI) cut(s string) string {
	if o.key != "" {
		s = strings.ReplaceAll(s, o.key, "[key]")
	}
	s = strings.TrimSpace(strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "…"
	}
	return s
}

// pacedReader tells the watchdog that the endpoint is alive, and ends with errTooLong
// when it sends too much.
type pacedReader struct {
	r    io.Reader
	left int64
	beat func()
}

func (p *pacedReader) Read(b []byte) (int, error) {
	if p.left <= 0 {
		return 0, errTooLong
	}
	if int64(len(b)) > p.left {
		b = b[:p.left]
	}
	n, err := p.r.Read(b)
	if p.left -= int64(n); n > 0 {
		p.beat()
	}
	return n, err
}
