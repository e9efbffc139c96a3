package sessions

import (
	"context"
	"errors"
	"strings"
	"time"

	"sluice/frames"
	"sluice/pipeline"
	"sluice/stages/dispatch/agent"
	"sluice/stages/dispatch/sessionview"
	"sluice/storage"

	"github.com/go-json-experiment/json/jsontext"
)

func nowMs() int64 { return time.Now().UnixMilli() }

const previewChars = 240

// decorate adds what costs a read of the transcript.
func (f *Family) decorate(r storage.Reader, row *sessionview.Row, s *storage.SessionRow, titles, last bool) error {
	if titles && row.DerivedTitle == "" {
		first, err := storage.ReadTranscript(r, s.SessionID, 0, 1, false)
		if err != nil {
			return err
		}
		if len(first) > 0 {
			row.DerivedTitle = clip(agent.TextOf(first[0].Body), 60)
		}
	}
	if last {
		newest, err := storage.ReadTranscript(r, s.SessionID, 0, 1, true)
		if err != nil {
			return err
		}
		if len(newest) > 0 {
			row.LastMessagePreview = clip(agent.TextOf(newest[0].Body), previewChars)
		}
	}
	return nil
}

// clip cuts a text to n characters, of which the last three are dots, as upstream does.
func clip(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > n {
		return string(r[:max(0, n-3)]) + "..."
	}
	return s
}

// describe answers sessions.describe; an unknown session is null.
func (f *Family) describe(ctx context.Context, e *pipeline.Envelope) error {
	var p struct {
		Key           string `json:"key"`
		AgentID       string `json:"agentId"`
		DerivedTitles bool   `json:"includeDerivedTitles"`
		LastMessage   bool   `json:"includeLastMessage"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	key, _, err := f.target(p.Key, p.AgentID)
	if err != nil {
		return err
	}
	var session any
	err = f.deps.Store.View(ctx, func(r storage.Reader) error {
		s, found, err := agent.FindSession(r, key)
		if err != nil || !found {
			return err
		}
		row := f.row(&s)
		session = &row
		return f.decorate(r, &row, &s, p.DerivedTitles, p.LastMessage)
	})
	if err != nil {
		return err
	}
	return e.AnswerValue(map[string]any{"session": session})
}

// get answers sessions.get: the newest messages; it has no params schema upstream.
func (f *Family) get(ctx context.Context, e *pipeline.Envelope) error {
	var p struct {
		Key        string `json:"key"`
		SessionKey string `json:"sessionKey"`
		AgentID    string `json:"agentId"`
		Limit      int    `json:"limit"`
	}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	if p.Key == "" {
		p.Key = p.SessionKey
	}
	key, _, err := f.target(p.Key, p.AgentID)
	if err != nil {
		return err
	}
	if p.Limit < 1 {
		p.Limit = 200
	}
	messages := []jsontext.Value{}
	err = f.deps.Store.View(ctx, func(r storage.Reader) error {
		s, found, err := agent.FindSession(r, key)
		if err != nil || !found {
			return err
		}
		newest, err := storage.ReadTranscript(r, s.SessionID, 0, p.Limit, true)
		for i := len(newest) - 1; i >= 0; i-- {
			messages = append(messages, sessionview.Message(newest[i], sessionview.DisplayChars))
		}
		return err
	})
	if err != nil {
		return err
	}
	return e.AnswerValue(map[string]any{"messages": messages})
}

type resolveParams struct {
	Key          string         `json:"key"`
	SessionID    string         `json:"sessionId"`
	Label        string         `json:"label"`
	ShortID      string         `json:"shortId"`
	Reference    jsontext.Value `json:"reference"`
	SlugHint     string         `json:"slugHint"`
	AgentID      string         `json:"agentId"`
	AllowMissing bool           `json:"allowMissing"`
}

// resolve answers sessions.resolve: a session by its key, id or label.
func (f *Family) resolve(ctx context.Context, e *pipeline.Envelope) error {
	var p resolveParams
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	var row storage.SessionRow
	found := false
	err := f.deps.Store.View(ctx, func(r storage.Reader) (err error) {
		row, found, err = f.lookup(r, &p)
		return err
	})
	switch {
	case err != nil:
		return err
	case found:
		return e.AnswerValue(map[string]any{"ok": true, "key": row.Key, "agentId": row.AgentID})
	case p.AllowMissing:
		return e.AnswerValue(map[string]any{"ok": false})
	case p.Label != "":
		return frames.Invalid("No session found with label: %s", p.Label)
	}
	return frames.Invalid("No session found: %s", p.Key+p.SessionID+p.ShortID)
}

func (p *resolveParams) check() error {
	n := 0
	for _, given := range []bool{p.Key != "", p.SessionID != "", p.Label != "", p.ShortID != "", len(p.Reference) > 0} {
		if given {
			n++
		}
	}
	switch {
	case p.SlugHint != "" && p.ShortID == "":
		return frames.Invalid("slugHint requires shortId")
	case n == 0:
		return frames.Invalid("Either key, sessionId, label, shortId, or reference is required")
	case n > 1:
		return frames.Invalid("Provide either key, sessionId, label, shortId, or reference (not multiple)")
	case len(p.Reference) > 0:
		return frames.Invalid("session references are not supported by this gateway yet; use key, sessionId or label")
	}
	return nil
}

func (f *Family) lookup(r storage.Reader, p *resolveParams) (storage.SessionRow, bool, error) {
	switch {
	case p.Key != "":
		key, _, err := f.target(p.Key, p.AgentID)
		if err != nil {
			return storage.SessionRow{}, false, err
		}
		return agent.FindSession(r, key)
	case p.Label != "":
		return byLabel(r, p.Label)
	}
	if p.ShortID != "" {
		return agent.FindByShortID(r, p.ShortID, p.AgentID)
	}
	key, err := storage.SessionKeyByID(r, p.SessionID)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalidKey) {
		return storage.SessionRow{}, false, nil
	}
	if err != nil {
		return storage.SessionRow{}, false, err
	}
	return agent.FindSession(r, key)
}

// maxPreviews bounds sessions.preview, as upstream does.
const maxPreviews = 64

// preview answers sessions.preview: the last lines of some sessions.
func (f *Family) preview(ctx context.Context, e *pipeline.Envelope) error {
	p := struct {
		Keys     []string `json:"keys"`
		Limit    int      `json:"limit"`
		MaxChars int      `json:"maxChars"`
	}{Limit: 12, MaxChars: previewChars}
	if err := frames.UnmarshalParams(e.Frame.Params, &p); err != nil {
		return err
	}
	previews := []map[string]any{}
	err := f.deps.Store.View(ctx, func(r storage.Reader) error {
		for _, given := range p.Keys[:min(len(p.Keys), maxPreviews)] {
			v, err := f.previewOf(r, given, p.Limit, p.MaxChars)
			if err != nil {
				return err
			}
			previews = append(previews, v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return e.AnswerValue(map[string]any{"ts": nowMs(), "previews": previews})
}

func (f *Family) previewOf(r storage.Reader, given string, limit, chars int) (map[string]any, error) {
	items := []map[string]any{}
	out := map[string]any{"key": given, "status": "missing"}
	key, _, err := f.target(given, "")
	if err != nil {
		out["status"], out["items"] = "error", items
		return out, nil
	}
	s, found, err := agent.FindSession(r, key)
	if err != nil {
		return nil, err
	}
	if found {
		newest, err := storage.ReadTranscript(r, s.SessionID, 0, limit, true)
		if err != nil {
			return nil, err
		}
		for i := len(newest) - 1; i >= 0; i-- {
			if text := agent.TextOf(newest[i].Body); text != "" {
				items = append(items, map[string]any{"role": newest[i].Role, "text": clip(text, chars)})
			}
		}
		out["status"] = "ok"
		if len(items) == 0 {
			out["status"] = "empty"
		}
	}
	out["items"] = items
	return out, nil
}
