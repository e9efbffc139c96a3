package reputation

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sluice/pipeline"
	"sluice/stages/defend"
)

// vt answers by VirusTotal's documented schema. The host of an address says what it
// answers: malicious.example, status-429.example, slow.example …
type vt struct {
	*httptest.Server
	asked   atomic.Int64
	mu      sync.Mutex
	paths   []string
	release chan struct{} // lets slow answers go
	files   map[string]string
}

const apiKey = "0123456789abcdef"

func newVT(t testing.TB) *vt {
	s := &vt{release: make(chan struct{}), files: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() { s.letGo(); s.Close() })
	return s
}

func (s *vt) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.release:
	default:
		close(s.release)
	}
}

func report(kind string, malicious, suspicious, harmless int) string {
	return fmt.Sprintf(`{"data":{"id":"x","type":%q,"links":{"self":"https://x"},"attributes":{"last_analysis_date":1,"categories":{},
		"last_analysis_stats":{"harmless":%d,"malicious":%d,"suspicious":%d,"undetected":20,"timeout":0},
		"last_analysis_results":{"A":{"category":"harmless","engine_name":"A","method":"blacklist","result":"clean"}}}}}`,
		kind, harmless, malicious, suspicious)
}

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"code":%q,"message":"m"}}`, code)
}

func (s *vt) serve(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	s.mu.Lock()
	s.paths = append(s.paths, r.URL.Path)
	s.mu.Unlock()
	if r.Header.Get("x-apikey") != apiKey {
		problem(w, 401, "WrongCredentialsError")
		return
	}
	kind, id, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/v3/"), "/")
	what := s.files[id]
	if kind == "urls" {
		raw, err := base64.RawURLEncoding.DecodeString(id)
		if err != nil {
			problem(w, 400, "InvalidArgumentError")
			return
		}
		what, _, _ = strings.Cut(strings.TrimPrefix(string(raw), "http://"), ".")
	}
	s.answer(w, r, strings.TrimSuffix(kind, "s"), what)
}

func (s *vt) answer(w http.ResponseWriter, r *http.Request, kind, what string) {
	if code, ok := strings.CutPrefix(what, "status-"); ok {
		status, _ := strconv.Atoi(code)
		if status == 302 {
			w.Header().Set("Location", s.URL+"/elsewhere")
		}
		if status == 204 {
			w.WriteHeader(204)
			return
		}
		problem(w, status, "SomeError")
		return
	}
	switch what {
	case "malicious":
		fmt.Fprint(w, report(kind, 3, 1, 60))
	case "suspicious":
		fmt.Fprint(w, report(kind, 0, 1, 60))
	case "clean":
		fmt.Fprint(w, report(kind, 0, 0, 60))
	case "silent":
		fmt.Fprint(w, report(kind, 0, 0, 0))
	case "slow":
		select {
		case <-s.release:
		case <-r.Context().Done():
		}
		fmt.Fprint(w, report(kind, 0, 0, 60))
	case "cut":
		body := report(kind, 1, 0, 0)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		fmt.Fprint(w, body[:len(body)/2])
		panic(http.ErrAbortHandler)
	case "empty":
		fmt.Fprint(w, `{"data":{}}`)
	case "junk":
		fmt.Fprint(w, `<html>`)
	default:
		problem(w, 404, "NotFoundError")
	}
}

func (s *vt) open(t testing.TB, change ...func(*Config)) *Defender {
	t.Helper()
	cfg := Default()
	cfg.APIKey, cfg.BaseURL, cfg.RatePerMinute = apiKey, s.URL+"/api/v3", 1000
	for _, c := range change {
		c(&cfg)
	}
	d, err := New(cfg, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func judge(t testing.TB, d *Defender, a *defend.Action) pipeline.Decision {
	t.Helper()
	st, err := defend.New(defend.Default(), []defend.Defender{d}, defend.Deps{Resume: func(*pipeline.Envelope, error) {}})
	if err != nil {
		t.Fatal(err)
	}
	return st.Evaluate(t.Context(), a)
}

func urls(list ...string) *defend.Action {
	a := &defend.Action{}
	for _, u := range list {
		a.URLs = append(a.URLs, []byte(u))
	}
	return a
}
