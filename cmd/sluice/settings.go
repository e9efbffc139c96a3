package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"sluice/frames/rest"
	"sluice/frames/ws"
	"sluice/pipeline"
	"sluice/pipeline/telemetry"
	"sluice/stages/adapter"
	"sluice/stages/adapter/hooks"
	"sluice/stages/adapter/webhook"
	"sluice/stages/decode"
	"sluice/stages/dedupe"
	"sluice/stages/defend"
	"sluice/stages/defend/approval"
	"sluice/stages/defend/command"
	"sluice/stages/defend/host"
	"sluice/stages/defend/ledger"
	"sluice/stages/defend/policy"
	"sluice/stages/defend/reputation"
	"sluice/stages/defend/rules"
	"sluice/stages/defend/secrets"
	"sluice/stages/dispatch"
	"sluice/stages/dispatch/agent"
	"sluice/stages/dispatch/methods/connect"
	"sluice/stages/dispatch/methods/system"
	"sluice/stages/persist"
	"sluice/stages/schedule"
	"sluice/storage/auth"
	"sluice/storage/bolt"
	"sluice/storage/config"
	"sluice/storage/jsonfile"
	"sluice/storage/sqlite"
)

// gatewayConfig is what belongs to no package below cmd.
type gatewayConfig struct {
	Listen     string          `json:"listen" doc:"address and port for WebSocket and HTTP; an address that others can reach needs gateway.auth" reload:"restart"`
	Auth       authConfig      `json:"auth" doc:"who may connect"`
	ControlUI  controlUIConfig `json:"controlUi" doc:"browsers that may connect"`
	Pairing    pairingConfig   `json:"pairing" doc:"devices that connect for the first time"`
	ShutdownMs int             `json:"shutdownMs" doc:"how long a stop may take after the drain" unit:"ms" min:"100" max:"600000" reload:"restart"`
}

type authConfig struct {
	Mode     string `json:"mode" doc:"token, password or none; none only where nobody else can connect" enum:"token,password,none" reload:"hot"`
	Token    string `json:"token" doc:"the token of mode token; empty uses the one made on first start, in the file token of the state folder" secret:"true" reload:"hot"`
	Password string `json:"password" doc:"the password of mode password" secret:"true" reload:"hot"`
}

type controlUIConfig struct {
	AllowedOrigins []string `json:"allowedOrigins" doc:"origins that browsers may connect from besides this gateway's own and loopback ones; * allows all" reload:"hot"`
}

type pairingConfig struct {
	AutoApproveLocal bool `json:"autoApproveLocal" doc:"pair devices of this machine without asking" reload:"hot"`
}

type storageConfig struct {
	Path    string `json:"path" doc:"where state is kept; empty is sluice.db in the state folder. The ending chooses the backend: .db bolt, .sqlite sqlite, a folder (ending in / or .d) jsonfile" reload:"restart"`
	Backend string `json:"backend" doc:"bolt, sqlite or jsonfile; empty lets the path's ending choose" enum:",bolt,sqlite,jsonfile" reload:"restart"`
}

func defaultGateway() gatewayConfig {
	return gatewayConfig{Listen: "127.0.0.1:18789", Auth: authConfig{Mode: "token"},
		ControlUI: controlUIConfig{AllowedOrigins: []string{}}, Pairing: pairingConfig{AutoApproveLocal: true}, ShutdownMs: 10_000}
}

// Validate names the first field that is out of its bounds.
func (c gatewayConfig) Validate() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q is no HOST:PORT", c.Listen)
	}
	if c.Auth.Mode == "none" && !loopbackHost(host) {
		return fmt.Errorf("auth.mode is none, but listen is %s: everyone who reaches it would be admitted; use token or password, or listen on 127.0.0.1", c.Listen)
	}
	if c.Auth.Mode == "password" && strings.TrimSpace(c.Auth.Password) == "" {
		return fmt.Errorf("auth.mode is password, but auth.password is empty")
	}
	return nil
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// sections are all configuration sections: what can be configured, on one screen.
func sections() []config.Section {
	return []config.Section{
		{Key: "gateway", Doc: "Where the gateway listens and who may connect.", Default: defaultGateway()},
		{Key: "gateway.ws", Doc: "The WebSocket edge.", Default: ws.Default()},
		{Key: "gateway.handshake", Doc: "What connect allows.", Default: connect.Default()},
		{Key: "gateway.devices", Doc: "Pairing and device tokens.", Default: auth.Default(), Reload: config.ReloadRestart},
		{Key: "gateway.http", Doc: "The HTTP edge.", Default: rest.Default()},
		{Key: "pipeline", Doc: "The engine.", Default: pipeline.Default()},
		{Key: "decode", Doc: "Stage 1: what one client may ask for.", Default: decode.Default()},
		{Key: "dedupe", Doc: "Stage 2: idempotency keys.", Default: dedupe.Default()},
		{Key: "schedule", Doc: "Stage 3: session lanes.", Default: schedule.Default()},
		{Key: "defend", Doc: "Stage 4: the defender.", Default: defend.Default()},
		{Key: "defend.rules", Doc: "The operator's own patterns.", Default: rules.Default()},
		{Key: "defend.command", Doc: "How commands are judged.", Default: command.Default()},
		{Key: "defend.secrets", Doc: "Secrets in what comes in and leaves.", Default: secrets.Default()},
		{Key: "defend.policy", Doc: "Tools, channels, taint, rates and the signed bundle.", Default: policy.Default()},
		{Key: "defend.host", Doc: "Integrity of the host's files.", Default: host.Default()},
		{Key: "defend.reputation", Doc: "VirusTotal.", Default: reputation.Default()},
		{Key: "defend.ledger", Doc: "The journal of decisions.", Default: ledger.Default()},
		{Key: "defend.approval", Doc: "Approvals by operators.", Default: approval.Default()},
		{Key: "dispatch", Doc: "Stage 5: handlers that wait.", Default: dispatch.Default()},
		{Key: "adapter", Doc: "Stage 6: deliveries to channels.", Default: adapter.Default()},
		{Key: "persist", Doc: "Stage 7: group commit.", Default: persist.Default()},
		{Key: "agent", Doc: "Agents and their model.", Default: agent.Default(), Reload: config.ReloadHot},
		{Key: "system", Doc: "Health and presence.", Default: system.Default()},
		{Key: "channels.webhook", Doc: "The webhook channel.", Default: webhook.Default()},
		{Key: "hooks", Doc: "Work that arrives over HTTP.", Default: hooks.Default()},
		{Key: "storage", Doc: "Where state is kept.", Default: storageConfig{}},
		{Key: "storage.bolt", Doc: "The bolt backend.", Default: bolt.Default(), Reload: config.ReloadRestart},
		{Key: "storage.sqlite", Doc: "The sqlite backend.", Default: sqlite.Default(), Reload: config.ReloadRestart},
		{Key: "storage.jsonfile", Doc: "The jsonfile backend.", Default: jsonfile.Default(), Reload: config.ReloadRestart},
		{Key: "telemetry", Doc: "Traces, metrics, logs and memory.", Default: telemetry.Default()},
		{Key: "config", Doc: "How the configuration itself is kept.", Default: config.Default()},
	}
}

// location is where this process keeps its files.
type location struct {
	state  string // folder
	config string // file
	named  bool   // the user named the config file: it must exist
}

// locate applies --state, SLUICE_STATE_DIR and the XDG state folder, and --config,
// SLUICE_CONFIG and sluice.json5 (or sluice.toml) in the state folder, in that order.
func locate(state, configPath string, getenv func(string) string) (location, error) {
	loc := location{state: firstOf(state, getenv("SLUICE_STATE_DIR")), config: firstOf(configPath, getenv("SLUICE_CONFIG"))}
	if loc.state == "" {
		base := getenv("XDG_STATE_HOME")
		if base == "" {
			home := getenv("HOME")
			if home == "" {
				return loc, fmt.Errorf("no place for state: set --state DIR, SLUICE_STATE_DIR, XDG_STATE_HOME or HOME")
			}
			base = filepath.Join(home, ".local", "state")
		}
		loc.state = filepath.Join(base, "sluice")
	}
	var err error
	if loc.state, err = filepath.Abs(loc.state); err != nil {
		return loc, err
	}
	loc.named = loc.config != ""
	if !loc.named {
		loc.config = filepath.Join(loc.state, "sluice.json5")
		if toml := filepath.Join(loc.state, "sluice.toml"); !exists(loc.config) && exists(toml) {
			loc.config = toml
		}
	}
	return loc, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// getenv looks a variable up in a list as os.Environ gives it.
func getenv(environ []string) func(string) string {
	return func(name string) string {
		for i := len(environ) - 1; i >= 0; i-- {
			if k, v, ok := strings.Cut(environ[i], "="); ok && k == name {
				return v
			}
		}
		return ""
	}
}

// reservedEnv are variables that are read here and are no configuration keys.
var reservedEnv = []string{"SLUICE_STATE_DIR", "SLUICE_CONFIG", "SLUICE_URL", "SLUICE_TOKEN", "SLUICE_PASSWORD"}

// openAIEnv lets the usual variables of OpenAI-compatible tools configure the model
// when Sluice's own are not set.
func openAIEnv(environ []string) []string {
	get := getenv(environ)
	for from, to := range map[string]string{"OPENAI_BASE_URL": "SLUICE_AGENT_MODEL_BASE_URL",
		"OPENAI_API_KEY": "SLUICE_AGENT_MODEL_API_KEY", "OPENAI_MODEL": "SLUICE_AGENT_MODEL_NAME"} {
		if v := get(from); v != "" && get(to) == "" {
			environ = append(environ[:len(environ):len(environ)], to+"="+v)
		}
	}
	return environ
}
