package webhook

import (
	"fmt"
	"net/url"
	"sort"
	"strings"
)

// Config names the addresses that messages may be posted to. A delivery's "to" is the
// name of a target; other addresses cannot be reached.
type Config struct {
	Targets          map[string]Target `json:"targets" doc:"where messages may be posted, by name" max:"1000" reload:"restart"`
	MaxResponseBytes int               `json:"maxResponseBytes" doc:"bytes of an answer that are read" unit:"bytes" min:"0" max:"1048576" reload:"restart"`
	TextLimit        int               `json:"textLimit" doc:"characters of one message; a longer text becomes several; 0 = no limit" min:"0" max:"10000000" reload:"restart"`
}

// Target is one address.
type Target struct {
	URL    string `json:"url" doc:"http or https address; user and password in it are refused" reload:"restart"`
	Secret string `json:"secret" doc:"key of the signature; without one nothing is sent to this target" secret:"true" reload:"restart"`
	// AccountID restricts the target to deliveries of that account; empty = any.
	AccountID    string `json:"accountId" doc:"account whose deliveries the target takes; empty takes all" reload:"restart"`
	AllowPrivate bool   `json:"allowPrivate" doc:"the address may be loopback or private; link-local addresses never may" reload:"restart"`
	Idempotent   bool   `json:"idempotent" doc:"the receiver recognises a repeated Idempotency-Key, so a delivery of unknown outcome may be repeated" reload:"restart"`
}

// Default returns no targets and 64 KiB of answer.
func Default() Config { return Config{Targets: map[string]Target{}, MaxResponseBytes: 64 << 10} }

// Validate names the first field that is wrong. A missing secret is no error here: it
// stops its own target only (design.md, law 6).
func (c Config) Validate() error {
	if c.MaxResponseBytes < 0 || c.MaxResponseBytes > 1<<20 {
		return fmt.Errorf("channels.webhook.maxResponseBytes: %d; 0 to 1048576", c.MaxResponseBytes)
	}
	if c.TextLimit < 0 || c.TextLimit > 10_000_000 {
		return fmt.Errorf("channels.webhook.textLimit: %d; 0 to 10000000", c.TextLimit)
	}
	for _, name := range c.names() {
		if name == "" || strings.TrimSpace(name) != name {
			return fmt.Errorf("channels.webhook.targets: %q is no name", name)
		}
		if err := c.Targets[name].validate(); err != nil {
			return fmt.Errorf("channels.webhook.targets.%s.url: %w", name, err)
		}
	}
	return nil
}

func (c Config) names() []string {
	names := make([]string, 0, len(c.Targets))
	for n := range c.Targets {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

func (t Target) validate() error {
	u, err := url.Parse(t.URL)
	switch {
	case err != nil:
		return fmt.Errorf("it is no address: %w", err)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("it must start with http:// or https://")
	case u.Hostname() == "":
		return fmt.Errorf("it names no host")
	case u.User != nil:
		return fmt.Errorf("it holds a user or password; the signature authenticates")
	case u.Fragment != "":
		return fmt.Errorf("it has a fragment")
	}
	return nil
}
