package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"sluice/pipeline/telemetry"
	"sluice/stages/defend"
	"sluice/stages/dispatch/agent"

	"github.com/go-json-experiment/json"
)

// Free space below which a store soon cannot write, and below which it is time to look.
const (
	diskFail = 64 << 20
	diskWarn = 1 << 30
)

// checkDisk: there is room where the state is.
func (d *doctor) checkDisk() {
	const check = "disk"
	dir := filepath.Dir(strings.TrimRight(d.storePath(), "/"))
	for !exists(dir) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	free, err := freeBytes(dir)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
	case err != nil:
		d.add(check, stateWarn, "", "the free space of %s is unknown: %v", dir, err)
	case free < diskFail:
		d.add(check, stateFail, "free some space, or move the state with storage.path", "%d MiB are free in %s", free>>20, dir)
	case free < diskWarn:
		d.add(check, stateWarn, "free some space", "%d MiB are free in %s", free>>20, dir)
	default:
		d.add(check, stateOK, "", "%d GiB are free in %s", free>>30, dir)
	}
}

// checkExposure: who reaches the gateway and what stops him.
func (d *doctor) checkExposure() {
	const check = "exposure"
	cfg := section[gatewayConfig](d.snap, "gateway")
	host, _, _ := net.SplitHostPort(cfg.Listen) // Validate has seen it
	open := !loopbackHost(host)
	switch {
	case cfg.Auth.Mode == "none":
		d.add(check, stateWarn, "set gateway.auth.mode to token unless you are the only user of this machine", "every process of this machine may connect (auth mode none)")
	case open:
		d.add(check, stateWarn, "let a proxy or a tunnel with TLS stand before it, or listen on 127.0.0.1", "other machines reach %s, and the gateway itself encrypts nothing", cfg.Listen)
	default:
		d.add(check, stateOK, "", "only this machine reaches %s; auth mode %s", cfg.Listen, cfg.Auth.Mode)
	}
	if slices.Contains(cfg.ControlUI.AllowedOrigins, "*") {
		d.add(check, stateWarn, "name the origins in gateway.controlUi.allowedOrigins", "browsers may connect from every web page (allowed origin *)")
	}
	if weak := len(cfg.Auth.Token); weak > 0 && weak < 16 && cfg.Auth.Mode == "token" {
		d.add(check, stateWarn, "leave gateway.auth.token out: a random one is made", "the configured token has %d characters only", weak)
	}
}

// Bounds of asking the model endpoint.
const (
	modelProbe      = 5 * time.Second
	modelProbeBytes = 1 << 20
)

// checkModel: the endpoint answers, takes the key, and has the model.
func (d *doctor) checkModel(ctx context.Context) {
	const check = "model"
	m := section[agent.Config](d.snap, "agent").Model
	if missing := m.Missing(); missing != "" {
		d.add(check, stateWarn, "", "%s", missing)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, modelProbe)
	defer cancel()
	address := strings.TrimRight(m.BaseURL, "/") + "/models"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		d.add(check, stateFail, "correct agent.model.baseUrl", "%v", err)
		return
	}
	if m.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+m.APIKey)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		d.add(check, stateFail, "start the endpoint, or correct agent.model.baseUrl", "%v", err)
		return
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, modelProbeBytes))
	d.modelAnswer(check, address, m, res.StatusCode, body)
}

func (d *doctor) modelAnswer(check, address string, m agent.ModelConfig, status int, body []byte) {
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		d.add(check, stateFail, "correct agent.model.apiKey", "%s answers HTTP %d: the key is not accepted", address, status)
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		d.add(check, stateWarn, "if turns fail, correct agent.model.baseUrl", "%s answers HTTP %d: it is reachable, but lists no models", address, status)
	case status >= 300:
		d.add(check, stateFail, "look into the endpoint's log", "%s answers HTTP %d", address, status)
	case json.Unmarshal(body, &list) != nil || len(list.Data) == 0:
		d.add(check, stateOK, "", "%s answers", address)
	default:
		names := make([]string, len(list.Data))
		for i, e := range list.Data {
			names[i] = e.ID
			if e.ID == m.Name {
				d.add(check, stateOK, "", "%s has %s", address, m.Name)
				return
			}
		}
		d.add(check, stateWarn, "correct agent.model.name", "%s does not list %q; it lists %s", address, m.Name, clip(strings.Join(names, ", "), 200))
	}
}

// checkQuarantine: how many blocked actions wait for somebody to look at them.
func (d *doctor) checkQuarantine() {
	const check = "quarantine"
	cfg := section[defend.Config](d.snap, "defend").Quarantine
	if !cfg.Enabled {
		d.add(check, stateNote, "", "evidence of blocked actions is not kept (defend.quarantine.enabled)")
		return
	}
	dir := firstOf(cfg.Dir, d.path("quarantine"))
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.add(check, stateFail, "make the folder accessible to the gateway's user, or set defend.quarantine.dir", "%v", err)
		return
	}
	n := 0
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "blocked-") {
			n++
		}
	}
	if n == 0 {
		d.add(check, stateOK, "", "no blocked action in %s", dir)
		return
	}
	d.add(check, stateNote, "look at them, then remove the files", "%s in %s (at most %d are kept)", count(n, "blocked action"), dir, cfg.MaxFiles)
}

// checkMemory says what bounds the process's memory.
func (d *doctor) checkMemory() {
	const check = "memory"
	before := debug.SetMemoryLimit(-1)
	limit := telemetry.SetMemoryLimit(section[telemetry.Config](d.snap, "telemetry").Memory.LimitRatio, getenv(d.environ))
	debug.SetMemoryLimit(before) // the limit is the gateway's, not this command's
	switch {
	case limit.Bytes <= 0:
		d.add(check, stateNote, "", "no limit: neither GOMEMLIMIT nor a cgroup sets one")
	case limit.Bytes < 64<<20:
		d.add(check, stateWarn, "give the gateway at least 64 MiB", "the limit is %d MiB (%s)", limit.Bytes>>20, limit.Source)
	default:
		d.add(check, stateOK, "", "the limit is %d MiB (%s)", limit.Bytes>>20, limit.Source)
	}
}

// checkTelemetry: the endpoints are addresses. Whether a collector answers is not
// asked: a gateway runs well without one.
func (d *doctor) checkTelemetry() {
	const check = "telemetry"
	get := getenv(d.environ)
	good, used := true, ""
	for name, v := range map[string]string{
		"telemetry.traces.endpoint":           section[telemetry.Config](d.snap, "telemetry").Traces.Endpoint,
		"OTEL_EXPORTER_OTLP_ENDPOINT":         get("OTEL_EXPORTER_OTLP_ENDPOINT"),
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT":  get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"),
		"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT":    get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"),
	} {
		if v == "" {
			continue
		}
		used = v
		if err := endpoint(v); err != nil {
			d.add(check, stateFail, "write it as http://HOST:4318", "%s: %v", name, err)
			good = false
		}
	}
	switch {
	case used == "":
		d.add(check, stateNote, "", "no OTLP endpoint: traces are off, metrics are at /metrics")
	case good:
		d.add(check, stateOK, "", "%s", used)
	}
}

func endpoint(v string) error {
	u, err := url.Parse(v)
	if err != nil {
		return err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q is no http(s) URL", v)
	}
	return nil
}
