package rules

import (
	"fmt"

	"sluice/pipeline"
)

// Config is the operator's own patterns, under the first runtime's names
// (first-runtime.md section 8).
type Config struct {
	PromptInjectionPatterns []string `json:"promptInjectionPatterns" doc:"regular expressions (RE2, letter case ignored): a prompt that matches one is reviewed, one that matches two is blocked" max:"40" reload:"hot"`
	BlockedCommandPatterns  []string `json:"blockedCommandPatterns" doc:"regular expressions (RE2, letter case ignored) over the whole text of a command: one that matches is blocked" max:"40" reload:"hot"`
	LeakAction              string   `json:"leakAction" doc:"least verdict when params report leakMatches" enum:"allow,review,block" reload:"hot"`
}

// Default has no patterns: the models judge texts, these are for what an operator knows
// better.
func Default() Config {
	return Config{PromptInjectionPatterns: []string{}, BlockedCommandPatterns: []string{}, LeakAction: "review"}
}

// FirstRuntime are the first runtime's default patterns, for comparisons.
func FirstRuntime() Config {
	return Config{
		PromptInjectionPatterns: []string{
			`ignore\s+all\s+previous\s+instructions`, `reveal\s+the\s+system\s+prompt`,
			`override\s+developer\s+instructions`, `disable\s+safety`,
		},
		BlockedCommandPatterns: []string{
			`\brm\s+-rf\s+/`, `\bmkfs\b`, `\bdd\s+if=`, `\bcurl\s+[^|]*\|\s*sh\b`, `\bwget\s+[^|]*\|\s*sh\b`,
		},
		LeakAction: "review",
	}
}

var actions = map[string]pipeline.Action{"allow": pipeline.Allow, "review": pipeline.Review, "block": pipeline.Block}

// Validate names the first key that is wrong; it compiles the patterns.
func (c Config) Validate() error {
	_, err := compile(c)
	return err
}

func (c Config) check() error {
	for _, l := range []struct {
		key  string
		list []string
	}{{"promptInjectionPatterns", c.PromptInjectionPatterns}, {"blockedCommandPatterns", c.BlockedCommandPatterns}} {
		for i, p := range l.list {
			if p == "" || len(p) > maxPatternBytes {
				return fmt.Errorf("defend.rules.%s[%d]: 1 to %d bytes", l.key, i, maxPatternBytes)
			}
		}
	}
	if _, ok := actions[c.LeakAction]; !ok {
		return fmt.Errorf("defend.rules.leakAction: %q; allow, review or block", c.LeakAction)
	}
	return nil
}
