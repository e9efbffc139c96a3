package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/adapter"

	"github.com/go-json-experiment/json"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "a secret of the target"

// mustChannel returns a channel with the target "ops" at a server of h.
func mustChannel(t *testing.T, h http.HandlerFunc, change func(*Target)) (*Channel, *httptest.Server) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	target := Target{URL: srv.URL + "/in?x=1", Secret: secret, AllowPrivate: true}
	if change != nil {
		change(&target)
	}
	cfg := Default()
	cfg.Targets["ops"] = target
	c, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, srv
}

func send(c *Channel, timeout time.Duration) (pipeline.Receipt, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return c.Send(ctx, &pipeline.Delivery{Channel: Name, To: "ops", ThreadID: "t1", Text: "héllo \"x\"", Key: "key\n1"})
}

func kind(t *testing.T, err error) (adapter.Kind, time.Duration) {
	t.Helper()
	var e *adapter.SendError
	if !errors.As(err, &e) {
		t.Fatalf("%v is no SendError", err)
	}
	return e.Kind, e.RetryAfter
}

func TestSend(t *testing.T) {
	c, _ := mustChannel(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m message
		if err := json.Unmarshal(body, &m); err != nil || m.Text != "héllo \"x\"" || m.To != "ops" || m.ThreadID != "t1" || m.Key != "key\n1" || m.Type != "message" {
			t.Errorf("body %s (%v)", body, err)
		}
		if err := Verify(secret, r.Header.Get(SignatureHeader), body, time.Now(), time.Minute); err != nil {
			t.Error(err)
		}
		if r.Method != http.MethodPost || r.URL.String() != "/in?x=1" || r.Header.Get("Idempotency-Key") != "key_1" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		fmt.Fprint(w, `{"messageId":"m-7","more":1}`)
	}, nil)
	if r, err := send(c, 5*time.Second); err != nil || r.MessageID != "m-7" {
		t.Errorf("%+v %v", r, err)
	}
}

// TestAnswers holds each answer of a receiver to what may be done after it.
func TestAnswers(t *testing.T) {
	for _, a := range []struct {
		status int
		header string
		body   string
		kind   adapter.Kind
		after  time.Duration
	}{
		{status: 301, kind: adapter.KindPermanent}, {status: 307, kind: adapter.KindPermanent},
		{status: 400, kind: adapter.KindPermanent}, {status: 401, kind: adapter.KindPermanent}, {status: 410, kind: adapter.KindPermanent},
		{status: 408, kind: adapter.KindTemporary},
		{status: 429, header: "17", kind: adapter.KindTemporary, after: 17 * time.Second},
		{status: 429, header: "-5", kind: adapter.KindTemporary},
		{status: 503, header: "Mon, 02 Jan 2006 15:04:05 GMT", kind: adapter.KindTemporary},
		{status: 500, kind: adapter.KindTemporary},
		{status: 502, kind: adapter.KindUnknown}, {status: 504, kind: adapter.KindUnknown},
	} {
		c, _ := mustChannel(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			if a.header != "" {
				w.Header().Set("Retry-After", a.header)
			}
			w.WriteHeader(a.status)
		}, nil)
		_, err := send(c, 5*time.Second)
		if k, after := kind(t, err); k != a.kind || after != a.after {
			t.Errorf("%d: kind %d after %s: %v", a.status, k, after, err)
		}
	}
	for body, want := range map[string]string{``: "key\n1", `{"id":"x"}`: "x", `not json`: "key\n1", `{"id":"` + strings.Repeat("x", 300) + `"}`: "key\n1",
		strings.Repeat("x", 200<<10): "key\n1"} {
		c, _ := mustChannel(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprint(w, body)
		}, nil)
		if r, err := send(c, 5*time.Second); err != nil || r.MessageID != want {
			t.Errorf("%.20q: %+v %v", body, r, err)
		}
	}
}

// TestBroken: slow, cut and absent receivers.
func TestBroken(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	slow, _ := mustChannel(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}, nil)
	_, err := send(slow, 50*time.Millisecond)
	if k, _ := kind(t, err); k != adapter.KindUnknown {
		t.Errorf("slow: %v", err)
	}
	var calls atomic.Int32
	cut, _ := mustChannel(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}, nil)
	for range 2 {
		_, err = send(cut, 5*time.Second)
		if k, _ := kind(t, err); k != adapter.KindUnknown {
			t.Errorf("cut: %v", err)
		}
	}
	if n := calls.Load(); n != 2 {
		t.Errorf("%d requests for 2 tries: the transport repeats by itself", n)
	}
	half, _ := mustChannel(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, `{"id":"x"`)
	}, nil)
	if r, err := send(half, 5*time.Second); err != nil || r.MessageID != "key\n1" {
		t.Errorf("a cut body after 200: %+v %v", r, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone, _ := mustChannel(t, nil, func(g *Target) { g.URL = "http://" + l.Addr().String() + "/?token=geheim" })
	_ = l.Close()
	_, err = send(gone, 5*time.Second)
	if k, _ := kind(t, err); k != adapter.KindTemporary || strings.Contains(err.Error(), "geheim") {
		t.Errorf("absent: %v", err)
	}
	tls := httptest.NewUnstartedServer(nil)
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	defer tls.Close()
	untrusted, _ := mustChannel(t, nil, func(g *Target) { g.URL = tls.URL })
	_, err = send(untrusted, 5*time.Second)
	if k, _ := kind(t, err); k != adapter.KindPermanent || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("untrusted: %v", err)
	}
}

func TestTargets(t *testing.T) {
	var called atomic.Bool
	hit := func(http.ResponseWriter, *http.Request) { called.Store(true) }
	for want, change := range map[string]func(*Target){
		"set channels.webhook.targets.ops.secret": func(g *Target) { g.Secret = "" },
		"is private; set allowPrivate":            func(g *Target) { g.AllowPrivate = false },
		"link-local":                              func(g *Target) { g.URL = "http://169.254.169.254/latest" },
		"not of account":                          func(g *Target) { g.AccountID = "other" },
	} {
		c, _ := mustChannel(t, hit, change)
		_, err := c.Send(context.Background(), &pipeline.Delivery{To: "ops", AccountID: "mine", Text: "x"})
		if k, _ := kind(t, err); k != adapter.KindPermanent || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	c, _ := mustChannel(t, hit, nil)
	for _, to := range []string{"other", "http://127.0.0.1/", ""} {
		if _, err := c.Send(context.Background(), &pipeline.Delivery{To: to, Text: "x"}); err == nil || !strings.Contains(err.Error(), "no target") {
			t.Errorf("%q: %v", to, err)
		}
	}
	if called.Load() {
		t.Error("a refused delivery was sent")
	}
	// A name is judged by what it resolves to.
	c, srv := mustChannel(t, hit, func(g *Target) { g.AllowPrivate = false; g.URL = strings.Replace(g.URL, "127.0.0.1", "localhost", 1) })
	if _, err := send(c, 5*time.Second); err == nil || !strings.Contains(err.Error(), "is private") || called.Load() {
		t.Errorf("localhost (%s): %v", srv.URL, err)
	}
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		ip              string
		public, allowed bool // without and with allowPrivate
	}{
		{"93.184.216.34", true, true}, {"2606:2800:220:1::1", true, true},
		{"127.0.0.1", false, true}, {"10.1.2.3", false, true}, {"192.168.1.1", false, true}, {"172.16.0.1", false, true},
		{"100.64.0.1", false, true}, {"::1", false, true}, {"fd00::1", false, true}, {"::ffff:127.0.0.1", false, true},
		{"169.254.169.254", false, false}, {"fe80::1", false, false}, {"0.0.0.0", false, false}, {"::", false, false},
		{"224.0.0.1", false, false}, {"255.255.255.255", false, false}, {"::ffff:169.254.169.254", false, false},
		{"64:ff9b::a9fe:a9fe", false, false}, {"64:ff9b::5db8:d822", true, true}, {"2002:7f00:1::1", false, false},
		{"2001:db8::1", false, false}, {"198.18.0.1", false, false},
	} {
		address := net.JoinHostPort(c.ip, "80")
		if got := checkAddress(address, false) == nil; got != c.public {
			t.Errorf("%s: reachable %v", c.ip, got)
		}
		if got := checkAddress(address, true) == nil; got != c.allowed {
			t.Errorf("%s with allowPrivate: reachable %v", c.ip, got)
		}
	}
	if checkAddress("no address", true) == nil {
		t.Error("what is no address may be reached")
	}
}

func TestVerify(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	body := []byte(`{"a":1}`)
	good := Sign("k", now, body)
	for _, c := range []struct {
		header string
		body   string
		at     time.Duration
		want   error
	}{
		{good, `{"a":1}`, 0, nil},
		{good, `{"a":1}`, 5 * time.Minute, nil},
		{good, `{"a":1}`, 5*time.Minute + time.Second, ErrSignatureTime},
		{good, `{"a":1}`, -5*time.Minute - time.Second, ErrSignatureTime},
		{good, `{"a":2}`, 0, ErrSignature},
		{strings.Replace(good, "v1=", "v1=00,v1=", 1), `{"a":1}`, 0, nil},
		{"", "", 0, ErrSignatureForm}, {"t=1800000000", "", 0, ErrSignatureForm}, {"v1=00", "", 0, ErrSignatureForm},
		{"t=x,v1=00", "", 0, ErrSignatureForm}, {"t=1800000000,v1=zz", "", 0, ErrSignature},
		{"t=9223372036854775807,v1=00", "", 0, ErrSignatureTime},
	} {
		if err := Verify("k", c.header, []byte(c.body), now.Add(c.at), 5*time.Minute); !errors.Is(err, c.want) {
			t.Errorf("%q: %v, want %v", c.header, err, c.want)
		}
	}
	if Verify("", Sign("", now, body), body, now, time.Minute) == nil {
		t.Error("an empty secret verifies")
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("t=1,v1=00,v1=", []byte("x"))
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		if Verify("k", header, body, time.Unix(1_800_000_000, 0), time.Minute) == nil {
			t.Fatalf("%q verifies", header)
		}
	})
}

func TestConfig(t *testing.T) {
	for u, want := range map[string]string{"ftp://x": "http", "http://": "no host", "https://u:p@h/": "user", "http://h/#f": "fragment", "http://[": "no address"} {
		cfg := Default()
		cfg.Targets["ops"] = Target{URL: u}
		if _, err := New(cfg, nil); err == nil || !strings.HasPrefix(err.Error(), "channels.webhook.targets.ops.url:") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", u, err)
		}
	}
}
