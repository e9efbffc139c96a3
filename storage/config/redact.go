package config

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// Redacted is what a client sees instead of a secret, and may send back unchanged. It is
// the real gateway's, because its Control UI looks for it.
const Redacted = "__OPENCLAW_REDACTED__"

// credentialURL matches a URL with a user and a password in it.
var credentialURL = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://[^/@\s:]*:[^/@\s]+@`)

// oldSecret finds a key with a secret's name and its quoted value in text that is not
// data: a token that somebody commented out.
var oldSecret = regexp.MustCompile(`(?i)((?:token|password|secret|api_?key|private_?key)["']?\s*[:=]\s*["'])([^"'\n]+)(["'])`)

// isSecret decides for one string of a document. inherited is true below a secret object.
func isSecret(f *Field, path []string, v string, inherited bool) bool {
	if strings.TrimSpace(v) == "" {
		return false
	}
	if f != nil && f.public {
		return false
	}
	return inherited || f != nil && f.Secret || secretKey(f, path) || credentialURL.MatchString(v)
}

// secretKey guesses from the last key alone: what stands below a section called secrets
// is not secret for that.
func secretKey(f *Field, path []string) bool {
	return len(path) > 0 && (f == nil || len(f.Enum) == 0) && sensitiveName(path[len(path)-1])
}

// redactTree returns a copy with every secret replaced. seen collects the secrets.
func (s *Schema) redactTree(tree any, seen *[]string) any {
	var walk func(f *Field, v any, path []string, inherited bool) any
	walk = func(f *Field, v any, path []string, inherited bool) any {
		inherited = inherited || f != nil && f.Secret
		switch x := v.(type) {
		case map[string]any:
			out := make(map[string]any, len(x))
			for k, e := range x {
				var c *Field
				if f != nil {
					c = f.descend(k)
				}
				out[k] = walk(c, e, append(path[:len(path):len(path)], k), inherited)
			}
			return out
		case []any:
			out := make([]any, len(x))
			for i, e := range x {
				var c *Field
				if f != nil {
					c = f.elem
				}
				out[i] = walk(c, e, path, inherited)
			}
			return out
		case string:
			if isSecret(f, path, x, inherited) {
				if seen != nil {
					*seen = append(*seen, x)
				}
				return Redacted
			}
		case int64, float64:
			if inherited {
				return Redacted
			}
		}
		return v
	}
	return walk(s.root, tree, nil, false)
}

// redactRaw hides the secrets in a file's text and keeps everything else. nil when that
// cannot be done safely; the client then works with the parsed form.
func (s *Schema) redactRaw(d *document) *string {
	if !d.exists {
		return nil
	}
	var secrets []string
	tree, _ := s.redactTree(d.tree, &secrets).(map[string]any)
	if d.toml || d.root == nil {
		// Clients read raw as JSON5, so a TOML file is shown as the JSON of its content.
		text := pretty(tree, "") + "\n"
		return &text
	}
	out, ok := edit(d.raw, d.root, tree)
	if !ok {
		return nil
	}
	// The same secret again in a comment, longest first so that none is cut by another.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, secret := range secrets {
		if secret != Redacted {
			out = bytes.ReplaceAll(out, []byte(secret), []byte(Redacted))
		}
	}
	out = oldSecret.ReplaceAll(out, []byte("${1}"+Redacted+"${3}"))
	back, err := parseJSON5(out)
	if err != nil || !equal(back.plain(), any(tree)) {
		return nil
	}
	text := string(out)
	return &text
}

// restore puts the original values back where a submitted document has the placeholder.
// A placeholder with nothing to restore is refused: it would become the secret.
func (s *Schema) restore(incoming, original any) (any, error) {
	return s.restoreAt(s.root, incoming, original, nil)
}

func (s *Schema) restoreAt(f *Field, v, original any, path []string) (any, error) {
	switch x := v.(type) {
	case string:
		if x != Redacted {
			return v, nil
		}
		if original == nil {
			return nil, refuse("Sentinel value %q in key %s is not valid as real data", Redacted, pathString(path))
		}
		if text, ok := original.(string); ok && text == Redacted || !s.redactable(f, path, original) {
			return nil, refuse("Reserved redaction sentinel %q is not valid config data (%s).", Redacted, pathString(path))
		}
		return original, nil
	case map[string]any:
		om, _ := original.(map[string]any)
		out := make(map[string]any, len(x))
		for _, k := range sortedKeys(x) {
			var c *Field
			if f != nil {
				c = f.descend(k)
			}
			r, err := s.restoreAt(c, x[k], om[k], append(path[:len(path):len(path)], k))
			if err != nil {
				return nil, err
			}
			out[k] = r
		}
		return out, nil
	case []any:
		ol, _ := original.([]any)
		match := matchItems(x, ol)
		out := make([]any, len(x))
		for i, e := range x {
			var c *Field
			if f != nil {
				c = f.elem
			}
			r, err := s.restoreAt(c, e, match(i), path)
			if err != nil {
				return nil, err
			}
			out[i] = r
		}
		return out, nil
	}
	return v, nil
}

// redactable reports whether redactTree would have hidden this original value.
func (s *Schema) redactable(f *Field, path []string, original any) bool {
	inherited := false
	for i := range path {
		if up := s.at(path[:i]); up != nil && up.Secret {
			inherited = true
		}
	}
	switch x := original.(type) {
	case string:
		return isSecret(f, path, x, inherited)
	case int64, float64:
		return inherited || f != nil && f.Secret
	}
	return false
}

// matchItems pairs submitted list items with original ones: by a unique id, else by
// index, and never two with the same original.
func matchItems(incoming, original []any) func(int) any {
	idsOf := func(l []any) (map[string]int, map[string]int) {
		at, count := map[string]int{}, map[string]int{}
		for i, e := range l {
			if id := itemID(e); id != "" {
				at[id] = i
				count[id]++
			}
		}
		return at, count
	}
	at, count := idsOf(original)
	_, mine := idsOf(incoming)
	taken := map[int]bool{}
	for id := range mine {
		if mine[id] == 1 && count[id] == 1 {
			taken[at[id]] = true
		}
	}
	return func(i int) any {
		if id := itemID(incoming[i]); id != "" && mine[id] == 1 && (count[id] == 1 || count[id] == 0 && len(taken) > 0) {
			if count[id] == 0 {
				return nil
			}
			return original[at[id]]
		}
		if i >= len(original) || taken[i] {
			return nil
		}
		return original[i]
	}
}

func itemID(v any) string {
	m, _ := v.(map[string]any)
	id, _ := m["id"].(string)
	if id == Redacted {
		return ""
	}
	return id
}
