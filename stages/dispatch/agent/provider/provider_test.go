package provider

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var limits = Limits{FirstByte: 10 * time.Second, Idle: 10 * time.Second, Bytes: 1 << 20}

// roundTrip answers requests without a socket.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answering is a client whose every call gets this answer.
func answering(status int, header http.Header, body io.Reader) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if header == nil {
			header = http.Header{}
		}
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(body), Request: r}, nil
	})}
}

func mustOpenAI(tb testing.TB, client *http.Client, l Limits) *OpenAI {
	tb.Helper()
	p, err := NewOpenAI("fake", "http://model.test/v1/", "sk-the-key", client, l)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func ask(ctx context.Context, p *OpenAI) (string, Result, error) {
	var b strings.Builder
	res, err := p.Stream(ctx, Request{Model: "m", Messages: []Message{{Role: "user", Content: "hi"}}}, func(s string) { b.WriteString(s) })
	return b.String(), res, err
}

const good = `data: {"id":"r1","model":"m-2","choices":[{"delta":{"role":"assistant"}}]}

data: {"choices":[{"delta":{"content":"Hel"}}]}

data: {"choices":[{"delta":{"content":"lo"}}]}

data: {"choices":[{"delta":{},"finish_reason":"stop"}]}

data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}

data: [DONE]

`

func TestStream(t *testing.T) {
	for name, body := range map[string]io.Reader{
		"as documented":        strings.NewReader(good),
		"CRLF":                 strings.NewReader(strings.ReplaceAll(good, "\n", "\r\n")),
		"a byte at a time":     iotest.OneByteReader(strings.NewReader(good)),
		"data and EOF at once": iotest.DataErrReader(strings.NewReader(good)),
		"comments and names":   strings.NewReader(": ping\n\nevent: chunk\nid: 1\nretry: 5\n" + good),
		"no space after data":  strings.NewReader(strings.ReplaceAll(good, "data: ", "data:")),
		"no [DONE]":            strings.NewReader(strings.Replace(good, "data: [DONE]\n\n", "", 1)),
		"no last blank line":   strings.NewReader(strings.TrimRight(strings.Replace(good, "data: [DONE]\n\n", "", 1), "\n")),
		"no blank lines":       strings.NewReader(strings.ReplaceAll(good, "\n\n", "\n")),
		"data over two lines":  strings.NewReader(strings.Replace(good, `{"choices":[{"delta":{"content":"lo"}}]}`, "{\"choices\":\ndata: [{\"delta\":{\"content\":\"lo\"}}]}", 1)),
		"what follows [DONE]":  strings.NewReader(good + "data: garbage\n\n"),
		"unknown members":      strings.NewReader(strings.ReplaceAll(good, `"choices"`, `"obfuscation":"x","choices"`)),
		"a long line":          strings.NewReader(strings.Replace(good, `{"content":"lo"}`, `{"pad":"`+strings.Repeat("x", 300_000)+`","content":"lo"}`, 1)),
	} {
		t.Run(name, func(t *testing.T) {
			text, res, err := ask(t.Context(), mustOpenAI(t, answering(200, nil, body), limits))
			if err != nil || text != "Hello" || res.StopReason != "stop" || res.Model != "m-2" || res.ResponseID != "r1" || res.Usage != (Usage{7, 2, 9}) {
				t.Errorf("%q %+v %v", text, res, err)
			}
		})
	}
}

// TestFailures: what was said is kept, half an answer is no answer, and whether a
// further try makes sense is told.
func TestFailures(t *testing.T) {
	half := `data: {"choices":[{"delta":{"content":"half"}}]}` + "\n\n"
	for name, tc := range map[string]struct {
		status    int
		header    http.Header
		body      io.Reader
		text      string
		words     string
		temporary bool
		reason    string
		after     time.Duration
	}{
		"a cut stream":       {200, nil, strings.NewReader(half), "half", "cut the stream", true, "network", 0},
		"an empty stream":    {200, nil, strings.NewReader(""), "", "cut the stream", true, "network", 0},
		"cut within a line":  {200, nil, strings.NewReader(half + `data: {"choi`), "half", "not readable", false, "format", 0},
		"a broken transport": {200, nil, io.MultiReader(strings.NewReader(half), iotest.ErrReader(errors.New("connection reset"))), "half", "connection reset", true, "network", 0},
		"an error event":     {200, nil, strings.NewReader(half + `data: {"error":{"message":"overloaded"}}` + "\n\n"), "half", "overloaded", true, "server_error", 0},
		"garbage":            {200, nil, strings.NewReader("data: {this is not json\n\n"), "", "not readable", false, "format", 0},
		"a page":             {200, nil, strings.NewReader("<html>login</html>"), "", "cut the stream", true, "network", 0},
		"too much":           {200, nil, strings.NewReader(strings.Repeat("data: "+strings.Repeat("x", 1000), 2000)), "", "agent.answerBytes", false, "format", 0},
		"500":                {500, nil, strings.NewReader(`{"error":{"message":"the model fell over"}}`), "", "answered 500: the model fell over", true, "server_error", 0},
		"no JSON":            {502, nil, strings.NewReader("bad gateway"), "", "answered 502: bad gateway", true, "server_error", 0},
		"401 with the key":   {401, nil, strings.NewReader(`{"error":{"message":"bad key sk-the-key"}}`), "", "answered 401: bad key [key]", false, "auth", 0},
		"402":                {402, nil, strings.NewReader("pay"), "", "402", false, "billing", 0},
		"404":                {404, nil, strings.NewReader(""), "", "404", false, "format", 0},
		"408":                {408, nil, strings.NewReader(""), "", "408", true, "timeout", 0},
		"429":                {429, http.Header{"Retry-After": {"1.5"}}, strings.NewReader("slow down"), "", "429", true, "rate_limit", 1500 * time.Millisecond},
		"429 with a date":    {429, http.Header{"Retry-After": {"Wed, 21 Oct 2026 07:28:00 GMT"}}, strings.NewReader(""), "", "429", true, "rate_limit", 0},
		"429 for a year":     {429, http.Header{"Retry-After": {"31536000"}}, strings.NewReader(""), "", "429", true, "rate_limit", 0},
		"a redirect":         {307, http.Header{"Location": {"http://elsewhere.test/"}}, strings.NewReader(""), "", "redirects to http://elsewhere.test/", false, "format", 0},
		"a long error":       {500, nil, strings.NewReader(strings.Repeat("é", 100_000)), "", "…", true, "server_error", 0},
	} {
		t.Run(name, func(t *testing.T) {
			text, _, err := ask(t.Context(), mustOpenAI(t, answering(tc.status, tc.header, tc.body), limits))
			var pe *Error
			if !errors.As(err, &pe) || text != tc.text || !strings.Contains(err.Error(), tc.words) || len(err.Error()) > 600 {
				t.Fatalf("%q %v", text, err)
			}
			if pe.Temporary() != tc.temporary || pe.Reason() != tc.reason || pe.RetryAfter != tc.after {
				t.Errorf("temporary %v, reason %s, after %s: %v", pe.Temporary(), pe.Reason(), pe.RetryAfter, pe)
			}
		})
	}
}

// TestRedirect: a conversation and the key go to no other address.
func TestRedirect(t *testing.T) {
	asked := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer elsewhere.Close()
	s := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	client := s.Client()
	defer client.CloseIdleConnections()
	p, err := NewOpenAI("fake", s.URL, "key", client, limits)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ask(t.Context(), p); err == nil || asked {
		t.Errorf("error %v, asked elsewhere %v", err, asked)
	}
	if client.CheckRedirect != nil {
		t.Error("the caller's client was changed")
	}
}

func TestGzip(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" {
			t.Errorf("Accept-Encoding %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		for _, part := range strings.SplitAfter(good, "\n\n") {
			io.WriteString(z, part)
			z.Flush()
			w.(http.Flusher).Flush()
		}
		z.Close()
	}))
	defer s.Close()
	client := s.Client()
	defer client.CloseIdleConnections()
	p, err := NewOpenAI("fake", s.URL, "", client, limits)
	if err != nil {
		t.Fatal(err)
	}
	if text, res, err := ask(t.Context(), p); err != nil || text != "Hello" || res.Usage.Total != 9 {
		t.Errorf("%q %+v %v", text, res, err)
	}
}

// TestGzipBomb: the bound is on what comes out.
func TestGzipBomb(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, "data: ")
	io.Copy(z, io.LimitReader(zeros{}, 64<<20))
	z.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(packed.Bytes())
	}))
	defer s.Close()
	client := s.Client()
	defer client.CloseIdleConnections()
	p, err := NewOpenAI("fake", s.URL, "", client, limits)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ask(t.Context(), p); !errors.Is(err, errTooLong) {
		t.Errorf("%v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// TestSilence: an endpoint that keeps the connection and says nothing is given up, at
// the beginning and in the middle; one that is only slow is not.
func TestSilence(t *testing.T) {
	l := Limits{FirstByte: time.Minute, Idle: 20 * time.Second, Bytes: 1 << 20}
	for name, tc := range map[string]struct {
		before  time.Duration // the headers
		between time.Duration // the parts
		ok      bool
		want    time.Duration
	}{
		"slow, but alive":      {50 * time.Second, 19 * time.Second, true, 50*time.Second + 6*19*time.Second},
		"no headers":           {2 * time.Minute, 0, false, time.Minute},
		"silent in the middle": {time.Second, 25 * time.Second, false, time.Second + 20*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					if err := wait(r.Context(), tc.before); err != nil {
						return nil, err
					}
					pr, pw := io.Pipe()
					go func() {
						for _, part := range strings.SplitAfter(good, "\n\n")[:6] {
							if err := wait(r.Context(), tc.between); err != nil {
								pw.CloseWithError(err)
								return
							}
							io.WriteString(pw, part)
						}
						pw.Close()
					}()
					return &http.Response{StatusCode: 200, Header: http.Header{}, Body: pr, Request: r}, nil
				})}
				begin := time.Now()
				_, _, err := ask(t.Context(), mustOpenAI(t, client, l))
				if took := time.Since(begin); (err == nil) != tc.ok || took != tc.want {
					t.Errorf("after %s: %v; want %s", took, err, tc.want)
				}
				var pe *Error
				if !tc.ok && (!errors.As(err, &pe) || !pe.Temporary() || !errors.Is(err, errSilent)) {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestCancel: the caller's own end is reported as that, not as a failure to try again.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		cancel(errors.New("the user has had enough"))
		<-r.Context().Done()
		return nil, r.Context().Err()
	})}
	_, _, err := ask(ctx, mustOpenAI(t, client, limits))
	var pe *Error
	if err == nil || errors.As(err, &pe) || err.Error() != "the user has had enough" {
		t.Errorf("%v", err)
	}
}

func TestRequest(t *testing.T) {
	var got *http.Request
	var body string
	client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		got = r
		b, _ := io.ReadAll(r.Body)
		body = string(b)
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(good)), Request: r}, nil
	})}
	if _, _, err := ask(t.Context(), mustOpenAI(t, client, limits)); err != nil {
		t.Fatal(err)
	}
	want := `{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}}`
	if got.URL.String() != "http://model.test/v1/chat/completions" || got.Header.Get("Authorization") != "Bearer sk-the-key" || body != want {
		t.Errorf("%s %v %s", got.URL, got.Header, body)
	}
	for _, bad := range []string{"", "model.test/v1", "ftp://model.test", "http://", "http://%zz"} {
		if _, err := NewOpenAI("fake", bad, "", client, limits); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// FuzzEvents: any bytes give events or an error, in bounded memory, and the same ones
// however they are cut into reads.
func FuzzEvents(f *testing.F) {
	for _, s := range []string{good, "data\n\n", "data:\ndata:\n\n", ": x\r\n\r\ndata: 1\r\rdata: 2", "data: a\ndata: b", "\xff\x00data: x\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		read := func(r io.Reader) (all []string) {
			events := newEventReader(r)
			for range len(b) + 1 {
				data, err := events.next()
				if err != nil {
					return append(all, fmt.Sprint(err))
				}
				all = append(all, string(data))
			}
			t.Fatal("more events than bytes")
			return nil
		}
		if whole, bytewise := read(bytes.NewReader(b)), read(iotest.OneByteReader(bytes.NewReader(b))); strings.Join(whole, "|") != strings.Join(bytewise, "|") {
			t.Fatalf("at once %q, a byte at a time %q", whole, bytewise)
		}
		p := &OpenAI{name: "fake", key: "k", limits: limits}
		p.read(&pacedReader{r: bytes.NewReader(b), left: 1 << 20, beat: func() {}}, func(string) {})
	})
}

func BenchmarkStream(b *testing.B) {
	var body strings.Builder
	for range 1000 {
		body.WriteString(`data: {"id":"r1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}` + "\n\n")
	}
	body.WriteString(good)
	p := mustOpenAI(b, &http.Client{}, Limits{Bytes: 1 << 30})
	b.SetBytes(int64(body.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.read(strings.NewReader(body.String()), func(string) {}); err != nil {
			b.Fatal(err)
		}
	}
}
