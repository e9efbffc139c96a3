package rules

import (
	"fmt"
	"sort"

	"sluice/pipeline"
)

// Config is the first runtime's rules under their own names (first-runtime.md section 8).
type Config struct {
	PromptInjectionPatterns []string          `json:"promptInjectionPatterns" doc:"regular expressions (RE2, letter case ignored) that raise the risk of a prompt by 18 each" max:"40" reload:"hot"`
	BlockedCommandPatterns  []string          `json:"blockedCommandPatterns" doc:"regular expressions (RE2, letter case ignored) that raise the risk of a command by 80 each" max:"40" reload:"hot"`
	AllowedCommandPrefixes  []string          `json:"allowedCommandPrefixes" doc:"a command that starts with none of these gets 20 more; letter case and blanks count; an empty list switches the check off" max:"256" reload:"hot"`
	ToolPolicies            map[string]string `json:"toolPolicies" doc:"least verdict for a tool: allow, review or block" max:"1024" reload:"hot"`
	ToolRiskBonus           map[string]int    `json:"toolRiskBonus" doc:"risk that a tool adds" max:"1024" reload:"hot"`
	ChannelRiskBonus        map[string]int    `json:"channelRiskBonus" doc:"risk that a channel adds" max:"1024" reload:"hot"`
	LeakAction              string            `json:"leakAction" doc:"least verdict when params report leakMatches" enum:"allow,review,block" reload:"hot"`
}

// Default returns the first runtime's defaults.
func Default() Config {
	return Config{
		PromptInjectionPatterns: []string{
			`ignore\s+all\s+previous\s+instructions`, `reveal\s+the\s+system\s+prompt`,
			`override\s+developer\s+instructions`, `disable\s+safety`,
		},
		BlockedCommandPatterns: []string{
			`\brm\s+-rf\s+/`, `\bmkfs\b`, `\bdd\s+if=`, `\bcurl\s+[^|]*\|\s*sh\b`, `\bwget\s+[^|]*\|\s*sh\b`,
		},
		AllowedCommandPrefixes: []string{"git ", "ls", "rg "},
		ToolPolicies:           map[string]string{},
		ToolRiskBonus: map[string]int{"exec": 20, "bash": 20, "process": 10, "apply_patch": 12,
			"browser": 8, "gateway": 20, "nodes": 20},
		ChannelRiskBonus: map[string]int{"discord": 10, "slack": 8, "telegram": 6, "whatsapp": 6, "webchat": 8},
		LeakAction:       "review",
	}
}

var actions = map[string]pipeline.Action{"allow": pipeline.Allow, "review": pipeline.Review, "block": pipeline.Block}

// Validate names the first key that is wrong; it compiles the patterns.
func (c Config) Validate() error {
	_, err := compile(c)
	return err
}

func (c Config) check() error {
	for key, list := range map[string][]string{"promptInjectionPatterns": c.PromptInjectionPatterns,
		"blockedCommandPatterns": c.BlockedCommandPatterns} {
		for i, p := range list {
			if p == "" || len(p) > maxPatternBytes {
				return fmt.Errorf("defend.rules.%s[%d]: 1 to %d bytes", key, i, maxPatternBytes)
			}
		}
	}
	for i, p := range c.AllowedCommandPrefixes {
		if p == "" {
			return fmt.Errorf("defend.rules.allowedCommandPrefixes[%d]: empty, which allows every command; leave the list empty to switch the check off", i)
		}
	}
	for _, tool := range sorted(c.ToolPolicies) {
		if _, ok := actions[c.ToolPolicies[tool]]; !ok {
			return fmt.Errorf("defend.rules.toolPolicies.%s: %q; allow, review or block", tool, c.ToolPolicies[tool])
		}
	}
	for key, m := range map[string]map[string]int{"toolRiskBonus": c.ToolRiskBonus, "channelRiskBonus": c.ChannelRiskBonus} {
		for _, name := range sorted(m) {
			if m[name] < 0 || m[name] > 100 {
				return fmt.Errorf("defend.rules.%s.%s: %d; 0 to 100", key, name, m[name])
			}
		}
	}
	if _, ok := actions[c.LeakAction]; !ok {
		return fmt.Errorf("defend.rules.leakAction: %q; allow, review or block", c.LeakAction)
	}
	return nil
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
