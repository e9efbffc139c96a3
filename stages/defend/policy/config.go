package policy

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"sort"
	"strings"

	"sluice/pipeline"
)

// Config is the policy that is not about texts: who may do what, how often, and what
// follows when something cannot be judged.
type Config struct {
	Tools       ToolsConfig       `json:"tools" doc:"which tools may be called"`
	ToolRisk    map[string]int    `json:"toolRisk" doc:"risk that a tool adds" max:"1024" reload:"hot"`
	ChannelRisk map[string]int    `json:"channelRisk" doc:"risk that a channel adds" max:"1024" reload:"hot"`
	ToolActions map[string]string `json:"toolActions" doc:"least verdict for a tool: allow, review or block" max:"1024" reload:"hot"`
	Loop        LoopConfig        `json:"loop" doc:"a session that makes the same call again and again"`
	Rate        RateConfig        `json:"rate" doc:"actions of one sender"`
	Taint       TaintConfig       `json:"taint" doc:"turns into which content of foreign origin has come"`
	Failure     FailureConfig     `json:"failure" doc:"what becomes of an action that could not be judged, by what it holds; the strictest counts"`
	Bundle      BundleConfig      `json:"bundle" doc:"a signed policy from a file, which goes before the configuration"`
}

// ToolSet is one step of the tool policy. All steps must let a tool pass.
type ToolSet struct {
	Profile string   `json:"profile" doc:"tools that may be called: minimal, coding, messaging or full; empty is full" enum:",minimal,coding,messaging,full" reload:"hot"`
	Allow   []string `json:"allow" doc:"tools, groups (group:fs) or patterns with * that may be called; empty allows all" max:"1024" reload:"hot"`
	Deny    []string `json:"deny" doc:"tools, groups or patterns that may not; goes before allow" max:"1024" reload:"hot"`
}

// ToolsConfig is the runtime tool policy (first-runtime.md 6.7).
type ToolsConfig struct {
	Profile    string             `json:"profile" doc:"tools that may be called: minimal, coding, messaging or full; empty is full" enum:",minimal,coding,messaging,full" reload:"hot"`
	Allow      []string           `json:"allow" doc:"tools, groups (group:fs) or patterns with * that may be called; empty allows all" max:"1024" reload:"hot"`
	Deny       []string           `json:"deny" doc:"tools, groups or patterns that may not; goes before allow" max:"1024" reload:"hot"`
	ByProvider map[string]ToolSet `json:"byProvider" doc:"a further step for a model's provider: provider/model goes before provider" max:"256" reload:"hot"`
}

// LoopConfig is the breaker of tool loops (first-runtime.md 6.7).
type LoopConfig struct {
	Enabled  bool `json:"enabled" doc:"count identical calls of a session" reload:"hot"`
	Warn     int  `json:"warn" doc:"identical calls in a row, or rounds of two or three calls, from which on they are reviewed" min:"2" max:"199" reload:"hot"`
	Block    int  `json:"block" doc:"the same, from which on they are blocked; above warn" min:"3" max:"200" reload:"hot"`
	Sessions int  `json:"sessions" doc:"sessions that are remembered; the one that was quiet for longest makes room" min:"16" max:"1000000" reload:"restart"`
}

// RateConfig bounds the actions of one sender.
type RateConfig struct {
	PerMinute int    `json:"perMinute" doc:"actions a minute; 0 is no bound" min:"0" max:"1000000" reload:"hot"`
	Burst     int    `json:"burst" doc:"actions at once" min:"1" max:"1000000" reload:"hot"`
	Action    string `json:"action" doc:"verdict on actions beyond" enum:"review,block" reload:"hot"`
	Senders   int    `json:"senders" doc:"senders that are remembered; the one that was quiet for longest makes room" min:"16" max:"1000000" reload:"restart"`
}

// TaintConfig is the taint rule.
type TaintConfig struct {
	Enabled    bool     `json:"enabled" doc:"review privileged tools in a turn into which content of foreign origin has come" reload:"hot"`
	Privileged []string `json:"privileged" doc:"tools, groups or patterns that are privileged; commands always are" max:"1024" reload:"hot"`
	Methods    []string `json:"methods" doc:"methods that are privileged whatever they carry" max:"256" reload:"hot"`
	Sticky     string   `json:"sticky" doc:"how long it lasts: turn ends with the owner's next turn, session does not" enum:"turn,session" reload:"hot"`
	MaxAgeMs   int      `json:"maxAgeMs" doc:"time after which it ends in any case" unit:"ms" min:"60000" max:"604800000" reload:"hot"`
	Sessions   int      `json:"sessions" doc:"tainted sessions that are remembered; while there are more, privileged tools are reviewed in all sessions" min:"16" max:"1000000" reload:"restart"`
}

// FailureConfig says, for each class of content, what becomes of an action that could
// not be judged in time: allow is fail-open, block is fail-closed.
type FailureConfig struct {
	Prompt   string `json:"prompt" doc:"an action with a prompt" enum:"allow,review,block" reload:"hot"`
	Command  string `json:"command" doc:"an action with a command or a tool" enum:"allow,review,block" reload:"hot"`
	URL      string `json:"url" doc:"an action with an address" enum:"allow,review,block" reload:"hot"`
	File     string `json:"file" doc:"an action with a file" enum:"allow,review,block" reload:"hot"`
	Outbound string `json:"outbound" doc:"text that leaves" enum:"allow,review,block" reload:"hot"`
}

// BundleConfig is where a signed bundle is and who may sign it.
type BundleConfig struct {
	Path       string            `json:"path" doc:"file of the bundle; empty uses none. While it is set, a bundle that cannot be accepted keeps the gateway from starting" reload:"restart"`
	PublicKeys map[string]string `json:"publicKeys" doc:"Ed25519 public keys in base64 by keyId" max:"64" secret:"false" reload:"restart"`
	HMACKey    string            `json:"hmacKey" doc:"the first runtime's key, for bundles without a keyId" secret:"true" reload:"restart"`
	HMACKeys   map[string]string `json:"hmacKeys" doc:"the first runtime's keys by keyId" max:"64" secret:"true" reload:"restart"`
	MaxAgeDays int               `json:"maxAgeDays" doc:"days for which a bundle without expiresAt is valid, from signedAt" unit:"days" min:"1" max:"3650" reload:"restart"`
}

// Default is the first runtime's policy: weights, no profile, no bounds.
func Default() Config {
	return Config{
		Tools:       ToolsConfig{Allow: []string{}, Deny: []string{}, ByProvider: map[string]ToolSet{}},
		ToolRisk:    map[string]int{"exec": 20, "bash": 20, "process": 10, "apply_patch": 12, "browser": 8, "gateway": 20, "nodes": 20},
		ChannelRisk: map[string]int{"discord": 10, "slack": 8, "telegram": 6, "whatsapp": 6, "webchat": 8},
		ToolActions: map[string]string{},
		Loop:        LoopConfig{Enabled: true, Warn: 10, Block: 20, Sessions: 4096},
		Rate:        RateConfig{Burst: 60, Action: review, Senders: 4096},
		Taint: TaintConfig{Enabled: true, Privileged: []string{"group:runtime", "group:fs", "group:automation", "group:nodes", "group:messaging",
			"browser", "sessions_send", "sessions_spawn", "conversations_send", "conversations_turn"},
			Methods: []string{"node.invoke", "computer.invoke", "environments.session.exec", "terminal.input", "send", "message.action", "cron.add", "cron.update", "update.run"},
			Sticky:  stickyTurn, MaxAgeMs: 86_400_000, Sessions: 16_384},
		Failure: FailureConfig{Prompt: review, Command: review, URL: review, File: review, Outbound: review},
		Bundle:  BundleConfig{PublicKeys: map[string]string{}, HMACKeys: map[string]string{}, MaxAgeDays: 365},
	}
}

const (
	allow, review, block      = "allow", "review", "block"
	stickyTurn, stickySession = "turn", "session"
)

var actions = map[string]pipeline.Action{allow: pipeline.Allow, review: pipeline.Review, block: pipeline.Block}

type bound struct {
	key             string
	value, min, max int
}

func within(list ...bound) error {
	for _, b := range list {
		if b.value < b.min || b.value > b.max {
			return fmt.Errorf("defend.policy.%s: %d; %d to %d", b.key, b.value, b.min, b.max)
		}
	}
	return nil
}

type choice struct {
	key, value string
	of         []string
}

func oneOf(list ...choice) error {
	for _, c := range list {
		if !slices.Contains(c.of, c.value) {
			return fmt.Errorf("defend.policy.%s: %q; one of %s", c.key, c.value, strings.Join(c.of, ", "))
		}
	}
	return nil
}

// Validate names the first field that is wrong.
func (c Config) Validate() error {
	all := []string{allow, review, block}
	if err := within(bound{"toolRisk", len(c.ToolRisk), 0, 1024}, bound{"channelRisk", len(c.ChannelRisk), 0, 1024},
		bound{"toolActions", len(c.ToolActions), 0, 1024}, bound{"loop.warn", c.Loop.Warn, 2, 199},
		bound{"loop.block", c.Loop.Block, c.Loop.Warn + 1, 200},
		bound{"loop.sessions", c.Loop.Sessions, 16, 1_000_000}, bound{"rate.perMinute", c.Rate.PerMinute, 0, 1_000_000},
		bound{"rate.burst", c.Rate.Burst, 1, 1_000_000}, bound{"rate.senders", c.Rate.Senders, 16, 1_000_000},
		bound{"taint.privileged", len(c.Taint.Privileged), 0, 1024}, bound{"taint.methods", len(c.Taint.Methods), 0, 256},
		bound{"taint.maxAgeMs", c.Taint.MaxAgeMs, 60_000, 604_800_000}, bound{"taint.sessions", c.Taint.Sessions, 16, 1_000_000},
		bound{"tools.byProvider", len(c.Tools.ByProvider), 0, 256}); err != nil {
		return err
	}
	if err := oneOf(choice{"rate.action", c.Rate.Action, all[1:]}, choice{"taint.sticky", c.Taint.Sticky, []string{stickyTurn, stickySession}},
		choice{"failure.prompt", c.Failure.Prompt, all}, choice{"failure.command", c.Failure.Command, all},
		choice{"failure.url", c.Failure.URL, all}, choice{"failure.file", c.Failure.File, all},
		choice{"failure.outbound", c.Failure.Outbound, all}); err != nil {
		return err
	}
	if err := checkMaps(c.ToolRisk, c.ChannelRisk, c.ToolActions); err != nil {
		return fmt.Errorf("defend.policy.%w", err)
	}
	if _, err := newToolPolicy(c.Tools); err != nil {
		return fmt.Errorf("defend.policy.tools.%w", err)
	}
	if _, err := newPatterns(c.Taint.Privileged); err != nil {
		return fmt.Errorf("defend.policy.taint.privileged: %w", err)
	}
	return c.Bundle.validate()
}

// checkMaps is for weights and actions of the configuration and of bundles.
func checkMaps(tools, channels map[string]int, verdicts map[string]string) error {
	for _, m := range []struct {
		key string
		m   map[string]int
	}{{"toolRisk", tools}, {"channelRisk", channels}} {
		for _, name := range sorted(m.m) {
			if v := m.m[name]; v < 0 || v > 100 {
				return fmt.Errorf("%s.%s: %d; 0 to 100", m.key, name, v)
			}
		}
	}
	for _, name := range sorted(verdicts) {
		if _, ok := actions[verdicts[name]]; !ok {
			return fmt.Errorf("toolActions.%s: %q; allow, review or block", name, verdicts[name])
		}
	}
	return nil
}

func (c BundleConfig) validate() error {
	if err := within(bound{"bundle.maxAgeDays", c.MaxAgeDays, 1, 3650}, bound{"bundle.publicKeys", len(c.PublicKeys), 0, 64},
		bound{"bundle.hmacKeys", len(c.HMACKeys), 0, 64}); err != nil {
		return err
	}
	for _, id := range sorted(c.PublicKeys) {
		if _, err := publicKey(c.PublicKeys[id]); err != nil {
			return fmt.Errorf("defend.policy.bundle.publicKeys.%s: %w", id, err)
		}
	}
	for _, id := range sorted(c.HMACKeys) {
		if c.HMACKeys[id] == "" {
			return fmt.Errorf("defend.policy.bundle.hmacKeys.%s: empty", id)
		}
	}
	if c.Path != "" && len(c.PublicKeys) == 0 && len(c.HMACKeys) == 0 && c.HMACKey == "" {
		return fmt.Errorf("defend.policy.bundle.path: without publicKeys or an hmacKey no bundle can be accepted")
	}
	return nil
}

func publicKey(text string) (ed25519.PublicKey, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("not an Ed25519 public key: 32 bytes in base64 are expected")
	}
	return ed25519.PublicKey(raw), nil
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
