package secrets

import (
	"fmt"
	"slices"
)

// What becomes of a text with a secret in it.
const (
	Allow  = "allow"
	Redact = "redact"
	Review = "review"
	Block  = "block"
)

// Config is what to do about secrets.
type Config struct {
	Outbound        string   `json:"outbound" doc:"what becomes of text that leaves with a known kind of secret in it: redact hides the secret, review asks an operator, block refuses, allow only says so" enum:"allow,redact,review,block" reload:"hot"`
	OutboundGuess   string   `json:"outboundGuess" doc:"the same for what is a secret by its name and entropy alone, or whose checksum does not fit" enum:"allow,redact,review,block" reload:"hot"`
	Inbound         string   `json:"inbound" doc:"what becomes of prompts and commands with a known kind of secret in them; allow adds a tag" enum:"allow,review,block" reload:"hot"`
	OutboundMethods []string `json:"outboundMethods" doc:"methods whose text leaves the gateway" max:"256" reload:"hot"`
}

// Default redacts what leaves and lets in what the operator types.
func Default() Config {
	return Config{Outbound: Redact, OutboundGuess: Redact, Inbound: Allow,
		OutboundMethods: []string{"send", "poll", "message.action", "talk.speak", "tts.speak", "tts.convert"}}
}

// Validate names the first field that is wrong.
func (c Config) Validate() error {
	for _, f := range []struct {
		key, value string
		allowed    []string
	}{
		{"outbound", c.Outbound, []string{Allow, Redact, Review, Block}},
		{"outboundGuess", c.OutboundGuess, []string{Allow, Redact, Review, Block}},
		{"inbound", c.Inbound, []string{Allow, Review, Block}},
	} {
		if !slices.Contains(f.allowed, f.value) {
			return fmt.Errorf("defend.secrets.%s: %q; one of %v", f.key, f.value, f.allowed)
		}
	}
	if len(c.OutboundMethods) > 256 {
		return fmt.Errorf("defend.secrets.outboundMethods: %d; at most 256", len(c.OutboundMethods))
	}
	return nil
}
