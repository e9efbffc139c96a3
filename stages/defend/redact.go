package defend

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"unicode/utf8"

	"sluice/pipeline"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// redacted stands where a secret was.
const redacted = "[REDACTED_SECRET]"

// redactor hides the secrets in texts that are written down. Without one nothing is kept
// in the clear.
type redactor func(text []byte) []byte

const notKept = "[not kept]"

func (r redactor) text(text string) string {
	switch {
	case text == "":
		return ""
	case r == nil:
		return notKept
	}
	return string(r([]byte(text)))
}

// name is a name or an id that a client chose: short, and without what looks like a
// secret. Without a redactor it stays: nothing else tells one request from another.
func (r redactor) name(text string) string {
	if text = cut(text, maxHintBytes); r == nil {
		return text
	}
	return string(r([]byte(text)))
}

// secretName are members whose value is a secret whatever it looks like.
var secretName = regexp.MustCompile(`(?i)(?:api[_-]?key|access[_-]?key|secret|token|passw(?:or)?d|passwd|credential|private[_-]?key|authorization)$`)

// evidenceBody is what a quarantine file holds (first-runtime.md 6.8).
type evidenceBody struct {
	Request  evidenceRequest `json:"request"`
	Decision Recorded        `json:"decision"`
}

type evidenceRequest struct {
	ID        string         `json:"id"`
	Source    string         `json:"source"`
	SessionID string         `json:"session_id,omitzero"`
	Prompt    string         `json:"prompt,omitzero"`
	Command   string         `json:"command,omitzero"`
	ToolName  string         `json:"tool_name,omitzero"`
	Channel   string         `json:"channel,omitzero"`
	URL       string         `json:"url,omitzero"`
	FilePath  string         `json:"file_path,omitzero"`
	Raw       jsontext.Value `json:"raw,omitzero"`
}

// cutRaw stands for params that are larger than a file may be.
type cutRaw struct {
	CutBytes int    `json:"cutBytes"`
	SHA256   string `json:"sha256"`
}

// encodeEvidence encodes the file of a blocked action, without secrets, in about limit
// bytes: the request is kept whole or its texts are, cut.
func (r redactor) encodeEvidence(a *Action, d *pipeline.Decision, limit int) ([]byte, error) {
	text := func(list [][]byte) string { return r.text(cut(joined(list), limit/8)) }
	body := evidenceBody{Decision: recorded(d), Request: evidenceRequest{
		ID: r.name(a.RequestID()), Source: a.Source, SessionID: r.name(a.SessionKey),
		Prompt: text(a.Prompts), Command: text(a.Commands), ToolName: text(a.Tools),
		Channel: text(a.Channels), URL: text(a.URLs), FilePath: text(a.Files),
	}}
	if len(a.Raw) > 0 && r != nil && !a.Administrative() {
		raw, err := r.raw(a.Raw, limit)
		if err != nil {
			return nil, err
		}
		body.Request.Raw = raw
	}
	return json.Marshal(body, json.Deterministic(true), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true), jsontext.WithIndent("  "))
}

func (r redactor) raw(params []byte, limit int) (jsontext.Value, error) {
	if len(params) > limit/2 {
		sum := sha256.Sum256(params)
		return json.Marshal(cutRaw{CutBytes: len(params), SHA256: hex.EncodeToString(sum[:])})
	}
	return r.json(params)
}

// json copies a JSON value with the secrets in its strings hidden.
func (r redactor) json(value []byte) (jsontext.Value, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(value), walkOptions...)
	var out bytes.Buffer
	enc := jsontext.NewEncoder(&out, walkOptions...)
	secret := false // the value that follows belongs to a secret's name
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			if out.Len() == 0 || dec.StackDepth() > 0 {
				return nil, err
			}
			return jsontext.Value(bytes.TrimSpace(out.Bytes())), nil
		}
		kind, n := dec.StackIndex(dec.StackDepth())
		name := kind == '{' && n%2 == 1 && tok.Kind() == '"'
		switch {
		case tok.Kind() == '"' && name:
			text := tok.String()
			secret = secretName.MatchString(text)
			tok = jsontext.String(r.text(text))
		case tok.Kind() == '"' && secret:
			tok, secret = jsontext.String(redacted), false
		case tok.Kind() == '"':
			tok = jsontext.String(r.text(tok.String()))
		default:
			secret = false
		}
		if err := enc.WriteToken(tok); err != nil {
			return nil, err
		}
	}
}

// cut shortens s to about n bytes on a character's boundary and says so.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "… [cut]"
}
