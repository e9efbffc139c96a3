// Package webhook is the channel "webhook": it posts messages as signed JSON to
// configured addresses.
//
//	POST <target's url>
//	Content-Type: application/json
//	Idempotency-Key: <key>            the same for every try of one message
//	X-Sluice-Signature: t=…,v1=…      HMAC-SHA256 over "t.body" (Sign, Verify)
//	{"type":"message","key":…,"channel":"webhook","to":…,"text":…,"atMs":…}
//
// Any 2xx answer is a receipt; its id is the answer's "messageId" or "id", else the key.
// Redirects are not followed, and an address is checked when the socket connects.
//
// Lifecycle: New, Send from any goroutine, Close.
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"sluice/pipeline"
	"sluice/stages/adapter"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Name is the channel's name.
const Name = "webhook"

// Channel implements adapter.Channel. It is safe for concurrent use.
type Channel struct {
	cfg     Config
	log     *slog.Logger
	public  *http.Client
	private *http.Client
}

var (
	_ adapter.Channel    = (*Channel)(nil)
	_ adapter.Idempotent = (*Channel)(nil)
)

// New returns the channel. Targets without a secret are closed, and logged. log may be
// nil.
func New(cfg Config, log *slog.Logger) (*Channel, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	for _, name := range cfg.names() {
		if cfg.Targets[name].Secret == "" {
			log.Warn("webhook target is closed: it has no secret", "target", name, "key", secretKey(name))
		}
	}
	return &Channel{cfg: cfg, log: log, public: newClient(false), private: newClient(true)}, nil
}

func secretKey(target string) string { return "channels.webhook.targets." + target + ".secret" }

// Close ends idle connections. Call it after the adapter stage has stopped.
func (c *Channel) Close() {
	c.public.CloseIdleConnections()
	c.private.CloseIdleConnections()
}

// Name implements adapter.Channel.
func (c *Channel) Name() string { return Name }

// Capabilities implements adapter.Channel: text, in messages of the configured size.
func (c *Channel) Capabilities() adapter.Capabilities {
	return adapter.Capabilities{Name: Name, Threads: true, TextLimit: c.cfg.TextLimit, ChunkMode: adapter.ModeLength}
}

// Idempotent implements adapter.Idempotent.
func (c *Channel) Idempotent(d *pipeline.Delivery) bool { return c.cfg.Targets[d.To].Idempotent }

// message is the body of a request.
type message struct {
	Type      string `json:"type"`
	Key       string `json:"key"`
	Channel   string `json:"channel"`
	To        string `json:"to"`
	AccountID string `json:"accountId,omitzero"`
	ThreadID  string `json:"threadId,omitzero"`
	Text      string `json:"text"`
	AtMs      int64  `json:"atMs"`
}

// Send implements adapter.Channel.
func (c *Channel) Send(ctx context.Context, d *pipeline.Delivery) (pipeline.Receipt, error) {
	target, err := c.target(d)
	if err != nil {
		return pipeline.Receipt{}, err
	}
	now := time.Now()
	body, err := json.Marshal(message{Type: "message", Key: d.Key, Channel: Name, To: d.To, AccountID: d.AccountID,
		ThreadID: d.ThreadID, Text: d.Text, AtMs: now.UnixMilli()}, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return pipeline.Receipt{}, adapter.Permanent("the message cannot be encoded: %w", err)
	}
	var wrote atomic.Bool
	trace := &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodPost, target.URL, bytes.NewReader(body))
	if err != nil {
		return pipeline.Receipt{}, adapter.Permanent("the target's address cannot be used: %w", err)
	}
	// Without GetBody the transport never sends a request again by itself: how often a
	// message is tried is the stage's decision.
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "sluice")
	req.Header.Set("Idempotency-Key", headerValue(d.Key))
	req.Header.Set(SignatureHeader, Sign(target.Secret, now, body))
	client := c.public
	if target.AllowPrivate {
		client = c.private
	}
	res, err := client.Do(req)
	if err != nil {
		return pipeline.Receipt{}, classify(err, wrote.Load())
	}
	defer func() { _ = res.Body.Close() }()
	return c.answer(res, d.Key)
}

// target resolves a delivery's recipient.
func (c *Channel) target(d *pipeline.Delivery) (Target, error) {
	t, ok := c.cfg.Targets[d.To]
	switch {
	case !ok:
		return t, adapter.Permanent("there is no target %q; configure channels.webhook.targets (have: %s)", d.To, strings.Join(c.cfg.names(), ", "))
	case t.AccountID != "" && d.AccountID != "" && t.AccountID != d.AccountID:
		return t, adapter.Permanent("target %q is not of account %q", d.To, d.AccountID)
	case t.Secret == "":
		return t, adapter.Permanent("target %q is closed: it has no secret; set %s", d.To, secretKey(d.To))
	}
	return t, nil
}

// headerValue makes a key safe in a header; the body carries it as it is.
func headerValue(key string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '_'
		}
		return r
	}, key)
}

// answer reads a response.
func (c *Channel) answer(res *http.Response, key string) (pipeline.Receipt, error) {
	body, err := io.ReadAll(io.LimitReader(res.Body, int64(c.cfg.MaxResponseBytes)))
	switch code := res.StatusCode; {
	case code >= 200 && code < 300:
		// The status is the confirmation; a body that breaks off takes nothing back.
		return pipeline.Receipt{MessageID: messageID(body, err, key)}, nil
	case code == http.StatusBadGateway || code == http.StatusGatewayTimeout:
		return pipeline.Receipt{}, &adapter.SendError{Kind: adapter.KindUnknown, RetryAfter: retryAfter(res), Err: fmt.Errorf("HTTP %d: what stands before the receiver does not know", code)}
	case code == http.StatusRequestTimeout || code == http.StatusTooEarly || code == http.StatusTooManyRequests || code >= 500:
		return pipeline.Receipt{}, adapter.Temporary(retryAfter(res), "HTTP %d", code)
	case code >= 300 && code < 400:
		return pipeline.Receipt{}, adapter.Permanent("HTTP %d: redirects are not followed; configure the final address", code)
	default:
		return pipeline.Receipt{}, adapter.Permanent("HTTP %d", code)
	}
}

// maxMessageID bounds an id that a receiver made up.
const maxMessageID = 256

func messageID(body []byte, err error, key string) string {
	var a struct {
		MessageID string `json:"messageId"`
		ID        string `json:"id"`
	}
	if err == nil && json.Unmarshal(body, &a) == nil {
		for _, id := range []string{a.MessageID, a.ID} {
			if id != "" && len(id) <= maxMessageID {
				return id
			}
		}
	}
	return key
}

// retryAfter reads Retry-After, in seconds or as a date; 0 when there is none.
func retryAfter(res *http.Response) time.Duration {
	v := res.Header.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil && s >= 0 && s <= 24*3600 {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// classify says what a failed exchange left behind. The address stays out of the text:
// it may carry a token, and the client knows only the target's name.
func classify(err error, wrote bool) error {
	var cert *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	cause := err
	var outer *url.Error
	if errors.As(err, &outer) {
		cause = outer.Err // outer repeats the address
	}
	switch {
	case errors.Is(err, errAddress):
		return adapter.Permanent("%w", cause)
	case errors.As(err, &cert), errors.As(err, &authority), errors.As(err, &host):
		return adapter.Permanent("the receiver's certificate is not valid: %w", cause)
	case wrote:
		return adapter.Unknown("the connection failed after the message was sent: %w", cause)
	default:
		return adapter.Temporary(0, "the receiver cannot be reached: %w", cause)
	}
}
