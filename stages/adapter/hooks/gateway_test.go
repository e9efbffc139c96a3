package hooks

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"sluice/bufpool/bufpooltest"
	"sluice/frames"
	"sluice/pipeline"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "hooktoken456"

// gateway is the handler on a real server before a pipeline of one stage.
type gateway struct {
	*testing.T
	h    *Handler
	srv  *httptest.Server
	pipe *pipeline.Pipeline

	mu     sync.Mutex
	seen   []string // "method params"
	answer func(e *pipeline.Envelope) (pipeline.Verdict, error)
}

func (g *gateway) Name() string { return "dispatch" }

func (g *gateway) Process(_ context.Context, e *pipeline.Envelope) (pipeline.Verdict, error) {
	if e.Source != pipeline.SourceHook || e.Peer.Identity != "system:hook" || e.Peer.Role != frames.RoleSystem {
		g.Errorf("source %s, peer %+v", e.Source, e.Peer)
	}
	if e.Frame.Spec == nil {
		g.Errorf("method %s", e.Frame.Method)
	} else if err := e.Frame.Spec.Params.Validate(e.Frame.Method, e.Frame.Params); err != nil {
		g.Error(err)
	}
	g.mu.Lock()
	g.seen = append(g.seen, e.Frame.Method+" "+string(e.Frame.Params))
	g.mu.Unlock()
	if g.answer != nil {
		return g.answer(e)
	}
	e.Answer([]byte(`{"runId":"x","status":"accepted"}`))
	return pipeline.Done, nil
}

func (g *gateway) last() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.seen) == 0 {
		return ""
	}
	return g.seen[len(g.seen)-1]
}

func (g *gateway) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.seen)
}

func mustGateway(t *testing.T, change func(*Config)) *gateway {
	t.Helper()
	bufpooltest.NoLeaks(t)
	g := &gateway{T: t}
	var err error
	if g.pipe, err = pipeline.New(pipeline.Default(), []pipeline.Stage{g}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := g.pipe.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	cfg := config(change)
	g.h, err = New(cfg, Deps{Pipeline: g.pipe, Channels: func() []string { return []string{"webhook"} },
		AgentExists: func(id string) bool { return id == "main" || id == "ops" }})
	if err != nil {
		t.Fatal(err)
	}
	g.srv = httptest.NewServer(g.h)
	t.Cleanup(func() {
		g.srv.Close()
		http.DefaultClient.CloseIdleConnections()
		g.pipe.Drain(context.Background())
		if err := g.pipe.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return g
}

func config(change func(*Config)) Config {
	cfg := Default()
	cfg.Enabled, cfg.Token = true, token
	if change != nil {
		change(&cfg)
	}
	return cfg
}

type response struct {
	*http.Response
	body string
}

func (g *gateway) do(method, path, body string, headers ...string) response {
	g.Helper()
	req, err := http.NewRequest(method, g.srv.URL+path, strings.NewReader(body))
	if err != nil {
		g.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		g.Fatal(err)
	}
	return response{res, string(b)}
}

func (g *gateway) post(path, body string, headers ...string) response {
	g.Helper()
	return g.do(http.MethodPost, path, body, append([]string{"Authorization", "Bearer " + token}, headers...)...)
}
