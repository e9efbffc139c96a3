package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const envPrefix = "SLUICE_"

// parseText reads the text of a variable or flag as a value of the field's kind.
func parseText(f *Field, text string) (any, error) {
	trimmed := strings.TrimSpace(text)
	switch f.Kind {
	case KindBoolean:
		switch strings.ToLower(trimmed) {
		case "true", "1", "yes", "on":
			return true, nil
		case "false", "0", "no", "off":
			return false, nil
		}
		return nil, errors.New("must be true or false")
	case KindString:
		return text, nil
	case KindInteger, KindNumber:
		n, err := parseNumber(strings.TrimPrefix(trimmed, "+"))
		if err != nil {
			return nil, errors.New("must be a number")
		}
		return n, nil
	case KindList:
		if strings.HasPrefix(trimmed, "[") {
			return parseInline(trimmed)
		}
		return parseList(f.elem, text)
	case KindMap:
		if strings.HasPrefix(trimmed, "{") {
			return parseInline(trimmed)
		}
		return parsePairs(f.elem, text)
	}
	return parseInline(trimmed)
}

func parseInline(text string) (any, error) {
	n, err := parseJSON5([]byte(text))
	if err != nil {
		return nil, err
	}
	return n.plain(), nil
}

func parseList(elem *Field, text string) (any, error) {
	words, err := splitCSV(text)
	if err != nil {
		return nil, err
	}
	l := make([]any, len(words))
	for i, w := range words {
		if l[i], err = parseText(elem, w); err != nil {
			return nil, fmt.Errorf("entry %d %w", i+1, err)
		}
	}
	return l, nil
}

func parsePairs(elem *Field, text string) (any, error) {
	words, err := splitCSV(text)
	if err != nil {
		return nil, err
	}
	m := make(map[string]any, len(words))
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if k = strings.TrimSpace(k); !ok || k == "" {
			return nil, errors.New("must be key=value pairs separated by commas, or a JSON5 object")
		}
		if _, dup := m[k]; dup {
			return nil, fmt.Errorf("names %q twice", k)
		}
		if m[k], err = parseText(elem, v); err != nil {
			return nil, fmt.Errorf("entry %q %w", k, err)
		}
	}
	return m, nil
}

// splitCSV splits at commas. Blanks around an entry do not count, except inside double
// quotes: "git " keeps its blank, which matters for a command prefix. Inside quotes ""
// is a quote. Empty text has no entries; an empty entry must be written "".
func splitCSV(text string) ([]string, error) {
	var out []string
	rest := strings.TrimLeft(text, " \t\n\r")
	if rest == "" {
		return out, nil
	}
	for {
		var word string
		if strings.HasPrefix(rest, `"`) {
			var b strings.Builder
			rest = rest[1:]
			for {
				i := strings.IndexByte(rest, '"')
				if i < 0 {
					return nil, errors.New("has a quote without an end")
				}
				b.WriteString(rest[:i])
				if rest = rest[i+1:]; !strings.HasPrefix(rest, `"`) {
					break
				}
				b.WriteByte('"')
				rest = rest[1:]
			}
			word = b.String()
			if rest = strings.TrimLeft(rest, " \t\n\r"); rest != "" && rest[0] != ',' {
				return nil, errors.New("has text after a closing quote")
			}
		} else {
			end := strings.IndexByte(rest, ',')
			if end < 0 {
				end = len(rest)
			}
			if word = strings.TrimSpace(rest[:end]); word == "" {
				return nil, errors.New(`has an empty entry; write "" for an empty text`)
			}
			rest = rest[end:]
		}
		out = append(out, word)
		if rest == "" {
			return out, nil
		}
		rest = strings.TrimLeft(rest[1:], " \t\n\r")
		if rest == "" {
			return nil, errors.New("ends with a comma")
		}
	}
}

// readEnv reads the SLUICE_ variables of environ ("K=V"). reserved names are read by
// cmd itself (SLUICE_CONFIG, …) and skipped.
func (s *Schema) readEnv(environ, reserved []string) (map[string]any, []setting, []Issue) {
	tree := map[string]any{}
	var from []setting
	var issues []Issue
	skip := make(map[string]bool, len(reserved))
	for _, r := range reserved {
		skip[r] = true
	}
	for _, kv := range environ {
		name, text, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || skip[name] {
			continue
		}
		f := s.byEnv[name]
		if f == nil {
			if !kubernetesName(name) {
				issues = append(issues, Issue{Message: "unknown variable " + name + suggest(name, s.envNames()), Source: "env " + name})
			}
			continue
		}
		v, err := parseText(f, text)
		if err != nil {
			issues = append(issues, Issue{Path: f.Key, Message: settingError(f, text, err), Source: "env " + name})
			continue
		}
		path, _ := splitPath(f.Key)
		put(tree, path, v)
		from = append(from, setting{path: path, name: name})
	}
	return tree, from, issues
}

func settingError(f *Field, text string, err error) string {
	shown := strconv.Quote(text)
	if f.Secret {
		shown = "(secret)"
	} else if len(shown) > 80 {
		shown = shown[:77] + "…"
	}
	return fmt.Sprintf("value %s %s", strings.ToValidUTF8(shown, ""), err)
}

func (s *Schema) envNames() []string {
	names := make([]string, 0, len(s.byEnv))
	for n := range s.byEnv {
		names = append(names, n)
	}
	return names
}

// kubernetesName recognises what Kubernetes puts into every container for a Service
// called sluice: a gateway must not refuse to start because of its own Service.
func kubernetesName(name string) bool {
	rest := strings.TrimPrefix(name, envPrefix)
	return strings.HasPrefix(rest, "SERVICE_HOST") || strings.HasPrefix(rest, "SERVICE_PORT") ||
		rest == "PORT" || strings.HasPrefix(rest, "PORT_") && strings.Trim(rest[5:], "0123456789") != rest[5:]
}

// readFlags reads dotted keys; below a map the user's own keys may follow.
func (s *Schema) readFlags(flags map[string]string) (map[string]any, []setting, []Issue) {
	tree := map[string]any{}
	var from []setting
	var issues []Issue
	keys := make(map[string]any, len(flags))
	for k := range flags {
		keys[k] = nil
	}
	for _, key := range sortedKeys(keys) {
		source := "flag " + key
		path, err := splitPath(key)
		if err != nil {
			issues = append(issues, Issue{Path: key, Message: err.Error(), Source: source})
			continue
		}
		f, parent, at := s.root, s.root, 0
		for at = 0; at < len(path) && f != nil; at++ {
			parent, f = f, f.descend(path[at])
		}
		if f == nil {
			msg := "unknown key"
			if near := s.nearest(parent, path[at-1]); near != "" {
				msg += fmt.Sprintf("; did you mean %q?", near)
			}
			issues = append(issues, Issue{Path: key, Message: msg, Source: source})
			continue
		}
		v, err := parseText(f, flags[key])
		if err != nil {
			issues = append(issues, Issue{Path: key, Message: settingError(f, flags[key], err), Source: source})
			continue
		}
		put(tree, path, v)
		from = append(from, setting{path: path, name: key})
	}
	return tree, from, issues
}
