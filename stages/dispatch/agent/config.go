// Package agent runs agent turns: it takes a stored message, asks a model, streams the
// answer to every reader and leaves the answer as durable effects (wire.md 3.11).
//
// A Run is one turn. It is created by a method handler, ordered by schedule, run by
// dispatch, and remembered by the Registry until clients have had time to ask how it
// ended. The store has it too, so that a restart loses no acknowledged message: a run
// that had not started starts again, one that had is reported as interrupted.
package agent

import (
	"fmt"
	"regexp"
	"strings"
)

// Config says which agents exist and which model they ask.
type Config struct {
	Model           ModelConfig   `json:"model" doc:"the model endpoint"`
	Agents          []AgentConfig `json:"agents" doc:"agents besides main, or settings for main"`
	TurnTimeoutMs   int           `json:"turnTimeoutMs" doc:"longest time that one turn may take" unit:"ms" min:"1000"`
	Retries         int           `json:"retries" doc:"further model calls after a temporary failure" min:"0" max:"20"`
	RetryDelayMs    int           `json:"retryDelayMs" doc:"wait before the first of them; doubles each time" unit:"ms" min:"1"`
	DeltaPaceMs     int           `json:"deltaPaceMs" doc:"shortest time between two delta events of a run" unit:"ms" min:"0" max:"10000"`
	HistoryMessages int           `json:"historyMessages" doc:"messages of the session that a model call is given" min:"1" max:"10000"`
	HistoryBytes    int           `json:"historyBytes" doc:"and their size" unit:"bytes" min:"1024"`
	AnswerBytes     int           `json:"answerBytes" doc:"longest answer that is taken from a model" unit:"bytes" min:"1024"`
	FinishedRuns    int           `json:"finishedRuns" doc:"ended runs kept in memory for agent.wait; older ones are read from the store" min:"1"`
	FinishedRunsMs  int           `json:"finishedRunsMs" doc:"and for how long" unit:"ms" min:"1000"`
}

// ModelConfig is an endpoint of the OpenAI chat completions protocol.
type ModelConfig struct {
	BaseURL         string `json:"baseUrl" doc:"base URL of an OpenAI-compatible endpoint, such as https://api.openai.com/v1 or http://127.0.0.1:11434/v1"`
	APIKey          string `json:"apiKey" doc:"its key; empty sends none" secret:"true"`
	Name            string `json:"name" doc:"model that is asked, as the endpoint calls it"`
	Provider        string `json:"provider" doc:"how the endpoint is called in events and spans"`
	ContextTokens   int64  `json:"contextTokens" doc:"context window that is shown to clients" min:"1"`
	MaxOutputTokens int    `json:"maxOutputTokens" doc:"0 leaves it to the endpoint" min:"0"`
	FirstByteMs     int    `json:"firstByteMs" doc:"how long the endpoint may take to start answering" unit:"ms" min:"100"`
	IdleMs          int    `json:"idleMs" doc:"how long it may be silent within an answer" unit:"ms" min:"100"`
}

// AgentConfig is one agent.
type AgentConfig struct {
	ID           string `json:"id" doc:"lower-case letters, digits, - and _"`
	Name         string `json:"name" doc:"how clients show it"`
	Model        string `json:"model" doc:"model of its own; empty uses agent.model.name"`
	SystemPrompt string `json:"systemPrompt" doc:"text before every conversation"`
}

// Default returns the embedded defaults: agent main and no model.
func Default() Config {
	return Config{
		Model:         ModelConfig{Provider: "openai", ContextTokens: 128_000, FirstByteMs: 120_000, IdleMs: 120_000},
		TurnTimeoutMs: 600_000, Retries: 4, RetryDelayMs: 1000, DeltaPaceMs: 75,
		HistoryMessages: 60, HistoryBytes: 256 << 10, AnswerBytes: 4 << 20,
		FinishedRuns: 1000, FinishedRunsMs: 300_000,
	}
}

var agentID = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// Validate names the first field that is out of its bounds.
func (c Config) Validate() error {
	for i, a := range c.Agents {
		if !agentID.MatchString(a.ID) {
			return fmt.Errorf("agents[%d].id: %q; lower-case letters, digits, - and _, at most 64", i, a.ID)
		}
	}
	if c.Model.BaseURL != "" && !strings.HasPrefix(c.Model.BaseURL, "http://") && !strings.HasPrefix(c.Model.BaseURL, "https://") {
		return fmt.Errorf("model.baseUrl: %q is no http(s) URL", c.Model.BaseURL)
	}
	switch {
	case c.TurnTimeoutMs < 1000:
		return fmt.Errorf("turnTimeoutMs: %d; at least 1000", c.TurnTimeoutMs)
	case c.Retries < 0:
		return fmt.Errorf("retries: %d is negative", c.Retries)
	case c.HistoryMessages < 1:
		return fmt.Errorf("historyMessages: %d; at least 1", c.HistoryMessages)
	case c.AnswerBytes < 1024:
		return fmt.Errorf("answerBytes: %d; at least 1024", c.AnswerBytes)
	case c.FinishedRuns < 1:
		return fmt.Errorf("finishedRuns: %d; at least 1", c.FinishedRuns)
	}
	return nil
}

// Missing says what must be set before a model can be asked; empty means nothing.
func (m ModelConfig) Missing() string {
	switch {
	case m.BaseURL == "" && m.Name == "":
		return "no model is configured: set agent.model.baseUrl and agent.model.name (and agent.model.apiKey if the endpoint wants one) in sluice.json5, " +
			"or SLUICE_AGENT_MODEL_BASE_URL and SLUICE_AGENT_MODEL_NAME (and SLUICE_AGENT_MODEL_API_KEY) in the environment"
	case m.BaseURL == "":
		return "no model endpoint is configured: set agent.model.baseUrl in sluice.json5 or SLUICE_AGENT_MODEL_BASE_URL"
	case m.Name == "":
		return "no model name is configured: set agent.model.name in sluice.json5 or SLUICE_AGENT_MODEL_NAME"
	}
	return ""
}

// Agent returns the settings of an agent and whether it exists; main always does.
func (c Config) Agent(id string) (AgentConfig, bool) {
	for _, a := range c.Agents {
		if a.ID == id {
			if a.Model == "" {
				a.Model = c.Model.Name
			}
			return a, true
		}
	}
	return AgentConfig{ID: id, Model: c.Model.Name}, id == "main"
}

// AgentIDs lists the agents, main first.
func (c Config) AgentIDs() []string {
	ids := []string{"main"}
	for _, a := range c.Agents {
		if a.ID != "main" {
			ids = append(ids, a.ID)
		}
	}
	return ids
}
