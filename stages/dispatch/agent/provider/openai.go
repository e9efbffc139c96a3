package provider

import (
	"bufio"
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
	// Bytes bounds the whole answer; one SSE line may be as long.
	Bytes int64
}

// NewOpenAI returns a provider for the endpoint at baseURL ("https://host/v1"). name is
// shown to clients. client carries proxies and TLS; it must not have a Timeout, which
// would cut long streams.
func NewOpenAI(name, baseURL, apiKey string, client *http.Client, limits Limits) (*OpenAI, error) {
	u, err := url.Parse(baseURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("baseUrl: %q is no http(s) URL; it looks like https://host/v1", baseURL)
	}
	return &OpenAI{name: name, url: strings.TrimRight(baseURL, "/") + "/chat/completions",
		key: apiKey, client: client, limits: limits}, nil
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
	if resp.StatusCode != http.StatusOK {
		return Result{}, o.refused(resp)
	}
	watchdog.Reset(o.limits.Idle)
	body := &pacedReader{r: io.LimitReader(resp.Body, o.limits.Bytes), beat: func() { watchdog.Reset(o.limits.Idle) }}
	res, err := o.read(body, text)
	if err != nil {
		return res, o.wrap(ctx, err)
	}
	return res, nil
}

func (o *OpenAI) post(ctx context.Context, req Request) (*http.Response, error) {
	body, err := json.Marshal(openAIRequest{Model: req.Model, Messages: req.Messages, Stream: true,
		Options: map[string]any{"include_usage": true}, MaxTokens: req.MaxOutputTokens,
		Temperature: req.Temperature, User: req.User})
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

// errSilent: the endpoint kept the connection open and said nothing.
var errSilent = errors.New("the model endpoint stopped answering")

// errCut: the stream ended before the endpoint said that it was done.
var errCut = errors.New("the model endpoint cut the stream")

// read takes server-sent events until [DONE]. A stream that ends without it and
// without a finish_reason was cut, and half an answer is not passed off as a whole one.
func (o *OpenAI) read(r io.Reader, text func(string)) (Result, error) {
	var res Result
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 16<<10), 1<<20)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		if !ok {
			continue // comments, event names, blank lines
		}
		data = bytes.TrimSpace(data)
		if string(data) == "[DONE]" {
			return res, nil
		}
		var c openAIChunk
		if err := json.Unmarshal(data, &c); err != nil {
			return res, fmt.Errorf("the model endpoint sent an event that is not JSON: %w", err)
		}
		if c.Error != nil {
			return res, &Error{Provider: o.name, Status: http.StatusBadGateway, Message: cut(c.Error.Message)}
		}
		o.apply(&res, &c, text)
	}
	if err := lines.Err(); err != nil {
		return res, err
	}
	if res.StopReason == "" {
		return res, errCut
	}
	return res, nil
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

func (o *OpenAI) refused(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	e := &Error{Provider: o.name, Status: resp.StatusCode, Message: cut(string(b))}
	var body openAIChunk
	if json.Unmarshal(b, &body) == nil && body.Error != nil {
		e.Message = cut(body.Error.Message)
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
	return &Error{Provider: o.name, Message: cut(err.Error()), Err: err}
}

func cut(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "…"
	}
	return s
}

// pacedReader tells the watchdog that the endpoint is alive.
type pacedReader struct {
	r    io.Reader
	beat func()
}

func (p *pacedReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if n > 0 {
		p.beat()
	}
	return n, err
}
