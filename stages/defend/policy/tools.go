package policy

import (
	"fmt"
	"strings"
)

// groups are the gateway's tool groups (OpenClaw's docs/gateway/config-tools/tool-policy.md,
// 2026.9) with what the first runtime had beside them (first-runtime.md 6.7).
var groups = map[string][]string{
	"group:runtime": {"exec", "process", "code_execution", "wasm"},
	"group:fs":      {"read", "write", "edit", "apply_patch"},
	"group:sessions": {"sessions", "sessions_list", "sessions_history", "sessions_search", "conversations_list", "conversations_send",
		"conversations_turn", "sessions_send", "sessions_spawn", "sessions_yield", "subagents", "session_status", "suggest_task", "dismiss_task"},
	"group:memory":     {"memory_search", "memory_get"},
	"group:web":        {"web_search", "x_search", "web_fetch"},
	"group:ui":         {"browser", "screen", "theme", "dashboard", "terminal", "portal", "canvas", "show_widget"},
	"group:automation": {"heartbeat_respond", "automations", "cron", "gateway", "plugins", "openclaw", "routines"},
	"group:messaging":  {"message"},
	"group:nodes":      {"nodes", "computer"},
	"group:agents":     {"agents_list", "get_goal", "create_goal", "update_goal", "progress_card", "ask_user", "skill_workshop"},
	"group:media":      {"view_image", "image", "image_generate", "music_generate", "video_generate", "tts", "pdf"},
}

// openclawExcept are the built-in tools that are not in group:openclaw.
var openclawExcept = []string{"read", "write", "edit", "apply_patch", "exec", "process", "canvas"}

// profiles are the first runtime's (first-runtime.md 6.7); full and "" let all pass.
var profiles = map[string][]string{
	"minimal":   {"session_status"},
	"coding":    {"group:fs", "group:runtime", "group:sessions", "group:memory", "image"},
	"messaging": {"group:messaging", "sessions_list", "sessions_history", "sessions_send", "session_status"},
}

// toolName is a tool's name as policies know it: lower case, "-" as "_", aliases
// resolved.
func toolName(name string) string {
	name = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), "-", "_")
	switch name {
	case "bash", "shell", "system.run":
		return "exec"
	case "session":
		return "sessions"
	}
	return name
}

// patterns is a list of tools, groups and patterns.
type patterns struct {
	names map[string]bool
	globs []string
}

func newPatterns(list []string) (patterns, error) {
	p := patterns{names: map[string]bool{}}
	for i, text := range list {
		if err := p.add(text); err != nil {
			return p, fmt.Errorf("[%d]: %w", i, err)
		}
	}
	// Who may run commands may apply patches (first-runtime.md 6.7).
	if p.names["exec"] {
		p.names["apply_patch"] = true
	}
	return p, nil
}

func (p *patterns) add(text string) error {
	trimmed := strings.ToLower(strings.TrimSpace(text))
	switch {
	case trimmed == "":
		return fmt.Errorf("an empty name")
	case trimmed == "group:openclaw":
		for _, tools := range groups {
			for _, t := range tools {
				p.names[t] = true
			}
		}
		for _, t := range openclawExcept {
			delete(p.names, t)
		}
	case trimmed == "group:plugins":
		// Plugin tools carry their server's name: outlook__send_mail.
		p.globs = append(p.globs, "*__*")
	case strings.HasPrefix(trimmed, "group:"):
		tools, ok := groups[trimmed]
		if !ok {
			return fmt.Errorf("%q is no group; there are %s", text, strings.Join(sorted(groups), ", "))
		}
		for _, t := range tools {
			p.names[t] = true
		}
	case strings.Contains(trimmed, "*"):
		p.globs = append(p.globs, strings.ReplaceAll(trimmed, "-", "_"))
	default:
		p.names[toolName(trimmed)] = true
	}
	return nil
}

func (p *patterns) empty() bool { return len(p.names) == 0 && len(p.globs) == 0 }

func (p *patterns) has(tool string) bool {
	if p.names[tool] {
		return true
	}
	for _, g := range p.globs {
		if glob(g, tool) {
			return true
		}
	}
	return false
}

// glob matches * against any run of characters, in linear time a star.
func glob(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return len(text) >= len(parts[last]) && strings.HasSuffix(text, parts[last])
}

// toolStep is one step of the tool policy.
type toolStep struct {
	profile     *patterns // nil = all
	allow, deny patterns
}

func newToolStep(s ToolSet) (toolStep, error) {
	var out toolStep
	var err error
	if s.Profile != "" && s.Profile != "full" {
		list, ok := profiles[s.Profile]
		if !ok {
			return out, fmt.Errorf("profile: %q; minimal, coding, messaging or full", s.Profile)
		}
		p, err := newPatterns(list)
		if err != nil {
			return out, err
		}
		out.profile = &p
	}
	if out.allow, err = newPatterns(s.Allow); err != nil {
		return out, fmt.Errorf("allow%w", err)
	}
	if out.deny, err = newPatterns(s.Deny); err != nil {
		return out, fmt.Errorf("deny%w", err)
	}
	return out, nil
}

// why says why the step refuses a tool; empty when it does not.
func (s *toolStep) why(tool string) string {
	switch {
	case s.deny.has(tool):
		return "it is denied"
	case s.profile != nil && !s.profile.has(tool):
		return "the profile does not have it"
	case !s.allow.empty() && !s.allow.has(tool):
		return "it is not among those allowed"
	}
	return ""
}

// toolPolicy is the whole of it.
type toolPolicy struct {
	base       toolStep
	byProvider map[string]toolStep
}

func newToolPolicy(c ToolsConfig) (*toolPolicy, error) {
	p := &toolPolicy{byProvider: map[string]toolStep{}}
	var err error
	if p.base, err = newToolStep(ToolSet{c.Profile, c.Allow, c.Deny}); err != nil {
		return nil, err
	}
	for _, name := range sorted(c.ByProvider) {
		step, err := newToolStep(c.ByProvider[name])
		if err != nil {
			return nil, fmt.Errorf("byProvider.%s.%w", name, err)
		}
		p.byProvider[strings.ToLower(strings.TrimSpace(name))] = step
	}
	return p, nil
}

// why says why a tool may not be called; empty when it may. model is "provider/model",
// "provider" or empty.
func (p *toolPolicy) why(tool, model string) string {
	if why := p.base.why(tool); why != "" {
		return why
	}
	if model == "" || len(p.byProvider) == 0 {
		return ""
	}
	model = strings.ToLower(model)
	step, ok := p.byProvider[model]
	if !ok {
		provider, _, _ := strings.Cut(model, "/")
		if step, ok = p.byProvider[provider]; !ok {
			return ""
		}
	}
	return step.why(tool)
}
