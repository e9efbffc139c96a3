package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

func freeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestDoctorFresh(t *testing.T) {
	c := newCLI(t)
	c.env = append(c.env, "SLUICE_GATEWAY_LISTEN="+freeAddress(t))
	c.want(0, []string{"doctor"}, "note  state", "the first start makes it", "is free", "no model is configured")
	if _, err := os.Stat(c.state); err == nil {
		t.Error("doctor made the state folder")
	}
	out := c.want(0, []string{"doctor", "--json"})
	var report struct {
		OK     bool      `json:"ok"`
		Checks []finding `json:"checks"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || !report.OK || len(report.Checks) < 10 {
		t.Errorf("%s, %v", out, err)
	}
}

func TestDoctorRunning(t *testing.T) {
	c := newCLI(t)
	addr := c.serve()
	c.want(0, []string{"doctor"}, addr+": this gateway is running (version "+Version, "in use by the running gateway", "127.0.0.1")
	// Another machine's state, the same address.
	other := newCLI(t)
	other.env = append(other.env, "SLUICE_GATEWAY_LISTEN="+addr)
	other.want(1, []string{"doctor"}, "does not take this state folder's secret")
	other.env = append(other.env, "SLUICE_GATEWAY_AUTH_TOKEN="+strings.TrimSpace(readText(t, filepath.Join(c.state, tokenFile))))
	other.want(1, []string{"doctor"}, "another gateway is running there", c.state)
	// The store is locked, but its gateway is not where the configuration says.
	c.env = append(c.env, "SLUICE_GATEWAY_LISTEN="+freeAddress(t))
	c.want(1, []string{"doctor"}, "storage: in use by another process", "stop the process that holds it")
}

func TestDoctorConfig(t *testing.T) {
	c := newCLI(t)
	c.write("sluice.json5", "{gatway:{}}")
	c.want(1, []string{"doctor"}, "fail  config", "gatway: unknown key", `"gateway"`)
}

func TestDoctorPermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	c := newCLI(t)
	c.env = append(c.env, "SLUICE_GATEWAY_LISTEN="+freeAddress(t))
	token := c.write(tokenFile, "t\n")
	conf := c.write("sluice.json5", "{gateway:{auth:{password:'p'}}}")
	for path, mode := range map[string]os.FileMode{c.state: 0o755, token: 0o644, conf: 0o640} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	c.want(1, []string{"doctor"}, "chmod 700 "+c.state, "chmod 600 "+token, "chmod 600 "+conf, "3 problems")
	c.want(0, []string{"doctor", "--fix"}, "it is not any more")
	c.want(0, []string{"doctor"}, "ok    state", "ok    secrets")
	c.write(tokenFile, "")
	c.want(1, []string{"doctor"}, token+" is empty")
	// A configuration without secrets may be read by others.
	c.write(tokenFile, "t\n")
	c.write("sluice.json5", "{}")
	if err := os.Chmod(conf, 0o644); err != nil {
		t.Fatal(err)
	}
	c.want(0, []string{"doctor"}, "ok    secrets")
}

func TestDoctorStore(t *testing.T) {
	c := newCLI(t)
	c.env = append(c.env, "SLUICE_GATEWAY_LISTEN="+freeAddress(t))
	c.write("sluice.db", strings.Repeat("no database ", 1000))
	c.want(1, []string{"doctor"}, "fail  damage", "was set aside", ".damaged-")
	c = newCLI(t)
	c.env = append(c.env, "SLUICE_GATEWAY_LISTEN="+freeAddress(t), "SLUICE_STORAGE_PATH=kept.sqlite")
	c.write("kept.sqlite", "")
	c.want(0, []string{"doctor"}, "kept.sqlite (sqlite)")
}

func TestDoctorModel(t *testing.T) {
	status, body := http.StatusOK, `{"data":[{"id":"m-1"}]}`
	var key string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key = r.Header.Get("Authorization")
		if r.URL.Path != "/v1/models" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	defer srv.Close()
	c := newCLI(t)
	c.env = append(c.env, "SLUICE_GATEWAY_LISTEN="+freeAddress(t), "OPENAI_BASE_URL="+srv.URL+"/v1/", "OPENAI_MODEL=m-1", "OPENAI_API_KEY=k")
	c.want(0, []string{"doctor"}, "has m-1")
	if key != "Bearer k" {
		t.Errorf("key = %q", key)
	}
	body = `{"data":[{"id":"m-2"}]}`
	c.want(0, []string{"doctor"}, `does not list "m-1"; it lists m-2`)
	status = http.StatusUnauthorized
	c.want(1, []string{"doctor"}, "the key is not accepted")
	status = http.StatusNotFound
	c.want(0, []string{"doctor"}, "lists no models")
	status = http.StatusBadGateway
	c.want(1, []string{"doctor"}, "answers HTTP 502")
	srv.Close()
	c.want(1, []string{"doctor"}, "start the endpoint")
}

func TestDoctorHost(t *testing.T) {
	c := newCLI(t)
	_, port, _ := net.SplitHostPort(freeAddress(t))
	c.write("sluice.json5", `{gateway:{listen:"0.0.0.0:`+port+`",auth:{token:"short"},controlUi:{allowedOrigins:["*"]}},telemetry:{traces:{endpoint:"127.0.0.1:4318"}}}`)
	c.write("quarantine", "a file")
	c.want(1, []string{"doctor"}, "other machines reach 0.0.0.0:"+port, "from every web page", "5 characters only",
		"telemetry.traces.endpoint", "http://HOST:4318", "fail  quarantine")
	c = newCLI(t)
	c.env = append(c.env, "SLUICE_GATEWAY_LISTEN="+freeAddress(t), "SLUICE_GATEWAY_AUTH_MODE=none", "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318")
	if err := os.MkdirAll(filepath.Join(c.state, "quarantine"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.write("quarantine/blocked-1-a.json", "{}")
	c.want(0, []string{"doctor"}, "1 blocked action in", "auth mode none", "ok    telemetry      http://c:4318")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // something that is no gateway
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			_ = nc.Close()
		}
	}()
	c.env = append(c.env, "SLUICE_GATEWAY_LISTEN="+l.Addr().String())
	c.want(1, []string{"doctor"}, "fail  address", "stop the other program")
}
