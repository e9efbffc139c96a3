package main

import (
	"context"
	"strconv"
	"strings"

	"sluice/frames"
	"sluice/stages/defend"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// transcriptMessage is one message of a transcript, in the forms of OpenClaw's sessions and of the
// usual model APIs. Fields of a type that is not expected are as if they were missing.
type transcriptMessage struct {
	ID        jsontext.Value `json:"id"`
	Role      jsontext.Value `json:"role"`
	Content   jsontext.Value `json:"content"`
	ToolCalls jsontext.Value `json:"tool_calls"`
	Command   jsontext.Value `json:"command"` // of a bashExecution
	Output    jsontext.Value `json:"output"`
}

// messagePart is one part of a message's content, or one call of its tool_calls.
type messagePart struct {
	Type      jsontext.Value `json:"type"`
	Text      jsontext.Value `json:"text"`
	Content   jsontext.Value `json:"content"`
	Name      jsontext.Value `json:"name"`
	Arguments jsontext.Value `json:"arguments"`
	Input     jsontext.Value `json:"input"`
	Function  jsontext.Value `json:"function"`
}

// laxly decodes foreign JSON that has been checked for its form.
func laxly[T any](raw jsontext.Value) (v T, ok bool) {
	return v, len(raw) > 0 && json.Unmarshal(raw, &v, jsontext.AllowInvalidUTF8(true)) == nil
}

// text is the value of a JSON string, empty for anything else.
func textOf(raw jsontext.Value) string {
	if !isKind(raw, '"') {
		return ""
	}
	return string(frames.Unquote(nil, raw))
}

// entry judges one line of a transcript. Lines without a message (the session's header,
// a change of model) hold no text that an assistant acts on.
func (s *scanner) entry(ctx context.Context, in *stream, l *scanLine) error {
	switch {
	case isKind(l.Messages, '['):
		return s.messages(ctx, in.where(), textOf(l.ID), l.Messages)
	case isKind(l.Message, '{'):
		return s.message(ctx, firstOf(textOf(l.ID), in.where()), l.Message)
	case l.Role != nil || l.Content != nil:
		raw, err := json.Marshal(map[string]jsontext.Value{"role": orNull(l.Role), "content": orNull(l.Content)})
		if err != nil {
			return err
		}
		return s.message(ctx, firstOf(textOf(l.ID), in.where()), raw)
	}
	s.summary.entries++
	return nil
}

func orNull(raw jsontext.Value) jsontext.Value {
	if raw == nil {
		return jsontext.Value("null")
	}
	return raw
}

// wholeTranscript judges a file that is one JSON value, if it is one with messages.
func (s *scanner) wholeTranscript(ctx context.Context, in *stream, text []byte) (bool, error) {
	raw := jsontext.Value(text)
	if !raw.IsValid(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)) {
		return false, nil
	}
	if raw.Kind() == '{' {
		l, ok := laxly[scanLine](raw)
		if !ok || !isKind(l.Messages, '[') {
			return false, nil
		}
		raw = l.Messages
	}
	list, ok := laxly[[]transcriptMessage](raw)
	if !ok || len(list) == 0 || textOf(list[0].Role) == "" {
		return false, nil
	}
	return true, s.messages(ctx, in.name, "", raw)
}

// messages judges a list of messages; without an id of its own, a message is WHERE#N.
func (s *scanner) messages(ctx context.Context, where, id string, raw jsontext.Value) error {
	list, ok := laxly[[]jsontext.Value](raw)
	if !ok {
		s.complain(where, "its messages cannot be read")
		return nil
	}
	for i, m := range list {
		name := firstOf(id, where) + "#" + strconv.Itoa(i+1)
		if head, ok := laxly[transcriptMessage](m); ok {
			name = firstOf(textOf(head.ID), name)
		}
		if err := s.message(ctx, name, m); err != nil {
			return err
		}
	}
	return nil
}

// roles are the origins by who speaks. What the assistant says is nobody's order to it.
var roles = map[string]defend.Origin{"user": defend.OriginOwner, "human": defend.OriginOwner, "system": defend.OriginOwner, "developer": defend.OriginOwner,
	"tool": defend.OriginTool, "toolresult": defend.OriginTool, "tool_result": defend.OriginTool, "function": defend.OriginTool, "bashexecution": defend.OriginTool}

// message judges the texts of one message, in their order.
func (s *scanner) message(ctx context.Context, id string, raw jsontext.Value) error {
	m, ok := laxly[transcriptMessage](raw)
	if !ok {
		s.complain(id, "the message cannot be read")
		return nil
	}
	w := &messageWalk{s: s, ctx: ctx, id: id, role: strings.ToLower(textOf(m.Role))}
	w.origin = roles[w.role]
	w.content(m.Content, w.origin)
	if calls, ok := laxly[[]messagePart](m.ToolCalls); ok {
		for i := range calls {
			w.call(&calls[i])
		}
	}
	if w.role == "bashexecution" {
		w.emit(&scanText{kind: kindCommand, text: []byte(textOf(m.Command)), origin: defend.OriginOwner})
		w.prompt(textOf(m.Output), defend.OriginTool)
	}
	if w.n == 0 {
		s.summary.entries++
	}
	return w.err
}

// messageWalk numbers the texts of one message.
type messageWalk struct {
	s      *scanner
	ctx    context.Context
	id     string
	role   string
	origin defend.Origin
	n      int
	err    error
}

// content judges a content: a string, or a list of parts.
func (w *messageWalk) content(raw jsontext.Value, origin defend.Origin) {
	if isKind(raw, '"') {
		w.prompt(textOf(raw), origin)
		return
	}
	parts, _ := laxly[[]messagePart](raw) // anything else holds no text
	for i := range parts {
		p := &parts[i]
		switch kind := strings.ToLower(textOf(p.Type)); kind {
		case "toolcall", "tool_use", "tool_call", "function_call":
			w.call(p)
		case "tool_result", "toolresult":
			w.content(p.Content, defend.OriginTool)
		case "thinking", "reasoning", "image", "image_url":
		default:
			w.prompt(textOf(p.Text), origin)
		}
	}
}

func (w *messageWalk) prompt(text string, origin defend.Origin) {
	if w.role == "assistant" && origin != defend.OriginTool {
		return
	}
	w.emit(&scanText{kind: kindPrompt, text: []byte(text), origin: origin})
}

// call judges the commands in a tool call's arguments, which are found as the gateway
// finds them.
func (w *messageWalk) call(p *messagePart) {
	name, args := textOf(p.Name), p.Arguments
	if f, ok := laxly[messagePart](p.Function); ok {
		name, args = firstOf(textOf(f.Name), name), f.Arguments
	}
	if args == nil {
		args = p.Input
	}
	if isKind(args, '"') {
		args = jsontext.Value(textOf(args)) // JSON in a string
	}
	a, err := defend.ParseAction("tools.invoke", args)
	if err != nil {
		w.s.complain(w.id, "the arguments of a call of %.40q cannot be read: %v", name, err)
		return
	}
	for i, c := range a.Commands {
		w.emit(&scanText{kind: kindCommand, text: c, argv: a.Argv[i], tool: name})
	}
}

// emit judges one text; the second and later ones of a message are ID#2 and so on.
func (w *messageWalk) emit(t *scanText) {
	if w.err != nil || len(t.text) == 0 {
		return
	}
	w.n++
	name := w.id
	if w.n > 1 {
		name += "#" + strconv.Itoa(w.n)
	}
	t.id = quoteJSON(name)
	_, w.err = w.s.text(w.ctx, t)
}
