package hooks

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// hookContext is what templates can see.
type hookContext struct {
	payload payload
	request *http.Request
	path    string
}

// find returns the first mapping that matches.
func find(mappings []Mapping, c hookContext) *Mapping {
	for i := range mappings {
		m := &mappings[i]
		if m.Path != "" && strings.Trim(strings.TrimSpace(m.Path), "/") != strings.Trim(c.path, "/") {
			continue
		}
		if source, _ := c.payload["source"].(string); m.Source != "" && source != m.Source {
			continue
		}
		return m
	}
	return nil
}

// wake renders a mapping of action wake.
func (m *Mapping) wake(c hookContext) (wake, string) {
	w := wake{Text: c.render(m.TextTemplate), Mode: modeOf(m.WakeMode), AgentID: m.AgentID, SessionKey: strings.TrimSpace(c.render(m.SessionKey))}
	switch {
	case hasTemplate(m.SessionKey) && w.SessionKey == "":
		return w, "hook mapping sessionKey template rendered empty"
	case strings.TrimSpace(w.Text) == "":
		return w, "hook mapping requires text"
	case w.Mode == modeNextHeartbeat && w.SessionKey != "":
		return w, "hook mapping sessionKey requires wakeMode=now"
	}
	return w, ""
}

// run renders a mapping of action agent.
func (m *Mapping) run(c hookContext, channels []string) (run, string) {
	trimmed := func(template string) string { return strings.TrimSpace(c.render(template)) }
	r := run{Message: c.render(m.MessageTemplate), Name: trimmed(m.Name), AgentID: m.AgentID, WakeMode: modeOf(m.WakeMode),
		SessionKey: trimmed(m.SessionKey), SessionMode: m.SessionMode, Model: trimmed(m.Model), Thinking: trimmed(m.Thinking),
		Timeout: int64(m.TimeoutSeconds)}
	if r.Name == "" {
		r.Name = "Hook"
	}
	switch {
	case hasTemplate(m.SessionKey) && r.SessionKey == "":
		return r, "hook mapping sessionKey template rendered empty"
	case strings.TrimSpace(r.Message) == "":
		return r, "hook mapping requires message"
	}
	if m.Deliver && m.Channel != "" {
		channel, problem := resolveChannel(payload{"channel": m.Channel}, channels)
		to := trimmed(m.To)
		switch {
		case problem != "":
			return r, problem
		case to == "" || channel == lastChannel:
			return r, "channel and to must be set together for hook delivery"
		}
		r.Deliver, r.Channel, r.To = true, channel, to
	}
	return r, ""
}

var templateExpr = regexp.MustCompile(`\{\{\s*([^}]+)\s*\}\}`)

func hasTemplate(s string) bool { return templateExpr.MatchString(s) }

// maxRendered bounds a rendered template: a payload's part may be named many times.
const maxRendered = 1 << 20

// render replaces the expressions of a template; what is missing is empty.
func (c hookContext) render(template string) string {
	budget := maxRendered
	return templateExpr.ReplaceAllStringFunc(template, func(match string) string {
		expr := strings.TrimSpace(templateExpr.FindStringSubmatch(match)[1])
		text := c.eval(expr)
		if len(text) > budget {
			text = ""
		}
		budget -= len(text)
		return text
	})
}

func (c hookContext) eval(expr string) string {
	switch {
	case expr == "path":
		return c.path
	case expr == "now":
		return time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	}
	if name, ok := strings.CutPrefix(expr, "headers."); ok {
		if secretHeader(name) {
			return ""
		}
		return strings.Join(c.request.Header.Values(name), ", ")
	}
	if name, ok := strings.CutPrefix(expr, "query."); ok {
		return c.request.URL.Query().Get(name)
	}
	return stringify(lookup(map[string]any(c.payload), strings.TrimPrefix(expr, "payload.")))
}

// secretHeader keeps the sender's proof out of prompts.
func secretHeader(name string) bool {
	return strings.EqualFold(name, "authorization") || strings.EqualFold(name, "x-openclaw-token") || strings.EqualFold(name, "cookie")
}

var pathPart = regexp.MustCompile(`([^.\[\]]+)|\[(\d+)\]`)

// lookup follows a.b[0].c.
func lookup(v any, path string) any {
	for _, part := range pathPart.FindAllStringSubmatch(path, -1) {
		if part[2] != "" {
			list, ok := v.([]any)
			i, err := strconv.Atoi(part[2])
			if !ok || err != nil || i >= len(list) {
				return nil
			}
			v = list[i]
			continue
		}
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[part[1]]
	}
	return v
}

func stringify(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return ""
	}
	return string(b)
}
